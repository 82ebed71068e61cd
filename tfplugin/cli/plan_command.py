"""`tfplugin plan`: from frequencies to sizes of tables."""

import pathlib
from typing import TYPE_CHECKING
from typing import Annotated

import rich.box
import rich.markup
import rich.table
import typer

from tfplugin import artifacts
from tfplugin import config as config_lib
from tfplugin.cli import display
from tfplugin.config import sizes
from tfplugin.errors import InputError

if TYPE_CHECKING:
    from tfplugin import planning


def plan(
    workdir: Annotated[
        pathlib.Path,
        typer.Option(
            help="Folder of the experiment's files.", metavar="FOLDER"
        ),
    ],
    config: Annotated[
        pathlib.Path | None,
        typer.Option(
            help="The experiment's YAML file; the work folder's if left out.",
            metavar="FILE",
        ),
    ] = None,
    budget: Annotated[
        str | None,
        typer.Option(
            help="Bytes for tables and optimizer state, as in 2GiB.",
            metavar="SIZE",
        ),
    ] = None,
    coverage: Annotated[
        float | None,
        typer.Option(
            help="Share of occurrences whose ids are worth rows, as in 0.99.",
            metavar="SHARE",
        ),
    ] = None,
    overrides: Annotated[
        list[str],
        typer.Option(
            "--set",
            help="Override a key, as in training.tables.rule=adagrad.",
            metavar="KEY=VALUE",
        ),
    ] = [],  # noqa: B006  typer copies defaults
    report: Annotated[
        bool,
        typer.Option("--report", help="Also write the page with the curves."),
    ] = False,
) -> None:
    """Propose mapping, rows and dimension of each embedding table.

    Writes plan.json and plan.yaml, whose `tables` a configuration takes.
    """
    limit = None if budget is None else _bytes(budget)
    work = artifacts.WorkFolder(workdir)
    work.dataset.require_completed()
    if config is None:
        work.require_config()
    experiment = config_lib.load(config or work.config, overrides)
    with work.lock():
        with display.quiet_import():
            from tfplugin import data
            from tfplugin import planning

        dataset = data.open_dataset(work.dataset.path)
        with display.console.status(f"Planning {experiment.name}"):
            made = planning.plan(experiment, dataset, limit, coverage)
        artifacts.write_json(work.plan_json, made.to_json())
        artifacts.write_text(work.plan_yaml, made.to_yaml())
        if report:
            from tfplugin.report import plan_page

            plan_page.write(work)
    _print(made)
    display.console.print(rich.markup.escape(made.to_yaml()), soft_wrap=True)
    display.print_written(work.plan_yaml)
    if report:
        display.print_written(work.plan_page)


def _bytes(text: str) -> int:
    try:
        return sizes.parse_bytes(int(text) if text.isdecimal() else text)
    except ValueError as error:
        raise InputError(f"--budget: {error}.") from error


def _print(made: "planning.Plan") -> None:
    from tfplugin.report import formatting

    hashes = any(one.kept_ids is None for one in made.tables)
    table = rich.table.Table(
        # Narrow, so that a terminal of 80 columns cuts no number.
        box=rich.box.SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    table.add_column("Table", overflow="fold", min_width=8)
    table.add_column("mapping", no_wrap=True)
    columns = ["ids", "rows", "covered", "new OOV"]
    columns += ["mixed"] if hashes else []
    for column in (*columns, "bytes"):
        table.add_column(column, justify="right", no_wrap=True)
    for one in made.tables:
        mixed = one.hashed.mixed if one.kept_ids is None else None
        table.add_row(
            one.name,
            "hash" if one.kept_ids is None else "vocab",
            f"{one.ids:,}",
            f"{one.rows:,}",
            formatting.percent(one.covered_share),
            formatting.percent(one.expected_oov_share),
            *((formatting.percent(mixed),) if hashes else ()),
            formatting.size(one.bytes),
        )
    limit = "no budget"
    if made.budget is not None:
        limit = f"of a budget of {formatting.size(made.budget)}"
    table.title = f"{formatting.size(made.bytes)} under {made.rule}, {limit}"
    table.title_justify = "left"
    table.caption = (
        "covered: training occurrences whose id has a row of its own; new "
        "OOV: new occurrences expected out of vocabulary; bytes: table and "
        "optimizer state"
    )
    if hashes:
        table.caption += (
            "; mixed: share of what rows of a hash learn from that is of "
            "other ids"
        )
    table.caption_justify = "left"
    display.console.print(table)
