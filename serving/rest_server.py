"""Runs REST and the metrics on a listening socket."""

import asyncio
import logging
import socket
import time
from collections.abc import Awaitable
from collections.abc import Callable

import grpc
from aiohttp import web

from serving import capped_listener
from serving import metrics as metrics_lib
from serving import request_error
from serving import rest
from serving import server_options
from serving import tls

# TensorFlow Serving's mapping from canonical codes to HTTP.
_HTTP_STATUS = {
    grpc.StatusCode.CANCELLED: 499,
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.DEADLINE_EXCEEDED: 504,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.ALREADY_EXISTS: 409,
    grpc.StatusCode.PERMISSION_DENIED: 403,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.FAILED_PRECONDITION: 400,
    grpc.StatusCode.ABORTED: 409,
    grpc.StatusCode.OUT_OF_RANGE: 400,
    grpc.StatusCode.UNIMPLEMENTED: 501,
    grpc.StatusCode.UNAVAILABLE: 503,
    grpc.StatusCode.UNAUTHENTICATED: 401,
}

_logger = logging.getLogger(__name__)
_http_logger = logging.getLogger(f"{__name__}.http")


def _only_for_debugging(record: logging.LogRecord) -> bool:
    # What does not parse as HTTP is the client's fault, and quoted.
    kind = record.exc_info[0] if record.exc_info else None
    record.msg = "A REST connection broke off: %s"
    record.args = (kind.__name__ if kind else "",)
    record.exc_info = None
    record.levelno, record.levelname = logging.DEBUG, "DEBUG"
    return _http_logger.isEnabledFor(logging.DEBUG)


_http_logger.addFilter(_only_for_debugging)


class RestServer:
    """Runs a `RestApi` in the event loop it is started in.

    A connection without a complete request for a while is closed, whether it
    sends nothing, or a byte now and then.

    Args:
        api: The API to run.
        metrics: What is written under `metrics_path`.
        metrics_path: The path of metrics; None for none.
        limits: The longest body, how many connections there may be, and how
            long one may be idle.
    """

    def __init__(
        self,
        api: rest.RestApi,
        metrics: metrics_lib.Metrics,
        metrics_path: str | None,
        limits: server_options.Limits,
    ) -> None:
        self._api = api
        self._metrics = metrics
        self._metrics_path = metrics_path
        self._limits = limits
        self._runner: web.AppRunner | None = None
        self._reaper: asyncio.Task[None] | None = None
        # When a connection last began to wait for a request; None while one
        # is answered.
        self._waiting_since: dict[object, float | None] = {}

    async def start(
        self,
        listener: socket.socket,
        certificates: tls.Certificates | None,
        grace_seconds: float,
    ) -> None:
        """Accepts connections from now on.

        Args:
            listener: The socket to accept them from; closed by `stop`.
            certificates: What to encrypt with; None for plain connections.
            grace_seconds: How long running requests may take at the end.
        """
        application = web.Application(
            client_max_size=self._limits.max_request_bytes,
            middlewares=[_answer_errors_in_json, self._note_connection],
        )
        application.router.add_route("*", "/{path:.*}", self._handle)
        runner = web.AppRunner(
            application,
            access_log=None,
            logger=_http_logger,
            shutdown_timeout=grace_seconds,
            keepalive_timeout=self._limits.idle_seconds,
        )
        await runner.setup()
        site = web.SockSite(
            runner,
            capped_listener.CappedListener(
                listener,
                self._limits.max_connections,
                encrypted=certificates is not None,
            ),
            ssl_context=certificates.ssl_context() if certificates else None,
        )
        await site.start()
        self._runner = runner
        self._reaper = asyncio.create_task(self._close_idle())

    async def stop(self) -> None:
        """Answers what was asked, then closes every connection."""
        if self._reaper is not None:
            self._reaper.cancel()
        if self._runner is not None:
            await self._runner.cleanup()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        if request.rel_url.raw_path == self._metrics_path:
            return web.Response(
                body=self._metrics.text().encode(),
                headers={"Content-Type": metrics_lib.CONTENT_TYPE},
            )
        return await self._api.handle(request)

    @web.middleware
    async def _note_connection(
        self,
        request: web.Request,
        handler: Callable[[web.Request], Awaitable[web.StreamResponse]],
    ) -> web.StreamResponse:
        connection = request.protocol
        try:
            if request.body_exists:
                # The reaper waits for it no longer than for the head.
                self._waiting_since[connection] = time.monotonic()
                await request.read()
            self._waiting_since[connection] = None
            return await handler(request)
        finally:
            self._waiting_since[connection] = time.monotonic()

    async def _close_idle(self) -> None:
        idle = self._limits.idle_seconds
        while True:
            await asyncio.sleep(min(1.0, idle / 4))
            server = self._runner.server if self._runner else None
            connections = set(server.connections if server else ())
            for gone in self._waiting_since.keys() - connections:
                del self._waiting_since[gone]
            now = time.monotonic()
            for connection in connections:
                since = self._waiting_since.setdefault(connection, now)
                if since is not None and now - since > idle:
                    connection.force_close()


@web.middleware
async def _answer_errors_in_json(
    request: web.Request,
    handler: Callable[[web.Request], Awaitable[web.StreamResponse]],
) -> web.StreamResponse:
    try:
        return await handler(request)
    except request_error.RequestError as error:
        status, text = _HTTP_STATUS.get(error.code, 500), error.message
    except web.HTTPException as error:
        # aiohttp's own refusals, such as a body over the limit.
        status, text = error.status, error.text or error.reason
    except web.RequestPayloadError:
        status, text = 400, "The body does not decode as its headers say."
    except ConnectionError:
        # The client is gone; nobody reads this.
        status, text = 400, "The connection was closed."
    except Exception as error:
        # The client gets an answer, whatever fails.
        _logger.error(
            "A REST request failed: %s", request_error.place_of(error)
        )
        status, text = 500, "Internal error; see the server's log."
    return web.json_response({"error": text}, status=status)
