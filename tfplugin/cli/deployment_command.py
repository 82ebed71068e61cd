"""`tfplugin deployment`: files for TensorFlow Serving itself."""

import pathlib
from typing import Annotated

import typer

from tfplugin import artifacts
from tfplugin import config as config_lib
from tfplugin.cli import display
from tfplugin.errors import InputError


def deployment(
    workdir: Annotated[
        pathlib.Path,
        typer.Option(
            help="Folder of the experiment's files.", metavar="FOLDER"
        ),
    ],
    output: Annotated[
        pathlib.Path,
        typer.Option(help="Folder to write the files into.", metavar="FOLDER"),
    ],
    model_name: Annotated[
        str | None,
        typer.Option(
            help="The name clients ask for; the experiment's if left out.",
            metavar="NAME",
        ),
    ] = None,
    base_path: Annotated[
        pathlib.Path | None,
        typer.Option(
            help="Folder of published versions; WORK/model if left out.",
            metavar="FOLDER",
        ),
    ] = None,
    image: Annotated[
        str,
        typer.Option(help="Container image of TF Serving.", metavar="NAME:TAG"),
    ] = "tensorflow/serving:2.19.1",
    cores: Annotated[
        int,
        typer.Option(min=1, help="CPU cores of one server.", metavar="NUMBER"),
    ] = 4,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace files that exist.")
    ] = False,
) -> None:
    """Write configuration, compose and Kubernetes files for TF Serving.

    Memory and storage are set from the size of the newest exported version.
    """
    work = artifacts.WorkFolder(workdir)
    work.require_config()
    versions = sorted(
        (path.parent for path in work.model.glob("*/saved_model.pb")),
        key=lambda path: path.name.zfill(20),
    )
    if not versions:
        raise InputError(
            "There must be an exported model, whose size memory and storage "
            f"are set by. Received: {work.model}, which holds none. Run "
            "`tfplugin export`."
        )
    with display.quiet_import():
        from serving import deployment as deployment_lib

    settings = deployment_lib.Settings(
        model_name=model_name or config_lib.load(work.config).name,
        base_path=(base_path or work.model).resolve(),
        image=image,
        cores=cores,
        version_bytes=_size(versions[-1]),
    )
    for path in deployment_lib.write(output, settings, overwrite):
        display.print_written(path)


def _size(folder: pathlib.Path) -> int:
    return sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())
