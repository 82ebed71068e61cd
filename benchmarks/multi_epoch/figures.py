"""Plotly figures of the page; names of arms stand beside them, as HTML."""

from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

from benchmarks.multi_epoch import summary
from tfplugin.report import pictures

#: Arms that are told apart, by colour, dash and symbol; others are grey.
STYLES = {
    "none": ("#b3450c", "solid", "circle"),
    "plain, tuned": ("#1d1d1b", "dot", "square"),
    "FAL": ("#7fb0e0", "dash", "diamond"),
    "FAL, tuned": ("#0b5cad", "solid", "diamond"),
    "flat control": ("#8f6cc4", "dash", "x"),
    "MEDA, tuned": ("#217a3c", "solid", "triangle-up"),
    "MEDA + FAL": ("#c98a00", "solid", "star"),
    "recommended": ("#c2185b", "solid", "cross"),
}
OTHERS = "#bdbdb8"
_MORE = ("#0b5cad", "#b3450c", "#217a3c", "#8f6cc4", "#c98a00", "#1d1d1b")


def style(arm: str) -> tuple[str, str, str]:
    """Colour, dash and symbol of an arm."""
    return STYLES.get(arm, (OTHERS, "solid", "circle-open"))


def by_epoch(curves: Mapping[str, summary.Curve]) -> go.Figure:
    """Test AUC by epoch: means as lines, seeds as bands around the known."""
    figure = go.Figure(layout=pictures.layout())
    # Grey ones first, so that they lie below.
    for arm in sorted(curves, key=lambda name: name in STYLES):
        found = curves[arm]
        epochs = list(range(1, len(found.mean) + 1))
        color, dash, symbol = style(arm)
        if arm in STYLES:
            figure.add_scatter(
                x=epochs + epochs[::-1],
                y=list(found.high) + list(found.low[::-1]),
                fill="toself",
                fillcolor=color,
                opacity=0.12,
                line={"width": 0},
                mode="lines",
                hoverinfo="skip",
            )
        figure.add_scatter(
            x=epochs,
            y=list(found.mean),
            mode="lines+markers",
            line={"color": color, "dash": dash, "width": 2},
            marker={"color": color, "symbol": symbol, "size": 7},
            hovertemplate=f"{_safe(arm)}, epoch %{{x}}: %{{y:.4f}}"
            "<extra></extra>",
        )
    _epochs(figure, max(len(one.mean) for one in curves.values()))
    figure.update_yaxes(title_text="test AUC", nticks=5)
    return figure


def lines(
    series: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    *,
    x_title: str,
    y_title: str,
    target: float | None = None,
    log_x: bool = False,
    colors: Mapping[str, str] | None = None,
) -> go.Figure:
    """Some lines, named by `colors`, and perhaps a level to be reached."""
    colors = colors or palette(series)
    figure = go.Figure(layout=pictures.layout())
    for name, (x, y) in series.items():
        figure.add_scatter(
            x=list(x),
            y=list(y),
            mode="lines+markers",
            line={"color": colors[name], "width": 2},
            marker={"color": colors[name], "size": 7},
            hovertemplate=f"{_safe(name)}: %{{x:,}}, %{{y:.4f}}<extra></extra>",
        )
    if target is not None:
        figure.add_shape(
            type="line",
            x0=0,
            x1=1,
            xref="paper",
            y0=target,
            y1=target,
            line={"color": "#1d1d1b", "width": 1, "dash": "dot"},
        )
    figure.update_xaxes(title_text=x_title, nticks=6)
    if log_x:
        figure.update_xaxes(type="log", dtick=1, tickformat="~s")
    figure.update_yaxes(title_text=y_title, nticks=5)
    return figure


def intervals(rows: Sequence[Mapping[str, Any]]) -> go.Figure:
    """Differences and their intervals, the first row on top."""
    figure = go.Figure(layout=pictures.layout())
    middle = [row["difference"] for row in rows]
    figure.add_scatter(
        x=middle,
        y=list(range(1, len(rows) + 1)),
        mode="markers",
        marker={"color": pictures.VALIDATION, "size": 8},
        error_x={
            "type": "data",
            "symmetric": False,
            "array": [row["high"] - row["difference"] for row in rows],
            "arrayminus": [row["difference"] - row["low"] for row in rows],
            "color": pictures.VALIDATION,
            "thickness": 1.5,
        },
        hovertemplate="%{x:+.4f}<extra></extra>",
    )
    figure.add_shape(
        type="line",
        x0=0,
        x1=0,
        y0=0,
        y1=1,
        yref="paper",
        line={"color": "#1d1d1b", "width": 1},
    )
    figure.update_xaxes(title_text="difference of test AUC", nticks=6)
    figure.update_yaxes(
        autorange="reversed",
        automargin=True,
        tickvals=list(range(1, len(rows) + 1)),
        ticktext=[
            _safe(
                f"{row['log']} {row['objective']}: {row['arm']} "
                f"\N{MINUS SIGN} {row['against']}"
            )
            for row in rows
        ],
    )
    return figure


def palette(names: Mapping[str, Any]) -> dict[str, str]:
    """Colours of lines: an arm's own, else one after the other."""
    return {
        name: STYLES[name][0] if name in STYLES else _MORE[i % len(_MORE)]
        for i, name in enumerate(names)
    }


def _epochs(figure: go.Figure, number: int) -> None:
    figure.update_xaxes(
        title_text="epoch",
        range=[0.8, number + 0.2],
        tickvals=list(range(1, number + 1)),
    )


def _safe(name: str) -> str:
    # Plotly reads markup in its texts.
    return name.replace("&", "&amp;").replace("<", "&lt;")
