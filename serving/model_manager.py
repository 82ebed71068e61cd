"""Which versions of which models are served, and the way to them."""

import contextlib
import functools
import math
import threading
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from concurrent import futures
from dataclasses import dataclass

import grpc
import numpy as np
from tensorflow_serving.apis import get_model_status_pb2
from tensorflow_serving.apis import model_pb2
from tensorflow_serving.config import model_server_config_pb2

from serving import batch_tasks
from serving import batching as batching_lib
from serving import request_error
from serving import servable as servable_lib
from serving import signature as signature_lib
from serving import version_loader
from serving.batching_parameters import BatchingParameters
from serving.observer import Observer
from serving.running_request import Prediction
from serving.running_request import RunningRequest
from serving.served_model import LoadRetries


@dataclass(frozen=True)
class Limits:
    """What one client may ask for.

    Args:
        max_rows: The most rows of a request.
        max_requests: The most requests running or waiting at a time.

    Example:
    >>> Limits().max_rows
    65536
    """

    max_rows: int = 65_536
    max_requests: int = 1_024


class ModelManager:
    """Serves the versions a configuration asks for, while they come and go.

    A loader thread follows the folders of the models: a new version is loaded
    and warmed up, then takes the requests; the old one is unloaded when the
    last of its requests is answered. A version that cannot be loaded leaves
    everything as it is. Requests find their version in a table that is
    replaced as a whole, and hold on to it while they run.

    Starting freezes Python's objects of that moment (`gc.freeze`), since a
    full garbage collection, which loading sets off, would hold up requests
    for a quarter of a second in a process with TensorFlow.

    Args:
        config: The models; see `model_config.by_name`.
        batching: How requests are put together; None runs each by itself.
        poll_seconds: The time between two looks at the folders; 0 looks only
            at the start and when a configuration is applied.
        limits: What is refused.
        retries: How often a version that cannot be loaded is tried again.
        observers: Who is told what happens.

    Raises:
        errors.InputError: If the configuration cannot be followed.

    Example:
    >>> import os, tempfile
    >>> import tensorflow as tf
    >>> from serving import model_config
    >>> class Double(tf.Module):
    ...     @tf.function(input_signature=[tf.TensorSpec([None], name="x")])
    ...     def __call__(self, x):
    ...         return {"y": 2.0 * x}
    >>> model, base = Double(), tempfile.mkdtemp()
    >>> tf.saved_model.save(model, os.path.join(base, "3"), model.__call__)
    >>> manager = ModelManager(model_config.of_one_model("double", base))
    >>> manager.start()
    >>> spec = model_pb2.ModelSpec(name="double")
    >>> prediction = manager.predict(spec, "", {"x": np.float32([1, 4])})
    >>> prediction.version, prediction.outputs
    (3, {'y': array([2., 8.], dtype=float32)})
    >>> manager.stop()
    """

    def __init__(
        self,
        config: model_server_config_pb2.ModelServerConfig,
        *,
        batching: BatchingParameters | None = None,
        poll_seconds: float = 1.0,
        limits: Limits | None = None,
        retries: LoadRetries | None = None,
        observers: Iterable[Observer] = (),
    ) -> None:
        self._batching = batching
        self._limits = limits or Limits()
        self._observers = tuple(observers)
        self._scheduler: batching_lib.BatchScheduler | None = None
        self._loader = version_loader.VersionLoader(
            config, poll_seconds, retries or LoadRetries(), self._observers
        )
        self._lock = threading.Lock()
        self._running = 0

    def start(self) -> None:
        """Loads what the configuration asks for, and returns when it is.

        Raises:
            errors.InputError: If a model has no version that can be loaded.
            RuntimeError: If the manager was started before.
        """
        self._loader.start()
        if self._batching is not None:
            self._scheduler = batching_lib.BatchScheduler(
                self._batching, self._on_batch
            )

    def apply(self, config: model_server_config_pb2.ModelServerConfig) -> None:
        """Serves what another configuration asks for, and returns when it is.

        Args:
            config: The configuration; models it does not list are unloaded.

        Raises:
            errors.InputError: If it cannot be followed; nothing changes.
            RequestError: `FAILED_PRECONDITION` if a label stands for a
                version that the folder lacks or the policy leaves out;
                nothing changes. `FAILED_PRECONDITION` as well if it stands
                for one that cannot be loaded: then the labels of its model
                stay as before, and the rest is applied, as it is with
                `UNKNOWN`, as in TensorFlow Serving, if a model it lists has
                no version that can be loaded.
        """
        self._loader.apply(config)

    def stop(self, grace_seconds: float = 5.0) -> None:
        """Answers what runs or waits, and unloads everything.

        Args:
            grace_seconds: How long running requests may take; a version still
                in use after that is left to end with the process.
        """
        if self._scheduler is not None:
            self._scheduler.stop()
        self._loader.stop(grace_seconds)

    @property
    def models(self) -> list[str]:
        """The names of the models configured, sorted."""
        return list(self._loader.routes.names)

    def version_of(self, spec: model_pb2.ModelSpec) -> int:
        """Returns the number of the version that answers a request now.

        Args:
            spec: The model, and optionally the version's number or label.

        Raises:
            RequestError: As for `submit`, if none does.
        """
        return self._loader.routes.find(spec).number

    def predict(
        self,
        spec: model_pb2.ModelSpec,
        signature_name: str,
        inputs: Mapping[str, np.ndarray],
        output_filter: Iterable[str] = (),
        deadline_seconds: float | None = None,
    ) -> Prediction:
        """Answers a request, and returns when it is; otherwise as `submit`."""
        if self._scheduler is None:
            request = self._open(
                spec, signature_name, inputs, output_filter, deadline_seconds
            )
            return request.run()
        future = self.submit(
            spec, signature_name, inputs, output_filter, deadline_seconds
        )
        try:
            return future.result(deadline_seconds)
        except futures.TimeoutError as error:
            future.cancel()
            raise _too_late() from error

    def submit(
        self,
        spec: model_pb2.ModelSpec,
        signature_name: str,
        inputs: Mapping[str, np.ndarray],
        output_filter: Iterable[str] = (),
        deadline_seconds: float | None = None,
    ) -> "futures.Future[Prediction]":
        """Takes a request that is answered later.

        Inputs are NumPy arrays, not tensors: making a tensor takes 15 to 65
        microseconds each, putting arrays together is free of TensorFlow, and
        a Session takes them as they are. Without batching the
        request runs in the calling thread before this returns; with it never.

        Args:
            spec: The model, and optionally the version's number or label.
            signature_name: The signature; '' stands for `serving_default`.
            inputs: One array for every input; strings are arrays of objects,
                each bytes.
            output_filter: The outputs to return; by default all.
            deadline_seconds: How long the answer is waited for. A request
                that still waits after that is not run.

        Returns:
            What ends with the prediction or with a `RequestError`. Cancelling
            it keeps a request that waits from being run.

        Raises:
            RequestError: `INVALID_ARGUMENT` for inputs or outputs the
                signature has not, too many rows, or a spec without a name;
                `NOT_FOUND` for a model or version that is not loaded;
                `FAILED_PRECONDITION` for an unknown signature;
                `RESOURCE_EXHAUSTED` for too many requests at a time,
                `UNAVAILABLE` for a full queue, `DEADLINE_EXCEEDED`.
        """
        request = self._open(
            spec, signature_name, inputs, output_filter, deadline_seconds
        )
        future: futures.Future[Prediction] = futures.Future()
        if self._scheduler is None:
            try:
                future.set_result(request.run())
            except request_error.RequestError as error:
                future.set_exception(error)
            return future
        task = batch_tasks.Task(
            request.servable,
            request.signature,
            request.arrays,
            request.output_filter,
            request.rows,
            math.inf if request.deadline is None else request.deadline,
            functools.partial(request.resolve, future),
            lambda: not future.cancelled(),
        )
        try:
            self._scheduler.submit(task)
        except request_error.RequestError as error:
            request.finish(error)
            raise
        return future

    @contextlib.contextmanager
    def lease(
        self, spec: model_pb2.ModelSpec
    ) -> Iterator[servable_lib.Servable]:
        """Keeps a version loaded while its signatures are looked at.

        Args:
            spec: The model, and optionally the version's number or label.

        Yields:
            The servable, for which see `Servable`.

        Raises:
            RequestError: As `submit` does for the spec.
        """
        version = self._loader.acquire(spec)
        try:
            yield version.loaded
        finally:
            version.release()

    def status(
        self, spec: model_pb2.ModelSpec
    ) -> get_model_status_pb2.GetModelStatusResponse:
        """Returns the states of a model's versions, newest first.

        Args:
            spec: The model, and optionally a version's number or label.

        Raises:
            RequestError: `NOT_FOUND` for a model or version that there has
                not been, `INVALID_ARGUMENT` for a spec without a name or with
                a label that is not assigned.
        """
        return self._loader.routes.status(spec)

    def available(self, spec: model_pb2.ModelSpec | None = None) -> bool:
        """Returns whether a model answers requests.

        Args:
            spec: The model, and optionally a version's number or label; None
                for every model of the configuration.
        """
        if spec is None:
            return self._loader.routes.is_available()
        try:
            self._loader.routes.find(spec)
        except request_error.RequestError:
            return False
        return True

    def _open(
        self,
        spec: model_pb2.ModelSpec,
        signature_name: str,
        inputs: Mapping[str, np.ndarray],
        output_filter: Iterable[str],
        deadline_seconds: float | None,
    ) -> RunningRequest:
        version = self._loader.acquire(spec)
        request = RunningRequest(
            spec.name, version, deadline_seconds, self._observers, self._leave
        )
        with self._lock:
            self._running += 1
            too_many = self._running > self._limits.max_requests
        try:
            if too_many:
                raise request_error.RequestError(
                    grpc.StatusCode.RESOURCE_EXHAUSTED,
                    f"At most {self._limits.max_requests} requests may run or "
                    "wait at a time.",
                )
            request.check(
                signature_name, inputs, output_filter, self._limits.max_rows
            )
        except BaseException as error:
            request.finish(error)
            raise
        return request

    def _leave(self) -> None:
        with self._lock:
            self._running -= 1

    def _on_batch(
        self,
        servable: servable_lib.Servable,
        signature: signature_lib.Signature,
        rows: int,
        padded_rows: int,
        queue_seconds: float,
    ) -> None:
        for observer in self._observers:
            observer.on_batch(
                servable.name,
                servable.version,
                signature.name,
                rows,
                padded_rows,
                queue_seconds,
            )


def _too_late() -> request_error.RequestError:
    return request_error.RequestError(
        grpc.StatusCode.DEADLINE_EXCEEDED,
        "The deadline passed before the request was answered.",
    )
