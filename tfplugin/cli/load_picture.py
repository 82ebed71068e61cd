"""The picture of a load: latencies by percentile and over time."""

import html
import json
import math
import pathlib
from collections.abc import Sequence
from typing import TYPE_CHECKING
from typing import Any

import numpy as np

from tfplugin import artifacts
from tfplugin.errors import InputError

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from serving import load_generator

_NINES = (0.0, 50.0, 90.0, 99.0, 99.9, 99.99)
_CURVE = "Latency by percentile"
_CURVE_AXIS = "percentile of answered requests"
_TIMES = "Latency over time"
_TIMES_AXIS = "when a request was due, s"
_POINTS = 400
_SLICES = 60
_WIDTH, _HEIGHT = 960, 400
_LEFT, _TOP, _BOTTOM, _GAP = 64, 84, 64, 72
_BLUE, _RED, _INK, _GRID = "#0b5cad", "#b3450c", "#3d3d3a", "#e6e6e3"

_DASHED = ' stroke-dasharray="5 3"'

Points = Sequence[tuple[float, float]]


def check_name(path: pathlib.Path) -> None:
    """Refuses a picture that is neither HTML nor SVG.

    Args:
        path: Where the picture is to be.

    Raises:
        InputError: For another ending.

    Example:
    >>> check_name(pathlib.Path("load.png"))
    Traceback (most recent call last):
    ...
    tfplugin.errors.InputError: --picture must end in .html or .svg. ...
    """
    if path.suffix not in (".html", ".svg"):
        raise InputError(
            f"--picture must end in .html or .svg. Received: {path}."
        )


def write(
    result: "load_generator.LoadResult", path: pathlib.Path, title: str
) -> None:
    """Draws a load, as one HTML page or as SVG.

    Args:
        result: What was measured.
        path: Ends in .html or .svg.
        title: Its heading.
    """
    check_name(path)
    if path.suffix == ".svg":
        artifacts.write_text(path, to_svg(result, title))
    else:
        artifacts.write_text(path, _to_html(result, title))


def by_percentile(result: "load_generator.LoadResult") -> Points:
    """Latencies by percentile.

    Args:
        result: What was measured.

    Returns:
        Pairs of -log10(1 - share) and milliseconds, up to what the number of
        requests can tell: 1 is the 90th percentile, 2 the 99th.
    """
    values = np.sort(result.latency_ms[result.answered])
    if not len(values):
        return []
    nines = np.linspace(0.0, math.log10(max(len(values), 10)), _POINTS)
    found = np.quantile(values, 1.0 - 10.0**-nines)
    return list(zip(nines.tolist(), found.tolist(), strict=True))


def over_time(result: "load_generator.LoadResult", percent: float) -> Points:
    """A percentile of latencies in slices of the time of arrival.

    Args:
        result: What was measured.
        percent: As in 99.

    Returns:
        Pairs of seconds and milliseconds; slices without an answer left out.
    """
    times = result.intended[result.answered]
    values = result.latency_ms[result.answered]
    if not len(times):
        return []
    edges = np.linspace(0.0, max(float(times.max()), 1e-9), _SLICES + 1)
    slices = np.clip(np.digitize(times, edges) - 1, 0, _SLICES - 1)
    return [
        (
            float(edges[i] + edges[i + 1]) / 2,
            float(np.percentile(values[slices == i], percent)),
        )
        for i in np.flatnonzero(np.bincount(slices, minlength=_SLICES)).tolist()
    ]


def summary(result: "load_generator.LoadResult") -> str:
    """What was asked for and what came, without the last full stop.

    Args:
        result: What was measured.
    """
    found = result.to_json()
    load = result.load
    if load.rate is None:
        clients = "client" if load.clients == 1 else "clients"
        asked = f"{load.clients:,} {clients}, each waiting for its answer"
    else:
        law = "at random times" if load.poisson else "evenly spaced"
        asked = f"{load.rate:,.6g} requests a second, {law}"
    errors = sum(result.errors.values())
    rows = "1 row" if result.rows == 1 else f"{result.rows:,} rows"
    failed = f"; {errors:,} failed" if errors else ""
    return (
        f"{asked}; {rows} in a request. Answered {found['answered']:,} of "
        f"{found['requests']:,}, {found['achieved_rate']:,.1f} a second"
        f"{failed}"
    )


def _to_html(result: "load_generator.LoadResult", title: str) -> str:
    figure = _figure(result)
    body = figure.to_html(
        include_plotlyjs=True,
        full_html=False,
        config={"displayModeBar": False},
    )
    said = html.escape(json.dumps(result.to_json(), indent=1))
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f"<title>{html.escape(title)}</title></head>"
        '<body style="font-family:system-ui,sans-serif;max-width:1100px;'
        'margin:2rem auto">'
        f"<h1>{html.escape(title)}</h1>"
        f"<p>{html.escape(summary(result))}.</p>{body}"
        f"<details><summary>Numbers</summary><pre>{said}</pre></details>"
        "</body></html>\n"
    )


def _figure(result: "load_generator.LoadResult") -> "go.Figure":
    from plotly import subplots

    figure = subplots.make_subplots(
        1, 2, subplot_titles=(_CURVE, _TIMES), shared_yaxes="all"
    )
    curve = by_percentile(result)
    figure.add_scatter(
        x=[x for x, _ in curve],
        y=[y for _, y in curve],
        name="latency",
        line={"color": _INK},
        showlegend=False,
        row=1,
        col=1,
    )
    for percent, color, dash in ((50.0, _BLUE, "solid"), (99.0, _RED, "dash")):
        points = over_time(result, percent)
        figure.add_scatter(
            x=[x for x, _ in points],
            y=[y for _, y in points],
            name=f"p{percent:g}",
            line={"color": color, "dash": dash},
            row=1,
            col=2,
        )
    marks = [-math.log10(1 - p / 100) for p in _NINES]
    figure.update_xaxes(
        tickvals=marks,
        ticktext=[_percent(p) for p in _NINES],
        title_text=_CURVE_AXIS,
        row=1,
        col=1,
    )
    figure.update_xaxes(title_text=_TIMES_AXIS, row=1, col=2)
    figure.update_yaxes(
        rangemode="tozero",
        ticksuffix=" ms",
        showgrid=True,
        gridcolor=_GRID,
        showticklabels=True,
    )
    figure.update_layout(
        template="simple_white",
        height=420,
        margin={"t": 40, "l": 60, "r": 20},
        legend={"x": 1, "y": 1.1, "xanchor": "right", "orientation": "h"},
    )
    return figure


def to_svg(result: "load_generator.LoadResult", title: str) -> str:
    """Draws a load as SVG.

    Args:
        result: What was measured.
        title: Its heading.

    Returns:
        The document.
    """
    width = (_WIDTH - 2 * _LEFT - _GAP) / 2
    curve = by_percentile(result)
    most = max([x for x, _ in curve], default=1.0)
    nines = [(-math.log10(1 - p / 100), _percent(p)) for p in _NINES]
    lines = [
        (over_time(result, 50.0), _BLUE, "p50"),
        (over_time(result, 99.0), _RED, "p99"),
    ]
    # One scale for both.
    highest = max(
        [y for points in (curve, lines[1][0]) for _, y in points], default=1.0
    )
    parts = [
        _label(_LEFT - 40, 22, title, size=16),
        _label(_LEFT - 40, 42, summary(result), size=12),
        *_panel(
            _LEFT,
            width,
            [(curve, _INK, "")],
            [(x, text) for x, text in nines if x <= most],
            highest,
        ),
        _label(_LEFT, _TOP - 12, _CURVE, size=12),
        _label(_LEFT + width / 2, _HEIGHT - 24, _CURVE_AXIS, anchor="middle"),
    ]
    end = max([x for points, _, _ in lines for x, _ in points], default=1.0)
    step = _step(end)
    ticks = [(i * step, f"{i * step:g}") for i in range(int(end / step) + 1)]
    left = _LEFT + width + _GAP
    parts += _panel(left, width, lines, ticks, highest)
    parts.append(_label(left, _TOP - 12, _TIMES, size=12))
    middle = left + width / 2
    parts.append(_label(middle, _HEIGHT - 24, _TIMES_AXIS, anchor="middle"))
    inside = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" '
        f'height="{_HEIGHT}" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
        'font-family="system-ui, sans-serif">\n'
        f'<rect width="100%" height="100%" fill="white"/>\n{inside}\n</svg>\n'
    )


def _panel(
    left: float,
    width: float,
    lines: Sequence[tuple[Points, str, str]],
    ticks: Sequence[tuple[float, str]],
    highest: float,
) -> list[str]:
    points = [point for line, _, _ in lines for point in line]
    x_most = max([x for x, _ in points], default=1.0) or 1.0
    y_most = highest * 1.05 or 1.0
    height = _HEIGHT - _TOP - _BOTTOM
    bottom = _TOP + height

    def at(x: float, y: float) -> tuple[float, float]:
        return left + width * x / x_most, bottom - height * y / y_most

    parts = []
    step = _step(y_most)
    for i in range(int(y_most / step) + 1):
        _, y = at(0, i * step)
        parts.append(_line(left, y, left + width, y, _GRID))
        parts.append(_label(left - 6, y + 4, f"{i * step:g} ms", anchor="end"))
    for value, text in ticks:
        x, _ = at(value, 0)
        parts.append(_line(x, bottom, x, bottom + 4, _INK))
        parts.append(_label(x, bottom + 18, text, anchor="middle"))
    parts.append(_line(left, bottom, left + width, bottom, _INK))
    for i, (line, color, name) in enumerate(lines):
        path = " ".join(
            f"{a:.1f},{b:.1f}" for a, b in (at(x, y) for x, y in line)
        )
        parts.append(
            f'<polyline points="{path}" fill="none" stroke="{color}" '
            f'stroke-width="1.8"{_DASHED * i}/>'
        )
        if name:
            # Its stroke beside it, for those who tell colours less well.
            where = left + width - 60 * (len(lines) - i) + 36
            parts.append(
                f'<line x1="{where - 22:.1f}" y1="{_TOP - 16}" '
                f'x2="{where - 4:.1f}" y2="{_TOP - 16}" stroke="{color}" '
                f'stroke-width="1.8"{_DASHED * i}/>'
            )
            parts.append(_label(where, _TOP - 12, name, color=color))
    return parts


def _percent(percent: float) -> str:
    return f"p{percent:g}" if percent else "min"


def _step(most: float) -> float:
    rough = most / 6
    power = 10.0 ** math.floor(math.log10(rough))
    return next(n * power for n in (1, 2, 5, 10) if n * power >= rough)


def _line(x1: float, y1: float, x2: float, y2: float, color: str) -> str:
    return (
        f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" '
        f'stroke="{color}"/>'
    )


def _label(
    x: float,
    y: float,
    text: str,
    *,
    anchor: str = "start",
    size: int = 11,
    color: str = _INK,
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" fill="{color}" '
        f'text-anchor="{anchor}">{html.escape(text)}</text>'
    )


def table_cells(found: dict[str, Any]) -> list[tuple[str, str]]:
    """The rows of the table in a terminal.

    Args:
        found: What `LoadResult.to_json` returned.

    Returns:
        Pairs of a name and a number.

    Example:
    >>> latency = {"p50": 1.25, "max": None}
    >>> table_cells({
    ...     "requests": 2, "answered": 1, "errors": {"UNAVAILABLE": 1},
    ...     "achieved_rate": 1.0, "rows_per_second": 64.0,
    ...     "latency_ms": latency, "late_ms_p99": 0.1,
    ... })[-3:]
    [('latency p50', '1.25 ms'), ('latency max', '-'), ('sent late, p99', \
'0.10 ms')]
    """
    cells = [
        ("requests", f"{found['requests']:,}"),
        ("answered", f"{found['answered']:,}"),
        *((f"error {k}", f"{v:,}") for k, v in found["errors"].items()),
        ("answers a second", f"{found['achieved_rate']:,.1f}"),
        ("rows a second", f"{found['rows_per_second']:,.1f}"),
    ]
    for name, value in found["latency_ms"].items():
        shown = "-" if value is None else f"{value:,.2f} ms"
        cells.append((f"latency {name}", shown))
    cells.append(("sent late, p99", f"{found['late_ms_p99']:,.2f} ms"))
    return cells
