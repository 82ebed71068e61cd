"""Rows done so far, told to a listener in the same process.

Workers of the in-memory runner share the process of the caller, and so reach
his listener by a token that can be pickled; in other processes there is no
listener, and nothing is told.
"""

import contextlib
import itertools
import threading
from collections.abc import Callable
from collections.abc import Iterator

Listener = Callable[[str, int], None]

_listeners: dict[int, Listener] = {}
_tokens = itertools.count()
_lock = threading.Lock()


@contextlib.contextmanager
def listening(listener: Listener | None) -> Iterator[int]:
    """Registers a listener and yields its token.

    Args:
        listener: Called with the name of a stage and the number of rows that
            it has done since the last call; None for nobody.
    """
    token = next(_tokens)
    if listener is not None:
        _listeners[token] = listener
    try:
        yield token
    finally:
        _listeners.pop(token, None)


def tell(token: int, stage: str, rows: int) -> None:
    """Tells the listener of `token`, if it lives in this process."""
    listener = _listeners.get(token)
    if listener is not None:
        with _lock:
            listener(stage, rows)
