"""Seeded 64-bit hashes of rows: the same on every machine, for ever."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas.util
import pyarrow as pa
import pyarrow.compute as pc

from beam_jobs import conversions
from beam_jobs.batches import Int64s
from beam_jobs.batches import UInt64s

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_NULL = np.uint64(0xA0761D6478BD642F)


def mix(values: UInt64s) -> UInt64s:
    """The finaliser of SplitMix64: a bijection whose every bit depends on all.

    Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators",
    OOPSLA 2014; constants of Vigna's splitmix64.c.

    Example:
    >>> hex(mix(np.zeros(1, np.uint64))[0])
    '0xe220a8397b1dcdaf'
    """
    with np.errstate(over="ignore"):
        z = values + _GOLDEN
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def hash_columns(columns: Sequence[pa.Array], seed: int) -> UInt64s:
    """One hash a row.

    Rows that are equal in every column get the same hash, whatever their
    batch, chunk or dictionary; null is a value like others.

    Args:
        columns: Arrays of equal length, of integers, booleans, floats,
            strings, bytes, dates, timestamps or decimals.
        seed: Any number >= 0.

    Returns:
        uint64 `(rows,)`.
    """
    hashes = np.full(len(columns[0]), seed % 2**64, np.uint64)
    for column in columns:
        hashes = mix(hashes ^ hash_values(column))
    return hashes


def hash_values(column: pa.Array) -> UInt64s:
    """One hash a value, without a seed; see `hash_columns`.

    Raises:
        pyarrow.ArrowNotImplementedError: The type has no hash (a list).
    """
    column = conversions.plain(column)
    kind = column.type
    valid = column.is_valid().to_numpy(zero_copy_only=False)
    if pa.types.is_floating(kind):
        # Adding 0.0 turns -0.0 into the 0.0 it equals.
        floats = column.cast(pa.float64()).fill_null(0.0).to_numpy() + 0.0
        floats = np.where(np.isnan(floats), np.nan, floats)
        hashes = mix(floats.view(np.uint64))
    elif pa.types.is_uint64(kind):
        hashes = mix(column.fill_null(0).to_numpy())
    elif pa.types.is_integer(kind) or pa.types.is_boolean(kind):
        integers = column.cast(pa.int64()).fill_null(0).to_numpy()
        hashes = mix(integers.view(np.uint64))
    elif pa.types.is_temporal(kind):
        # Integers of the type's own unit.
        width = pa.int32() if kind.bit_width == 32 else pa.int64()
        integers = column.view(width).cast(pa.int64()).fill_null(0).to_numpy()
        hashes = mix(integers.view(np.uint64))
    elif pa.types.is_binary(kind):
        # Need not be UTF-8; what is has the hash of its text.
        hashes = _hash_text(column)
    else:
        hashes = _hash_text(column.cast(pa.string()))
    return np.where(valid, hashes, _NULL)


def _hash_text(column: pa.Array) -> UInt64s:
    encoded = pc.dictionary_encode(column.fill_null(b""))
    words = np.asarray(encoded.dictionary.to_pylist(), dtype=object)
    hashes: UInt64s = pandas.util.hash_array(words, categorize=False)
    rows: UInt64s = hashes[encoded.indices.to_numpy()]
    return rows


def row_keys(
    *, file: int, positions: Int64s, occurrences: Int64s, seed: int
) -> UInt64s:
    """The key by which rows are shuffled: of where a row stands.

    Not of what it holds, or equal rows would end up side by side.

    Args:
        file: Index of the file.
        positions: int64 `(rows,)`, place in the file.
        occurrences: int64 `(rows,)`, number among the rows that a join made
            of one row.
        seed: Any number >= 0.

    Returns:
        uint64 `(rows,)`.
    """
    start = mix(np.full(1, seed % 2**64, np.uint64))
    keys = mix(mix(start ^ np.uint64(file)) ^ positions.view(np.uint64))
    return mix(keys ^ occurrences.view(np.uint64))


def fractions(hashes: UInt64s) -> npt.NDArray[np.float64]:
    """Hashes as numbers of [0, 1): their 53 upper bits."""
    return (hashes >> np.uint64(11)).astype(np.float64) * 2.0**-53
