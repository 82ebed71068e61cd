"""Answers on their way from the threads that run models to the event loop."""

import asyncio
import collections
from concurrent import futures
from typing import Generic
from typing import TypeVar

_Result = TypeVar("_Result")


class Answers(Generic[_Result]):
    """Hands the results of futures to coroutines that wait for them.

    `asyncio.wrap_future` wakes the event loop for each result, which costs
    more than to carry it. Here a batch of results wakes it once.

    Args:
        loop: Where the coroutines run.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._arrived: collections.deque[
            tuple[asyncio.Future[_Result], futures.Future[_Result]]
        ] = collections.deque()
        self._woken = False

    async def wait(self, future: "futures.Future[_Result]") -> _Result:
        """Waits for a result; cancels the future if it is cancelled itself.

        Args:
            future: What some thread ends.

        Returns:
            Its result.

        Raises:
            Exception: What the future ends with.
        """
        waiter: asyncio.Future[_Result] = self._loop.create_future()
        future.add_done_callback(lambda done: self._arrive(waiter, done))
        try:
            return await waiter
        except asyncio.CancelledError:
            future.cancel()
            raise

    def _arrive(
        self,
        waiter: "asyncio.Future[_Result]",
        done: "futures.Future[_Result]",
    ) -> None:
        self._arrived.append((waiter, done))
        # After the append, and unset before anything is taken: an answer that
        # finds it set is taken by the call that is still to come.
        if not self._woken:
            self._woken = True
            try:
                self._loop.call_soon_threadsafe(self._deliver)
            except RuntimeError:
                # The loop has ended, and so has everyone who waited in it.
                return

    def _deliver(self) -> None:
        self._woken = False
        while self._arrived:
            waiter, done = self._arrived.popleft()
            if waiter.done():
                continue
            error = done.exception()
            if error is None:
                waiter.set_result(done.result())
            else:
                waiter.set_exception(error)
