"""The parts of the page about drift."""

from collections.abc import Sequence

import plotly.graph_objects as go

from tfplugin.report import drift_pictures
from tfplugin.report import formatting
from tfplugin.report import markup
from tfplugin.schema import drift as records

#: Columns that are drawn, the farthest from their limits first.
MAX_DRAWN = 8

#: Measure to its heading.
NAMES = {
    "jensen_shannon": "Jensen-Shannon",
    "l_infinity": "L-infinity",
    "kolmogorov_smirnov": "Kolmogorov-Smirnov",
    "new_occurrences": "New",
    "lost_occurrences": "Lost",
    "new_ids": "New ids",
    "lost_ids": "Lost ids",
    "missing_rate": "Missing",
    "label_rate": "Rate",
    "label_rate_relative": "Relative",
}
_MEASURES = tuple(NAMES)[:8]


def build(found: records.Drift) -> list[markup.Section]:
    """The sections of the page.

    Args:
        found: What `drift.json` holds.
    """
    columns = sorted(
        (column for column in found.columns if column.kind != "label"),
        key=lambda column: (-_strain(column), column.name, column.kind),
    )
    labels = [column for column in found.columns if column.kind == "label"]
    sections = []
    if found.crossed:
        sections.append(_crossed(found))
    if columns:
        sections.append(_distances(columns))
    if labels:
        sections.append(_labels(labels))
    drawn = [column for column in columns if column.measures][:MAX_DRAWN]
    if drawn:
        sections.append(_worst(drawn, len(columns)))
    return sections


def title(column: records.DriftColumn) -> str:
    """A column in words.

    Example:
    >>> side = records.ColumnSide(values=0)
    >>> title(
    ...     records.DriftColumn(
    ...         name="cart", kind="lengths", baseline=side, current=side,
    ...         measures={},
    ...     )
    ... )
    'cart (lengths)'
    """
    return (
        f"{column.name} (lengths)" if column.kind == "lengths" else column.name
    )


def _strain(column: records.DriftColumn) -> float:
    """How far the worst measure is beyond its limit; limits of 0 first."""
    return max(
        (
            (measure.crossed, measure.excess / max(measure.threshold, 1e-6))
            for measure in column.measures.values()
        ),
        default=(False, 0.0),
    )[1]


def _crossed(found: records.Drift) -> markup.Section:
    table = markup.Table(
        "A limit is crossed by what a measure has beyond chance, and only if "
        "chance alone would make its value less often than once in 1,000 "
        "times.",
        ("Column", "Measure", "Value", "By chance", "Beyond", "Limit"),
        [
            (
                title(column),
                NAMES[name],
                formatting.metric(measure.value),
                formatting.metric(measure.expected),
                formatting.metric(measure.excess),
                formatting.number(measure.threshold),
            )
            for column, name, measure in found.crossed
        ],
        numbers_from=2,
    )
    return markup.Section("crossed", "Limits that are crossed", table.html())


def _distances(columns: Sequence[records.DriftColumn]) -> markup.Section:
    shown = [
        name
        for name in _MEASURES
        if any(name in column.measures for column in columns)
    ]
    table = markup.Table(
        "Each measure beyond chance, from 0 to 1, the column farthest from its "
        "limits first. A tick is the limit; red is beyond it.",
        ("Column", *(NAMES[name] for name in shown)),
        [
            (title(column), *(_bar(column, name) for name in shown))
            for column in columns
        ],
    )
    meaning = markup.paragraph(
        "Jensen-Shannon is the distance, the root of the divergence with base "
        "2: 0 for equal distributions, 1 for nothing in common. L-infinity is "
        "the largest change of one id's share, or of one bin's of a numeric "
        "column. Kolmogorov-Smirnov is the largest difference of the "
        "cumulative distributions. New and Lost are shares of the occurrences "
        "whose id the other side lacks, New ids and Lost ids of the distinct "
        "ids. Missing is the change of the share of missing values.",
        class_="caption",
    )
    return markup.Section(
        "distances",
        "How far each column moved",
        markup.join(table.html(), meaning),
    )


def _bar(column: records.DriftColumn, name: str) -> markup.Html | str:
    measure = column.measures.get(name)
    if measure is None:
        return formatting.UNDEFINED
    share = 100.0 * min(measure.excess, 1.0)
    # A limit of 1 is none: its tick lies outside.
    limit = 100.0 * measure.threshold if measure.threshold < 1.0 else -10.0
    return markup.element(
        "span",
        f"{measure.excess:.3f}",
        class_="limit crossed" if measure.crossed else "limit",
        style=f"--share:{share:.1f}%;--limit:{limit:.1f}%",
    )


def _labels(columns: Sequence[records.DriftColumn]) -> markup.Section:
    drawn = [
        _panel(column, index, "rate", drift_pictures.rates(column))
        for index, column in enumerate(columns)
    ]
    table = markup.Table(
        "Rates of labels, where observed; their change in points. Bars in the "
        "pictures are 95 % intervals (Wilson).",
        ("Label", "Baseline", "Compared", "Change", "Relative", "Limits"),
        [
            (
                column.name,
                formatting.percent(column.baseline.rate),
                formatting.percent(column.current.rate),
                *_changes(column),
                "crossed" if column.crossed else "kept",
            )
            for column in columns
        ],
    )
    panels = markup.element(
        "div", *(panel for panel, _ in drawn), class_="panels"
    )
    return markup.Section(
        "labels",
        "Labels",
        markup.join(table.html(), panels),
        tuple(picture for _, picture in drawn if picture),
    )


def _changes(column: records.DriftColumn) -> tuple[str, str]:
    before, after = column.baseline.rate, column.current.rate
    if before is None or after is None:
        return formatting.UNDEFINED, formatting.UNDEFINED
    change = after - before
    relative = f"{change / before:+.1%}" if before else formatting.UNDEFINED
    return f"{100 * change:+.2f}", relative


def _worst(
    columns: Sequence[records.DriftColumn], total: int
) -> markup.Section:
    cards, drawn = [], []
    for index, column in enumerate(columns):
        figure = (
            drift_pictures.rank_curves(column)
            if column.kind == "ids"
            else drift_pictures.quantile_curves(column)
        )
        panel, picture = _panel(column, index, "column", figure)
        parts = [panel]
        if picture:
            drawn.append(picture)
        if column.kind == "ids":
            parts.append(_moved(column))
        cards.append(markup.element("div", *parts, class_="card"))
    left_out = (
        f" {total - len(columns)} more are left out here."
        if total > len(columns)
        else ""
    )
    return markup.Section(
        "columns",
        "Both distributions",
        markup.join(
            markup.paragraph(
                "The columns farthest from their limits. Ids are drawn from "
                "the most to the least frequent, each side by its own ranks; "
                "numbers by the share up to each value. ",
                markup.element("span", "baseline", class_="key training"),
                " ",
                markup.element("span", "compared", class_="key validation"),
                left_out,
                class_="caption",
            ),
            markup.element("div", *cards, class_="cards"),
        ),
        tuple(drawn),
    )


def _panel(
    column: records.DriftColumn,
    index: int,
    kind: str,
    figure: go.Figure | None,
) -> tuple[markup.Html, markup.Picture | None]:
    """A column's name above its picture, and the picture."""
    picture = figure and markup.Picture(
        f"{kind}-{index}", figure, f"Both sides of {title(column)}"
    )
    panel = markup.element(
        "div",
        markup.element("h4", title(column)),
        markup.paragraph(_note(column), class_="note"),
        picture.html() if picture else "",
        class_="panel flat" if kind == "rate" else "panel",
    )
    return panel, picture or None


def _note(column: records.DriftColumn) -> str:
    """How much there is on each side, in words."""
    sides = column.baseline, column.current
    if column.kind == "ids":
        before, after = (formatting.integer(side.ids or 0) for side in sides)
        return f"{before} ids, then {after}"
    noun = {"lengths": "lists", "numbers": "values", "label": "observed"}
    before, after = (formatting.integer(round(side.values)) for side in sides)
    return f"{before} {noun[column.kind]}, then {after}"


def _moved(column: records.DriftColumn) -> markup.Html:
    rows = [
        (
            str(entry.id),
            formatting.percent(entry.baseline),
            formatting.percent(entry.current),
            f"{100 * (entry.current - entry.baseline):+.2g}",
        )
        for entry in (*column.gained[:5], *column.lost[:5][::-1])
    ]
    if not rows:
        return markup.paragraph("No id's share changed.", class_="note")
    return markup.Table(
        "Ids whose shares of the occurrences rose most, and fell most, in "
        "points.",
        ("Id", "Baseline", "Compared", "Change"),
        rows,
    ).html()
