"""Moments of either log → microseconds since 1970, in which they compare."""

import datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from beam_jobs import conversions
from beam_jobs.batches import Bools
from beam_jobs.batches import Int64s
from beam_jobs.roles import role_values

SECOND = 1_000_000
#: Seconds that a moment may be away from 1970: adding a window to it does not
#: overflow, and milliseconds are not taken for seconds, which would meet none.
_LIMIT = role_values.LAST_SECOND
_PER_UNIT = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}


def check(kind: pa.DataType) -> None:
    """Checks that a column of this type may hold moments.

    Raises:
        role_values.WrongType: It holds neither numbers (seconds),
            timestamps, dates nor strings.
    """
    micros(pa.nulls(0, conversions.plain_type(kind)))


def micros(column: pa.Array) -> tuple[Int64s, Bools, Bools]:
    """Moments as microseconds, finer ones rounded down.

    Args:
        column: As `role_values.seconds` takes; numbers are seconds and may
            have a fraction, which is rounded.

    Returns:
        int64 `(rows,)`, 0 where there is none; bool `(rows,)`, null, NaN or
        a blank word; bool `(rows,)`, a value that is no moment.

    Raises:
        role_values.WrongType: The column holds none of these.

    Example:
    >>> import pyarrow as pa
    >>> micros(pa.array(["1970-01-01 00:00:01.5", "2", None, "?"]))[0].tolist()
    [1500000, 2000000, 0, 0]
    """
    column = _missing_as_null(conversions.plain(column))
    types = pa.types
    if types.is_string(column.type):
        values, bad = _parse(column)
    elif types.is_timestamp(column.type) or types.is_date(column.type):
        values, bad = _of_timestamps(column)
    elif types.is_floating(column.type) or types.is_decimal(column.type):
        values, bad = _of_floats(column)
    else:
        values, bad = _of_seconds(role_values.seconds(column, required=False))
    null = column.is_null().to_numpy(zero_copy_only=False)
    values[null | bad] = 0
    return values, null, bad & ~null


def of_datetime(moment: datetime.datetime) -> int:
    """Microseconds of a moment; without a zone it is UTC.

    Example:
    >>> of_datetime(datetime.datetime(1970, 1, 1, 0, 0, 1))
    1000000
    """
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=datetime.UTC)
    start = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
    return (moment - start) // datetime.timedelta(microseconds=1)


def _missing_as_null(column: pa.Array) -> pa.Array:
    if pa.types.is_string(column.type):
        blank = pc.equal(pc.utf8_trim_whitespace(column), "")
    elif pa.types.is_floating(column.type):
        blank = pc.is_nan(column)
    else:
        return column
    return pc.if_else(blank, pa.scalar(None, column.type), column)


def _of_seconds(converted: role_values.Converted) -> tuple[Int64s, Bools]:
    seconds = converted.values.fill_null(0).to_numpy()
    far = (seconds < -_LIMIT) | (seconds > _LIMIT)
    return np.where(far, 0, seconds) * SECOND, converted.bad | far


def _of_floats(column: pa.Array) -> tuple[Int64s, Bools]:
    floats = column.cast(pa.float64(), safe=False).fill_null(0.0).to_numpy()
    bad = ~(np.abs(floats) <= _LIMIT)
    return np.rint(np.where(bad, 0.0, floats) * SECOND).astype(np.int64), bad


def _of_timestamps(column: pa.Array) -> tuple[Int64s, Bools]:
    if pa.types.is_date(column.type):
        column = column.cast(pa.timestamp("s"))
    counts = column.view(pa.int64()).fill_null(0).to_numpy()
    unit = _PER_UNIT[column.type.unit]
    if unit > SECOND:
        return counts // (unit // SECOND), np.zeros(len(counts), np.bool_)
    far = (counts < -_LIMIT * unit) | (counts > _LIMIT * unit)
    return np.where(far, 0, counts) * (SECOND // unit), far


def _parse(column: pa.Array) -> tuple[Int64s, Bools]:
    """Whole seconds, or timestamps with or without a zone."""
    numbers, bad = conversions.cast(column, pa.int64())
    whole = role_values.Converted(numbers, np.zeros(len(column), np.bool_))
    values, far = _of_seconds(whole)
    if not bad.any():
        return values, far
    words = pc.if_else(pa.array(bad), column, pa.scalar(None, pa.string()))
    for kind in (pa.timestamp("ns"), pa.timestamp("ns", "UTC")):
        moments, _ = conversions.cast(words, kind)
        found = moments.is_valid().to_numpy(zero_copy_only=False) & bad
        values = np.where(found, _of_timestamps(moments)[0], values)
        bad = bad & ~found
    return values, bad | far
