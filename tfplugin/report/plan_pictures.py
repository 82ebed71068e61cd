"""Plotly figures of a plan: coverage, collisions and memory."""

from collections.abc import Mapping
from typing import Any

import plotly.graph_objects as go

from tfplugin.report import formatting
from tfplugin.report import pictures
from tfplugin.report import plan_record

_INK = "#1d1d1b"
#: Paler than a table's own bytes; style.css repeats it.
_STATE = "#9dbfe0"
_SHARES = {"range": [-0.02, 1.04], "tickformat": ".0%", "nticks": 6}


def rank_frequency(curve: plan_record.Curve, kept: int | None) -> go.Figure:
    """Counts by rank, both axes logarithmic, and where the table ends.

    Args:
        curve: At least one rank.
        kept: Ids that have a row of their own; None for a hash.

    Example:
    >>> one = plan_record.Curve(ranks=(1,), counts=(5,), covered=(1.0,))
    >>> len(rank_frequency(one, kept=None).data)
    1
    """
    figure = go.Figure(layout=pictures.layout())
    _line(
        figure,
        curve.ranks,
        curve.counts,
        hovertemplate="rank %{x:,d}: seen %{y:,} ×<extra></extra>",
    )
    _mark(figure, kept)
    figure.update_xaxes(
        **pictures.log_axis(curve.ranks[-1]), title_text="rank of the id"
    )
    figure.update_yaxes(
        **pictures.log_axis(curve.counts[0]), title_text="times seen"
    )
    return figure


def coverage(curve: plan_record.Curve, kept: int | None) -> go.Figure:
    """Share of occurrences of the most frequent ids, by their number.

    Args:
        curve: At least one rank.
        kept: Ids that have a row of their own; None for a hash.

    Example:
    >>> one = plan_record.Curve(ranks=(1,), counts=(5,), covered=(1.0,))
    >>> coverage(one, kept=1).data[0].y
    (1.0,)
    """
    figure = go.Figure(layout=pictures.layout())
    _line(
        figure,
        curve.ranks,
        curve.covered,
        hovertemplate="%{x:,d} ids: %{y:.2%}<extra></extra>",
    )
    _mark(figure, kept)
    figure.update_xaxes(
        **pictures.log_axis(curve.ranks[-1]), title_text="ids with a row"
    )
    figure.update_yaxes(**_SHARES, title_text="occurrences covered")
    return figure


def collisions(table: plan_record.TablePlan) -> go.Figure:
    """Shares of ids and occurrences that share a row, by number of buckets.

    Args:
        table: One with ids.

    Returns:
        The expected share as a line, what was measured as points, and the
        table's own rows as a dotted line.
    """
    figure = go.Figure(layout=pictures.layout())
    numbers = [number for number, _ in table.expected_curve]
    figure.add_scatter(
        x=numbers,
        y=[share for _, share in table.expected_curve],
        mode="lines",
        line={"color": pictures.TRAINING, "width": 2, "dash": "dash"},
        hovertemplate="%{x:,d} buckets, expected: %{y:.2%}<extra></extra>",
    )
    series = (
        ("by ids", "ids", _INK, "circle-open", 9),
        ("by occurrences", "occurrences", pictures.VALIDATION, "diamond", 7),
        ("mixed", "mixed", pictures.SEEN_ONCE, "square", 6),
    )
    for words, name, color, symbol, size in series:
        figure.add_scatter(
            x=[one.num_buckets for one in table.collisions],
            y=[getattr(one, name) for one in table.collisions],
            mode="markers",
            marker={"color": color, "size": size, "symbol": symbol},
            hovertemplate="%{x:,d} buckets, "
            + words
            + ": %{y:.2%}<extra></extra>",
        )
    _mark(figure, table.hashed.num_buckets)
    figure.update_xaxes(
        type="log", dtick=1, tickformat="~s", title_text="buckets of a hash"
    )
    figure.update_yaxes(**_SHARES, title_text="share that collides")
    return figure


def memory(
    table_bytes: int, rule_bytes: Mapping[str, int], budget: int | None = None
) -> go.Figure:
    """Bytes of tables and state, a bar a rule.

    Args:
        table_bytes: Of the tables, under any rule.
        rule_bytes: Rule to bytes of its state.
        budget: Marked if given.

    Example:
    >>> memory(10, {"sgd": 0, "adagrad": 10}).data[1].x
    (0, 10)
    """
    figure = go.Figure(layout=pictures.layout() | {"barmode": "stack"})
    names = list(rule_bytes)
    texts = [formatting.size(table_bytes + rule_bytes[name]) for name in names]
    for sizes, color in (
        ([table_bytes] * len(names), pictures.VALIDATION),
        (list(rule_bytes.values()), _STATE),
    ):
        figure.add_bar(
            x=sizes,
            y=names,
            orientation="h",
            marker={"color": color},
            customdata=texts,
            hovertemplate="%{y}: %{customdata}<extra></extra>",
        )
    if budget is not None:
        _mark(figure, budget)
    figure.update_xaxes(
        rangemode="tozero",
        nticks=3,
        tickangle=0,
        tickformat="~s",
        ticksuffix="B",
        title_text="tables and state",
    )
    figure.update_yaxes(autorange="reversed", ticks="")
    return figure


def _line(figure: go.Figure, x: Any, y: Any, **options: Any) -> None:
    figure.add_scatter(
        x=list(x),
        y=list(y),
        mode="lines" if len(x) > 1 else "markers",
        line={"color": pictures.VALIDATION, "width": 2},
        marker={"color": pictures.VALIDATION, "size": 7},
        **options,
    )


def _mark(figure: go.Figure, place: int | None) -> None:
    """A dotted line upwards from a place on the horizontal axis."""
    if place:
        figure.add_shape(
            type="line",
            x0=place,
            x1=place,
            y0=0,
            y1=1,
            yref="paper",
            line={"color": _INK, "width": 2, "dash": "dot"},
        )
