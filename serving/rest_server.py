"""Runs the REST API in a thread of its own."""

import asyncio
import socket
import threading

from aiohttp import web

from serving import rest


class RestServer:
    """Runs a `RestApi` on a listening socket; answers once it is built.

    Args:
        api: The API to run.
        listener: The socket to accept connections from; closed by `stop`.
        grace_seconds: How long running requests may take when it is stopped.

    Example:
    >>> from serving import servable_manager
    >>> class Nothing:
    ...     name, version = "ctr", 1
    >>> api = rest.RestApi(servable_manager.ServableManager(Nothing()))
    >>> server = RestServer(api, socket.create_server(("127.0.0.1", 0)), 1.0)
    >>> server.stop()
    """

    def __init__(
        self,
        api: rest.RestApi,
        listener: socket.socket,
        grace_seconds: float,
    ) -> None:
        self._api = api
        self._loop = asyncio.new_event_loop()
        self._runner = web.AppRunner(
            api.application(),
            access_log=None,
            shutdown_timeout=grace_seconds,
        )
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="rest-loop", daemon=True
        )
        self._thread.start()
        asyncio.run_coroutine_threadsafe(
            self._start(listener), self._loop
        ).result()

    async def _start(self, listener: socket.socket) -> None:
        await self._runner.setup()
        await web.SockSite(self._runner, listener).start()

    def stop(self) -> None:
        """Answers what was asked, then closes every connection."""
        asyncio.run_coroutine_threadsafe(
            self._runner.cleanup(), self._loop
        ).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._api.close()
