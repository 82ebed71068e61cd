"""Ports that a server takes."""

import socket

from tfplugin import errors


def listen(host: str, port: int) -> socket.socket:
    """Takes the port for REST.

    Args:
        host: The address to listen on.
        port: The port; 0 picks a free one.

    Raises:
        errors.InputError: If it cannot be taken.

    Example:
    >>> with listen("127.0.0.1", 0) as listener:
    ...     listener.getsockname()[0]
    '127.0.0.1'
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise refusal("rest_port", host, port) from error


def refusal(name: str, host: str, port: int) -> errors.InputError:
    """Makes the error of a port that cannot be taken.

    Args:
        name: What the port is called.
        host: The address to listen on.
        port: The port.

    Example:
    >>> refusal("grpc_port", "127.0.0.1", 8500).args[0].split(". ")[0]
    '`grpc_port` must be free on `host`'
    """
    return errors.InputError(
        f"`{name}` must be free on `host`. Received: {name}={port}, "
        f"host={host!r}. Stop what listens there, or choose another port "
        "(0 picks a free one)."
    )
