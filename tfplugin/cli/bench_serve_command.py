"""`tfplugin bench-serve`: load on a served model, and what it answers."""

import errno
import itertools
import os
import pathlib
from typing import TYPE_CHECKING
from typing import Annotated
from typing import Any

import rich.box
import rich.markup
import rich.table
import typer

from tfplugin import artifacts
from tfplugin.cli import client_options
from tfplugin.cli import display
from tfplugin.cli import predict_command
from tfplugin.cli import prediction_rows
from tfplugin.errors import InputError

if TYPE_CHECKING:
    import serving
    from serving import load_generator

_MOST_ROWS = 20_000


def bench_serve(
    url: client_options.Url,
    model: client_options.Model,
    rate: Annotated[
        float | None,
        typer.Option(
            help="Requests to send a second, however slow the answers.",
            metavar="REQUESTS",
        ),
    ] = None,
    closed_loop: Annotated[
        int | None,
        typer.Option(
            help="Instead of --rate: so many clients that each wait for an "
            "answer before they ask again.",
            metavar="CLIENTS",
        ),
    ] = None,
    duration: Annotated[
        float,
        typer.Option(help="For how long to send.", metavar="SECONDS"),
    ] = 10.0,
    batch_size: Annotated[
        int, typer.Option(min=1, help="Rows in a request.", metavar="ROWS")
    ] = 1,
    rows: Annotated[
        str | None,
        typer.Option(
            "--input",
            help="File of rows to send; random ones if left out.",
            metavar="FILE",
        ),
    ] = None,
    poisson: Annotated[
        bool,
        typer.Option(
            "--poisson",
            help="Send at random times, as many users do, instead of evenly.",
        ),
    ] = False,
    connections: Annotated[
        int,
        typer.Option(
            min=1,
            help="Connections over which requests are spread.",
            metavar="NUMBER",
        ),
    ] = 4,
    processes: Annotated[
        int,
        typer.Option(
            min=1,
            help="Processes that send, where one is too slow.",
            metavar="NUMBER",
        ),
    ] = 1,
    output: Annotated[
        pathlib.Path | None,
        typer.Option(help="Write the numbers as JSON.", metavar="FILE"),
    ] = None,
    picture: Annotated[
        pathlib.Path | None,
        typer.Option(
            help="Draw latencies into a file, .html or .svg.", metavar="FILE"
        ),
    ] = None,
    signature: client_options.Signature = None,
    version: client_options.Version = None,
    label: client_options.Label = None,
    timeout: client_options.Timeout = 10.0,
    root_certificates: client_options.RootCertificates = None,
    certificate: client_options.Certificate = None,
    key: client_options.Key = None,
) -> None:
    """Send load to a served model; print latencies, rates and errors.

    With --rate requests are sent on time whether or not the server keeps up.
    A latency counts from when its request was due, so time spent waiting in
    line is part of it.
    """
    if (rate is None) == (closed_loop is None):
        raise InputError(
            "Either --rate or --closed-loop must say how requests arrive. "
            f"Received: {'neither' if rate is None else 'both'}. Give one, as "
            "in --rate 100."
        )
    from tfplugin.cli import load_picture

    if picture is not None:
        load_picture.check_name(picture)
    for path in (output, picture):
        _check_writable(path)
    kind = None if rows is None else prediction_rows.format_of(rows, None)
    if signature is None:
        signature = "examples" if kind == "tfrecord" else "serving_default"
    options: dict[str, Any] = {
        "version": version,
        "label": label,
        "signature": signature,
        "timeout_seconds": timeout,
    }
    tls = client_options.certificates(url, root_certificates, certificate, key)
    with predict_command.connected(url, model, tls, **options) as client:
        from serving import load_generator
        from serving import load_requests

        try:
            load = load_generator.Load(
                duration,
                rate=rate,
                poisson=poisson,
                clients=closed_loop or 1,
                processes=processes,
            )
            target = load_requests.make_target(
                url,
                model,
                _columns(client, rows, kind, batch_size),
                batch_size,
                connections=connections,
                tls=tls,
                **options,
            )
        except ValueError as error:
            raise InputError(str(error)) from error
    with display.console.status(f"Sending for {duration:g} s"):
        result = load_generator.run(target, load)
    _show(result, url, model)
    if output is not None:
        artifacts.write_json(output, result.to_json())
        display.print_written(output)
    if picture is not None:
        load_picture.write(result, picture, f"{model} under load")
        display.print_written(picture)
    if not result.answered.any():
        predict_command.fail("No request was answered.")


def _check_writable(path: pathlib.Path | None) -> None:
    # Before the load: what it found would be lost.
    if path is None:
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, "it is a folder")
        if not os.access(path.parent, os.W_OK):
            raise PermissionError(errno.EACCES, "no permission")
    except OSError as error:
        raise InputError(
            "A file must be one that can be written. Received: "
            f"{path} ({error.strerror})."
        ) from error


def _columns(
    client: "serving.Client", rows: str | None, kind: str | None, size: int
) -> dict[str, list[Any]]:
    from serving import load_requests

    signature = client.signature()
    if rows is None or kind is None:
        if list(signature.inputs) in (["examples"], ["inputs"]):
            raise InputError(
                "This signature takes serialized Examples, which are not "
                "drawn at random. Received: no --input. Name a file."
            )
        number = max(size, min(64 * size, _MOST_ROWS))
        return load_requests.random_columns(signature, number)
    read = prediction_rows.read(rows, kind, signature)
    chosen = list(itertools.islice(read, max(size, _MOST_ROWS)))
    for row in chosen:
        if row.fault:
            raise InputError(
                f"Rows of a load must be good. Received: row {row.number}, "
                f"which {row.fault[1]}"
            )
    values = [row.values or {} for row in chosen]
    # A few rows fill a large request by coming again.
    values *= -(-size // max(1, len(values)))
    return {name: [one[name] for one in values] for name in signature.columns}


def _show(result: "load_generator.LoadResult", url: str, model: str) -> None:
    from tfplugin.cli import load_picture

    table = rich.table.Table(
        rich.markup.escape(f"{model} at {url}"),
        "",
        box=rich.box.SIMPLE_HEAD,
    )
    table.columns[1].justify = "right"
    for name, value in load_picture.table_cells(result.to_json()):
        table.add_row(name, value)
    display.console.print(table)
    summary = load_picture.summary(result)
    display.console.print(f"{rich.markup.escape(summary)}.", soft_wrap=True)
    if not result.kept_up:
        display.console.print(
            "[yellow]The generator itself did not keep the rate:[/] what is "
            "above says little of the server. Use more --processes, or "
            "another machine.",
            soft_wrap=True,
        )
