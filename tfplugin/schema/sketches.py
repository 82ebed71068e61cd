"""What bounded-memory sketches say of a column."""

from tfplugin.schema.records import Record


class HeavyHitter(Record):
    """An id that may be among the most frequent.

    Args:
        id: The id.
        estimate: Estimated occurrences.
        lower: At least so many.
        upper: At most so many.
    """

    id: int | str
    estimate: int
    lower: int
    upper: int


class ColumnSketch(Record):
    """Sketches of one feature over training rows, as numbers.

    Args:
        values: Values that were seen, missing ones left out.
        distinct: Estimated distinct values; None for dense features.
        distinct_lower: Lower bound, with 95 % confidence.
        distinct_upper: Upper bound, with 95 % confidence.
        heavy_hitters: Ids with the highest estimates, falling.
        heavy_hitter_error: What an estimate may exceed the truth by, at most.
        quantiles: Of a dense feature's values at 101 evenly spaced ranks.
        length_quantiles: Of a list's lengths, likewise.
    """

    values: int
    distinct: float | None = None
    distinct_lower: float | None = None
    distinct_upper: float | None = None
    heavy_hitters: tuple[HeavyHitter, ...] = ()
    heavy_hitter_error: int = 0
    quantiles: tuple[float, ...] = ()
    length_quantiles: tuple[float, ...] = ()
