"""`tfplugin COMMAND`: each command imports its stage when it runs."""

import logging
import os
import pathlib
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

import tfplugin
from tfplugin import artifacts
from tfplugin import config as config_lib
from tfplugin.cli import bench_serve_command
from tfplugin.cli import deployment_command
from tfplugin.cli import display
from tfplugin.cli import drift_command
from tfplugin.cli import export_command
from tfplugin.cli import funnel_command
from tfplugin.cli import interrupts
from tfplugin.cli import plan_command
from tfplugin.cli import predict_command
from tfplugin.cli import publish_command
from tfplugin.cli import recommend_command
from tfplugin.cli import serve_command
from tfplugin.cli import validate_command
from tfplugin.cli import words
from tfplugin.errors import InputError

_REFUSED = 2
_INTERRUPTED = 130

app = typer.Typer(
    help=(
        "Train Keras models with very large embedding tables: raw logs to "
        "id frequencies and TFRecords, multi-epoch training, SavedModels."
    ),
    add_completion=False,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
)

Config = Annotated[
    pathlib.Path,
    typer.Option(
        "--config", help="The experiment's YAML file.", metavar="FILE"
    ),
]
Workdir = Annotated[
    pathlib.Path,
    typer.Option(
        "--workdir", help="Folder of the experiment's files.", metavar="FOLDER"
    ),
]
Overrides = Annotated[
    list[str],
    typer.Option(
        "--set",
        help="Override a key, as in training.epochs=5. Repeatable.",
        metavar="KEY=VALUE",
    ),
]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Redo a finished stage.")
]


@app.callback(invoke_without_command=True)
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.")
    ] = False,
) -> None:
    if version:
        display.console.print(f"tfplugin {tfplugin.__version__}")
        raise typer.Exit


@app.command()
def preprocess(
    context: typer.Context,
    config: Config,
    workdir: Workdir,
    overrides: Overrides = [],  # noqa: B006  typer copies defaults
    append: Annotated[
        bool,
        typer.Option(
            "--append", help="Add the log to the dataset that is there."
        ),
    ] = False,
    staging: Annotated[
        str | None,
        typer.Option(
            help="Folder or URL that Beam's workers write to, where they do "
            "not see the work folder.",
            metavar="PATH",
        ),
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Turn a raw log into id frequencies and TFRecords, with Apache Beam.

    Options after `--` go to Beam untouched.
    """
    experiment = config_lib.load(config, overrides)
    work = artifacts.WorkFolder(workdir)
    if append and overwrite:
        raise InputError(
            "A dataset is either added to or redone. Received: --append and "
            "--overwrite. Leave one out."
        )
    if append:
        work.require_config()
        work.dataset.require_completed()
    else:
        work.prepare()
        artifacts.refuse_finished(
            work.dataset.completed, stage="preprocess", overwrite=overwrite
        )
    beam_arguments = context.obj or ()
    if beam_arguments:
        words.check_beam_options(beam_arguments)
    text = config_lib.dump(experiment)
    with work.lock():
        from beam_jobs import append as append_job
        from beam_jobs import preprocess as preprocess_job

        run = preprocess_job.run
        if append:
            run = append_job.run
        if not work.config.is_file():
            # The mark of a work folder, should this run be cut off.
            artifacts.write_text(work.config, text)
        with display.counting("Preprocessing", experiment.name) as advance:
            statistics = run(
                experiment,
                work.dataset,
                beam_arguments,
                advance,
                staging=staging,
            )
        if not append:
            # Not before: a refused log leaves the earlier dataset as it was.
            artifacts.write_text(work.config, text)
    display.print_statistics(statistics)
    # What --set says of an added log is no part of the experiment.
    display.print_next("train", workdir, config, () if append else overrides)


app.command()(validate_command.validate)
app.command()(publish_command.publish)
app.command()(publish_command.rollback)
app.command()(predict_command.predict)
app.command("bench-serve")(bench_serve_command.bench_serve)
app.command()(plan_command.plan)
app.command()(drift_command.drift)
app.command()(recommend_command.recommend)
app.command()(funnel_command.funnel)
app.command()(deployment_command.deployment)


@app.command()
def train(
    config: Config,
    workdir: Workdir,
    overrides: Overrides = [],  # noqa: B006
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Continue after the last epoch."),
    ] = False,
    warm_start: Annotated[
        pathlib.Path | None,
        typer.Option(
            "--warm-start",
            help="Begin from the model of another work folder, by raw ids.",
            metavar="FOLDER",
        ),
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Train on a dataset, validate after each epoch, test once at the end."""
    experiment = config_lib.load(config, overrides)
    work = artifacts.WorkFolder(workdir)
    if resume and overwrite:
        raise InputError(
            "A training is either continued or redone. Received: --resume and "
            "--overwrite. Leave one out."
        )
    work.require_config()
    work.dataset.require_completed()
    if resume:
        artifacts.read_json(work.history)
    elif not overwrite:
        work.refuse_trained()
    source = artifacts.WorkFolder(warm_start) if warm_start else None
    if source and not resume:
        if experiment.training.multi_epoch == "auto":
            raise InputError(
                "training.multi_epoch: auto tries recipes on fresh models, "
                "which tells nothing of one that begins warm. Received: "
                f"--warm-start {warm_start}. Set training.multi_epoch=manual "
                "and a recipe."
            )
        source.require_beginning()
    with work.lock():
        experiment = recommend_command.resolve(
            experiment, work, resume=resume, overrides=overrides
        )
        with display.quiet_import():
            from tfplugin import training
            from tfplugin.cli import progress

        history = training.train(
            experiment,
            work,
            resume=resume,
            overwrite=overwrite,
            warm_start=source,
            extra_callbacks=lambda assembled: [
                progress.ProgressBar(display.console, assembled)
            ],
        )
    if history["warm_start"]:
        display.print_warm_start(history["warm_start"])
    display.print_objectives(
        history["test"], history["monitor"], history.get("calibration")
    )
    display.print_next("evaluate", workdir)


@app.command()
def evaluate(
    workdir: Workdir,
    split: Annotated[
        str, typer.Option(help="validation or test.", metavar="SPLIT")
    ] = "test",
) -> None:
    """Measure a trained model on a split and write evaluation.json."""
    if split not in ("validation", "test"):
        raise InputError(
            f"--split must be validation or test. Received: {split}."
        )
    work = artifacts.WorkFolder(workdir)
    work.require_config()
    work.require_trained()
    with work.lock():
        with display.quiet_import():
            from tfplugin import training

        trained = training.load(work)
        measured = trained.evaluate(split)
        artifacts.write_json(work.evaluation, measured)
    calibration = trained.calibration
    display.print_objectives(
        measured, {}, calibration.model_dump() if calibration else None
    )
    display.print_written(work.evaluation)
    display.print_next("report", workdir)


@app.command()
def report(workdir: Workdir) -> None:
    """Write one HTML page about the data, the model and the epochs."""
    work = artifacts.WorkFolder(workdir)
    work.require_config()
    with work.lock():
        from tfplugin import report as report_page

        path = report_page.write(work)
    display.print_written(path)
    trained = work.history.is_file() and artifacts.read_json(work.history)
    if trained and trained.get("finished"):
        display.print_next("export", workdir)
    else:
        display.print_next("train", workdir, work.config)


app.command()(export_command.export)


app.command(context_settings=serve_command.SETTINGS)(serve_command.serve)


@app.command()
def doctor() -> None:
    """Print which packages, kernels and processors are in use, and why."""
    from tfplugin.cli import doctor as doctor_lib

    with display.quiet_import():
        findings = doctor_lib.examine()
    display.print_findings(findings)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command.

    Args:
        arguments: Words of the command line; None for this process's.

    Returns:
        0; 2 when input was refused (one line on standard error names it).
        What fails while running raises, which ends the process with 1.
    """
    # TensorFlow logs its build and the absence of a GPU at every start.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    with interrupts.Interrupts() as interruption:
        try:
            return _run(sys.argv[1:] if arguments is None else arguments)
        except InputError as error:
            refusal, status = str(error), _REFUSED
        except typer.TyperException as error:
            refusal, status = display.usage_message(error), _REFUSED
        except (KeyboardInterrupt, typer.Abort):
            refusal, status = "Interrupted.", _INTERRUPTED
        except Exception:
            if not interruption.received:
                raise
            refusal, status = "Interrupted.", _INTERRUPTED
        finally:
            # A progress bar that was cut off has hidden it.
            display.console.show_cursor()
    display.print_refusal(refusal)
    return status


def _run(arguments: Sequence[str]) -> int:
    own, beam_arguments = words.split(arguments)
    status = app(args=own, standalone_mode=False, obj=beam_arguments)
    if status == _INTERRUPTED:
        # What typer makes of a KeyboardInterrupt.
        raise KeyboardInterrupt
    return int(status or 0)
