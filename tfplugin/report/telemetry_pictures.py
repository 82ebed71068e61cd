"""Plotly figures of telemetry: by evidence, at boundaries, calibration."""

import math
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

from tfplugin.report import pictures
from tfplugin.report import telemetry_records as records

#: Lines of a picture at most; more epochs are thinned out.
_MOST_LINES = 5
_LIGHT, _DARK = (188, 211, 235), (8, 61, 119)
_SYMBOLS = ("circle-open", "diamond-open", "square-open", "cross", "circle")
_BARS = "#c9c9c4"
#: A bucket with fewer rows of a class says too little of an AUC.
LEAST_OF_A_CLASS = 10

Lines = Mapping[int, Mapping[str, float | None]]


def shown_epochs(epochs: Sequence[int]) -> list[int]:
    """The epochs that pictures show: all, or the first, the last and others.

    Args:
        epochs: Numbers, ascending.

    Example:
    >>> shown_epochs([1, 2, 3]), shown_epochs(list(range(1, 12)))
    ([1, 2, 3], [1, 3, 6, 9, 11])
    """
    if len(epochs) <= _MOST_LINES:
        return list(epochs)
    step = (len(epochs) - 1) / (_MOST_LINES - 1)
    return [epochs[round(step * place)] for place in range(_MOST_LINES)]


def epoch_color(place: int, number: int) -> str:
    """The colour of an epoch's line, the later the darker.

    Args:
        place: Of the epoch among those shown, from 0.
        number: How many are shown.

    Example:
    >>> epoch_color(0, 2), epoch_color(1, 2), epoch_color(0, 1)
    ('#bcd3eb', '#083d77', '#083d77')
    """
    share = place / (number - 1) if number > 1 else 1.0
    mixed = (
        round(light + share * (dark - light))
        for light, dark in zip(_LIGHT, _DARK, strict=True)
    )
    return "#" + "".join(f"{value:02x}" for value in mixed)


def by_bucket(
    name: str,
    lines: Lines,
    bars: Mapping[str, int],
    bars_name: str,
    *,
    from_zero: bool = False,
) -> go.Figure | None:
    """One measure by bucket of id frequency, a line an epoch.

    Args:
        name: Name of the measure, title of the vertical axis.
        lines: Epoch to bucket to value; None leaves a gap.
        bars: Bucket to a number of rows, drawn below; its keys are the buckets
            that are shown.
        bars_name: What they count.
        from_zero: Whether the axis begins at 0.

    Returns:
        The figure; None when no value is defined.

    Example:
    >>> by_bucket("AUC", {1: {"0": None}}, {"0": 3}, "rows") is None
    True
    """
    shown = [bucket for bucket in records.BUCKETS if bucket in bars]
    values = [value for line in lines.values() for value in line.values()]
    known = [value for value in values if value is not None]
    if not known:
        return None
    figure = go.Figure(layout=pictures.layout())
    for place, (epoch, line) in enumerate(lines.items()):
        color = epoch_color(place, len(lines))
        figure.add_scatter(
            x=shown,
            y=[line.get(bucket) for bucket in shown],
            mode="lines+markers",
            line={"color": color, "width": 2},
            marker={
                "color": color,
                "size": 7,
                "symbol": _SYMBOLS[place - len(lines)],
            },
            hovertemplate=f"epoch {epoch}, seen %{{x}} ×: %{{y:.4f}}"
            "<extra></extra>",
        )
    figure.add_bar(
        x=shown,
        y=[bars[bucket] for bucket in shown],
        yaxis="y2",
        marker={"color": _BARS},
        hovertemplate=f"seen %{{x}} ×: %{{y:,d}} {bars_name}<extra></extra>",
    )
    _stack(figure, name, bars_name, max(*bars.values(), 1))
    figure.update_xaxes(categoryarray=shown, categoryorder="array")
    if from_zero:
        figure.update_layout(yaxis={"range": [0, 1.08 * max(known) or 1.0]})
    return figure


def _stack(figure: go.Figure, name: str, bars_name: str, most: int) -> None:
    """Lines above, bars below, on one axis of buckets."""
    axis = pictures.layout()["yaxis"]
    figure.update_layout(
        yaxis={"domain": [0.34, 1.0], "title": {"text": name}, "nticks": 5},
        yaxis2={
            **axis,
            "domain": [0.0, 0.24],
            "type": "log",
            # Bars need a foot: a log axis has no 0.
            "range": [-0.3, math.log10(max(most, 10)) + 0.15],
            "dtick": max(1, round(math.log10(max(most, 10)) / 2)),
            "tickformat": "~s",
            "title": {"text": bars_name, "standoff": 6},
        },
        xaxis={
            "anchor": "y2",
            "type": "category",
            "title": {"text": "times seen in training"},
            "tickangle": -40,
        },
        bargap=0.35,
    )


def calibration(points: Sequence[records.Point]) -> go.Figure | None:
    """Observed rates over predicted ones, with the diagonal.

    Args:
        points: By rising prediction; those without a positive are left out
            where the axes are logarithmic.

    Returns:
        The figure; None without a point.

    Example:
    >>> calibration([]) is None
    True
    """
    drawn = [point for point in points if point.rate > 0]
    if not drawn:
        return None
    values = [v for point in drawn for v in (point.prediction, point.rate)]
    low, high = min(values), max(values)
    logarithmic = high > 8 * low
    if logarithmic:
        span = [low / 1.5, min(high * 1.5, 1.05)]
    else:
        drawn = list(points)
        span = [max(0.0, low - 0.1 * (high - low) - 0.01), high * 1.1]
    bounds = [_wilson(point.rate, point.rows) for point in drawn]
    figure = go.Figure(layout=pictures.layout())
    figure.add_scatter(
        x=span,
        y=span,
        mode="lines",
        line={"color": pictures.TRAINING, "width": 1.5, "dash": "dash"},
        hoverinfo="skip",
    )
    figure.add_scatter(
        x=[point.prediction for point in drawn],
        y=[point.rate for point in drawn],
        mode="markers",
        marker={"color": pictures.VALIDATION, "size": 7},
        error_y={
            "type": "data",
            "symmetric": False,
            "array": [
                high - p.rate
                for p, (_, high) in zip(drawn, bounds, strict=True)
            ],
            "arrayminus": [
                p.rate - low for p, (low, _) in zip(drawn, bounds, strict=True)
            ],
            "color": pictures.VALIDATION,
            "thickness": 1,
            "width": 2,
        },
        customdata=[[point.positives, point.rows] for point in drawn],
        hovertemplate="predicted %{x:.4g}, observed %{y:.4g}: "
        "%{customdata[0]:,d} of %{customdata[1]:,d}<extra></extra>",
    )
    axis = _rate_axis(span, logarithmic)
    figure.update_xaxes(**axis, title_text="predicted rate")
    figure.update_yaxes(**axis, title_text="observed rate")
    return figure


def _rate_axis(span: Sequence[float], logarithmic: bool) -> dict[str, Any]:
    if not logarithmic:
        return {"range": list(span), "nticks": 5, "tickformat": "~g"}
    decades = [math.log10(value) for value in span]
    return {
        "type": "log",
        "range": decades,
        "tickformat": "~g",
        "dtick": 1 if decades[1] - decades[0] > 1.2 else "D2",
    }


def _wilson(rate: float, rows: int) -> tuple[float, float]:
    """The 95 % interval of a rate (Wilson, JASA 1927)."""
    z = 1.96
    centre = (rate + z * z / (2 * rows)) / (1 + z * z / rows)
    spread = (
        z
        * math.sqrt(rate * (1 - rate) / rows + (z / (2 * rows)) ** 2)
        / (1 + z * z / rows)
    )
    return max(centre - spread, 0.0), min(centre + spread, 1.0)


def boundaries(
    epochs: Sequence[int], losses: Sequence[records.TrainingLoss]
) -> go.Figure | None:
    """The training loss at both ends of each epoch, and its jumps between.

    Args:
        epochs: Numbers, ascending.
        losses: One an epoch.

    Returns:
        The figure; None when no value is defined.

    Example:
    >>> boundaries([1], [records.TrainingLoss()]) is None
    True
    """
    if all(loss.first is None and loss.last is None for loss in losses):
        return None
    figure = go.Figure(layout=pictures.layout())
    for place, (epoch, loss) in enumerate(zip(epochs, losses, strict=True)):
        figure.add_scatter(
            x=[epoch - 1, epoch],
            y=[loss.first, loss.last],
            mode="lines+markers",
            line={"color": pictures.TRAINING, "width": 2},
            marker={
                "color": pictures.TRAINING,
                "size": 7,
                "symbol": ["circle-open", "circle"],
            },
            hovertemplate=f"epoch {epoch}: %{{y:.4f}}<extra></extra>",
        )
        if loss.jump is not None and place:
            figure.add_scatter(
                x=[epoch - 1, epoch - 1],
                y=[losses[place - 1].last, loss.first],
                mode="lines",
                line={"color": pictures.SEEN_ONCE, "width": 3, "dash": "dot"},
                hovertemplate=f"jump {loss.jump:+.4f}<extra></extra>",
            )
    figure.update_xaxes(
        tickvals=[epochs[0] - 1, *epochs],
        range=[epochs[0] - 1.15, epochs[-1] + 0.15],
        tickformat="d",
        title_text="epochs done",
    )
    figure.update_yaxes(title_text="training loss", nticks=5)
    return figure
