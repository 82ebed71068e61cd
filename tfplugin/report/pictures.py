"""Plotly figures: rank-frequency curves, and metrics by epoch."""

import dataclasses
import math
from collections.abc import Iterable
from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

from tfplugin.report import frequency_curve

#: Training and validation differ in colour, in dash and in symbol, so that
#: they can be told apart without colours; style.css repeats the colours.
TRAINING = "#767676"
VALIDATION = "#0b5cad"
SEEN_ONCE = "#b3450c"
_SHADE = "rgba(179, 69, 12, 0.10)"
_GRID = "#e6e6e3"
_INK = "#3d3d3a"
_FONT = "system-ui, -apple-system, 'Segoe UI', 'Liberation Sans', sans-serif"


@dataclasses.dataclass(frozen=True)
class Turn:
    """Where a metric turned, in epochs; None where it did not.

    Args:
        peak_epoch: The epoch whose validation value is marked.
        overfits_from: The epoch from which on the picture is shaded.
    """

    peak_epoch: int | None = None
    overfits_from: int | None = None


def rank_frequency(
    curve: frequency_curve.FrequencyCurve, max_ids: int, max_count: int
) -> go.Figure:
    """The counts of a table's ids by rank, both axes logarithmic.

    Args:
        curve: The table's curve.
        max_ids: Ids of the largest table: all pictures share one scale.
        max_count: Count of the most frequent id of all tables.

    Returns:
        The figure; the ids seen once are a bar at its foot.

    Example:
    >>> import numpy as np
    >>> one = frequency_curve.from_histogram(np.array([5]), np.array([1]))
    >>> rank_frequency(one, 10, 5).data[0].y
    (5,)
    """
    figure = go.Figure(layout=layout())
    figure.add_scatter(
        x=curve.ranks.tolist(),
        y=curve.counts.tolist(),
        mode="lines" if len(curve.ranks) > 1 else "markers",
        line={"color": VALIDATION, "width": 2},
        marker={"color": VALIDATION, "size": 7},
        hovertemplate="rank %{x:,d}: seen %{y:,d} ×<extra></extra>",
    )
    if curve.ids_seen_once:
        figure.add_scatter(
            x=[curve.ids - curve.ids_seen_once + 1, curve.ids],
            y=[1, 1],
            mode="lines+markers",
            line={"color": SEEN_ONCE, "width": 5},
            marker={"color": SEEN_ONCE, "size": 5},
            hoverinfo="skip",
        )
    figure.update_xaxes(**log_axis(max_ids), title_text="rank of the id")
    figure.update_yaxes(**log_axis(max_count), title_text="times seen")
    return figure


def metric_by_epoch(
    name: str,
    epochs: Sequence[int],
    training: Sequence[float | None],
    validation: Sequence[float | None],
    turn: Turn,
) -> go.Figure | None:
    """One metric of one objective, on training and on validation rows.

    Args:
        name: Name of the metric, title of the vertical axis.
        epochs: Numbers of the epochs, ascending.
        training: A value an epoch; None where undefined, which leaves a gap.
        validation: A value an epoch.
        turn: What to mark.

    Returns:
        The figure; None when no value is defined.

    Example:
    >>> metric_by_epoch("AUC", [1], [None], [None], Turn()) is None
    True
    """
    span = _span([*training, *validation])
    if span is None:
        return None
    figure = go.Figure(layout=layout())
    lines = (
        ("training", training, TRAINING, "dash", "circle-open"),
        ("validation", validation, VALIDATION, "solid", "circle"),
    )
    for split, values, color, dash, symbol in lines:
        figure.add_scatter(
            x=list(epochs),
            y=list(values),
            mode="lines+markers",
            line={"color": color, "width": 2, "dash": dash},
            marker={"color": color, "size": 6, "symbol": symbol},
            hovertemplate=f"{split}, epoch %{{x}}: %{{y:.4f}}<extra></extra>",
        )
    _mark(figure, epochs, validation, turn)
    figure.update_xaxes(**_epoch_axis(epochs))
    figure.update_yaxes(
        range=span, nticks=5, tickformat=_tick_format(span), title_text=name
    )
    return figure


def _mark(
    figure: go.Figure,
    epochs: Sequence[int],
    validation: Sequence[float | None],
    turn: Turn,
) -> None:
    peak = dict(zip(epochs, validation, strict=True)).get(turn.peak_epoch or 0)
    if peak is not None:
        figure.add_scatter(
            x=[turn.peak_epoch],
            y=[peak],
            mode="markers",
            marker={
                "color": VALIDATION,
                "size": 14,
                "symbol": "circle-open",
                "line": {"width": 2},
            },
            hoverinfo="skip",
        )
    if turn.overfits_from is not None:
        figure.add_shape(
            type="rect",
            x0=turn.overfits_from - 0.5,
            x1=max(epochs) + 0.5,
            y0=0,
            y1=1,
            yref="paper",
            fillcolor=_SHADE,
            line={"width": 0},
            layer="below",
        )


def layout() -> dict[str, Any]:
    """What all figures have in common.

    No title, no legend: both are HTML, which wraps where a figure cuts.

    Example:
    >>> layout()["showlegend"]
    False
    """
    axis = {
        "automargin": True,
        "fixedrange": True,
        "gridcolor": _GRID,
        "linecolor": "#a3a39e",
        "showline": True,
        "ticks": "outside",
        "ticklen": 4,
        "tickcolor": "#a3a39e",
        "zeroline": False,
        "title": {"standoff": 6},
    }
    return {
        # An empty template instead of plotly's, which would be written out
        # in every figure.
        "template": go.layout.Template(),
        "autosize": True,
        "dragmode": False,
        "font": {"family": _FONT, "size": 12, "color": _INK},
        "hoverlabel": {"font": {"family": _FONT, "size": 12}},
        "margin": {"l": 8, "r": 12, "t": 8, "b": 8},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "showlegend": False,
        "xaxis": axis,
        "yaxis": axis,
    }


def log_axis(largest: float) -> dict[str, Any]:
    """A logarithmic axis from 1 to `largest`.

    Args:
        largest: The largest value, at least 1.

    Example:
    >>> log_axis(1000)["type"]
    'log'
    """
    decades = math.log10(max(largest, 10))
    return {
        "type": "log",
        "range": [-0.04 * decades, 1.04 * decades],
        "dtick": 1 if decades <= 5 else 2,
        "tickformat": "~s",
    }


def _epoch_axis(epochs: Sequence[int]) -> dict[str, Any]:
    axis: dict[str, Any] = {
        "range": [min(epochs) - 0.5, max(epochs) + 0.5],
        "title_text": "epoch",
        "tickformat": "d",
    }
    if len(epochs) <= 8:
        axis["tickvals"] = list(epochs)
    else:
        axis["nticks"] = 8
    return axis


def _tick_format(span: Sequence[float]) -> str:
    """As many decimals on every tick as four ticks need to differ."""
    decimals = max(0, math.ceil(-math.log10((span[1] - span[0]) / 4)))
    return f".{decimals}f"


def _span(values: Iterable[float | None]) -> list[float] | None:
    """The range of an axis: a single value gets room around it."""
    known = [value for value in values if value is not None]
    if not known:
        return None
    low, high = min(known), max(known)
    room = max(0.15 * (high - low), 0.005)
    return [low - room, high + room]
