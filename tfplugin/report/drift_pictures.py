"""Plotly figures of drift: both sides of one column, laid over one another."""

from collections.abc import Sequence

import plotly.graph_objects as go

from tfplugin.report import pictures
from tfplugin.schema import drift as records

#: The baseline is drawn as training is elsewhere, the other side as
#: validation: grey and dashed, blue and solid.
_SIDES = (
    ("baseline", pictures.TRAINING, "dash"),
    ("compared", pictures.VALIDATION, "solid"),
)


def rank_curves(column: records.DriftColumn) -> go.Figure | None:
    """The shares of a table's ids by rank, of both sides.

    Args:
        column: A table's ids.

    Returns:
        The figure, both axes logarithmic; None if a side has no ids.
    """
    curves = [side.curve for side in (column.baseline, column.current)]
    if not all(curve and curve.ranks for curve in curves):
        return None
    figure = go.Figure(layout=pictures.layout())
    for curve, (name, color, dash) in zip(curves, _SIDES, strict=True):
        if curve is not None:
            figure.add_scatter(
                x=list(curve.ranks),
                y=list(curve.shares),
                mode="lines" if len(curve.ranks) > 1 else "markers",
                line={"color": color, "width": 2, "dash": dash},
                hovertemplate=f"{name}, rank %{{x:,d}}: %{{y:.3~p}}"
                "<extra></extra>",
            )
    largest = max(curve.ranks[-1] for curve in curves if curve)
    figure.update_xaxes(
        **pictures.log_axis(largest), title_text="rank of the id"
    )
    figure.update_yaxes(
        type="log",
        tickformat=".1~p",
        dtick=1,
        title_text="share of occurrences",
    )
    return figure


def quantile_curves(column: records.DriftColumn) -> go.Figure | None:
    """Which share of a column lies below each value, of both sides.

    The middle 98 % are drawn: a single outlier would leave the rest no room.

    Args:
        column: Numbers, or lengths of lists.

    Returns:
        The figure; None if a side has no values.
    """
    sides = column.baseline.quantiles, column.current.quantiles
    if not all(sides):
        return None
    figure = go.Figure(layout=pictures.layout())
    inner = [_inner(quantiles) for quantiles in sides]
    for (ranks, values), (name, color, dash) in zip(inner, _SIDES, strict=True):
        figure.add_scatter(
            x=values,
            y=ranks,
            mode="lines",
            line={"color": color, "width": 2, "dash": dash},
            hovertemplate=f"{name}: %{{y:.0%}} up to %{{x:.4~g}}"
            "<extra></extra>",
        )
    values = [value for _, side in inner for value in side]
    middle = sorted(values)[len(values) // 2]
    # A long tail to the right is a line at the left of a linear axis.
    if min(values) > 0 and max(values) > 20 * middle:
        figure.update_xaxes(type="log", dtick=1)
    figure.update_xaxes(title_text="value", tickformat="~s", nticks=6)
    figure.update_yaxes(
        range=[0, 1], tickformat=".0%", title_text="share up to it"
    )
    return figure


def rates(column: records.DriftColumn) -> go.Figure | None:
    """Both rates of a label, with the intervals they lie in.

    Args:
        column: A label.

    Returns:
        The figure; None if a side observed nothing.
    """
    sides = column.baseline, column.current
    figure = go.Figure(layout=pictures.layout())
    for place, (side, (name, color, _)) in enumerate(
        zip(sides, _SIDES, strict=True)
    ):
        if side.rate is None or side.interval is None:
            return None
        low, high = side.interval
        figure.add_scatter(
            x=[side.rate],
            y=[1 - place],
            mode="markers",
            marker={
                "color": color,
                "size": 9,
                "symbol": "circle" if place else "circle-open",
                "line": {"width": 2},
            },
            error_x={
                "type": "data",
                "symmetric": False,
                "array": [high - side.rate],
                "arrayminus": [side.rate - low],
                "color": color,
                "thickness": 2,
                "width": 5,
            },
            hovertemplate=f"{name}: %{{x:.3%}}<extra></extra>",
        )
    figure.update_xaxes(tickformat=".2~%", nticks=5, title_text="rate")
    figure.update_yaxes(
        range=[-0.6, 1.6],
        tickvals=[1, 0],
        ticktext=[name for name, *_ in _SIDES],
        ticks="",
        showgrid=False,
    )
    return figure


def _inner(quantiles: Sequence[float]) -> tuple[list[float], list[float]]:
    """Ranks and values but for the last percent at each end."""
    last = len(quantiles) - 1
    kept = range(round(0.01 * last), round(0.99 * last) + 1)
    return [i / last for i in kept], [quantiles[i] for i in kept]
