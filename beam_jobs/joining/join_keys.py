"""Keys of two logs: one type, one hash, and numbers that are equal as they."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from beam_jobs import conversions
from beam_jobs import row_hash
from beam_jobs.batches import Bools
from beam_jobs.batches import Int64s
from beam_jobs.batches import UInt64s

_SEED = 0x6A6F696E


def key_type(left: pa.DataType, right: pa.DataType) -> pa.DataType | None:
    """The type in which values of two types are compared.

    Args:
        left: Type of one log's column.
        right: Type of the other's.

    Returns:
        A type that holds the values of both exactly; None where no value of
        one could equal one of the other, or for floats and lists.

    Example:
    >>> import pyarrow as pa
    >>> key_type(pa.int32(), pa.uint8()), key_type(pa.int64(), pa.string())
    (DataType(int64), None)
    """
    types = pa.types
    left, right = (conversions.plain_type(kind) for kind in (left, right))
    if left == pa.null():
        left = right
    if right == pa.null():
        right = left
    if types.is_integer(left) and types.is_integer(right):
        if not (types.is_uint64(left) or types.is_uint64(right)):
            return pa.int64()
        if left == right:
            return left
        return pa.decimal128(20, 0)
    if _is_text(left) and _is_text(right):
        return left if left == right else pa.binary()
    if left != right:
        return None
    hashable = (
        types.is_boolean(left)
        or types.is_date(left)
        or types.is_timestamp(left)
        or types.is_decimal(left)
        or types.is_null(left)
    )
    return left if hashable else None


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_binary(kind))


def canonical(
    rows: pa.RecordBatch, names: Sequence[str], kinds: Sequence[pa.DataType]
) -> list[pa.Array]:
    """Columns of `rows` in the types of `key_type`."""
    columns = [conversions.plain(rows.column(name)) for name in names]
    return [
        column if column.type == kind else column.cast(kind)
        for column, kind in zip(columns, kinds, strict=True)
    ]


def complete(keys: Sequence[pa.Array]) -> Bools:
    """Rows none of whose keys is null, bool `(rows,)`."""
    valid = np.ones(len(keys[0]), np.bool_)
    for column in keys:
        if column.null_count:
            valid &= column.is_valid().to_numpy(zero_copy_only=False)
    return valid


def hashes(keys: Sequence[pa.Array]) -> UInt64s:
    """A hash a row; equal keys of either log have the same."""
    return row_hash.hash_columns(keys, _SEED)


def place_hashes(
    files: Int64s, positions: Int64s, occurrences: Int64s
) -> UInt64s:
    """A hash a row of where it stands, which no two rows share by kind."""
    found = row_hash.mix(files.view(np.uint64))
    found = row_hash.mix(found ^ positions.view(np.uint64))
    return row_hash.mix(found ^ occurrences.view(np.uint64))


def parts(values: UInt64s, number: int, level: int) -> Int64s:
    """Which of `number` parts each hash belongs to, int64 `(rows,)`.

    Args:
        values: Hashes.
        number: How many parts.
        level: Hashes that share a part of one level spread over all parts
            of the next.
    """
    salt = row_hash.mix(np.full(1, level, np.uint64))
    mixed = row_hash.mix(values ^ salt)
    return (mixed % np.uint64(number)).astype(np.int64)


def encode(
    left: Sequence[pa.Array], right: Sequence[pa.Array]
) -> tuple[Int64s, Int64s]:
    """Numbers keys, exactly: no hash decides on what is equal.

    Args:
        left: Key columns of one log, `(m,)` each; nulls allowed.
        right: Those of the other, of the same types, `(n,)` each, not null.

    Returns:
        int64 `(m,)` and `(n,)`: the same number >= 0 where the keys are
        equal; -1 for a key that `right` does not have.

    Example:
    >>> import pyarrow as pa
    >>> left = [pa.array(["b", "a", None, "c"])]
    >>> one, two = encode(left, [pa.array(["a", "b", "a"])])
    >>> one.tolist(), two.tolist()
    ([1, 0, -1, -1], [0, 1, 0])
    """
    of_left, of_right = _encode_column(left[0], right[0])
    for column, other in zip(left[1:], right[1:], strict=True):
        more_left, more_right = _encode_column(column, other)
        number = int(more_right.max(initial=0)) + 1
        missing = (of_left < 0) | (more_left < 0)
        pairs = np.where(missing, -1, of_left * number + more_left)
        of_left, of_right = _encode_column(
            pa.array(pairs), pa.array(of_right * number + more_right)
        )
    return of_left, of_right


def _encode_column(left: pa.Array, right: pa.Array) -> tuple[Int64s, Int64s]:
    if right.type == pa.null() or not len(right):
        return np.full(len(left), -1, np.int64), np.zeros(len(right), np.int64)
    encoded = right.dictionary_encode()
    found = pc.index_in(left, value_set=encoded.dictionary).fill_null(-1)
    return (
        found.to_numpy().astype(np.int64),
        encoded.indices.to_numpy().astype(np.int64),
    )
