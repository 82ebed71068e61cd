"""How a server listens, and what it refuses."""

import dataclasses
import ipaddress
from dataclasses import dataclass
from dataclasses import field

from tfplugin import errors


@dataclass(frozen=True)
class Limits:
    """What a server takes at most; beyond it, a request is refused.

    Args:
        max_request_bytes: The longest request, in bytes.
        max_batch_rows: The most examples in a request.
        max_requests: Requests that may be in the server at once. One gRPC
            connection may have twice as many under way, 100 at least; its
            client holds back what comes beyond.
        max_connections: REST connections that may be open at once; the next
            is closed with status 503. gRPC's are not limited. Each may hold a
            body of `max_request_bytes` before `max_requests` counts it.
        timeout_seconds: How long a request may take, whatever more its
            client would wait.
        idle_seconds: How long a REST connection may stay without a complete
            request.
        num_threads: Requests that run at the same time without batching.
            TensorFlow uses all cores for one already; more threads only keep
            short requests from waiting behind long ones.

    Raises:
        errors.InputError: For a limit that is not above 0.

    Example:
    >>> Limits(max_requests=64).timeout_seconds
    30.0
    """

    max_request_bytes: int = 1 << 27
    max_batch_rows: int = 65_536
    max_requests: int = 1_024
    max_connections: int = 1_024
    timeout_seconds: float = 30.0
    idle_seconds: float = 60.0
    num_threads: int = 8

    def __post_init__(self) -> None:
        for name, value in dataclasses.asdict(self).items():
            if not value > 0:
                raise errors.InputError(
                    f"`{name}` must be above 0. Received: {name}={value}."
                )


@dataclass(frozen=True)
class Tls:
    """Files by which both protocols are encrypted.

    Args:
        certificate: The server's certificate chain, PEM.
        key: Its private key, PEM, without a passphrase.
        client_ca: Certificates of who signs clients' certificates, PEM. If
            given, clients without such a certificate are refused.

    Example:
    >>> Tls("server.crt", "server.key").client_ca is None
    True
    """

    certificate: str
    key: str
    client_ca: str | None = None


@dataclass(frozen=True)
class ServerOptions:
    """How a server listens, and what it refuses.

    Args:
        rest_port: The port for REST; 0 picks a free one.
        grpc_port: The port for gRPC; 0 picks a free one.
        host: The address to listen on. By default only this machine can
            connect.
        tls: Files to encrypt with; None for plain connections.
        insecure: Says that other machines may connect without encryption.
        metrics_path: The path of Prometheus' metrics; None for no metrics.
        limits: What is taken at most.
        reload_roots: Folders, or URLs of such, below which a reload over gRPC
            may name models' folders, besides those of the configuration that
            the server is started with; see `ReloadRoots`.

    Raises:
        errors.InputError: For a port that cannot be, or a host that other
            machines reach without `tls` or `insecure`.

    Example:
    >>> ServerOptions(host="0.0.0.0", insecure=True).grpc_port
    8500
    >>> ServerOptions(host="0.0.0.0")
    Traceback (most recent call last):
    ...
    tfplugin.errors.InputError: Other machines may connect with TLS only. \
Received: host='0.0.0.0'. Give a certificate and its key \
(--tls-certificate, --tls-key), or say that connections may be insecure \
(--insecure).
    """

    rest_port: int = 8501
    grpc_port: int = 8500
    host: str = "127.0.0.1"
    tls: Tls | None = None
    insecure: bool = False
    metrics_path: str | None = "/monitoring/prometheus/metrics"
    limits: Limits = field(default_factory=Limits)
    reload_roots: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _check_port("rest_port", self.rest_port)
        _check_port("grpc_port", self.grpc_port)
        if self.rest_port == self.grpc_port != 0:
            raise errors.InputError(
                "`rest_port` and `grpc_port` must differ. Received: "
                f"rest_port={self.rest_port}, grpc_port={self.grpc_port}."
            )
        path = self.metrics_path
        if path is not None and not path.startswith("/"):
            raise errors.InputError(
                "The path of the metrics must start with '/'. "
                f"Received: metrics_path={path!r}."
            )
        if not (self.tls or self.insecure or _is_loopback(self.host)):
            raise errors.InputError(
                "Other machines may connect with TLS only. Received: "
                f"host={self.host!r}. Give a certificate and its key "
                "(--tls-certificate, --tls-key), or say that connections may "
                "be insecure (--insecure)."
            )


def _check_port(name: str, port: int) -> None:
    if not 0 <= port <= 65535:
        raise errors.InputError(
            f"`{name}` must be in [0, 65535]. Received: {name}={port}."
        )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        # A name may resolve to anything.
        return host == "localhost"
