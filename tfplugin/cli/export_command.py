"""`tfplugin export`: a trained model → a version that servers run."""

import pathlib
import shlex
from collections.abc import Mapping
from typing import Annotated
from typing import Any

import rich.box
import rich.markup
import rich.table
import typer

from tfplugin import artifacts
from tfplugin import config as config_lib
from tfplugin.cli import display
from tfplugin.errors import InputError


def export(
    workdir: Annotated[
        pathlib.Path,
        typer.Option(
            help="Folder of the experiment's files.", metavar="FOLDER"
        ),
    ],
    config: Annotated[
        pathlib.Path | None,
        typer.Option(
            help="YAML file whose section `export` is followed; the work "
            "folder's if left out.",
            metavar="FILE",
        ),
    ] = None,
    version: Annotated[
        int | None,
        typer.Option(min=1, help="Defaults to one more than the newest."),
    ] = None,
    overrides: Annotated[
        list[str],
        typer.Option(
            "--set",
            help="Override a key of `export`, as in "
            "export.tables.user.dtype=int8. Repeatable.",
            metavar="KEY=VALUE",
        ),
    ] = [],  # noqa: B006  typer copies defaults
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace that version.")
    ] = False,
) -> None:
    """Write the trained model as a SavedModel for TF Serving.

    With golden requests of the test split, warm-up requests and, where
    `export.tables` makes tables smaller, a report of what that cost; beyond
    `export.bounds` nothing is written.
    """
    work = artifacts.WorkFolder(workdir)
    work.require_config()
    work.require_trained()
    if version is not None:
        artifacts.refuse_finished(
            work.model / str(version), stage="export", overwrite=overwrite
        )
    settings = _settings(config or work.config, overrides)
    with work.lock():
        with display.quiet_import():
            from tfplugin import export as export_lib
            from tfplugin import training
            from tfplugin.export import export_record
            from tfplugin.export import formulas
            from tfplugin.training import experiment

        for name, text in settings.scores.items():
            formulas.parse(name, text)  # before tables are read
        path = work.model / str(version or export_lib.next_version(work.model))
        with display.console.status(f"Exporting {path.name}"):
            trained = training.load(work)
            with experiment.data_errors(trained.dataset):
                training.export(trained, path, settings, overwrite=overwrite)
    record = export_record.read(path)
    _print_signatures(record)
    _print_tables(record)
    if record["size_report"]:
        _print_report(record["size_report"])
    display.print_written(path)
    line = shlex.join(["tfplugin", "validate", str(path)])
    display.console.print(
        f"[dim]Next: {rich.markup.escape(line)}[/]", soft_wrap=True
    )
    display.print_next("serve", workdir)


def _settings(
    config: pathlib.Path, overrides: list[str]
) -> config_lib.ExportConfig:
    """A configuration's section; what was trained cannot be overridden."""
    for override in overrides:
        if not override.startswith("export."):
            raise InputError(
                "An export may override keys of `export` alone, all else is "
                f"trained already. Received: --set {override}. Train with it, "
                "or leave it out."
            )
    return config_lib.load(config, overrides).export


def _print_signatures(record: Mapping[str, Any]) -> None:
    table = _table("Signature", "call", "answers")
    for name, signature in record["signatures"].items():
        method = signature["method"].rpartition("/")[2].capitalize()
        table.add_row(name, method, ", ".join(signature["outputs"]))
    display.console.print(table)


def _print_tables(record: Mapping[str, Any]) -> None:
    from tfplugin.report import formatting

    table = _table("Table", "rows", "dim", "dtype", "size", "of")
    for column in table.columns[1:]:
        column.justify = "right"
    for name, one in record["tables"].items():
        cells = [f"{one['rows']:,}", str(one["dim"]), one["dtype"]]
        smaller = one["bytes"] != one["bytes_before"]
        before = formatting.size(one["bytes_before"]) if smaller else ""
        table.add_row(name, *cells, formatting.size(one["bytes"]), before)
    display.console.print(table)


def _print_report(report: Mapping[str, Any]) -> None:
    from tfplugin.report import formatting

    table = _table(
        "Objective", "largest change", "mean change", "AUC", "calibration"
    )
    for column in table.columns[1:]:
        column.justify = "right"
    table.title = (
        f"Smaller tables, on {report['rows']:,} rows of the test split"
    )
    table.title_justify = "left"
    table.caption = (
        "Changes of a probability, of the AUC, and of mean prediction over "
        "positive rate."
    )
    table.caption_justify = "left"
    for name, change in report["objectives"].items():
        table.add_row(
            name,
            _number(change["largest_change"], ".6f"),
            _number(change["mean_change"], ".6f"),
            _number(change["auc_change"], "+.6f"),
            _number(change["calibration_change"], "+.6f"),
        )
    display.console.print(table)
    before = formatting.size(report["folder_bytes_before"])
    display.console.print(
        f"{formatting.size(report['folder_bytes'])} in all instead of "
        f"{before}, loaded in {report['load_seconds']:.1f} s.",
        highlight=False,
    )


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def _table(*columns: str) -> rich.table.Table:
    table = rich.table.Table(box=rich.box.SIMPLE_HEAD)
    for column in columns:
        table.add_column(column, overflow="fold")
    return table
