"""Work that stands back behind requests."""

import os
import sys
import threading
from collections.abc import Callable
from concurrent import futures
from types import TracebackType
from typing import Any

_NICENESS = 10

#: Runs a function, returns when it has ended, and raises what it raises.
Background = Callable[[Callable[[], Any]], Any]


def at_once(function: Callable[[], Any]) -> Any:
    """Runs a function in this thread, as any other.

    Args:
        function: What to run.

    Example:
    >>> at_once(lambda: 42)
    42
    """
    return function()


class NiceThread:
    """A thread that leaves the processors to requests while it runs.

    Only for what holds the interpreter for moments: while a thread that
    stands back holds it, all of Python does.

    Example:
    >>> with NiceThread() as thread:
    ...     print(thread(lambda: 42))
    42
    """

    def __init__(self) -> None:
        # One of its own, since a priority is never raised again.
        self._thread = futures.ThreadPoolExecutor(
            1, "serving-background", initializer=_stand_back
        )

    def __call__(self, function: Callable[[], Any]) -> Any:
        """Runs a function, and waits for it.

        Args:
            function: What to run.

        Returns:
            What it returns.
        """
        return self._thread.submit(function).result()

    def __enter__(self) -> "NiceThread":
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._thread.shutdown()


def _stand_back() -> None:
    # Linux alone has a priority for each thread.
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
