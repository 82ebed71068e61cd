"""`tfplugin serve`: a server that speaks TF Serving's protocols."""

import logging
import pathlib
from typing import TYPE_CHECKING
from typing import Annotated
from typing import Any
from typing import Literal

import rich.markup
import typer

from tfplugin import artifacts
from tfplugin import config as config_lib
from tfplugin.cli import display
from tfplugin.errors import InputError

if TYPE_CHECKING:
    import serving

# TF Serving's names of options that are called otherwise here.
_ALIASES = {
    "file-system-poll-wait-seconds": "poll-seconds",
    "port": "grpc-port",
    "rest-api-port": "rest-port",
}


def _own_name(token: str) -> str:
    # TF Serving spells its flags with underscores; here both do.
    token = token.replace("_", "-")
    return _ALIASES.get(token, token)


SETTINGS: dict[str, Any] = {"token_normalize_func": _own_name}

_MODELS = "What to serve"
_LISTENING = "Where"
_LIMITS = "Limits"
_FILE = {"metavar": "FILE"}


def serve(
    workdir: Annotated[
        pathlib.Path | None,
        typer.Option(
            help="Serve the exports of this work folder.",
            metavar="FOLDER",
            rich_help_panel=_MODELS,
        ),
    ] = None,
    model_base_path: Annotated[
        str | None,
        typer.Option(
            help="Serve this folder of versions.",
            metavar="FOLDER",
            rich_help_panel=_MODELS,
        ),
    ] = None,
    model_name: Annotated[
        str | None,
        typer.Option(
            help="The name clients ask for.",
            metavar="NAME",
            rich_help_panel=_MODELS,
        ),
    ] = None,
    model_config_file: Annotated[
        str | None,
        typer.Option(
            help="Serve what this ModelServerConfig lists.",
            rich_help_panel=_MODELS,
            **_FILE,
        ),
    ] = None,
    reload_root: Annotated[
        list[str] | None,
        typer.Option(
            help="Let a reload over gRPC name models' folders below this one, "
            "a path or a URL, too. May be repeated.",
            metavar="FOLDER",
            rich_help_panel=_MODELS,
        ),
    ] = None,
    poll_seconds: Annotated[
        float,
        typer.Option(
            help="Between two looks for new versions; 0 for none.",
            metavar="SECONDS",
            rich_help_panel=_MODELS,
        ),
    ] = 1.0,
    batching_parameters_file: Annotated[
        str | None,
        typer.Option(
            help="Put requests together as these BatchingParameters say.",
            rich_help_panel=_MODELS,
            **_FILE,
        ),
    ] = None,
    monitoring_config_file: Annotated[
        pathlib.Path | None,
        typer.Option(
            help="Where Prometheus reads, as a MonitoringConfig.",
            rich_help_panel=_LISTENING,
            **_FILE,
        ),
    ] = None,
    rest_port: Annotated[
        int,
        typer.Option(
            min=0,
            max=65535,
            metavar="PORT",
            help="0 picks a free one.",
            rich_help_panel=_LISTENING,
        ),
    ] = 8501,
    grpc_port: Annotated[
        int,
        typer.Option(
            min=0,
            max=65535,
            metavar="PORT",
            help="0 picks a free one.",
            rich_help_panel=_LISTENING,
        ),
    ] = 8500,
    host: Annotated[
        str,
        typer.Option(
            help="Address to listen on.",
            metavar="ADDRESS",
            rich_help_panel=_LISTENING,
        ),
    ] = "127.0.0.1",
    tls_certificate: Annotated[
        str | None,
        typer.Option(
            help="Encrypt: the certificate chain, PEM.",
            rich_help_panel=_LISTENING,
            **_FILE,
        ),
    ] = None,
    tls_key: Annotated[
        str | None,
        typer.Option(
            help="Its private key, PEM.", rich_help_panel=_LISTENING, **_FILE
        ),
    ] = None,
    tls_client_ca: Annotated[
        str | None,
        typer.Option(
            help="Take only clients with a certificate signed by one of "
            "these, PEM.",
            rich_help_panel=_LISTENING,
            **_FILE,
        ),
    ] = None,
    insecure: Annotated[
        bool,
        typer.Option(
            "--insecure",
            help="Let other machines connect without encryption.",
            rich_help_panel=_LISTENING,
        ),
    ] = False,
    max_request_bytes: Annotated[
        int,
        typer.Option(
            help="Of the longest request.",
            metavar="BYTES",
            rich_help_panel=_LIMITS,
        ),
    ] = 1 << 27,
    max_batch_rows: Annotated[
        int,
        typer.Option(
            help="Of one request.", metavar="ROWS", rich_help_panel=_LIMITS
        ),
    ] = 65_536,
    max_requests: Annotated[
        int,
        typer.Option(
            help="In the server at once.",
            metavar="REQUESTS",
            rich_help_panel=_LIMITS,
        ),
    ] = 1_024,
    max_connections: Annotated[
        int,
        typer.Option(
            help="Of REST, open at once.",
            metavar="CONNECTIONS",
            rich_help_panel=_LIMITS,
        ),
    ] = 1_024,
    timeout_seconds: Annotated[
        float,
        typer.Option(
            help="Longest a request may take.",
            metavar="SECONDS",
            rich_help_panel=_LIMITS,
        ),
    ] = 30.0,
    log_format: Annotated[
        Literal["text", "json"],
        typer.Option(help="Lines of text, or of JSON."),
    ] = "text",
    log_requests: Annotated[
        float,
        typer.Option(
            min=0, max=1, help="Share of requests to log.", metavar="SHARE"
        ),
    ] = 0.0,
) -> None:
    """Answer TF Serving's REST and gRPC requests.

    Give one of --workdir, --model-base-path with --model-name, and
    --model-config-file. Options that TF Serving has may be spelt as there.
    """
    found = _find(workdir, model_base_path, model_name, model_config_file)
    files = _tls_files(tls_certificate, tls_key, tls_client_ca)
    with display.quiet_import():
        import serving
        from serving import batching_parameters
        from serving import model_config
        from serving import monitoring_config
        from serving import request_log
        from serving import server as server_lib

    if isinstance(found, str):
        models = model_config.read(found)
    else:
        models = model_config.of_one_model(*found)
    metrics_path: str | None = monitoring_config.METRICS_PATH
    if monitoring_config_file:
        metrics_path = monitoring_config.read(monitoring_config_file)
    options = serving.ServerOptions(
        rest_port=rest_port,
        grpc_port=grpc_port,
        host=host,
        tls=serving.Tls(*files) if files else None,
        insecure=insecure,
        metrics_path=metrics_path,
        limits=serving.Limits(
            max_request_bytes=max_request_bytes,
            max_batch_rows=max_batch_rows,
            max_requests=max_requests,
            max_connections=max_connections,
            timeout_seconds=timeout_seconds,
        ),
        reload_roots=tuple(reload_root or ()),
    )
    parameters = batching_parameters_file
    server = server_lib.Server(
        models,
        options,
        batching=batching_parameters.read(parameters) if parameters else None,
        poll_seconds=poll_seconds,
        log_share=log_requests,
    )
    handler = request_log.handler(log_format)
    held = request_log.HeldBack(handler)
    _log_to_standard_error(handler)

    def tell() -> None:
        held.release()
        _print(server)

    try:
        server.serve_forever(tell)
    except InputError:
        # Says by itself what was wrong.
        raise
    except BaseException:
        held.release()
        raise


def _tls_files(
    certificate: str | None, key: str | None, client_ca: str | None
) -> tuple[str, str, str | None] | None:
    if certificate and key:
        return certificate, key, client_ca
    if certificate or key:
        raise InputError(
            "A certificate and its key go together. Received: "
            f"--tls-certificate {certificate} and --tls-key {key}."
        )
    if client_ca:
        raise InputError(
            "Clients' certificates are checked over TLS only. Received: "
            f"--tls-client-ca {client_ca}. Add --tls-certificate and "
            "--tls-key."
        )
    return None


def _find(
    workdir: pathlib.Path | None,
    base_path: str | None,
    name: str | None,
    config_file: str | None,
) -> str | tuple[str, str]:
    """The file of a configuration, or a name and its folder."""
    given = [
        option
        for option, value in (
            ("--workdir", workdir),
            ("--model-base-path", base_path),
            ("--model-config-file", config_file),
        )
        if value is not None
    ]
    if len(given) != 1:
        raise InputError(
            "One of --workdir, --model-base-path and --model-config-file says "
            f"what to serve. Received: {' and '.join(given) or 'none'}."
        )
    if config_file is not None:
        if name is not None:
            raise InputError(
                "A configuration names its models itself. Received: "
                f"--model-name {name}. Leave it out."
            )
        return config_file
    if base_path is not None:
        if name is None:
            raise InputError(
                "A folder of versions needs a name that clients ask for. "
                f"Received: --model-base-path {base_path} without "
                "--model-name."
            )
        return name, base_path
    work = artifacts.WorkFolder(workdir or pathlib.Path())
    work.require_config()
    name = name or config_lib.load(work.config).name
    if not any(work.model.glob("*/saved_model.pb")):
        raise InputError(
            "There must be an exported model to serve. Received: "
            f"{work.model}, which holds none. Run `tfplugin export`."
        )
    return name, str(work.model)


def _log_to_standard_error(handler: logging.Handler) -> None:
    logger = logging.getLogger("serving")
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    logger.propagate = False


def _print(server: "serving.Server") -> None:
    """Where which models and versions are answered."""
    options = server.options
    host = f"[{options.host}]" if ":" in options.host else options.host
    scheme = "https" if options.tls else "http"
    base = f"{scheme}://{host}:{server.rest_port}"
    lines = []
    for name, versions in server.versions().items():
        numbers = ", ".join(map(str, versions)) or "none"
        word = "version" if len(versions) == 1 else "versions"
        lines.append(f"[bold]{rich.markup.escape(name)}[/]  {word} {numbers}")
        lines.append(f"  REST  {base}/v1/models/{name}:predict")
        lines.append(f"  gRPC  {host}:{server.grpc_port} (model {name})")
    if options.metrics_path:
        lines.append(f"[dim]Metrics[/]  {base}{options.metrics_path}")
    lines.append("[dim]Stop with Ctrl-C.[/]")
    for line in lines:
        display.console.print(line, soft_wrap=True, highlight=False)
