"""What every request goes through, whichever protocol it came by."""

import asyncio
import logging
import math
import time
from collections.abc import Awaitable
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
from concurrent import futures
from dataclasses import dataclass
from typing import Protocol
from typing import TypeVar

import grpc
import numpy as np
from tensorflow_serving.apis import model_pb2

from serving import answers
from serving import event_loop
from serving import model_manager
from serving import request_error
from serving import server_options
from serving import short_runs

_Result = TypeVar("_Result")

# Reading more than this would hold up every other request meanwhile.
_MAX_BYTES_IN_LOOP = 1 << 17

# Requests with less than that between them may be others' that wait: who waits
# for an answer takes longer to ask again.
_APART_SECONDS = 2e-4

# Loads models before it returns, however long that takes.
_UNLIMITED_APIS = ("HandleReloadConfigRequest",)

_logger = logging.getLogger(__name__)


@dataclass
class Call:
    """One request while it is answered, and what is said of it afterwards.

    Args:
        api: The method, as in `"Predict"`.
        entrypoint: `"GRPC"` or `"REST"`.
        timeout_seconds: How long it may take.
        model: The name of the model, if there is one of that name.
        version: The version that answered, 0 if none did.
        signature: The signature that answered.
        rows: How many examples were answered.
        code: The canonical code of the answer.
        seconds: How long it took.
    """

    api: str
    entrypoint: str
    timeout_seconds: float
    model: str = ""
    version: int = 0
    signature: str = ""
    rows: int = 0
    code: str = "OK"
    seconds: float = 0.0


class CallObserver(Protocol):
    """Is told of every request, in the event loop; must not wait or raise."""

    def on_call(self, call: Call) -> None:
        """A request was answered, or refused."""


class Calls:
    """Runs requests within limits: of time, and of how many at once.

    All of it happens in the event loop, but for the models, which run in
    threads: those of the batches, or, without batching, in threads here; a
    run that is known to be short, in the loop, if it is the only request.

    Args:
        manager: What is loaded.
        limits: How long a request may take, and how many may run.
        batching: Whether the manager batches, and so never runs a model in
            the thread it is called in.
        observers: Are told of every request.
    """

    def __init__(
        self,
        manager: model_manager.ModelManager,
        limits: server_options.Limits,
        batching: bool = False,
        observers: Iterable[CallObserver] = (),
    ) -> None:
        self.manager = manager
        self._limits = limits
        self._batching = batching
        self._observers = tuple(observers)
        self.num_running = 0
        # When the last request ended.
        self._ended = 0.0
        self._answers: answers.Answers[model_manager.Prediction] = (
            answers.Answers(event_loop.get())
        )
        self._short_runs = short_runs.ShortRuns()
        self._threads = futures.ThreadPoolExecutor(
            limits.num_threads, thread_name_prefix="serving"
        )

    def close(self) -> None:
        """Starts no request any more; what runs may end by itself."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def answer(
        self,
        api: str,
        entrypoint: str,
        function: Callable[[Call], Awaitable[_Result]],
        remaining_seconds: float | None = None,
    ) -> _Result:
        """Runs what answers a request, and tells the observers.

        Args:
            api: The method, as in `"Predict"`.
            entrypoint: `"GRPC"` or `"REST"`.
            function: Answers the request, and says in the call which model.
            remaining_seconds: The client's own limit of time.

        Returns:
            What the function returns.

        Raises:
            RequestError: What the function raises; `RESOURCE_EXHAUSTED` for
                too many requests, `DEADLINE_EXCEEDED`, or `INTERNAL` for
                whatever went wrong, of which the log has the place.
        """
        timeout = self._limits.timeout_seconds
        if api in _UNLIMITED_APIS:
            timeout = math.inf
        if remaining_seconds is not None:
            timeout = min(timeout, remaining_seconds)
        call = Call(api, entrypoint, timeout)
        started = time.perf_counter()
        self.num_running += 1
        try:
            if self.num_running > self._limits.max_requests:
                raise request_error.RequestError(
                    grpc.StatusCode.RESOURCE_EXHAUSTED,
                    f"More than {self._limits.max_requests} requests at once.",
                )
            async with asyncio.timeout(
                None if timeout == math.inf else timeout
            ):
                return await function(call)
        except request_error.RequestError as error:
            call.code = error.code.name
            raise
        except TimeoutError as error:
            call.code = "DEADLINE_EXCEEDED"
            raise request_error.RequestError(
                grpc.StatusCode.DEADLINE_EXCEEDED,
                f"The request took longer than {timeout:.3f} s.",
            ) from error
        except asyncio.CancelledError:
            call.code = "CANCELLED"
            raise
        except Exception as error:
            call.code = "INTERNAL"
            _log_fault(call, error)
            raise request_error.RequestError(
                grpc.StatusCode.INTERNAL,
                "Internal error; see the server's log.",
            ) from error
        finally:
            self.num_running -= 1
            self._ended = time.perf_counter()
            call.seconds = self._ended - started
            for observer in self._observers:
                observer.on_call(call)

    def enter(self, call: Call, spec: model_pb2.ModelSpec) -> None:
        """Notes which model a request is for.

        Args:
            call: The request.
            spec: What it asks for. A name that no model has is not noted:
                clients must not make up series of metrics.
        """
        if spec.name in self.manager.models:
            call.model = spec.name

    async def run(
        self,
        call: Call,
        spec: model_pb2.ModelSpec,
        signature_name: str,
        inputs: Mapping[str, np.ndarray],
        output_filter: Iterable[str] = (),
    ) -> model_manager.Prediction:
        """Runs a signature of a model.

        Args:
            call: The request it is for.
            spec: The model, and its version or label.
            signature_name: The signature; '' is `serving_default`.
            inputs: An array an input; strings as objects of type bytes.
            output_filter: The outputs to return; all if empty.

        Raises:
            RequestError: See `ModelManager.submit`.
        """
        self.enter(call, spec)
        arguments = (
            spec,
            signature_name,
            inputs,
            output_filter,
            call.timeout_seconds,
        )
        # What has no rows is not batched, but run where it is submitted.
        if self._batching and all(a.ndim and len(a) for a in inputs.values()):
            prediction = await self._answers.wait(
                self.manager.submit(*arguments)
            )
        else:
            prediction = await self._run_alone(*arguments)
        call.version = prediction.version
        call.signature = prediction.signature
        call.rows = max(
            (len(a) for a in prediction.outputs.values() if a.ndim), default=0
        )
        return prediction

    async def _run_alone(
        self,
        spec: model_pb2.ModelSpec,
        signature_name: str,
        inputs: Mapping[str, np.ndarray],
        output_filter: Iterable[str],
        deadline_seconds: float,
    ) -> model_manager.Prediction:
        kind = None
        # Other outputs are another graph, which TensorFlow may not have made.
        if not output_filter:
            version = self.manager.version_of(spec)
            kind = self._short_runs.kind(
                (spec.name, version, signature_name), inputs.values()
            )

        def predict() -> model_manager.Prediction:
            started, seconds = time.perf_counter(), math.inf
            try:
                prediction = self.manager.predict(
                    spec,
                    signature_name,
                    inputs,
                    output_filter,
                    deadline_seconds,
                )
                seconds = time.perf_counter() - started
            finally:
                self._short_runs.add(kind, seconds)
            return prediction

        if self._is_only_one() and self._short_runs.are_short(kind):
            return predict()
        return await self.run_in_thread(predict)

    def _is_only_one(self) -> bool:
        # Of requests that arrive together the second begins right after the
        # first has ended, if that did not leave the loop.
        apart = time.perf_counter() - self._ended > _APART_SECONDS
        return self.num_running == 1 and apart

    async def read(
        self, function: Callable[[bytes], _Result], body: bytes
    ) -> _Result:
        """Parses a body: in a thread if it is a long one.

        Args:
            function: What parses it.
            body: As received.
        """
        if len(body) <= _MAX_BYTES_IN_LOOP:
            return function(body)
        return await self.run_in_thread(lambda: function(body))

    async def run_in_thread(self, function: Callable[[], _Result]) -> _Result:
        """Runs what takes long beside the event loop.

        Args:
            function: What to run.
        """
        return await asyncio.get_running_loop().run_in_executor(
            self._threads, function
        )


def _log_fault(call: Call, error: Exception) -> None:
    _logger.error(
        "A %s request failed: %s",
        call.api,
        request_error.place_of(error),
        extra={"fields": {"api": call.api, "model": call.model}},
    )
