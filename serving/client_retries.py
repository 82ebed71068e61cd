"""Asking again when a server could not be reached."""

import random
import time
from collections.abc import Callable
from typing import TypeVar

from serving import prediction_error

_RETRIED = "UNAVAILABLE"
_FIRST_DELAY_SECONDS = 0.05
_LONGEST_DELAY_SECONDS = 2.0

_Answer = TypeVar("_Answer")


def delay_seconds(attempt: int, draw: float) -> float:
    """How long to wait before an attempt is repeated.

    The delay doubles from 50 ms to 2 s; half of it is drawn, so that clients
    that failed together do not come back together (exponential backoff with
    "equal jitter", M. Brooker, "Exponential Backoff And Jitter", 2015).

    Args:
        attempt: The attempt that failed, from 0.
        draw: A number in [0, 1).

    Example:
    >>> delay_seconds(0, 0.0), delay_seconds(1, 0.0), delay_seconds(20, 0.0)
    (0.025, 0.05, 1.0)
    """
    # Beyond 2^16 the longest delay holds, and a float would overflow.
    doubled = _FIRST_DELAY_SECONDS * 2.0 ** min(attempt, 16)
    longest = min(_LONGEST_DELAY_SECONDS, doubled)
    return longest * (0.5 + 0.5 * draw)


def call(
    send: Callable[[float], _Answer], timeout_seconds: float, retries: int
) -> _Answer:
    """Sends a request, again if the server is unavailable.

    Only `UNAVAILABLE` is tried again, which says that the request was not
    taken or that the connection broke; a prediction changes nothing, so a
    second one does no harm. What is wrong stays wrong and is not repeated.

    Args:
        send: Sends the request within the seconds it is given.
        timeout_seconds: For all attempts together.
        retries: How often to try again.

    Returns:
        What `send` returned.

    Raises:
        PredictionError: The last one, once no attempt or no time is left.

    Example:
    >>> tries = []
    >>> def send(seconds):
    ...     tries.append(seconds)
    ...     if len(tries) < 3:
    ...         raise prediction_error.PredictionError("UNAVAILABLE", "no")
    ...     return "yes"
    >>> call(send, timeout_seconds=60.0, retries=3), len(tries)
    ('yes', 3)
    """
    deadline = time.monotonic() + timeout_seconds
    attempt = 0
    while True:
        remaining = deadline - time.monotonic()
        try:
            return send(max(remaining, 1e-3))
        except prediction_error.PredictionError as error:
            # Not for secrets: the draw only keeps clients apart.
            wait = delay_seconds(attempt, random.random())
            late = time.monotonic() + wait >= deadline
            if error.code != _RETRIED or attempt >= retries or late:
                raise
        time.sleep(wait)
        attempt += 1
