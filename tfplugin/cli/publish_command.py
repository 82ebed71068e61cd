"""`tfplugin publish` and `rollback`: what servers of a base path see."""

from typing import Annotated

import rich.markup
import typer

from tfplugin.cli import display


def publish(
    model: Annotated[
        str,
        typer.Argument(
            help="A version's folder, as W/model/3, or one of versions, whose "
            "highest is taken.",
            metavar="MODEL",
        ),
    ],
    base: Annotated[
        str,
        typer.Argument(
            help="Folder or URL that servers watch.", metavar="BASE"
        ),
    ],
    version: Annotated[
        int | None,
        typer.Option(
            "--as",
            min=0,
            help="The number it takes; its own folder's if left out.",
            metavar="VERSION",
        ),
    ] = None,
    keep: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="How many versions stay, the new one included; older ones "
            "are removed. All if left out.",
            metavar="N",
        ),
    ] = None,
) -> None:
    """Validate an exported model and hand it to servers, whole or not at all.

    A version that exists is never changed.
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
            "goes on with it.",
            highlight=False,
        )
    path = rich.markup.escape(done.path)
    display.console.print(f"Wrote {path}", soft_wrap=True)


def rollback(
    base: Annotated[
        str,
        typer.Argument(
            help="Folder or URL that servers watch.", metavar="BASE"
        ),
    ],
    to: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="The version to go back to; the one before the newest if "
            "left out.",
            metavar="VERSION",
        ),
    ] = None,
) -> None:
    """Retire the newest version, so that servers go back to one before."""
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
