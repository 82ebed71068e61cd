"""`tfplugin recommend`: a recipe for many epochs, and `multi_epoch: auto`."""

import logging
import math
import pathlib
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING
from typing import Annotated
from typing import Any

import rich.box
import rich.markup
import rich.progress
import rich.table
import typer

from tfplugin import artifacts
from tfplugin import config as config_lib
from tfplugin.cli import display

if TYPE_CHECKING:
    from tfplugin import planning
    from tfplugin.planning import recommend_records

#: Recipes in the terminal's table; all are in recommendation.json.
_SHOWN = 12


def recommend(
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
    overrides: Annotated[
        list[str],
        typer.Option(
            "--set",
            help="Override a key, as in recommend.time_limit=20m.",
            metavar="KEY=VALUE",
        ),
    ] = [],  # noqa: B006  typer copies defaults
) -> None:
    """Propose remedy, rule, rates and epochs, from short trainings.

    Writes recommendation.json and recommendation.yaml, whose sections a
    configuration takes. Only training and validation rows are read.
    """
    work = artifacts.WorkFolder(workdir)
    work.dataset.require_completed()
    if config is None:
        work.require_config()
    experiment = config_lib.load(config or work.config, overrides)
    with work.lock():
        made = _make(experiment, work)
    display.console.print(rich.markup.escape(made.to_yaml()), soft_wrap=True)
    display.print_written(work.recommendation_yaml)
    # What --set says of the pilot, or of what the recipe now says, is no part
    # of the training.
    said = ("recommend.", *(f"{key}." for key in made.changes))
    said += tuple(f"{key}=" for key in made.changes)
    kept = [o for o in overrides if not o.startswith(said)]
    display.print_next(
        "train", workdir, config or work.config, [*kept, *made.overrides()]
    )


def resolve(
    experiment: config_lib.ExperimentConfig,
    work: artifacts.WorkFolder,
    *,
    resume: bool,
    overrides: Sequence[str] = (),
) -> config_lib.ExperimentConfig:
    """The configuration to train with, where `multi_epoch` is `auto`.

    Args:
        experiment: As it was given.
        work: Its folder, locked.
        resume: Take the recipe that the folder was trained by.
        overrides: What `--set` said; its `training.epochs` is taken when
            resuming, that of the file is not.

    Returns:
        The same with the recommended recipe and `multi_epoch: manual`; what
        was given, if it does not ask for one.

    Raises:
        InputError: Remedies are set as well, or there is nothing to resume.
    """
    if experiment.training.multi_epoch != "auto":
        return experiment
    with display.quiet_import():
        from tfplugin.planning import recommend_records
        from tfplugin.planning import recommend_search

    recommend_search.refuse_contradictions(experiment)
    if resume:
        given = any(o.startswith("training.epochs=") for o in overrides)
        return _as_before(experiment, work, keep_epochs=given)
    return recommend_records.apply(_make(experiment, work).changes, experiment)


def _as_before(
    experiment: config_lib.ExperimentConfig,
    work: artifacts.WorkFolder,
    *,
    keep_epochs: bool,
) -> config_lib.ExperimentConfig:
    """The configuration with the recipe that the work folder was trained by."""
    work.require_config()
    before = config_lib.load(work.config)
    values = before.model_dump(
        mode="json", exclude_none=True, exclude_unset=True
    )
    recipe = values.get("training", {})
    changes: dict[str, Any] = {
        f"training.{key}": recipe[key]
        for key in ("tables", "rest", "remedies")
        if key in recipe
    }
    changes["tables"] = values.get("tables", {})
    changes["training.multi_epoch"] = "manual"
    if not keep_epochs:
        changes["training.epochs"] = before.training.epochs
    return config_lib.with_changes(experiment, changes)


def _make(
    experiment: config_lib.ExperimentConfig, work: artifacts.WorkFolder
) -> "planning.Recommendation":
    with display.quiet_import():
        from tfplugin import planning
        from tfplugin import training  # noqa: F401  loads TensorFlow quietly

    with _progress(experiment) as report, _without_warnings():
        made = planning.recommend(experiment, work, report)
    artifacts.write_json(work.recommendation_json, made.to_json())
    artifacts.write_text(work.recommendation_yaml, made.to_yaml())
    _print(made)
    return made


@contextmanager
def _without_warnings() -> Iterator[None]:
    """Keeps TensorFlow from warning of one traced function a recipe."""
    logger = logging.getLogger("tensorflow")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


@contextmanager
def _progress(
    experiment: config_lib.ExperimentConfig,
) -> Iterator[Callable[[str, int], None]]:
    """Shows the recipe in training, and how much of the time is used.

    Yields:
        What is called with a recipe's name and an epoch that has ended.
    """
    name = rich.markup.escape(experiment.name)
    settings = experiment.recommend
    limit = f", {settings.time_limit:,} s at most"
    if settings.rows and settings.recipes:
        limit = ""
    display.console.print(f"Trying recipes for {name}{limit}")
    bar = rich.progress.Progress(
        rich.progress.SpinnerColumn(),
        rich.progress.TextColumn("{task.completed:.0f} epochs"),
        rich.progress.TimeElapsedColumn(),
        rich.progress.TextColumn("{task.description}"),
        console=display.console,
        transient=True,
        disable=not display.console.is_terminal,
    )
    with bar:
        task = bar.add_task("reading rows", total=None)

        def report(recipe: str, epoch: int) -> None:
            bar.update(
                task,
                advance=1,
                description=rich.markup.escape(f"{recipe}: epoch {epoch}"),
            )

        yield report


def _print(made: "planning.Recommendation") -> None:
    epochs = max(len(one.epochs) for one in made.tried)
    shown = [0, *(e - 1 for e in range(2, epochs + 1) if e % 2 == 0)]
    if epochs - 1 not in shown:
        shown.append(epochs - 1)
    table = rich.table.Table(
        # Narrow, so that a terminal of 80 columns cuts no number.
        box=rich.box.SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    table.add_column("Recipe", overflow="fold", ratio=1)
    table.add_column("validation AUC", overflow="fold")
    for epoch in shown[-5:]:
        table.add_column(f"{epoch + 1}", justify="right", no_wrap=True)
    for one in made.tried[:_SHOWN]:
        table.add_row(*_row(one, made, shown[-5:]))
    pilot = made.pilot
    rows = f"{pilot.rows['train']:,} training rows"
    table.title = (
        f"{len(made.tried)} trainings on {rows} in {pilot.seconds:,.0f} s"
    )
    table.title_justify = "left"
    hidden = len(made.tried) - _SHOWN
    table.caption = (
        "By epoch; >: proposed."
        + (f" {hidden} more in recommendation.json." if hidden > 0 else "")
        + (f" {len(pilot.not_tried)} not tried." if pilot.not_tried else "")
    )
    table.caption_justify = "left"
    display.console.print(table)
    for line in made.because:
        display.console.print(rich.markup.escape(f"- {line}"))


def _row(
    one: "recommend_records.Tried",
    made: "planning.Recommendation",
    shown: list[int],
) -> list[str]:
    mark = "> " if one.name == made.recipe else ""
    seed = f" (seed {one.seed})" if one.seed != made.tried[0].seed else ""
    objectives = list(one.epochs[0])
    cells = [
        "\n".join(_area(one.epochs[e][name]) for name in objectives)
        if e < len(one.epochs)
        else ""
        for e in shown
    ]
    name = rich.markup.escape(f"{mark}{one.name}{seed}")
    return [name, rich.markup.escape("\n".join(objectives)), *cells]


def _area(area: float) -> str:
    # An objective of one class has none, nor has a recipe that diverged.
    return "-" if math.isnan(area) else f"{area:.4f}"
