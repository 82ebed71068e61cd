"""A gRPC server with a port of its own."""

import grpc

from serving import ports
from serving import server_options
from serving import tls

# Room on one connection for a refusal, which is better than to wait.
_STREAMS_PER_REQUEST = 2
# RFC 9113 asks for it: clients open some before they have read the limit, and
# those beyond it would be reset.
_MIN_STREAMS = 100


async def bind(
    options: server_options.ServerOptions,
    certificates: tls.Certificates | None = None,
) -> tuple[grpc.aio.Server, int]:
    """Makes a server and takes its port; it answers once it is started.

    Args:
        options: How it listens.
        certificates: What to encrypt with; None for nothing.

    Returns:
        The server and the port it has.

    Raises:
        errors.InputError: If the port is in use.

    Example:
    >>> from serving import event_loop
    >>> options = server_options.ServerOptions(grpc_port=0)
    >>> server, port = event_loop.run(bind(options))
    >>> event_loop.run(release(server))
    """
    limits = options.limits
    server = grpc.aio.server(
        options=[
            # Else a second server on the port takes every other request.
            ("grpc.so_reuseport", 0),
            ("grpc.max_receive_message_length", limits.max_request_bytes),
            ("grpc.max_send_message_length", -1),
            (
                "grpc.max_concurrent_streams",
                max(_MIN_STREAMS, _STREAMS_PER_REQUEST * limits.max_requests),
            ),
        ],
    )
    host = f"[{options.host}]" if ":" in options.host else options.host
    address = f"{host}:{options.grpc_port}"
    try:
        if certificates is None:
            return server, server.add_insecure_port(address)
        credentials = certificates.grpc_credentials()
        return server, server.add_secure_port(address, credentials)
    except RuntimeError as error:
        raise ports.refusal(
            "grpc_port", options.host, options.grpc_port
        ) from error


async def release(server: grpc.aio.Server) -> None:
    """Gives back the port of a server that was never started.

    Args:
        server: The server.
    """
    # gRPC does so only for one that was started.
    await server.start()
    await server.stop(None)
