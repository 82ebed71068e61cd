"""What a person sees in the terminal."""

import os
import pathlib
import shlex
import tempfile
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING
from typing import Any

import rich.console
import rich.markup
import rich.progress
import rich.table
import typer

from tfplugin import schema

if TYPE_CHECKING:
    from tfplugin.cli import doctor

console = rich.console.Console(highlight=False)
_FINDING_WIDTH = 23
_errors = rich.console.Console(stderr=True, highlight=False, soft_wrap=True)


def print_refusal(message: str) -> None:
    """One line on standard error."""
    line = " ".join(message.split())
    _errors.print(f"[red]tfplugin:[/] {rich.markup.escape(line)}")


def usage_message(error: typer.TyperException) -> str:
    """What was wrong with the words of a command line."""
    formatted = getattr(error, "format_message", None)
    message = formatted() if formatted else str(error)
    end = "" if message.endswith((".", "?")) else "."
    context = getattr(error, "ctx", None)
    command = f" {context.info_name}" if context and context.parent else ""
    return f"{message}{end} See `tfplugin{command} --help`."


@contextmanager
def quiet_import() -> Iterator[None]:
    """Holds back what TensorFlow logs while it is imported.

    It names its build and the absence of a GPU whatever the log level; if the
    import fails, what it said is shown. Large tables are then allocated by the
    system: oneDNN's allocator would add up to 6 % to each.
    """
    os.environ.setdefault("TF_ONEDNN_USE_SYSTEM_ALLOCATOR", "1")
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as said:
        os.dup2(said.fileno(), 2)
        try:
            yield
        except Exception:
            said.seek(0)
            os.write(stderr, said.read())
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)


@contextmanager
def counting(verb: str, name: str) -> Iterator[Callable[[str, int], None]]:
    """Shows how many rows a stage has done, how fast and for how long.

    Yields:
        What the stage calls with its name and a number of further rows.
    """
    columns = (
        rich.progress.SpinnerColumn(),
        rich.progress.TextColumn("{task.description}"),
        rich.progress.TextColumn("{task.completed:,.0f} rows"),
        rich.progress.TextColumn("{task.fields[rate]}"),
        rich.progress.TimeElapsedColumn(),
    )
    console.print(f"{verb} {rich.markup.escape(name)}")
    with rich.progress.Progress(
        *columns,
        console=console,
        transient=True,
        disable=not console.is_terminal,
    ) as bar:
        tasks: dict[str, rich.progress.TaskID] = {}

        def advance(stage: str, rows: int) -> None:
            if stage not in tasks:
                tasks[stage] = bar.add_task(stage, rate="", total=None)
            task = tasks[stage]
            bar.advance(task, rows)
            elapsed = bar.tasks[bar.task_ids.index(task)].elapsed
            if elapsed:
                done = bar.tasks[bar.task_ids.index(task)].completed
                bar.update(task, rate=f"{done / elapsed:,.0f} rows/s")

        yield advance


def print_written(path: pathlib.Path) -> None:
    """Says what was written."""
    console.print(f"Wrote {rich.markup.escape(str(path))}", soft_wrap=True)


def print_next(
    command: str,
    workdir: pathlib.Path,
    config: pathlib.Path | None = None,
    overrides: Sequence[str] = (),
) -> None:
    """Says which command comes next, so that a shell takes it as it is."""
    words = ["tfplugin", command, "--workdir", str(workdir)]
    if config is not None:
        words += ["--config", str(config)]
    for override in overrides:
        words += ["--set", override]
    line = shlex.join(words)
    console.print(f"[dim]Next: {rich.markup.escape(line)}[/]", soft_wrap=True)


def print_statistics(statistics: schema.Statistics) -> None:
    """Rows by split, labels, tables."""
    rows = _table("Rows", "number")
    rows.add_row("read", f"{statistics.rows_read:,}")
    if statistics.rows_removed_by_select:
        rows.add_row(
            "removed by select", f"{statistics.rows_removed_by_select:,}"
        )
    if statistics.rows_added_by_select:
        rows.add_row("added by select", f"{statistics.rows_added_by_select:,}")
    for name, join in statistics.joins.items():
        if join.rows_dropped:
            rows.add_row(f"dropped by {name}", f"{join.rows_dropped:,}")
    rows.add_row("rejected", f"{statistics.rows_rejected:,}")
    if statistics.rows_sampled_out:
        rows.add_row("sampled out", f"{statistics.rows_sampled_out:,}")
    for split in schema.SPLITS:
        rows.add_row(split, f"{statistics.rows(split):,}")
    for added in statistics.additions[-1:]:
        parts = [
            f"{number:,} {split}"
            for split, number in added.rows.items()
            if number
        ]
        rows.add_row(f"of these in {added.name}", ", ".join(parts))
    console.print(rows)
    labels = _table("Label (training rows)", "observed", "positive", "rate")
    for name, label in statistics.labels.items():
        labels.add_row(
            name,
            f"{label.observed:,}",
            f"{label.positives:,}",
            f"{label.positive_rate:.2%}",
        )
    console.print(labels)
    tables = _table("Table (training rows)", "ids", "occurrences", "seen once")
    for name, table in statistics.tables.items():
        share = table.ids_seen_once / table.ids if table.ids else 0.0
        # Counts that decayed are no whole numbers, and none is 1 any more.
        decayed = isinstance(table.occurrences, float)
        tables.add_row(
            name,
            f"{table.ids:,}",
            f"{table.occurrences:,.1f}"
            if decayed
            else f"{table.occurrences:,}",
            "-" if decayed else f"{share:.1%}",
        )
    console.print(tables)


def print_objectives(
    measured: Mapping[str, Any],
    monitor: Mapping[str, Any],
    calibration: Mapping[str, Any] | None = None,
) -> None:
    """A row an objective: metrics, and where its validation peaked.

    Args:
        measured: What `Experiment.evaluate` returned.
        monitor: Objective to its peak, as in history.json; may be empty.
        calibration: As in history.json; None where there is none.
    """
    fitted = calibration["objectives"] if calibration else {}
    columns = ["AUC", "PR-AUC", "NE", "calibration"]
    if monitor:
        columns += ["best epoch", "overfits"]
    table = _table("Objective", *columns)
    table.title = (
        f"{measured['split'].capitalize()} split, {measured['rows']:,} rows"
    )
    table.title_justify = "left"
    table.columns[0].overflow = "fold"
    table.caption = (
        "NE: cross entropy over that of the training rate; calibration: mean "
        "prediction over positive rate."
    )
    if monitor:
        table.caption += " Best epoch by validation AUC."
    if any(one["method"] != "none" for one in fitted.values()):
        table.caption += " +: once calibrated on validation."
    table.caption_justify = "left"
    for name, values in measured["objectives"].items():
        cells = _cells(values)
        if monitor:
            overfits = monitor[name]["overfits_from"]
            cells += [
                str(monitor[name]["peak_epoch"]),
                f"from {overfits}" if overfits else "no",
            ]
        table.add_row(name, *cells)
        if name in fitted and fitted[name]["method"] != "none":
            cells = _cells(measured["calibrated"][name])
            cells += [""] * (len(columns) - len(cells))
            table.add_row(f"+ {fitted[name]['method']}", *cells)
    console.print(table)
    plain = [
        f"{name} ({one['reason']})"
        for name, one in fitted.items()
        if one["method"] == "none"
    ]
    if plain:
        line = f"Not calibrated: {', '.join(plain)}."
        console.print(rich.markup.escape(line), soft_wrap=True)


def _cells(metrics: Mapping[str, Any]) -> list[str]:
    keys = ("auc", "pr_auc", "normalized_entropy")
    cells = [_number(metrics[key], 4) for key in keys]
    return [*cells, _number(metrics["calibration"], 3)]


def print_warm_start(report: Mapping[str, Any]) -> None:
    """What came from an older model, and what did not, and why."""
    table = _table("Warm start", "kept", "new", "dropped", "counted in")
    for name, found in report["tables"].items():
        counts = [f"{found[key]:,}" for key in ("kept", "new", "dropped")]
        table.add_row(name, *counts, found["unit"])
    console.print(table)
    lines = [
        f"Fresh: {one['name']}; {one['reason']}" for one in report["fresh"]
    ]
    lines += [f"Left out: {name}" for name in report["gone"]]
    for line in lines:
        console.print(rich.markup.escape(line), soft_wrap=True)


def print_findings(findings: "doctor.Findings") -> None:
    """What an installation has and uses, and what to do about it."""
    for title, pairs in (
        ("Software", findings.software),
        ("Kernels", findings.kernels),
        ("Hardware", findings.hardware),
    ):
        table = rich.table.Table(title, "", box=rich.table.box.SIMPLE_HEAD)
        table.columns[0].min_width = _FINDING_WIDTH
        # A path is to be copied whole, so it is folded, not cut.
        table.columns[1].overflow = "fold"
        for name, text in pairs:
            table.add_row(name, rich.markup.escape(text))
        console.print(table)
    if findings.advice:
        console.print(rich.markup.escape(findings.advice))


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None or value != value else f"{value:.{digits}f}"


def _table(first: str, *columns: str) -> rich.table.Table:
    table = rich.table.Table(first, box=rich.table.box.SIMPLE_HEAD)
    for column in columns:
        table.add_column(column, justify="right")
    return table
