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
from tfplugin.cli import display
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
    overwrite: Overwrite = False,
) -> None:
    """Turn a raw log into id frequencies and TFRecords, with Apache Beam.

    Options after `--` go to Beam untouched.
    """
    experiment = config_lib.load(config, overrides)
    work = artifacts.WorkFolder(workdir)
    work.prepare()
    artifacts.refuse_finished(
        work.dataset.completed, stage="preprocess", overwrite=overwrite
    )
    from beam_jobs import preprocess as preprocess_job

    work.config.write_text(config_lib.dump(experiment), "utf-8")
    artifacts.remove(work.dataset.completed)
    with display.counting("Preprocessing", experiment.name) as advance:
        statistics = preprocess_job.run(
            experiment, work.dataset, context.obj or (), advance
        )
    display.print_statistics(statistics)
    display.print_next("train", workdir, "--config", config)


@app.command()
def train(
    config: Config,
    workdir: Workdir,
    overrides: Overrides = [],  # noqa: B006
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Continue after the last epoch."),
    ] = False,
    overwrite: Overwrite = False,
) -> None:
    """Train on a dataset, validate after each epoch, test once at the end."""
    experiment = config_lib.load(config, overrides)
    work = artifacts.WorkFolder(workdir)
    work.require_config()
    work.dataset.require_completed()
    with display.quiet_import():
        from tfplugin import training
        from tfplugin.cli import progress

    history = training.train(
        experiment,
        work,
        resume=resume,
        overwrite=overwrite,
        extra_callbacks=lambda assembled: [
            progress.ProgressBar(display.console, assembled)
        ],
    )
    display.print_objectives(history["test"], history["monitor"])
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
    with display.quiet_import():
        from tfplugin import training

    measured = training.load(work).evaluate(split)
    artifacts.write_json(work.evaluation, measured)
    display.print_objectives(measured, {})
    display.print_written(work.evaluation)
    display.print_next("report", workdir)


@app.command()
def report(workdir: Workdir) -> None:
    """Write one HTML page about the data, the model and the epochs."""
    from tfplugin import report as report_page

    work = artifacts.WorkFolder(workdir)
    work.require_config()
    display.print_written(report_page.write(work))
    display.print_next("export", workdir)


@app.command()
def export(
    workdir: Workdir,
    version: Annotated[
        int | None,
        typer.Option(min=1, help="Defaults to one more than the newest."),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace that version.")
    ] = False,
) -> None:
    """Write the trained model as a SavedModel for TF Serving."""
    work = artifacts.WorkFolder(workdir)
    work.require_config()
    work.require_trained()
    if version is not None:
        artifacts.refuse_finished(
            work.model / str(version), stage="export", overwrite=overwrite
        )
    with display.quiet_import():
        from tfplugin import export as export_lib
        from tfplugin import training

    trained = training.load(work)
    path = work.model / str(version or export_lib.next_version(work.model))
    export_lib.save(
        trained.model, path, trained.dataset.schema, overwrite=overwrite
    )
    display.print_written(path)
    display.print_next("serve", workdir)


@app.command()
def serve(
    workdir: Workdir,
    rest_port: Annotated[
        int, typer.Option(min=0, max=65535, help="0 picks a free port.")
    ] = 8501,
    grpc_port: Annotated[
        int, typer.Option(min=0, max=65535, help="0 picks a free port.")
    ] = 8500,
) -> None:
    """Answer TF Serving's REST and gRPC requests on this machine."""
    work = artifacts.WorkFolder(workdir)
    work.require_config()
    name = config_lib.load(work.config).name
    with display.quiet_import():
        import serving

    server = serving.ModelServer(
        str(work.model), name, rest_port=rest_port, grpc_port=grpc_port
    )
    server.serve_forever(lambda: display.print_serving(server, name))


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command.

    Args:
        arguments: Words of the command line; None for this process's.

    Returns:
        0; 2 when input was refused (one line on standard error names it).
        What fails while running raises, which ends the process with 1.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    beam_arguments: list[str] = []
    if "--" in words:
        cut = words.index("--")
        words, beam_arguments = words[:cut], words[cut + 1 :]
    # TensorFlow logs its build and the absence of a GPU at every start.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    try:
        if beam_arguments and words[:1] != ["preprocess"]:
            raise InputError(
                "Only preprocess takes Beam options after `--`. Received: "
                f"{' '.join(beam_arguments)}."
            )
        status = app(args=words, standalone_mode=False, obj=beam_arguments)
    except InputError as error:
        display.print_refusal(str(error))
        return _REFUSED
    except typer.TyperException as error:
        display.print_refusal(display.usage_message(error))
        return _REFUSED
    except (KeyboardInterrupt, typer.Abort):
        display.print_refusal("Interrupted.")
        return _INTERRUPTED
    finally:
        # A progress bar that was cut off has hidden it.
        display.console.show_cursor()
    return int(status or 0)


if __name__ == "__main__":
    sys.exit(main())
