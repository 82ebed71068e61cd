"""Arrow columns of any fitting type → the types that examples hold.

Each function returns the converted array and the values it had to refuse.
"""

import dataclasses

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from beam_jobs import conversions
from beam_jobs.batches import Bools
from tfplugin import schema

_LIMIT = 2.0**63

#: The years 1 to 9999: numbers outside of them are milliseconds or finer.
FIRST_SECOND, LAST_SECOND = -62_135_596_800, 253_402_300_799
SECONDS_RULE = "a moment, or seconds since 1970, of the years 1 to 9999"


class WrongType(TypeError):
    """A column whose type can never have the values its role asks for."""


@dataclasses.dataclass(frozen=True)
class Converted:
    """A column of one role.

    Args:
        values: The array; null is missing.
        bad: bool `(rows,)`, rows whose value was refused.
        rule: What a value must be.
    """

    values: pa.Array
    bad: Bools
    rule: str = ""


def ids(column: pa.Array, dtype: schema.IdDtype) -> Converted:
    """Scalar ids; null, -2^63, NaN and '' are missing.

    Args:
        column: Integers, floats, booleans, decimals, strings or bytes.
        dtype: Wanted type: exact, or the value is refused.

    Raises:
        WrongType: The column holds lists, times or, for string ids, floats.

    Example:
    >>> import pyarrow as pa
    >>> ids(pa.array([7.0, None, 0.5]), "int64").values.to_pylist()
    [7, None, None]
    """
    column = conversions.plain(column)
    if dtype == "int64":
        values, bad = _to_int64(column)
        missing = pc.equal(values, schema.MISSING_INT64)
        rule = "an id of dtype int64"
    else:
        values, bad = _to_string(column)
        missing = pc.equal(values, schema.MISSING_STRING)
        rule = "an id of dtype string, in UTF-8"
    values = pc.if_else(missing, pa.scalar(None, values.type), values)
    return Converted(values, bad, rule)


def id_lists(column: pa.Array, dtype: schema.IdDtype) -> Converted:
    """Lists of ids; a null list is empty, a null inside is the missing id.

    Args:
        column: Lists of what `ids` takes.
        dtype: Wanted type of the ids.

    Raises:
        WrongType: The column does not hold lists of ids.

    Example:
    >>> import pyarrow as pa
    >>> id_lists(pa.array([["a", None], None]), "string").values.to_pylist()
    [['a', ''], []]
    """
    column = conversions.plain(column)
    kind = pa.int64() if dtype == "int64" else pa.string()
    if column.type == pa.null():
        column = column.cast(pa.list_(kind))
    if not pa.types.is_list(column.type):
        raise WrongType("lists of ids")
    lengths = pc.list_value_length(column).fill_null(0).to_numpy()
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    inside = ids(column.flatten(), dtype)
    missing: int | str = schema.MISSING_INT64
    if dtype == "string":
        missing = schema.MISSING_STRING
    values = inside.values.fill_null(missing)
    bad = np.zeros(len(column), np.bool_)
    rows = np.repeat(np.arange(len(column)), lengths)
    bad[rows[inside.bad]] = True
    lists = pa.ListArray.from_arrays(pa.array(offsets), values)
    return Converted(lists, bad, f"a list: every value {inside.rule}")


def dense(column: pa.Array) -> Converted:
    """float32 numbers; null and NaN are missing, infinities are refused.

    Raises:
        WrongType: The column is not numeric.
    """
    values, bad = _to_float64(column)
    # Beyond float32's range a value would become infinite.
    with np.errstate(over="ignore"):
        narrow = values.astype(np.float32)
    bad |= np.isinf(narrow)
    narrow[bad] = np.nan
    array = pa.array(narrow, mask=np.isnan(narrow))
    return Converted(array, bad, "a finite float32 number, or null")


def labels(column: pa.Array, mask: pa.Array | None = None) -> Converted:
    """float32 labels 0 or 1; null where not observed.

    Args:
        column: Booleans or numbers; null and NaN are not observed.
        mask: True or 1 where the label was observed.

    Raises:
        WrongType: A column is not numeric.
    """
    values, bad = _to_float64(column)
    bad |= ~(np.isnan(values) | (values == 0) | (values == 1))
    hidden = np.isnan(values)
    if mask is not None:
        observed, wrong = _to_float64(mask)
        seen = observed == 1
        wrong |= ~(np.isnan(observed) | (observed == 0) | seen)
        hidden |= ~seen
        bad = (bad & seen) | wrong
    floats = np.where(hidden | bad, np.nan, values).astype(np.float32)
    array = pa.array(floats, mask=np.isnan(floats))
    return Converted(array, bad, "0, 1 or null (and its mask true or false)")


def weights(column: pa.Array) -> Converted:
    """float32 example weights; null, NaN, infinite and negative are refused.

    Raises:
        WrongType: The column is not numeric.
    """
    values, bad = _to_float64(column)
    with np.errstate(over="ignore"):
        narrow = values.astype(np.float32)
    bad |= ~(np.isfinite(narrow) & (narrow >= 0))
    narrow[bad] = 0
    return Converted(pa.array(narrow), bad, "a finite number >= 0")


def keys(column: pa.Array) -> Converted:
    """Group keys and request ids: int64 or string, by the column's type.

    Raises:
        WrongType: The column holds neither integers nor strings.
    """
    column = conversions.plain(column)
    return ids(column, key_dtype(column.type))


def key_dtype(kind: pa.DataType) -> schema.IdDtype:
    """The id dtype of a group key or request id.

    Raises:
        WrongType: `kind` is neither an integer nor a string.
    """
    kind = conversions.plain_type(kind)
    if pa.types.is_integer(kind):
        return "int64"
    if pa.types.is_decimal(kind) and kind.scale == 0:
        return "int64"
    if pa.types.is_string(kind) or pa.types.is_binary(kind):
        return "string"
    raise WrongType("integers or strings")


def seconds(column: pa.Array, *, required: bool) -> Converted:
    """Moments as int64 seconds since 1970, rounded down.

    Args:
        column: Integers (seconds), timestamps of any unit and zone (without
            one: UTC), dates, or strings of either; of the years 1 to 9999.
        required: Whether null is refused.

    Raises:
        WrongType: The column holds none of these.
    """
    column = conversions.plain(column)
    if pa.types.is_string(column.type):
        values, bad = _parse_seconds(column)
    elif pa.types.is_timestamp(column.type) or pa.types.is_date(column.type):
        values, bad = _floor_seconds(column), np.zeros(len(column), np.bool_)
    else:
        values, bad = _to_int64(column)
    numbers = values.fill_null(0).to_numpy()
    far = (numbers < FIRST_SECOND) | (numbers > LAST_SECOND)
    if far.any():
        values = pc.if_else(pa.array(far), None, values)
        bad = bad | far
    if required:
        bad = bad | values.is_null().to_numpy(zero_copy_only=False)
    return Converted(values, bad, SECONDS_RULE)


def _parse_seconds(column: pa.Array) -> tuple[pa.Array, Bools]:
    values, bad = conversions.cast(column, pa.int64())
    if not bad.any():
        return values, bad
    moments, no_moment = conversions.cast(column, pa.timestamp("ns"))
    zoned, no_zoned = conversions.cast(column, pa.timestamp("ns", "UTC"))
    values = pc.coalesce(values, _floor_seconds(moments), _floor_seconds(zoned))
    return values, bad & no_moment & no_zoned


def _floor_seconds(column: pa.Array) -> pa.Array:
    if pa.types.is_date(column.type):
        column = column.cast(pa.timestamp("s"))
    units = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
    counts = column.view(pa.int64())
    floor = counts.fill_null(0).to_numpy() // units[column.type.unit]
    null = column.is_null().to_numpy(zero_copy_only=False)
    return pa.array(floor, mask=null)


def _to_int64(column: pa.Array) -> tuple[pa.Array, Bools]:
    kind = column.type
    types = pa.types
    if types.is_floating(kind):
        values = column.cast(pa.float64()).fill_null(np.nan).to_numpy()
        known = ~np.isnan(values)
        exact = (np.floor(values) == values) & (np.abs(values) < _LIMIT)
        integers = np.where(exact, values, 0.0).astype(np.int64)
        return pa.array(integers, mask=~(known & exact)), known & ~exact
    if (
        types.is_integer(kind)
        or types.is_boolean(kind)
        or types.is_decimal(kind)
        or types.is_string(kind)
        or types.is_null(kind)
    ):
        return conversions.cast(column, pa.int64())
    raise WrongType("integers, or what can be read as integers")


def _to_string(column: pa.Array) -> tuple[pa.Array, Bools]:
    kind = column.type
    types = pa.types
    if (
        types.is_string(kind)
        or types.is_binary(kind)
        or types.is_integer(kind)
        or types.is_null(kind)
    ):
        return conversions.cast(column, pa.string())
    raise WrongType("strings")


def _to_float64(
    column: pa.Array,
) -> tuple[np.ndarray[tuple[int], np.dtype[np.float64]], Bools]:
    column = conversions.plain(column)
    kind = column.type
    types = pa.types
    if types.is_string(kind):
        words = pc.utf8_lower(column)
        column = pc.if_else(pc.equal(words, "true"), "1", column)
        column = pc.if_else(pc.equal(words, "false"), "0", column)
    elif types.is_integer(kind) or types.is_boolean(kind):
        values = column.cast(pa.float64(), safe=False)
        return (
            values.fill_null(np.nan).to_numpy(),
            np.zeros(len(column), np.bool_),
        )
    elif not (
        types.is_floating(kind) or types.is_decimal(kind) or types.is_null(kind)
    ):
        raise WrongType("numbers")
    values, bad = conversions.cast(column, pa.float64())
    return values.fill_null(np.nan).to_numpy().copy(), bad
