"""Casts of Arrow arrays that mark the values that cannot be cast."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from beam_jobs.batches import Bools


def plain(array: pa.Array) -> pa.Array:
    """Decodes dictionaries and views, and narrows large types.

    Example:
    >>> import pyarrow as pa
    >>> plain(pa.array(["a"], pa.large_string()).dictionary_encode()).type
    DataType(string)
    """
    wanted = plain_type(array.type)
    return array if array.type == wanted else array.cast(wanted)


def plain_type(kind: pa.DataType) -> pa.DataType:
    """The type of `plain(array)` for an array of type `kind`."""
    types = pa.types
    if types.is_dictionary(kind):
        return plain_type(kind.value_type)
    if types.is_large_string(kind) or types.is_string_view(kind):
        return pa.string()
    if (
        types.is_large_binary(kind)
        or types.is_binary_view(kind)
        or types.is_fixed_size_binary(kind)
    ):
        return pa.binary()
    if is_list(kind):
        return pa.list_(plain_type(kind.value_type))
    return kind


def is_list(kind: pa.DataType) -> bool:
    """Whether `kind` is a list of any kind."""
    types = pa.types
    return bool(
        types.is_list(kind)
        or types.is_large_list(kind)
        or types.is_fixed_size_list(kind)
        or types.is_list_view(kind)
        or types.is_large_list_view(kind)
    )


def cast(array: pa.Array, kind: pa.DataType) -> tuple[pa.Array, Bools]:
    """Casts exactly; what has no exact value of type `kind` is marked.

    Args:
        array: Any array.
        kind: The wanted type.

    Returns:
        The array of type `kind`, null where marked, and the marks, bool
        `(rows,)`.

    Raises:
        pyarrow.ArrowNotImplementedError: No value could ever be cast.

    Example:
    >>> import pyarrow as pa
    >>> values, bad = cast(pa.array(["7", " 8", "9.0", "x", ""]), pa.int64())
    >>> values.to_pylist(), bad.tolist()
    ([7, 8, 9, None, None], [False, False, False, True, False])
    """
    if pa.types.is_string(array.type) and not pa.types.is_string(kind):
        return _parse(array, kind)
    try:
        return array.cast(kind), np.zeros(len(array), np.bool_)
    except pa.ArrowInvalid:
        return _without_failures(array, kind)


def _parse(array: pa.Array, kind: pa.DataType) -> tuple[pa.Array, Bools]:
    hexadecimal = np.zeros(len(array), np.bool_)
    if pa.types.is_integer(kind):
        # Arrow reads 0x10 as 16, which no decimal id means.
        for mark in ("x", "X"):
            found = pc.match_substring(array, mark)
            hexadecimal |= found.fill_null(False).to_numpy(zero_copy_only=False)
    if hexadecimal.any():
        array = pc.if_else(pa.array(hexadecimal), "?", array)
    try:
        return array.cast(kind), np.zeros(len(array), np.bool_)
    except pa.ArrowInvalid:
        trimmed = pc.utf8_trim_whitespace(array)
        empty = pc.equal(trimmed, "")
        trimmed = pc.if_else(empty, pa.scalar(None, pa.string()), trimmed)
        if pa.types.is_integer(kind):
            # Writers make 7.0 of 7 in a column that has a null.
            trimmed = pc.replace_substring_regex(
                trimmed, r"^([+-]?[0-9]+)\.0*$", r"\1"
            )
    hopeless = _hopeless(trimmed, kind)
    hopeful = pc.if_else(pa.array(hopeless), None, trimmed)
    values, bad = _without_failures(hopeful, kind)
    return values, bad | hopeless


def _hopeless(words: pa.Array, kind: pa.DataType) -> Bools:
    """Words that are no numbers at a glance.

    A word that fails costs two exceptions a bisection, too much where a whole
    column is of another type.
    """
    if pa.types.is_integer(kind):
        number = pc.match_substring_regex(words, r"^[+-]?[0-9]+$")
        huge = pc.match_substring_regex(words, r"^[+-]?0*[1-9][0-9]{19}")
        number = pc.and_not(number, huge)
    elif pa.types.is_floating(kind):
        number = pc.match_substring_regex(
            words, r"^[+-]?([0-9.][0-9.eE+-]*|(?i:inf|infinity|nan))$"
        )
    else:
        return np.zeros(len(words), np.bool_)
    marks: Bools = pc.invert(number.fill_null(True)).to_numpy(
        zero_copy_only=False
    )
    return marks


def _without_failures(
    array: pa.Array, kind: pa.DataType
) -> tuple[pa.Array, Bools]:
    bad = np.zeros(len(array), np.bool_)
    bad[_failures(array, kind, 0)] = True
    kept = pc.if_else(pa.array(bad), pa.scalar(None, array.type), array)
    return kept.cast(kind), bad


def _failures(array: pa.Array, kind: pa.DataType, first: int) -> list[int]:
    """Row numbers that cannot be cast, by bisection: few are expected."""
    try:
        array.cast(kind)
    except pa.ArrowInvalid:
        if len(array) == 1:
            return [first]
        middle = len(array) // 2
        return _failures(array.slice(0, middle), kind, first) + _failures(
            array.slice(middle), kind, first + middle
        )
    return []
