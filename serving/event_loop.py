"""The one event loop of a process that serves, in a thread of its own."""

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any
from typing import TypeVar

_Result = TypeVar("_Result")

_lock = threading.Lock()
_loops: list[asyncio.AbstractEventLoop] = []


def run(coroutine: Coroutine[Any, Any, _Result]) -> _Result:
    """Runs a coroutine in the loop, and waits for it.

    The loop is shared by all servers of the process, since gRPC's asyncio
    interface wakes every loop it has ever met for each message. It ends with
    the process.

    Args:
        coroutine: What to run; not to be called from within the loop.

    Returns:
        What the coroutine returns.

    Example:
    >>> async def answer():
    ...     return 42
    >>> run(answer())
    42
    """
    return asyncio.run_coroutine_threadsafe(coroutine, get()).result()


def get() -> asyncio.AbstractEventLoop:
    """Returns the loop, which runs already.

    Example:
    >>> get().is_running()
    True
    """
    with _lock:
        if not _loops:
            loop = asyncio.new_event_loop()
            threading.Thread(
                target=loop.run_forever, name="serving-loop", daemon=True
            ).start()
            _loops.append(loop)
        return _loops[0]
