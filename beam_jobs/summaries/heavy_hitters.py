"""Which ids are the most frequent of a column, in bounded memory."""

import dataclasses
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from beam_jobs.batches import Int64s
from beam_jobs.batches import UInt64s
from beam_jobs.summaries import murmur
from tfplugin import schema

Float64s = npt.NDArray[np.float64]

_ROWS = 4
_LG_WIDTH = 13
_WIDTH = 1 << _LG_WIDTH
#: Ids that are kept; ids that are told.
_KEPT = 8192
_TOLD = 20


class HeavyHitters:
    """Finds frequent ids and bounds their numbers of occurrences.

    What it says does not depend on how occurrences were divided among
    workers, nor on the order in which their results are merged. Apache
    DataSketches' own sketch of frequent items depends on that from its first
    purge on, and has whole weights, which cannot decay; the bounds here are
    of the same kind, an upper bound that always holds and an error that is a
    share of all occurrences.

    * How often: a count-min sketch of 4 rows of 8192 counters. The estimate
      is never too low, and too high by more than e / 8192 = 0.033 % of the
      other ids' occurrences with a probability of e^-4 = 1.8 %. Where fewer
      than 8192 ids were seen, an id that has a counter to itself is exact.
    * Which ids: those with the 8192 smallest keys. Every occurrence draws a
      number from the exponential distribution by a hash of its place in the
      log, and an id's key is its smallest: a weighted sample without
      replacement. An id with the share s of all occurrences is not among
      them with a probability of about e^(-8192 s): 3e-4 for 0.1 %.

    Args:
        dtype: Of the ids, int64 or string.

    Attributes:
        occurrences: Their number.
        counters: float64 `(4, 8192)`.
        kept: Ids with the smallest keys; `settle` brings it up to date.

    Example:
    >>> ids = pa.array([7, 5, 7])
    >>> seen = HeavyHitters(pa.int64())
    >>> seen.add(ids, murmur.hash_ids(ids), np.array([0.1, 0.2, 0.3]))
    >>> [(hit.id, hit.lower, hit.upper) for hit in seen.told()]
    [(7, 2, 2), (5, 1, 1)]

    References: Cormode and Muthukrishnan, "An Improved Data Stream Summary:
    The Count-Min Sketch and its Applications", 2005; Cohen, "Stream Sampling
    for Frequency Cap Statistics", KDD 2015 (unaggregated data, cap infinite).
    """

    def __init__(self, dtype: pa.DataType) -> None:
        self.occurrences = 0.0
        self.counters = np.zeros((_ROWS, _WIDTH))
        self.kept = _Kept.none(dtype)
        self._waiting: list[_Kept] = []

    def add(
        self,
        ids: pa.Array,
        hashes: UInt64s,
        draws: Float64s,
        counts: Int64s | None = None,
    ) -> None:
        """Adds occurrences.

        Args:
            ids: int64 or string `(n,)`, without nulls.
            hashes: Their `murmur.hash_ids`.
            draws: float64 `(n,)` in [0, 1), uniform, a function of the place
                of the occurrence in the log; the smallest one of several.
            counts: int64 `(n,)`, occurrences; None for one each.
        """
        self.occurrences += float(len(ids) if counts is None else counts.sum())
        for row, counters in enumerate(self.counters):
            counters += np.bincount(
                _columns(hashes, row), weights=counts, minlength=_WIDTH
            )
        # A draw that rounding puts on the other side is sorted out later.
        limit = -np.expm1(-self.kept.limit) * (1 + 1e-12)
        rows = np.flatnonzero(draws <= limit)
        if len(rows):
            keys = -np.log1p(-draws[rows])
            self._wait(_Kept(ids.take(pa.array(rows)), hashes[rows], keys))

    def merge(self, other: "HeavyHitters") -> None:
        """Adds the occurrences of another."""
        self.occurrences += other.occurrences
        self.counters += other.counters
        self._wait(other.settle())

    def decay(self, factor: float) -> None:
        """Multiplies all numbers of occurrences with a factor in (0, 1]."""
        self.occurrences *= factor
        self.counters *= factor
        kept = self.settle()
        self.kept = dataclasses.replace(kept, keys=kept.keys / factor)

    @property
    def complete(self) -> bool:
        """Whether all ids that were seen are kept."""
        return self.settle().complete

    def _wait(self, found: "_Kept") -> None:
        # Sorting is put off until it is worth it.
        self._waiting.append(found)
        if sum(len(part.keys) for part in self._waiting) > _KEPT:
            self.settle()

    def settle(self) -> "_Kept":
        """The ids that are kept, of all occurrences so far."""
        if self._waiting:
            self.kept = _Kept.merge([self.kept, *self._waiting])
            self._waiting = []
        return self.kept

    @property
    def error(self) -> float:
        """What an estimate may exceed the truth by, with 98.2 % confidence."""
        return float(np.e / _WIDTH * self.occurrences)

    def told(self) -> tuple[schema.HeavyHitter, ...]:
        """The 20 ids with the highest estimates, the most frequent first.

        An id whose lower bound is 0 is left out: in a column of many ids that
        are all about as frequent, nothing is told.
        """
        kept = self.settle()
        cells = np.stack(
            [
                row[_columns(kept.hashes, index)]
                for index, row in enumerate(self.counters)
            ]
        )
        upper = cells.min(axis=0, initial=np.inf)
        lower = upper - np.e / _WIDTH * (self.occurrences - upper)
        lower = np.where(self._alone(), upper, np.maximum(lower, 0.0))
        order = np.lexsort((kept.hashes, -upper))
        order = order[lower[order] > 0][:_TOLD]
        return tuple(
            schema.HeavyHitter(
                id=kept.ids[int(row)].as_py(),
                estimate=_plain(upper[row]),
                lower=_plain(lower[row]),
                upper=_plain(upper[row]),
            )
            for row in order
        )

    def _alone(self) -> npt.NDArray[np.bool_]:
        """Whether each kept id is known to share one of its counters not."""
        hashes = self.settle().hashes
        alone = np.zeros(len(hashes), np.bool_)
        if self.kept.complete:
            for row in range(_ROWS):
                columns = _columns(hashes, row)
                ids = np.bincount(columns, minlength=_WIDTH)
                alone |= ids[columns] == 1
        return alone

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """What it is made of, but for the ids."""
        kept = self.settle()
        return {
            "occurrences": np.array([self.occurrences]),
            "counters": self.counters.ravel(),
            "keys": kept.keys,
            "complete": np.array([kept.complete], np.uint8),
        }

    @property
    def ids(self) -> pa.Array:
        """The kept ids."""
        return self.settle().ids

    @classmethod
    def from_arrays(
        cls, ids: pa.Array, arrays: Mapping[str, npt.NDArray[Any]]
    ) -> "HeavyHitters":
        """The inverse of `arrays` and `ids`."""
        made = cls(ids.type)
        made.occurrences = float(arrays["occurrences"][0])
        made.counters = arrays["counters"].reshape(_ROWS, _WIDTH).copy()
        made.kept = _Kept(
            ids,
            murmur.hash_ids(ids),
            arrays["keys"],
            bool(arrays["complete"][0]),
        )
        return made


@dataclasses.dataclass(frozen=True)
class _Kept:
    """The ids with the smallest keys.

    Args:
        ids: `(n,)`, distinct.
        hashes: uint64 `(n,)`.
        keys: float64 `(n,)`.
        complete: Whether no id was ever left out.
    """

    ids: pa.Array
    hashes: UInt64s
    keys: Float64s
    complete: bool = True

    @classmethod
    def none(cls, dtype: pa.DataType) -> "_Kept":
        """No ids."""
        hashes = np.zeros(0, np.uint64)
        return cls(pa.array([], dtype), hashes, np.zeros(0))

    @property
    def limit(self) -> float:
        """Above it no key can matter."""
        return np.inf if self.complete else float(self.keys.max())

    @classmethod
    def merge(cls, parts: Sequence["_Kept"]) -> "_Kept":
        """The ids of all parts, in which one may be several times."""
        encoded = pa.concat_arrays(
            [part.ids for part in parts]
        ).dictionary_encode()
        codes = encoded.indices.to_numpy()
        keys = np.full(len(encoded.dictionary), np.inf)
        np.minimum.at(keys, codes, np.concatenate([p.keys for p in parts]))
        hashes = np.empty(len(keys), np.uint64)
        hashes[codes] = np.concatenate([part.hashes for part in parts])
        # Sorted, so that equal ids have equal bytes.
        order = np.lexsort((hashes, keys))
        complete = len(order) <= _KEPT and all(p.complete for p in parts)
        order = order[:_KEPT]
        ids = encoded.dictionary.take(pa.array(order))
        return cls(ids, hashes[order], keys[order], complete)


def _columns(hashes: UInt64s, row: int) -> Int64s:
    """Each row of counters takes bits of the hash of its own."""
    shift = np.uint64(row * _LG_WIDTH)
    return ((hashes >> shift) & np.uint64(_WIDTH - 1)).view(np.int64)


def _plain(value: float) -> int | float:
    """Whole numbers as such: nothing has decayed."""
    return int(value) if float(value).is_integer() else float(value)
