"""What the ids of one feature are like, in bounded memory."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from beam_jobs import conversions
from beam_jobs import row_hash
from beam_jobs.batches import UInt64s
from beam_jobs.summaries import murmur
from beam_jobs.summaries import value_summary
from beam_jobs.summaries.distinct_ids import DistinctIds
from beam_jobs.summaries.heavy_hitters import HeavyHitters
from tfplugin import schema

_RANKS = 101
_HITTERS = "hitters_"
_LENGTHS = "lengths_"


class IdSummary:
    """Sketches of the ids of one feature, as they are added.

    Args:
        feature: The feature.

    Attributes:
        distinct: Its distinct ids.
        hitters: Its frequent ids.
        lengths: Lengths of its lists.

    Example:
    >>> cart = schema.IdFeature(dtype="int64", table="item", is_list=True)
    >>> summary = IdSummary(cart)
    >>> keys = np.arange(2, dtype=np.uint64)
    >>> summary.add(pa.array([[7, 7, 8], []], pa.list_(pa.int64())), keys)
    >>> record = summary.to_record()
    >>> record.values, record.distinct, record.heavy_hitters[0].id
    (3, 2.0, 7)
    >>> record.length_quantiles[0], record.length_quantiles[100]
    (0.0, 3.0)
    """

    def __init__(self, feature: schema.IdFeature) -> None:
        self._dtype = pa.int64() if feature.dtype == "int64" else pa.string()
        self._missing: int | str = schema.MISSING_INT64
        if feature.dtype == "string":
            self._missing = schema.MISSING_STRING
        self.distinct = DistinctIds()
        self.hitters = HeavyHitters(self._dtype)
        self.lengths = value_summary.HistogramBuilder()

    def add(self, column: pa.Array, keys: UInt64s) -> None:
        """Adds rows.

        Args:
            column: The feature's column, ids or lists of ids `(rows,)`.
            keys: uint64 `(rows,)`, `row_hash.row_keys` of the rows.
        """
        if conversions.is_list(column.type):
            lengths = pc.list_value_length(column).fill_null(0).to_numpy()
            self.lengths.add(
                value_summary.Histogram.of(lengths.astype(np.float32))
            )
            column = column.flatten()
            keys = _element_keys(keys, lengths)
            # Only in lists is a missing id a value of its own.
            seen = pc.not_equal(column, self._missing)
        else:
            seen = column.is_valid()
        kept = seen.to_numpy(zero_copy_only=False)
        if not kept.all():
            column, keys = column.filter(seen), keys[kept]
        self._add_ids(column.cast(self._dtype), row_hash.fractions(keys))

    def _add_ids(self, ids: pa.Array, draws: npt.NDArray[np.float64]) -> None:
        counts = None
        # Of few ids each is hashed once; of many that takes longer.
        if self.hitters.complete:
            encoded = ids.dictionary_encode()
            codes = encoded.indices.to_numpy()
            ids = encoded.dictionary
            counts = np.bincount(codes, minlength=len(ids))
            smallest = np.ones(len(ids))
            np.minimum.at(smallest, codes, draws)
            draws = smallest
        hashes = murmur.hash_ids(ids)
        self.distinct.add(ids, hashes)
        self.hitters.add(ids, hashes, draws, counts)

    def merge(self, other: "IdSummary") -> None:
        """Adds the rows of another."""
        self.distinct.merge(other.distinct)
        self.hitters.merge(other.hitters)
        self.lengths.add(other.lengths.histogram())

    def decay(self, factor: float) -> None:
        """Multiplies numbers of occurrences with a factor in (0, 1]."""
        self.hitters.decay(factor)

    def to_record(self) -> schema.ColumnSketch:
        """The record of `statistics.json`."""
        values = self.hitters.occurrences
        estimate, lower, upper = self.distinct.bounds()
        return schema.ColumnSketch(
            values=int(values) if values.is_integer() else values,
            distinct=estimate,
            distinct_lower=lower,
            distinct_upper=upper,
            heavy_hitters=self.hitters.told(),
            heavy_hitter_error=self.hitters.error,
            length_quantiles=self.lengths.histogram().quantiles(_RANKS),
        )

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """What it is made of."""
        arrays: dict[str, npt.NDArray[Any]] = {
            "distinct": np.frombuffer(self.distinct.to_bytes(), np.uint8)
        }
        for name, array in self.hitters.arrays().items():
            arrays[_HITTERS + name] = array
        for name, array in self.lengths.histogram().arrays().items():
            arrays[_LENGTHS + name] = array
        ids = self.hitters.ids
        if pa.types.is_string(ids.type):
            texts = [text.encode() for text in ids.to_pylist()]
            sizes = np.array([len(text) for text in texts], np.int64)
            arrays["id_sizes"] = sizes
            arrays["ids"] = np.frombuffer(b"".join(texts), np.uint8)
        else:
            arrays["ids"] = ids.to_numpy()
        return arrays

    @classmethod
    def from_arrays(
        cls,
        feature: schema.IdFeature,
        arrays: Mapping[str, npt.NDArray[Any]],
    ) -> "IdSummary":
        """The inverse of `arrays`."""
        made = cls(feature)
        made.distinct = DistinctIds.from_bytes(arrays["distinct"].tobytes())
        made.hitters = HeavyHitters.from_arrays(
            _ids(made.hitters.ids.type, arrays), _part(arrays, _HITTERS)
        )
        made.lengths.add(
            value_summary.Histogram.from_arrays(_part(arrays, _LENGTHS))
        )
        return made


def _ids(
    dtype: pa.DataType, arrays: Mapping[str, npt.NDArray[Any]]
) -> pa.Array:
    if "id_sizes" not in arrays:
        return pa.array(arrays["ids"], dtype)
    ends = np.cumsum(arrays["id_sizes"])
    text = arrays["ids"].tobytes()
    starts = ends - arrays["id_sizes"]
    return pa.array(
        [
            text[start:end].decode()
            for start, end in zip(starts, ends, strict=True)
        ],
        dtype,
    )


def _part(
    arrays: Mapping[str, npt.NDArray[Any]], prefix: str
) -> dict[str, npt.NDArray[Any]]:
    return {
        name.removeprefix(prefix): array
        for name, array in arrays.items()
        if name.startswith(prefix)
    }


def _element_keys(keys: UInt64s, lengths: npt.NDArray[np.integer]) -> UInt64s:
    """A key for each element of the lists of some rows."""
    wide = lengths.astype(np.int64)
    firsts = np.repeat(np.cumsum(wide) - wide, wide)
    places = (np.arange(len(firsts)) - firsts).astype(np.uint64)
    return row_hash.mix(np.repeat(keys, wide) ^ places)
