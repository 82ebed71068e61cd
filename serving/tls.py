"""Certificates, for both protocols."""

import pathlib
import ssl

import grpc

from serving import server_options
from tfplugin import errors


def grpc_credentials(tls: server_options.Tls) -> grpc.ServerCredentials:
    """Reads what a gRPC port is encrypted with.

    Args:
        tls: The files.

    Raises:
        errors.InputError: If one cannot be read or does not fit the others.
    """
    # gRPC itself says only that the port could not be bound.
    ssl_context(tls)
    return grpc.ssl_server_credentials(
        [(_read("key", tls.key), _read("certificate", tls.certificate))],
        root_certificates=(
            _read("client_ca", tls.client_ca) if tls.client_ca else None
        ),
        require_client_auth=tls.client_ca is not None,
    )


def add_port(
    server: grpc.aio.Server, address: str, tls: server_options.Tls | None
) -> int:
    """Binds a gRPC server.

    Args:
        server: The server.
        address: Its address, with a port or 0.
        tls: What to encrypt with; None for nothing.

    Returns:
        The port.

    Raises:
        errors.InputError: As `grpc_credentials`.
        RuntimeError: If the port is in use.
    """
    if tls is None:
        return server.add_insecure_port(address)
    return server.add_secure_port(address, grpc_credentials(tls))


def ssl_context(tls: server_options.Tls) -> ssl.SSLContext:
    """Reads what a REST port is encrypted with; TLS 1.2 at least.

    Args:
        tls: The files.

    Raises:
        errors.InputError: If one cannot be read or does not fit the others.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    _read("certificate", tls.certificate)
    _read("key", tls.key)
    try:
        # A passphrase would be asked for at the terminal.
        context.load_cert_chain(tls.certificate, tls.key, password="")
    except (ssl.SSLError, ValueError) as error:
        raise errors.InputError(
            "A PEM certificate and its own PEM key, without a passphrase, are "
            f"needed. Received: certificate={tls.certificate!r}, "
            f"key={tls.key!r}."
        ) from error
    if tls.client_ca:
        _read("client_ca", tls.client_ca)
        try:
            context.load_verify_locations(tls.client_ca)
        except ssl.SSLError as error:
            raise errors.InputError(
                "The certificates that clients' are checked by must be PEM. "
                f"Received: client_ca={tls.client_ca!r}."
            ) from error
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def _read(name: str, path: str) -> bytes:
    try:
        return pathlib.Path(path).read_bytes()
    except OSError as error:
        raise errors.InputError(
            f"The TLS file must be readable. Received: {name}={path!r} "
            f"({error.strerror})."
        ) from error
