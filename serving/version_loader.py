"""The thread in which versions come and go."""

import gc
import logging
import queue
import sys
import threading
import time
from collections.abc import Iterable
from concurrent import futures

import grpc
from tensorflow_serving.apis import model_pb2
from tensorflow_serving.config import model_server_config_pb2

from serving import background
from serving import labels as labels_lib
from serving import model_config
from serving import model_version
from serving import observer as observer_lib
from serving import request_error
from serving import routes as routes_lib
from serving import served_model
from tfplugin import errors

# Between two looks at whether the thread a change waits for is still there.
_ALIVE_SECONDS = 1.0
# A configuration, and the labels of it that could not be assigned.
_Change = tuple[
    model_server_config_pb2.ModelServerConfig, "futures.Future[list[str]]"
]
# A version found for a request may be retired before it is taken; then the
# table has been replaced already. More often than this in a row is no race.
_MAX_RACES = 100
# Importing a graph is Python's work: for so long at a time, not for 5 ms, it
# may keep each step of a request waiting.
_SWITCH_SECONDS = 2e-4

_logger = logging.getLogger(__name__)


class VersionLoader:
    """Loads, warms up, drains and unloads, one version after the other.

    Args:
        config: The models to begin with.
        poll_seconds: The time between two looks at the folders; 0 for never.
        retries: How often a version that cannot be loaded is tried again.
        observers: Who is told of loads and unloads.

    Raises:
        errors.InputError: If the configuration cannot be followed.

    Example:
    >>> loader = VersionLoader(model_config.of_one_model("ctr", "/absent"))
    >>> loader.start()
    Traceback (most recent call last):
    ...
    tfplugin.errors.InputError: Every model must have a version that can be \
loaded. Received: model 'ctr' of '/absent': it has no version to serve (the \
folder does not exist).
    """

    def __init__(
        self,
        config: model_server_config_pb2.ModelServerConfig,
        poll_seconds: float = 1.0,
        retries: served_model.LoadRetries | None = None,
        observers: tuple[observer_lib.Observer, ...] = (),
    ) -> None:
        model_config.by_name(config)
        if not 0 <= poll_seconds < threading.TIMEOUT_MAX:
            raise errors.InputError(
                "`poll_seconds` must be at least 0. "
                f"Received: poll_seconds={poll_seconds}."
            )
        self.routes = routes_lib.Routes([])
        self._config = config
        self._poll_seconds = poll_seconds
        self._retries = retries or served_model.LoadRetries()
        self._observers = observers
        self._models: dict[str, served_model.ServedModel] = {}
        self._retired: list[tuple[str, model_version.Version]] = []
        self._changes: queue.SimpleQueue[_Change] = queue.SimpleQueue()
        self._wake = threading.Event()
        self._started = False
        self._stopping = False
        self._thread = threading.Thread(
            target=self._run, name="version-loader", daemon=True
        )

    def start(self) -> None:
        """Starts the thread, and returns when all models are loaded.

        Raises:
            errors.InputError: If a model has no version that can be loaded,
                or a label stands for one that was not.
            RuntimeError: If it was started before.
        """
        gc.collect()
        gc.freeze()
        self._thread.start()
        try:
            labels = self._change(self._config)
            self._check_started(labels)
            self._started = True
        except BaseException:
            self.stop(0.0)
            raise

    def apply(self, config: model_server_config_pb2.ModelServerConfig) -> None:
        """Follows another configuration, and returns when it is loaded.

        Args:
            config: The configuration.

        Raises:
            errors.InputError: If it cannot be followed; nothing changes.
            RequestError: `FAILED_PRECONDITION` if a label stands for a
                version that the folder lacks or the policy leaves out;
                nothing changes. `FAILED_PRECONDITION` as well if it stands
                for one that cannot be loaded: then the labels of its model
                stay as before, and the rest is applied, as it is with
                `UNKNOWN`, if a model has no version that can be loaded.
                `UNAVAILABLE` if the loader is not running.
        """
        wanted = model_config.by_name(config)
        if self._stopping or not self._thread.is_alive():
            raise request_error.RequestError(
                grpc.StatusCode.UNAVAILABLE, "The server is stopping."
            )
        _check_labels(
            f"label {label!r} of model {name!r} stands for version {number}, "
            "which `base_path` lacks or `model_version_policy` leaves out"
            for name, part in wanted.items()
            for label, number in labels_lib.hopeless(part).items()
        )
        labels = self._change(config)
        missing = self.routes.missing()
        if missing:
            raise request_error.RequestError(
                grpc.StatusCode.UNKNOWN,
                f"{len(missing)} servable(s) did not become available: "
                + "; ".join(f"{{{n}: {why}}}" for n, why in missing.items()),
            )
        _check_labels(labels)

    def acquire(self, spec: model_pb2.ModelSpec) -> model_version.Version:
        """Returns the version a request asks for, to be released by it.

        Args:
            spec: The model, and optionally the version's number or label.

        Raises:
            RequestError: As for `Routes.find`.
        """
        for _ in range(_MAX_RACES):
            version = self.routes.find(spec)
            if version.acquire():
                return version
        raise request_error.RequestError(
            grpc.StatusCode.UNAVAILABLE,
            f"Model {spec.name} is being replaced too often.",
        )

    def stop(self, grace_seconds: float) -> None:
        """Unloads everything, and ends the thread.

        Args:
            grace_seconds: How long requests may hold on to a version; one
                that is held longer ends with the process.
        """
        self._stopping = True
        self._wake.set()
        if self._thread.ident is not None:
            self._thread.join()
        for model in self._models.values():
            model.configure(None)
            model.look()
            self._retire(model)
        deadline = time.monotonic() + grace_seconds
        self._close_drained()
        while self._retired and time.monotonic() < deadline:
            self._wake.wait(deadline - time.monotonic())
            self._wake.clear()
            self._close_drained()
        if self._retired:
            _logger.warning("Stopped with %d versions in use", self.in_use())

    def in_use(self) -> int:
        """Returns how many versions wait for their last request to end."""
        return len(self._retired)

    def _check_started(self, labels: list[str]) -> None:
        missing = self.routes.missing()
        if missing:
            bases = {
                name: model.config.base_path
                for name, model in self._models.items()
                if model.config is not None
            }
            raise errors.InputError(
                "Every model must have a version that can be loaded. "
                "Received: "
                + "; ".join(
                    f"model {name!r} of {bases[name]!r}: {why.rstrip('.')}"
                    for name, why in missing.items()
                )
                + "."
            )
        if labels:
            raise errors.InputError(
                "A label must stand for an available version. Received: "
                f"{'; '.join(labels)}."
            )

    def _change(
        self, config: model_server_config_pb2.ModelServerConfig
    ) -> list[str]:
        done: futures.Future[list[str]] = futures.Future()
        # A copy: the caller may go on to change its own.
        copy = model_server_config_pb2.ModelServerConfig()
        copy.CopyFrom(config)
        self._changes.put((copy, done))
        self._wake.set()
        while True:
            try:
                return done.result(_ALIVE_SECONDS)
            except futures.TimeoutError as error:
                # It may have ended between a look at it and the change.
                if not self._thread.is_alive() and not done.done():
                    raise request_error.RequestError(
                        grpc.StatusCode.UNAVAILABLE, "The server is stopping."
                    ) from error

    def _run(self) -> None:
        next_look = time.monotonic()
        while not self._stopping:
            changes = self._take_changes()
            try:
                for config, _ in changes:
                    self._configure(config)
                if changes or time.monotonic() >= next_look:
                    self._look()
                    next_look = self._next_look()
                self._load_and_unload()
                self._close_drained()
            except Exception:
                # Folders are other people's, and what is served must go on.
                _logger.exception("Looking for new versions failed")
                next_look = self._next_look()
            if changes:
                labels = self._give_up_labels()
                for _, done in changes:
                    done.set_result(labels)
            self._sleep(next_look)
        while changes := self._take_changes():
            for _, done in changes:
                done.set_result([])

    def _sleep(self, next_look: float) -> None:
        until = min(
            [next_look, *(m.next_retry() for m in self._models.values())]
        )
        seconds = until - time.monotonic()
        if seconds > 0:
            self._wake.wait(None if seconds == float("inf") else seconds)
        self._wake.clear()
        if not self._changes.empty():
            self._wake.set()

    def _next_look(self) -> float:
        if not self._poll_seconds:
            return float("inf")
        return time.monotonic() + self._poll_seconds

    def _take_changes(self) -> list[_Change]:
        # One at a time, so that each is told of its own labels.
        if self._changes.empty():
            return []
        return [self._changes.get()]

    def _configure(
        self, config: model_server_config_pb2.ModelServerConfig
    ) -> None:
        wanted = model_config.by_name(config)
        for name, model in self._models.items():
            model.configure(wanted.get(name))
        for name, model_part in wanted.items():
            if name not in self._models:
                self._models[name] = served_model.ServedModel(
                    name, model_part, self._retries
                )

    def _look(self) -> None:
        for model in self._models.values():
            model.look()

    def _load_and_unload(self) -> None:
        for name, model in list(self._models.items()):
            # What is to go without a successor goes first.
            self._retire(model)
            for version in model.to_load(time.monotonic()):
                if self._stopping:
                    return
                self._load(model, version)
                self._publish()
                self._retire(model)
            model.forget_ended()
            if model.config is None and not self._is_alive(model):
                del self._models[name]
        self._publish()

    def _is_alive(self, model: served_model.ServedModel) -> bool:
        states = (model_version.State.AVAILABLE, model_version.State.UNLOADING)
        return any(v.state in states for v in model.versions.values())

    def _load(
        self, model: served_model.ServedModel, version: model_version.Version
    ) -> None:
        interval = sys.getswitchinterval()
        sys.setswitchinterval(min(interval, _SWITCH_SECONDS))
        try:
            if self._started:
                with background.Background() as behind:
                    timing = model.load(version, behind)
            else:
                timing = model.load(version, background.Foreground())
        finally:
            sys.setswitchinterval(interval)
        for observer in self._observers:
            observer.on_load(
                model.name,
                version.number,
                timing.load_seconds,
                version.error_message,
            )
            if timing.warm_ups:
                observer.on_warm_up(
                    model.name,
                    version.number,
                    timing.warm_up_seconds,
                    timing.warm_ups,
                )

    def _retire(self, model: served_model.ServedModel) -> None:
        for version in model.to_unload():
            version.retire(self._wake.set)
            self._retired.append((model.name, version))
        self._publish()

    def _give_up_labels(self) -> list[str]:
        return [
            f"label {label!r} of model {name!r} stands for version {number}"
            for name, model in self._models.items()
            for label, number in model.labels.give_up(model.numbers()).items()
        ]

    def _publish(self) -> None:
        for model in self._models.values():
            model.labels.assign(model.numbers())
        self.routes = routes_lib.Routes(self._models.values())

    def _close_drained(self) -> None:
        drained = [item for item in self._retired if item[1].drained]
        if not drained:
            return
        self._retired = [item for item in self._retired if item not in drained]
        for name, version in drained:
            version.close()
            _logger.info(
                "Unloaded model %s version %d",
                name,
                version.number,
                extra={"fields": {"model": name, "version": version.number}},
            )
            for observer in self._observers:
                observer.on_unload(name, version.number)
        # A graph's operations and the graph refer to each other.
        gc.collect()


def _check_labels(missing: Iterable[str]) -> None:
    found = "; ".join(missing)
    if found:
        raise request_error.RequestError(
            grpc.StatusCode.FAILED_PRECONDITION,
            f"A label must stand for an available version. Received: {found}.",
        )
