"""What `tfplugin predict` and `bench-serve` ask alike: whom, and how."""

from typing import TYPE_CHECKING
from typing import Annotated

import typer

from tfplugin.errors import InputError

if TYPE_CHECKING:
    import serving

#: The panel of the help that such options are in.
SERVER = "Server"
_TLS = "Encryption, for grpcs:// and https://"

Url = Annotated[
    str,
    typer.Argument(
        help="The server: grpc://host:port or http://host:port; encrypted, "
        "grpcs:// or https://.",
        metavar="URL",
        show_default=False,
    ),
]
Model = Annotated[
    str,
    typer.Option(
        "--model",
        help="The name it is served by.",
        metavar="NAME",
        rich_help_panel=SERVER,
    ),
]
Version = Annotated[
    int | None,
    typer.Option(
        help="Ask this version; the server chooses if left out.",
        metavar="NUMBER",
        rich_help_panel=SERVER,
    ),
]
Label = Annotated[
    str | None,
    typer.Option(
        help="Ask the version with this label instead.",
        metavar="NAME",
        rich_help_panel=SERVER,
    ),
]
Signature = Annotated[
    str | None,
    typer.Option(
        help="Of the model; if left out, examples for TFRecords and "
        "serving_default for all else.",
        metavar="NAME",
        rich_help_panel=SERVER,
    ),
]
Timeout = Annotated[
    float,
    typer.Option(
        "--timeout",
        help="Longest wait for an answer, with any further attempts.",
        metavar="SECONDS",
        rich_help_panel=SERVER,
    ),
]
RootCertificates = Annotated[
    str | None,
    typer.Option(
        help="Authorities whose servers are trusted, PEM; the system's if "
        "left out.",
        metavar="FILE",
        rich_help_panel=_TLS,
    ),
]
Certificate = Annotated[
    str | None,
    typer.Option(
        help="Your own certificate, PEM, where the server asks for one.",
        metavar="FILE",
        rich_help_panel=_TLS,
    ),
]
Key = Annotated[
    str | None,
    typer.Option(
        help="The private key of --certificate, PEM.",
        metavar="FILE",
        rich_help_panel=_TLS,
    ),
]


def certificates(
    url: str,
    root_certificates: str | None,
    certificate: str | None,
    key: str | None,
) -> "serving.ClientTls | None":
    """What a command's options say of encryption; None if nothing.

    Raises:
        InputError: Half a pair is given, or the address is not encrypted.
    """
    files = {
        "--root-certificates": root_certificates,
        "--certificate": certificate,
        "--key": key,
    }
    given = [f"{name} {file}" for name, file in files.items() if file]
    if bool(certificate) != bool(key):
        raise InputError(
            "--certificate and --key belong together. Received: "
            f"{given[-1]} alone. Give both, or neither."
        )
    if not given:
        return None
    if url.startswith(("grpc://", "http://")):
        raise InputError(
            "Certificates need an encrypted address, grpcs:// or https://. "
            f"Received: {url} with {', '.join(given)}. Change the address, or "
            "leave them out."
        )
    from serving import client_specs

    return client_specs.ClientTls(
        root_certificates or None, certificate or None, key or None
    )
