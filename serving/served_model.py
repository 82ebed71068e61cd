"""One model of the configuration: its versions and their states."""

import logging
import os
import time
from dataclasses import dataclass
from dataclasses import field

import tensorflow as tf
from tensorflow_serving.config import model_server_config_pb2

from serving import background
from serving import labels as labels_lib
from serving import model_version
from serving import request_error
from serving import servable as servable_lib
from serving import versions as versions_lib
from serving import warm_up_requests

# Versions that are gone and still told of.
_MAX_ENDED = 16

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class LoadRetries:
    """How often a version that cannot be loaded is tried again.

    Args:
        max_retries: Attempts after the first. A version whose
            `saved_model.pb` is written anew starts over.
        interval_seconds: The time between two attempts.

    Example:
    >>> LoadRetries()
    LoadRetries(max_retries=5, interval_seconds=60.0)
    """

    max_retries: int = 5
    interval_seconds: float = 60.0


@dataclass
class LoadTiming:
    """How a load went.

    Args:
        load_seconds: The time to load, or to fail to.
        warm_up_seconds: The time to warm up.
        warm_ups: The warm-up requests run.

    Example:
    >>> LoadTiming(1.5).warm_ups
    0
    """

    load_seconds: float = 0.0
    warm_up_seconds: float = 0.0
    warm_ups: int = 0


@dataclass
class ServedModel:
    """A model, whose versions follow what its folder and its policy say.

    Only the manager's loader thread changes it.

    Args:
        name: The name clients ask for.
        config: The model's part of the configuration.
        retries: How often a failed load is tried again.

    Example:
    >>> import tempfile
    >>> config = model_server_config_pb2.ModelConfig(
    ...     name="ctr", base_path=tempfile.mkdtemp())
    >>> model = ServedModel("ctr", config)
    >>> model.look()
    >>> model.to_load(now=0.0)
    []
    """

    name: str
    config: model_server_config_pb2.ModelConfig | None
    retries: LoadRetries = LoadRetries()
    versions: dict[str, model_version.Version] = field(default_factory=dict)
    labels: labels_lib.Labels = field(default_factory=labels_lib.Labels)
    _aspired: set[str] = field(default_factory=set)
    _said: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.configure(self.config)

    def configure(
        self, config: model_server_config_pb2.ModelConfig | None
    ) -> None:
        """Follows another configuration from the next look on.

        Args:
            config: The model's part of it; None to unload all.
        """
        self.config = config
        self.labels.ask_for(config.version_labels if config else {})

    def look(self) -> None:
        """Looks at the folder, and decides which versions should be loaded.

        A folder that cannot be read, or has come to hold no version, changes
        nothing: what is loaded stays. The log says so once.
        """
        if self.config is None:
            self._aspired = set()
            return
        base_path = self.config.base_path
        try:
            listing = versions_lib.list_versions(base_path)
        except (tf.errors.OpError, UnicodeDecodeError) as error:
            why = f"the folder cannot be read ({type(error).__name__})"
            if isinstance(error, tf.errors.NotFoundError):
                why = "the folder does not exist"
            self._say(base_path, why)
            return
        numbers = versions_lib.choose(
            listing.versions, self.config.model_version_policy
        )
        skipped = dict(listing.skipped)
        if not numbers:
            skipped[base_path] = "the folder holds no version to be served"
        for path in [key for key in self._said if key not in skipped]:
            del self._said[path]
        for path, reason in skipped.items():
            self._say(path, reason)
        if not numbers:
            return
        self._aspired = {listing.versions[number] for number in numbers}
        for number in numbers:
            path = listing.versions[number]
            known = self.versions.get(path)
            if known is None or (
                known.state == model_version.State.END and not known.failures
            ):
                self.versions[path] = model_version.Version(number, path)

    def to_load(self, now: float) -> list[model_version.Version]:
        """Returns the versions to load now, newest first.

        Args:
            now: The time, as `time.monotonic` gives it.
        """
        found = []
        for path in self._aspired:
            version = self.versions[path]
            if version.state == model_version.State.START or (
                version.state == model_version.State.END
                and self._is_due(version, now)
            ):
                found.append(version)
        return sorted(found, key=lambda version: -version.number)

    def next_retry(self) -> float:
        """Returns when the next failed load is due; infinity if none is."""
        return min(
            (
                version.retry_at
                for version in map(self.versions.get, self._aspired)
                if version is not None
                and version.state == model_version.State.END
                and 0 < version.failures <= self.retries.max_retries
            ),
            default=float("inf"),
        )

    def to_unload(self) -> list[model_version.Version]:
        """Returns the available versions that are to go.

        As in TensorFlow Serving's availability-preserving policy none goes
        before one that should be there is, and none that a label stands for
        while the label waits to stand for another.
        """
        loaded = self.available()
        if self.config is not None and not any(
            version.path in self._aspired for version in loaded
        ):
            return []
        kept = self.labels.kept() if self.config is not None else set()
        return [
            version
            for version in loaded
            if version.path not in self._aspired and version.number not in kept
        ]

    def available(self) -> list[model_version.Version]:
        """Returns the versions that take requests, newest first."""
        found = [
            version
            for version in list(self.versions.values())
            if version.state == model_version.State.AVAILABLE
        ]
        return sorted(found, key=lambda version: -version.number)

    def numbers(self) -> set[int]:
        """Returns the numbers of the versions that take requests."""
        return {version.number for version in self.available()}

    def why_nothing(self) -> str:
        """Returns why there is no version, as the last look found it."""
        reasons = "; ".join(
            reason
            if self.config and path == self.config.base_path
            else f"{os.path.basename(path)}: {reason}"
            for path, reason in list(self._said.items())
        )
        return "it has no version to serve" + (f" ({reasons})" * bool(reasons))

    def load(
        self,
        version: model_version.Version,
        ground: background.Ground,
    ) -> LoadTiming:
        """Loads a version and warms it up.

        Whatever goes wrong is kept in the version: it must not stop what is
        served already.

        Args:
            version: One of `to_load`.
            ground: Where it is loaded and warmed up.

        Returns:
            How long it took; whether it succeeded is in the version's state.
        """
        timing = LoadTiming()
        started = time.monotonic()
        version.state = model_version.State.LOADING
        version.fingerprint = versions_lib.fingerprint(version.path)
        servable = None
        try:
            servable = servable_lib.Servable(
                self.name, version.number, version.path, ground
            )
            loaded = time.monotonic()
            timing.load_seconds = loaded - started
            timing.warm_ups = warm_up_requests.replay(
                servable, version.path, ground
            )
            timing.warm_up_seconds = time.monotonic() - loaded
        # Anything at all, since a model's files are somebody else's.
        except Exception as error:
            if servable is not None:
                servable.close()
            timing.load_seconds = time.monotonic() - started
            self._failed(version, error)
            return timing
        version.failures = 0
        version.make_available(servable)
        _logger.info(
            "Model %s version %d is available after %.1f s; %d warm-up "
            "requests took %.1f s of it",
            self.name,
            version.number,
            time.monotonic() - started,
            timing.warm_ups,
            timing.warm_up_seconds,
            extra={"fields": {"model": self.name, "version": version.number}},
        )
        return timing

    def forget_ended(self) -> None:
        """Forgets versions that are long gone."""
        ended = [
            path
            for path, version in self.versions.items()
            if version.state == model_version.State.END
            and path not in self._aspired
        ]
        for path in ended[:-_MAX_ENDED]:
            del self.versions[path]

    def _is_due(self, version: model_version.Version, now: float) -> bool:
        if versions_lib.fingerprint(version.path) != version.fingerprint:
            version.failures = 0
            return True
        return (
            version.failures <= self.retries.max_retries
            and now >= version.retry_at
        )

    def _failed(self, version: model_version.Version, error: Exception) -> None:
        code = tf.errors.UNKNOWN
        if isinstance(error, request_error.RequestError):
            code = error.code.value[0]
        elif isinstance(error, tf.errors.OpError):
            code = error.error_code
        version.error_code = code
        version.error_message = str(error)
        version.failures += 1
        version.retry_at = time.monotonic() + self.retries.interval_seconds
        version.state = model_version.State.END
        left = self.retries.max_retries - version.failures + 1
        _logger.error(
            "Model %s version %d cannot be loaded (%s attempts left): %s",
            self.name,
            version.number,
            max(0, left),
            error,
            extra={"fields": {"model": self.name, "version": version.number}},
        )

    def _say(self, path: str, reason: str) -> None:
        if self._said.get(path) != reason:
            self._said[path] = reason
            _logger.warning(
                "Model %s: %s is not served: %s",
                self.name,
                path,
                reason,
                extra={"fields": {"model": self.name}},
            )
