"""Work that stands back behind requests, or need not."""

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable
from concurrent import futures
from types import TracebackType
from typing import Any
from typing import Protocol

_NICENESS = 10


class Ground(Protocol):
    """Where work is done, and how much it minds what else is.

    Example:
    >>> def work(ground: Ground = Foreground()):
    ...     found = ground.run(lambda: 42)
    ...     ground.give_way(0.1)
    ...     return found
    >>> work()
    42
    """

    #: Whether others go first.
    stands_back: bool

    def run(self, function: Callable[[], Any]) -> Any:
        """Runs a function, which should hold the interpreter for moments only.

        Args:
            function: What to run.

        Returns:
            What it returns.
        """

    def give_way(self, seconds: float) -> None:
        """Says that the interpreter was held just now.

        Args:
            seconds: For how long.
        """


class Foreground:
    """Work that nobody has to wait behind: it is done in this thread, at once.

    Example:
    >>> Foreground().run(lambda: 42)
    42
    """

    stands_back = False

    def run(self, function: Callable[[], Any]) -> Any:
        """Runs a function; see `Ground`."""
        return function()

    def give_way(self, seconds: float) -> None:
        """Does nothing; see `Ground`."""


class Background:
    """Work that leaves processors and interpreter to requests.

    What is run is run by a thread of lower priority. That must not hold the
    interpreter for long: while a thread that stands back holds it, all of
    Python does. What has to hold it is done in pieces, and after each the
    others get as much time as it took. Threads that a run makes inherit its
    priority, as do those in which TensorFlow runs what XLA has compiled.

    Example:
    >>> with Background() as background:
    ...     print(background.run(lambda: 42))
    42
    """

    stands_back = True

    def __init__(self) -> None:
        # One of its own, since a priority is never raised again.
        self._thread = futures.ThreadPoolExecutor(
            1, "serving-background", initializer=_stand_back
        )

    def run(self, function: Callable[[], Any]) -> Any:
        """Runs a function and waits for it; see `Ground`."""
        return self._thread.submit(function).result()

    def give_way(self, seconds: float) -> None:
        """Waits as long; see `Ground`."""
        time.sleep(seconds)

    def __enter__(self) -> "Background":
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._thread.shutdown()


def _stand_back() -> None:
    # Linux alone has a priority for each thread, and a sandbox may forbid to
    # change it: then this thread is one like any other.
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            os.setpriority(
                os.PRIO_PROCESS, threading.get_native_id(), _NICENESS
            )
