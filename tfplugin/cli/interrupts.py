"""Ctrl-C, whatever the libraries in between make of it."""

import logging
import signal
import threading
from types import FrameType
from types import TracebackType


class Interrupts:
    """Notes that Ctrl-C was pressed, and keeps libraries from reporting it.

    Beam wraps the KeyboardInterrupt that a step raises in an exception of
    its own, after it has logged where it happened.

    Example:
    >>> with Interrupts() as interrupts:
    ...     try:
    ...         signal.raise_signal(signal.SIGINT)
    ...     except KeyboardInterrupt:
    ...         print(interrupts.received)
    True
    """

    def __init__(self) -> None:
        self.received = False
        self._logging = logging.root.manager.disable
        self._previous = signal.getsignal(signal.SIGINT)
        # Only the main thread may handle signals, and a shell that starts a
        # job in the background may have told it to ignore this one.
        self._handles = (
            threading.current_thread() is threading.main_thread()
            and callable(self._previous)
        )

    def __enter__(self) -> "Interrupts":
        if self._handles:
            signal.signal(signal.SIGINT, self._raise)
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._handles:
            signal.signal(signal.SIGINT, self._previous)
        logging.disable(self._logging)

    def _raise(self, number: int, frame: FrameType | None) -> None:
        self.received = True
        logging.disable(logging.CRITICAL)
        raise KeyboardInterrupt
