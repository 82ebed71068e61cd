"""What the sketches say of each column of ids, as a table of the page."""

from tfplugin import schema
from tfplugin.report import formatting
from tfplugin.report import markup

#: Of the frequent ids, those that are named; and how much of a name is shown.
_NAMED = 3
_MAX_LETTERS = 24
_HEADINGS = ("Column", "Most frequent ids", "Ids", "Distinct", "95\u00a0% sure")
_LENGTH_HEADINGS = ("Ids a row: median", "90\u00a0%", "Longest")


def build(columns: schema.Schema, statistics: schema.Statistics) -> markup.Html:
    """Builds the table; nothing of a dataset without sketches.

    Args:
        columns: The dataset's schema.
        statistics: Its statistics.

    Example:
    >>> item = schema.IdFeature(dtype="int64", table="item")
    >>> columns = schema.Schema(id_features={"item": item}, labels=("buy",))
    >>> found = schema.Statistics.model_construct(columns={})
    >>> build(columns, found)
    ''
    """
    found = statistics.columns
    if not found:
        return markup.Html("")
    lists = any(sketch.length_quantiles for sketch in found.values())
    return markup.Table(
        "Columns of ids in the training rows, by sketches. Distinct ids are "
        "exact up to 8,192 and estimated beyond. Shares are of the column's "
        "ids; where an id's share is known between two bounds, both are given."
        " A column without a frequent id has no id that stands out.",
        _HEADINGS + (_LENGTH_HEADINGS if lists else ()),
        [
            (
                _name(name, columns),
                _frequent(sketch),
                formatting.integer(round(sketch.values)),
                *_distinct(sketch),
                *(_lengths(sketch) if lists else ()),
            )
            for name, sketch in found.items()
        ],
        numbers_from=2,
    ).html()


def _name(name: str, columns: schema.Schema) -> str:
    feature = columns.id_features.get(name)
    if feature is not None and feature.training_only:
        return f"{name} (training only)"
    return name


def _frequent(sketch: schema.ColumnSketch) -> markup.Html:
    named = [
        markup.element(
            "div",
            markup.element("code", _shortened(str(hit.id))),
            f": {_share(hit, sketch.values)}",
        )
        for hit in sketch.heavy_hitters[:_NAMED]
    ]
    return markup.join(*named) if named else markup.escape(formatting.UNDEFINED)


def _shortened(text: str) -> str:
    if len(text) <= _MAX_LETTERS:
        return text
    return text[: _MAX_LETTERS - 1] + "\N{HORIZONTAL ELLIPSIS}"


def _share(hit: schema.HeavyHitter, values: float) -> str:
    lower, upper = (
        formatting.percent(number / values) for number in (hit.lower, hit.upper)
    )
    return upper if lower == upper else f"{lower} to {upper}"


def _distinct(sketch: schema.ColumnSketch) -> tuple[str, str]:
    lower, upper = sketch.distinct_lower, sketch.distinct_upper
    text = formatting.integer(round(sketch.distinct))
    if lower == upper:
        return text, "exact"
    bounds = [formatting.integer(round(bound)) for bound in (lower, upper)]
    return f"about {text}", " to ".join(bounds)


def _lengths(sketch: schema.ColumnSketch) -> list[str]:
    ranks = sketch.length_quantiles
    if not ranks:
        return [formatting.UNDEFINED] * len(_LENGTH_HEADINGS)
    return [
        formatting.number(ranks[round(share * (len(ranks) - 1))])
        for share in (0.5, 0.9, 1.0)
    ]
