"""`tfplugin funnel`: a generated log whose true probabilities are known."""

import pathlib
from typing import Annotated

import typer

from tfplugin.cli import display


def funnel(
    folder: Annotated[
        pathlib.Path,
        typer.Option(help="Where impressions/ and truth/ are written."),
    ],
    rows: Annotated[int, typer.Option(help="Impressions.")] = 1_000_000,
    seed: Annotated[int, typer.Option(help="Equal seeds, equal logs.")] = 0,
    click_rate: Annotated[
        float, typer.Option(help="Clicks over impressions.")
    ] = 0.05,
    cart_rate: Annotated[
        float, typer.Option(help="Additions to the cart over impressions.")
    ] = 0.01,
    checkout_rate: Annotated[
        float, typer.Option(help="Checkouts over impressions.")
    ] = 0.002,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a funnel there.")
    ] = False,
) -> None:
    """Write an ads log of impressions, clicks, carts and checkouts.

    The true probability of every row lies aside, in truth/.
    """
    from tfplugin import synthetic

    with display.counting("Writing", "funnel") as advance:
        found = synthetic.write(
            folder,
            rows=rows,
            seed=seed,
            overwrite=overwrite,
            advance=advance,
            click_rate=click_rate,
            cart_rate=cart_rate,
            checkout_rate=checkout_rate,
        )
    for label, positives in found["positives"].items():
        display.console.print(
            f"{label}: {positives:,} of {rows:,} ({positives / rows:.4%})"
        )
    for name in ("impressions", "truth"):
        display.print_written(folder / name)
