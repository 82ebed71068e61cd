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
        typer.Option(
            min=1,
            help="Its number; one more than the newest if left out.",
            metavar="NUMBER",
        ),
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
        _print_report(record["size_report"], settings.bounds)
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

    smaller = any(
        one[key] != one[f"{key}_before"]
        for one in record["tables"].values()
        for key in ("rows", "bytes")
    )
    names = ["Table", "rows", "dim", "dtype", "size"]
    if smaller:
        rows, sizes = ("trained\nrows", "rows"), ("trained\nsize", "size")
        names = ["Table", *rows, "dim", "dtype", *sizes]
    table = _table(*names)
    for column in table.columns[1:]:
        column.justify = "right"
    for name, one in record["tables"].items():
        kept = [f"{one['rows']:,}"]
        held = [formatting.size(one["bytes"])]
        if smaller:
            kept.insert(0, f"{one['rows_before']:,}")
            held.insert(0, formatting.size(one["bytes_before"]))
        table.add_row(name, *kept, str(one["dim"]), one["dtype"], *held)
    display.console.print(table)


def _print_report(
    report: Mapping[str, Any], bounds: config_lib.ExportBounds
) -> None:
    from tfplugin.report import formatting

    table = _table(
        "Objective",
        "mean\nmove",
        "largest\nmove",
        "AUC",
        "change\nof AUC",
        "cali-\nbration",
        "its\nchange",
    )
    for column in table.columns[1:]:
        column.justify = "right"
        column.no_wrap = True
    for name, change in report["objectives"].items():
        table.add_row(
            name,
            _number(change["mean_change"], ".5f"),
            _number(change["largest_change"], ".5f"),
            _number(change["auc"], ".4f"),
            _number(change["auc_change"], "+.5f"),
            _number(change["calibration"], ".4f"),
            _number(change["calibration_change"], "+.5f"),
        )
    display.console.print(
        f"What smaller tables changed, on {report['rows']:,} rows of the test "
        "split:",
        highlight=False,
    )
    display.console.print(table)
    display.console.print(
        "A move is how far a probability went. Calibration is mean "
        "prediction over positive rate.",
        highlight=False,
    )
    allowed = [
        f"{name} {value:g}"
        for name, value in bounds.model_dump().items()
        if value is not None
    ]
    display.console.print(
        f"All within export.bounds: {', '.join(allowed)}."
        if allowed
        else "No limit is set in export.bounds.",
        highlight=False,
    )
    size, before = report["folder_bytes"], report["folder_bytes_before"]
    display.console.print(
        f"{formatting.size(size)} on disk instead of "
        f"{formatting.size(before)}, {1 - size / before:.0%} less; loads in "
        f"{report['load_seconds']:.1f} s.",
        highlight=False,
    )


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def _table(*columns: str) -> rich.table.Table:
    table = rich.table.Table(box=rich.box.SIMPLE_HEAD)
    for column in columns:
        table.add_column(column, overflow="fold")
    return table
