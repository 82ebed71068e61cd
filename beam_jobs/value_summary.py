"""Moments and quantiles that merge to the same bits in any order."""

import dataclasses
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from tfplugin import schema

#: Where a batch begins: file, position, occurrence.
Place: TypeAlias = tuple[int, ...]
Float32s: TypeAlias = npt.NDArray[np.float32]

#: Bits of a float32 that a bucket keeps: sign, exponent, 11 of 23 fraction
#: bits.
_KEPT = np.uint32(0xFFFFF000)
_RANKS = 101


@dataclasses.dataclass(frozen=True)
class Moments:
    """Number, mean and sum of squared deviations of some values.

    Args:
        count: Number of values.
        mean: Their mean.
        squares: Sum of (x - mean)^2.
    """

    count: int = 0
    mean: float = 0.0
    squares: float = 0.0

    @classmethod
    def of(cls, values: npt.NDArray[np.floating]) -> "Moments":
        """Moments of an array, in float64."""
        if not len(values):
            return cls()
        wide = values.astype(np.float64)
        mean = float(wide.mean())
        return cls(len(wide), mean, float(np.square(wide - mean).sum()))

    def merge(self, other: "Moments") -> "Moments":
        """Moments of both sets of values.

        Chan, Golub and LeVeque, "Updating Formulae and a Pairwise Algorithm
        for Computing Sample Variances", 1979.
        """
        count = self.count + other.count
        if not count:
            return self
        delta = other.mean - self.mean
        share = other.count / count
        return Moments(
            count,
            self.mean + delta * share,
            self.squares + other.squares + delta**2 * self.count * share,
        )

    @property
    def standard_deviation(self) -> float:
        """Population standard deviation; 0 without values."""
        return float(np.sqrt(self.squares / self.count)) if self.count else 0.0


@dataclasses.dataclass(frozen=True)
class Histogram:
    """Counts of float32 values, cut to their leading bits.

    A bucket holds the values that agree in sign, exponent and the first 11
    fraction bits, so that its edge nearest zero is within a relative error
    of 2^-11 of each. A mergeable quantile sketch with relative error, as
    Masson, Rim and Lee, "DDSketch", arXiv 1908.10693, with the floating
    point format as its logarithm. Subnormal numbers have an absolute error
    of at most 2^-137.

    Args:
        edges: float32 `(n,)`, sorted, distinct.
        counts: int64 `(n,)`.

    Example:
    >>> Histogram.of(np.float32([1, 5, 5, 9])).quantiles(3)
    (1.0, 5.0, 9.0)
    """

    edges: Float32s
    counts: npt.NDArray[np.int64]

    @classmethod
    def of(cls, values: Float32s) -> "Histogram":
        """The histogram of finite float32 values, shape `(rows,)`."""
        bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
        # Adding 0.0 turns -0.0 into the 0.0 it equals.
        edges = (bits & _KEPT).view(np.float32) + np.float32(0)
        return cls(*np.unique(edges, return_counts=True))

    def merge(self, other: "Histogram") -> "Histogram":
        """The histogram of both sets of values."""
        both = np.concatenate([self.edges, other.edges])
        edges, place = np.unique(both, return_inverse=True)
        counts = np.zeros(len(edges), np.int64)
        np.add.at(counts, place, np.concatenate([self.counts, other.counts]))
        return Histogram(edges, counts)

    def quantiles(self, ranks: int) -> tuple[float, ...]:
        """Values at `ranks` evenly spaced ranks; () without values."""
        rows = np.cumsum(self.counts)
        if not len(rows):
            return ()
        # Rank q stands for the value number floor(q (n - 1)), from 0.
        wanted = (rows[-1] - 1) * np.arange(ranks) // (ranks - 1)
        found = self.edges[np.searchsorted(rows, wanted, side="right")]
        return tuple(float(value) for value in found)


@dataclasses.dataclass(frozen=True)
class DenseSummary:
    """Statistics of the values of a dense feature in one or more batches.

    Args:
        missing: Missing values.
        minimum: Smallest value; infinity without values.
        maximum: Largest value; -infinity without values.
        histogram: Their histogram.
        moments: By batch, under the place of its first row: what
            is added up in the order of batches does not depend on the order
            in which workers finish.
        log_moments: Likewise of sign(x) log(1 + |x|).
    """

    missing: int
    minimum: float
    maximum: float
    histogram: Histogram
    moments: dict[Place, Moments]
    log_moments: dict[Place, Moments]

    @classmethod
    def of(cls, values: Float32s, missing: int, batch: Place) -> "DenseSummary":
        """Statistics of one batch's values that are not missing."""
        wide = values.astype(np.float64)
        logs = np.copysign(np.log1p(np.abs(wide)), wide)
        return cls(
            missing,
            float(np.min(values, initial=np.inf)),
            float(np.max(values, initial=-np.inf)),
            Histogram.of(values),
            {batch: Moments.of(wide)},
            {batch: Moments.of(logs)},
        )

    def merge(self, other: "DenseSummary") -> "DenseSummary":
        """Statistics of both sets of batches."""
        return DenseSummary(
            self.missing + other.missing,
            min(self.minimum, other.minimum),
            max(self.maximum, other.maximum),
            self.histogram.merge(other.histogram),
            {**self.moments, **other.moments},
            {**self.log_moments, **other.log_moments},
        )

    def to_record(self) -> schema.DenseStatistics:
        """The record of `statistics.json`."""
        moments = _merge_in_order(self.moments)
        logs = _merge_in_order(self.log_moments)
        lowest, highest = self.minimum, self.maximum
        if not moments.count:
            lowest = highest = 0.0
        quantiles = self.histogram.quantiles(_RANKS) or (0.0,) * _RANKS
        return schema.DenseStatistics(
            count=moments.count,
            missing=self.missing,
            mean=moments.mean,
            standard_deviation=moments.standard_deviation,
            log1p_mean=logs.mean,
            log1p_standard_deviation=logs.standard_deviation,
            minimum=lowest,
            maximum=highest,
            quantiles=tuple(
                float(value) for value in np.clip(quantiles, lowest, highest)
            ),
        )


def _merge_in_order(parts: dict[Place, Moments]) -> Moments:
    merged = Moments()
    for batch in sorted(parts):
        merged = merged.merge(parts[batch])
    return merged
