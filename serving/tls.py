"""Certificates, for both protocols, read again when their files change."""

import logging
import os
import pathlib
import ssl
import threading

import grpc

from serving import server_options
from tfplugin import errors

# Of each file: when it was written, its length, and which file it is.
_Stamp = tuple[tuple[int, int, int] | None, ...]

_logger = logging.getLogger(__name__)


class Certificates:
    """What both ports are encrypted with.

    Before each new connection the files are looked at. If they have changed
    and fit each other, they serve from then on; if they do not, those of
    before go on serving and the log says why, once. Connections that are
    open are left alone.

    Args:
        tls: The files.

    Raises:
        errors.InputError: If one cannot be read or does not fit the others.

    Example:
    >>> Certificates(server_options.Tls("absent.crt", "absent.key"))
    Traceback (most recent call last):
    ...
    tfplugin.errors.InputError: The TLS file must be readable. Received: \
certificate='absent.crt' (No such file or directory).
    """

    def __init__(self, tls: server_options.Tls) -> None:
        self._tls = tls
        self._lock = threading.Lock()
        self._stamp = self._look()
        self._context, self._configuration = _read_all(tls)

    def ssl_context(self) -> ssl.SSLContext:
        """Returns what a REST port is encrypted with.

        TLS 1.2 at least, and 1.3 where clients show certificates.
        """
        context = self._context
        # Called in each handshake, whether the client names a server or not.
        context.sni_callback = self._choose
        return context

    def grpc_credentials(self) -> grpc.ServerCredentials:
        """Returns what a gRPC port is encrypted with."""
        given = self._configuration

        def fetch() -> grpc.ServerCertificateConfiguration | None:
            nonlocal given
            self._refresh()
            if self._configuration is given:
                return None
            given = self._configuration
            return given

        return grpc.dynamic_ssl_server_credentials(
            given,
            fetch,
            require_client_authentication=self._tls.client_ca is not None,
        )

    def _choose(
        self,
        connection: ssl.SSLObject | ssl.SSLSocket,
        server_name: str | None,
        context: ssl.SSLContext,
    ) -> None:
        self._refresh()
        connection.context = self._context

    def _refresh(self) -> None:
        with self._lock:
            stamp = self._look()
            if stamp == self._stamp:
                return
            self._stamp = stamp
            try:
                found = _read_all(self._tls)
            except errors.InputError as error:
                _logger.warning(
                    "The certificate of before goes on serving: %s", error
                )
                return
            if self._look() != stamp:
                # Written while they were read: the next connection reads all.
                self._stamp = ()
                return
            self._context, self._configuration = found
            _logger.info("Serving with the new certificate")

    def _look(self) -> _Stamp:
        tls = self._tls
        return tuple(
            _stamp_of(path)
            for path in (tls.certificate, tls.key, tls.client_ca)
            if path
        )


def _read_all(
    tls: server_options.Tls,
) -> tuple[ssl.SSLContext, grpc.ServerCertificateConfiguration]:
    # gRPC itself says nothing of files that do not fit.
    context = _make_context(tls)
    configuration = grpc.ssl_server_certificate_configuration(
        [(_read("key", tls.key), _read("certificate", tls.certificate))],
        root_certificates=(
            _read("client_ca", tls.client_ca) if tls.client_ca else None
        ),
    )
    return context, configuration


def _make_context(tls: server_options.Tls) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    _read("certificate", tls.certificate)
    _read("key", tls.key)
    try:
        # A passphrase would be asked for at the terminal.
        context.load_cert_chain(tls.certificate, tls.key, password="")
    except (OSError, ValueError) as error:
        raise errors.InputError(
            "A PEM certificate and its own PEM key, without a passphrase, are "
            f"needed. Received: certificate={tls.certificate!r}, "
            f"key={tls.key!r}{_reason(error)}."
        ) from error
    if tls.client_ca:
        _read("client_ca", tls.client_ca)
        try:
            context.load_verify_locations(tls.client_ca)
        except OSError as error:
            raise errors.InputError(
                "The certificates that clients' are checked by must be PEM. "
                f"Received: client_ca={tls.client_ca!r}{_reason(error)}."
            ) from error
        context.verify_mode = ssl.CERT_REQUIRED
        # A session that is taken up again shows no certificate, and so would
        # outlive the authority that signed it. Before TLS 1.3 Python has no
        # switch for that.
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.num_tickets = 0
    return context


def _reason(error: Exception) -> str:
    # OpenSSL's word for it, such as KEY_VALUES_MISMATCH.
    reason = error.reason if isinstance(error, ssl.SSLError) else None
    return f" ({reason})" if reason else ""


def _read(name: str, path: str) -> bytes:
    try:
        return pathlib.Path(path).read_bytes()
    except OSError as error:
        raise errors.InputError(
            f"The TLS file must be readable. Received: {name}={path!r} "
            f"({error.strerror})."
        ) from error


def _stamp_of(path: str) -> tuple[int, int, int] | None:
    try:
        stat = os.stat(path)
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_size, stat.st_ino
