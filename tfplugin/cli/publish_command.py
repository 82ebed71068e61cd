"""`tfplugin publish` and `rollback`: what servers of a base path see."""

from typing import Annotated

import rich.markup
import typer

from tfplugin.cli import display


def publish(
    model: Annotated[
        str,
        typer.Argument(
            help="Folder of a version, as in WORK/model/3, or of versions, "
            "as in WORK/model, of which the highest is published.",
            metavar="MODEL",
        ),
    ],
    base: Annotated[
        str,
        typer.Argument(
            help="Folder or URL whose versions servers watch.",
            metavar="BASE",
        ),
    ],
    version: Annotated[
        int | None,
        typer.Option(
            "--as",
            min=0,
            help="Publish it under this number; under that of its folder if "
            "left out.",
            metavar="VERSION",
        ),
    ] = None,
    keep: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Keep the N highest versions, the new one included, and "
            "remove those below; keep all if left out.",
            metavar="N",
        ),
    ] = None,
) -> None:
    """Check an exported model and copy it to where servers look for versions.

    The model is validated first, as by `tfplugin validate`. Servers see the
    version once all of it is there. A version that exists is never changed.
    """
    with display.quiet_import():
        from serving import publishing
        from tfplugin.report import formatting

    what = rich.markup.escape(model)
    with display.console.status(f"Publishing {what}"):
        done = publishing.publish(model, base, version=version, keep=keep)
    display.console.print(
        f"Published version {done.version}, {formatting.size(done.bytes)}.",
        highlight=False,
    )
    if done.removed:
        display.console.print(
            f"Removed {_named(done.removed)}.", highlight=False
        )
    if done.newest != done.version:
        display.console.print(
            f"Version {done.newest} is newer: a server that takes the latest "
            "goes on with that one.",
            highlight=False,
        )
    path = rich.markup.escape(done.path)
    display.console.print(f"Wrote {path}", soft_wrap=True)


def rollback(
    base: Annotated[
        str,
        typer.Argument(
            help="Folder or URL whose versions servers watch.",
            metavar="BASE",
        ),
    ],
    to: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="The version to go back to; all newer ones are retired. The "
            "one before the newest if left out.",
            metavar="VERSION",
        ),
    ] = None,
) -> None:
    """Retire the newest version, so that servers go back to the one before.

    A retired version is kept in BASE/.retired, where no server looks;
    publishing it from there undoes this.
    """
    with display.quiet_import():
        from serving import publishing

    done = publishing.rollback(base, to)
    path = rich.markup.escape(done.path)
    display.console.print(
        f"Retired {_named(done.retired)} into {path}. Version "
        f"{done.version} is the newest now.",
        highlight=False,
        soft_wrap=True,
    )


def _named(versions: tuple[int, ...]) -> str:
    words = "version" if len(versions) == 1 else "versions"
    return f"{words} {', '.join(map(str, versions))}"
