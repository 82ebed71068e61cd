"""`tfplugin validate`: whether an exported model may be served."""

import pathlib
from typing import TYPE_CHECKING
from typing import Annotated

import rich.box
import rich.markup
import rich.table
import typer

from tfplugin.cli import display
from tfplugin.errors import InputError

if TYPE_CHECKING:
    from serving import validation


def validate(
    model: Annotated[
        str,
        typer.Argument(
            help="Folder of one version, as in WORK/model/1.", metavar="MODEL"
        ),
    ],
    python: Annotated[
        pathlib.Path | None,
        typer.Option(
            help="Check with the TensorFlow of this Python, such as "
            "/opt/tf/bin/python; this command's own if left out.",
            metavar="FILE",
        ),
    ] = None,
) -> None:
    """Check that an exported model may be served.

    In a process with only TensorFlow the requests stored with the model are
    asked again and must be answered as in training, and each signature must
    answer 0, 1 and many rows. Files are held against their checksums, and
    operators against those that stock TensorFlow Serving has. Ends with
    status 1 if the model should not be served.
    """
    if python is not None and not python.is_file():
        raise InputError(
            f"--python must be an interpreter. Received: {python}, which is "
            "no file. Name it as in /opt/tensorflow/bin/python."
        )
    with display.quiet_import():
        from serving import validation

    with display.console.status(f"Replaying {rich.markup.escape(model)}"):
        report = validation.validate(model, python=python)
    _print(report)
    if not report.passed:
        raise typer.Exit(1)


def _print(report: "validation.ValidationReport") -> None:
    table = rich.table.Table(
        box=rich.box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0)
    )
    table.add_column("Check", no_wrap=True)
    table.add_column("result", no_wrap=True)
    table.add_column("what was looked at", overflow="fold")
    for check in report.checks:
        table.add_row(
            check.name,
            "[green]passed[/]" if check.passed else "[red]failed[/]",
            rich.markup.escape(check.detail),
        )
    display.console.print(table)
    for problem in report.problems:
        display.console.print(
            f"[red]✗[/] {rich.markup.escape(problem)}", soft_wrap=True
        )
    where = rich.markup.escape(report.path)
    if report.passed:
        display.console.print(
            f"{where} may be served. Checked with TensorFlow "
            f"{report.tensorflow}.",
            soft_wrap=True,
        )
    else:
        display.console.print(f"{where} must not be served.", soft_wrap=True)
