"""A listening socket that keeps so many connections and no more."""

import contextlib
import json
import logging
import socket
from typing import Any

_BODY = json.dumps(
    {"error": "The server has as many connections as it takes. Try again."}
).encode()
_REFUSAL = (
    b"HTTP/1.1 503 Service Unavailable\r\n"
    b"Content-Type: application/json; charset=utf-8\r\n"
    b"Content-Length: %d\r\n"
    b"Connection: close\r\n\r\n%s" % (len(_BODY), _BODY)
)
_READ_BYTES = 1 << 16

_logger = logging.getLogger(__name__)


class CappedListener(socket.socket):
    """Accepts connections, and closes at once those beyond a number.

    They are counted from the moment they are accepted, so that those which
    never end their TLS handshake count as well. One that is refused is told
    so if it speaks HTTP without TLS.

    Args:
        listener: A listening socket; this one takes its place.
        max_connections: How many may be open at the same time.
        encrypted: Whether connections begin with a TLS handshake.

    Example:
    >>> with CappedListener(socket.create_server(("127.0.0.1", 0)), 1) as one:
    ...     first = socket.create_connection(one.getsockname())
    ...     accepted, _ = one.accept()
    ...     second = socket.create_connection(one.getsockname())
    ...     try:
    ...         one.accept()
    ...     except ConnectionAbortedError as error:
    ...         print(error)
    ...     print(second.recv(100).splitlines()[0])
    At most 1 connections may be open.
    b'HTTP/1.1 503 Service Unavailable'
    >>> for connection in (first, accepted, second):
    ...     connection.close()
    """

    def __init__(
        self,
        listener: socket.socket,
        max_connections: int,
        encrypted: bool = False,
    ) -> None:
        super().__init__(
            listener.family,
            listener.type,
            listener.proto,
            fileno=listener.detach(),
        )
        self._max_connections = max_connections
        self._encrypted = encrypted
        self._open: set[socket.socket] = set()
        self._said = False

    def accept(self) -> tuple[socket.socket, Any]:
        """Accepts a connection.

        Returns:
            The connection and its address.

        Raises:
            ConnectionAbortedError: If it was one too many; it is closed.
            BlockingIOError: If there is none, and the socket does not wait.
        """
        connection, address = super().accept()
        if len(self._open) >= self._max_connections:
            # What was closed has no number any more.
            self._open = {one for one in self._open if one.fileno() >= 0}
            self._said &= len(self._open) > self._max_connections // 2
        if len(self._open) < self._max_connections:
            self._open.add(connection)
            return connection, address
        self._refuse(connection)
        # The event loop takes this for a client that has gone.
        raise ConnectionAbortedError(
            f"At most {self._max_connections} connections may be open."
        )

    def _refuse(self, connection: socket.socket) -> None:
        if not self._said:
            self._said = True
            _logger.warning(
                "All %d REST connections are in use; more are refused",
                self._max_connections,
            )
        with connection, contextlib.suppress(OSError):
            if self._encrypted:
                return
            connection.setblocking(False)
            connection.send(_REFUSAL)
            connection.shutdown(socket.SHUT_WR)
            # What is left unread would cut the answer off.
            connection.recv(_READ_BYTES)
