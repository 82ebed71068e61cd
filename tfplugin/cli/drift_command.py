"""`tfplugin drift`: how far apart two datasets are, and if that is much."""

import pathlib
from collections.abc import Sequence
from typing import TYPE_CHECKING
from typing import Annotated

import rich.markup
import rich.table
import typer

from tfplugin import artifacts
from tfplugin import config as config_lib
from tfplugin import schema as schema_lib
from tfplugin.cli import display
from tfplugin.errors import InputError
from tfplugin.schema import drift as records

if TYPE_CHECKING:
    from tfplugin.planning import drift_sides

_CROSSED = 1
_SHOWN = ("new_occurrences", "lost_occurrences", "jensen_shannon")

_Workdir = Annotated[
    pathlib.Path,
    typer.Option(
        "--workdir",
        help="Folder of the experiment that is compared.",
        metavar="FOLDER",
    ),
]
_Baseline = Annotated[
    pathlib.Path | None,
    typer.Option(
        "--baseline",
        help="Work or dataset folder whose training rows are taken as given; "
        "defaults to --workdir.",
        metavar="FOLDER",
    ),
]
_Config = Annotated[
    pathlib.Path | None,
    typer.Option(
        "--config",
        help="YAML file with the limits; defaults to WORK/config.yaml.",
        metavar="FILE",
    ),
]
_Overrides = Annotated[
    list[str],
    typer.Option(
        "--set",
        help="Override a key, as in drift.l_infinity=0.1. Repeatable.",
        metavar="KEY=VALUE",
    ),
]
_Split = Annotated[
    str,
    typer.Option(
        help="Split of --workdir that is compared: train, validation or test.",
        metavar="SPLIT",
    ),
]
_Sample = Annotated[
    list[pathlib.Path],
    typer.Option(
        "--sample",
        help="Compare requests instead: JSON lines or TFRecords of Examples, "
        "files or a folder. Repeatable.",
        metavar="FILE",
    ),
]


def drift(
    workdir: _Workdir,
    baseline: _Baseline = None,
    config: _Config = None,
    overrides: _Overrides = [],  # noqa: B006  typer copies defaults
    split: _Split = "train",
    sample: _Sample = [],  # noqa: B006
) -> None:
    """Compare two datasets, or a dataset and requests; fail if they differ.

    Writes WORK/drift.json and WORK/report/drift.html. Ends with 1 if a limit
    of the configuration is crossed, and names each on standard error.
    """
    _check(workdir, baseline, split, sample)
    work = artifacts.WorkFolder(workdir)
    work.require_config()
    limits = config_lib.load(config or work.config, overrides).drift
    with work.lock():
        found = _compare(workdir, baseline or workdir, split, sample, limits)
        from tfplugin.report import drift_page

        artifacts.write_json(work.drift_json, found.model_dump(mode="json"))
        page = drift_page.write(work)
    _print(found)
    display.print_written(page)
    for line in _crossed(found):
        display.print_refusal(line)
    if found.crossed:
        raise typer.Exit(_CROSSED)


def _check(
    workdir: pathlib.Path,
    baseline: pathlib.Path | None,
    split: str,
    sample: Sequence[pathlib.Path],
) -> None:
    if split not in schema_lib.SPLITS:
        raise InputError(
            f"--split must be one of {', '.join(schema_lib.SPLITS)}. "
            f"Received: {split}."
        )
    if sample and split != "train":
        raise InputError(
            "Either a split is compared or a sample. Received: --split "
            f"{split} and --sample {sample[0]}. Leave one out."
        )
    if not sample and split == "train" and baseline in (None, workdir):
        raise InputError(
            "Two things must be compared. Received: the training rows of "
            f"{workdir} alone. Pass --baseline, --split or --sample."
        )


def _compare(
    workdir: pathlib.Path,
    baseline: pathlib.Path,
    split: str,
    sample: Sequence[pathlib.Path],
    limits: config_lib.DriftConfig,
) -> records.Drift:
    with display.quiet_import():
        from tfplugin.planning import drift as drift_lib

        one = drift_lib.read_split(baseline)
        two: drift_sides.Side
        if sample:
            two = drift_lib.read_sample(sample, one.schema)
        else:
            two = drift_lib.read_split(workdir, split)
    return drift_lib.compare(one, two, limits)


def _print(found: records.Drift) -> None:
    for side, what in (
        (found.baseline, "Baseline"),
        (found.current, "Against"),
    ):
        display.console.print(
            f"{what}: {rich.markup.escape(side.name)}, {side.rows:,} rows",
            soft_wrap=True,
        )
    columns = [c for c in found.columns if c.kind != "label"]
    if columns:
        display.console.print(_columns(columns))
    labels = [c for c in found.columns if c.kind == "label"]
    if labels:
        display.console.print(_labels(labels))
    for note in found.notes:
        display.console.print(f"[dim]{rich.markup.escape(note)}[/]")


def _columns(columns: Sequence[records.DriftColumn]) -> rich.table.Table:
    table = _table("Column", "new", "lost", "JS", "gap", "missing", "limits")
    table.caption = (
        "new, lost: shares of occurrences; JS: Jensen-Shannon distance; gap: "
        "L-infinity of ids, Kolmogorov-Smirnov of numbers. All beyond chance."
    )
    table.caption_justify = "left"
    for column in columns:
        gap = "l_infinity" if column.kind == "ids" else "kolmogorov_smirnov"
        name = rich.markup.escape(column.name)
        if column.kind == "lengths":
            name += " (lengths)"
        table.add_row(
            name,
            *(_excess(column, key) for key in (*_SHOWN, gap, "missing_rate")),
            _verdict(column),
        )
    return table


def _labels(columns: Sequence[records.DriftColumn]) -> rich.table.Table:
    table = _table("Label", "baseline", "against", "change", "limits")
    for column in columns:
        rates = column.baseline.rate, column.current.rate
        table.add_row(
            rich.markup.escape(column.name),
            *("-" if rate is None else f"{rate:.2%}" for rate in rates),
            "-"
            if None in rates
            else f"{(rates[1] or 0.0) - (rates[0] or 0.0):+.2%}",
            _verdict(column),
        )
    return table


def _table(first: str, *columns: str) -> rich.table.Table:
    table = rich.table.Table(first, box=rich.table.box.SIMPLE_HEAD)
    for column in columns:
        table.add_column(column, justify="right")
    return table


def _excess(column: records.DriftColumn, name: str) -> str:
    measure = column.measures.get(name)
    if measure is None:
        return "-"
    text = f"{measure.excess:.3f}"
    return f"[red]{text}[/]" if measure.crossed else text


def _verdict(column: records.DriftColumn) -> str:
    if not column.measures:
        return "-"
    crossed = len(column.crossed)
    return f"[red]{crossed} crossed[/]" if crossed else "kept"


def _crossed(found: records.Drift) -> list[str]:
    """A line for each limit that is crossed."""
    lines = []
    for column, name, measure in found.crossed:
        beyond = (
            f", {measure.excess:.4f} beyond chance" if measure.expected else ""
        )
        lines.append(
            f"{column.name}: {name} is {measure.value:.4f}{beyond}; its limit "
            f"is {measure.threshold:g}."
        )
    return lines
