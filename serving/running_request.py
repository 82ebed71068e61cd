"""A request between its arrival and its answer."""

import time
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from concurrent import futures
from dataclasses import dataclass

import grpc
import numpy as np

from serving import model_version
from serving import observer as observer_lib
from serving import request_error
from serving import servable as servable_lib
from serving import signature as signature_lib


@dataclass(frozen=True)
class Prediction:
    """What a signature has answered.

    Args:
        name: The model.
        version: The version that answered.
        signature: The signature's name, never empty.
        outputs: Arrays by name, in the order of the filter, else by name.

    Example:
    >>> Prediction("ctr", 3, "serving_default", {}).version
    3
    """

    name: str
    version: int
    signature: str
    outputs: dict[str, np.ndarray]


class RunningRequest:
    """A request that holds on to its version until it is answered.

    Args:
        name: The model.
        version: What is to answer, acquired; released by `finish`.
        deadline_seconds: How long the answer is waited for; None for ever.
        observers: Who is told of the answer.
        on_finish: Called at the end.

    Example:
    >>> version = model_version.Version(3, "models/ctr/3")
    >>> request = RunningRequest("ctr", version, None, (), lambda: None)
    >>> request.rows
    0
    """

    def __init__(
        self,
        name: str,
        version: model_version.Version,
        deadline_seconds: float | None,
        observers: Sequence[observer_lib.Observer],
        on_finish: Callable[[], None],
    ) -> None:
        self.started = time.monotonic()
        self.deadline: float | None = None
        if deadline_seconds is not None:
            self.deadline = self.started + deadline_seconds
        self.rows = 0
        self.output_filter: tuple[str, ...] = ()
        self.arrays: list[np.ndarray] = []
        self.signature: signature_lib.Signature
        self._signature_name = ""
        self._name = name
        self._version = version
        self._observers = observers
        self._on_finish = on_finish
        self._finished = False

    @property
    def servable(self) -> servable_lib.Servable:
        """What answers it."""
        return self._version.loaded

    def check(
        self,
        signature_name: str,
        inputs: Mapping[str, np.ndarray],
        output_filter: Iterable[str],
        max_rows: int,
    ) -> None:
        """Refuses what cannot be answered.

        Args:
            signature_name: The signature; '' stands for `serving_default`.
            inputs: One array for every input.
            output_filter: The outputs wanted; empty for all.
            max_rows: The most rows.

        Raises:
            RequestError: See `ModelManager.submit`.
        """
        signature = self._version.loaded.signature(signature_name)
        self.signature = signature
        self._signature_name = signature.name
        rows = signature.check_arrays(inputs)
        if rows > max_rows:
            raise request_error.RequestError.invalid(
                f"A request may have at most {max_rows} rows. Received: {rows}."
            )
        self.output_filter = tuple(output_filter)
        if self.output_filter:
            signature.check_output_filter(self.output_filter)
        if self.deadline is not None and self.deadline <= time.monotonic():
            raise request_error.RequestError(
                grpc.StatusCode.DEADLINE_EXCEEDED,
                "The deadline had passed when the request arrived.",
            )
        self.rows = rows
        self.arrays = [inputs[name] for name in signature.inputs]

    def run(self) -> Prediction:
        """Runs the request by itself, in this thread.

        Raises:
            RequestError: With the code of an error raised inside the model.
        """
        try:
            outputs = self._version.loaded.execute(
                self.signature, self.arrays, self.output_filter
            )
        except BaseException as error:
            self.finish(error)
            raise
        self.finish(None)
        return self._prediction(outputs)

    def resolve(
        self,
        future: "futures.Future[Prediction]",
        outputs: dict[str, np.ndarray] | None,
        error: BaseException | None,
    ) -> None:
        """Ends the request with what a batch has brought.

        Args:
            future: What the client waits for; it may be cancelled.
            outputs: Its part of the batch's outputs, or None.
            error: Why there are none, or None.
        """
        self.finish(error)
        try:
            if outputs is None:
                future.set_exception(error)
            else:
                future.set_result(self._prediction(outputs))
        except futures.InvalidStateError:
            # Cancelled, if only just now: nobody waits for it.
            return

    def finish(self, error: BaseException | None) -> None:
        """Lets go of the version, and tells the observers; once.

        Args:
            error: Why there is no answer, or None.
        """
        if self._finished:
            return
        self._finished = True
        self._version.release()
        self._on_finish()
        if not self._observers:
            return
        code = "OK"
        if isinstance(error, request_error.RequestError):
            code = error.code.name
        elif error is not None:
            code = "INTERNAL"
        seconds = time.monotonic() - self.started
        for observer in self._observers:
            observer.on_request(
                self._name,
                self._version.number,
                self._signature_name,
                self.rows,
                seconds,
                code,
            )

    def _prediction(self, outputs: dict[str, np.ndarray]) -> Prediction:
        return Prediction(
            self._name, self._version.number, self.signature.name, outputs
        )
