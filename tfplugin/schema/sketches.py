"""What bounded-memory sketches say of a column."""

from tfplugin.schema.records import Record


class HeavyHitter(Record):
    """An id that may be among the most frequent.

    Args:
        id: The id.
        estimate: Estimated occurrences; a float where older ones decay.
        lower: At least so many, with 98.2 % confidence.
        upper: At most so many.
    """

    id: int | str
    estimate: int | float
    lower: int | float
    upper: int | float


class ColumnSketch(Record):
    """Sketches of one id feature over training rows, as numbers.

    Args:
        values: Ids that were seen, missing ones left out; a float where
            older ones decay.
        distinct: Estimated distinct ids; exact up to 8192.
        distinct_lower: Lower bound, with 95 % confidence.
        distinct_upper: Upper bound, with 95 % confidence.
        heavy_hitters: Ids with the highest estimates, falling.
        heavy_hitter_error: What an estimate may exceed the truth by, with
            98.2 % confidence.
        length_quantiles: Of a list's lengths at 101 evenly spaced ranks,
            null lists having none; exact up to 4095. Empty for scalars.
    """

    values: int | float
    distinct: float
    distinct_lower: float
    distinct_upper: float
    heavy_hitters: tuple[HeavyHitter, ...] = ()
    heavy_hitter_error: float = 0.0
    length_quantiles: tuple[float, ...] = ()
