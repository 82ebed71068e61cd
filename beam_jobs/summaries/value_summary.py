"""Moments and quantiles that merge to the same bits in any order."""

import dataclasses
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tfplugin import schema

Float32s = npt.NDArray[np.float32]

#: Bits of a float32 that a bucket keeps: sign, exponent, 11 of 23 fraction
#: bits.
_KEPT = np.uint32(0xFFFFF000)
_RANKS = 101

#: Every float32 is a multiple of 2^-149.
_LOWEST_BIT = 149


@dataclasses.dataclass(frozen=True)
class Moments:
    """Number, sum and sum of squares of float32 values, without rounding.

    Sums are whole numbers of Python, so that they do not depend on how the
    values were divided or in which order the parts are merged, and a mean or
    a deviation is rounded once.

    Args:
        count: Number of values.
        total: Their sum in units of 2^-149.
        squares: The sum of their squares in units of 2^-298.

    Example:
    >>> parts = [Moments.of(np.float32(x)) for x in ([1e8, 1], [-1e8, 2])]
    >>> parts[0].merge(parts[1]).mean
    0.75
    """

    count: int = 0
    total: int = 0
    squares: int = 0

    @classmethod
    def of(cls, values: Float32s) -> "Moments":
        """Moments of finite values, shape `(rows,)`."""
        wide = values.astype(np.float64)
        # The square of a float32 is a float64.
        return cls(
            len(wide), _exact_sum(wide, 1), _exact_sum(np.square(wide), 2)
        )

    def merge(self, other: "Moments") -> "Moments":
        """Moments of both sets of values."""
        return Moments(
            self.count + other.count,
            self.total + other.total,
            self.squares + other.squares,
        )

    def to_texts(self) -> list[str]:
        """The numbers in hexadecimal: too long for a number of JSON."""
        return [hex(n) for n in (self.count, self.total, self.squares)]

    @classmethod
    def from_texts(cls, texts: Sequence[str]) -> "Moments":
        """The inverse of `to_texts`."""
        return cls(*(int(text, 16) for text in texts))

    @property
    def mean(self) -> float:
        """The mean; 0 without values."""
        if not self.count:
            return 0.0
        return self.total / (self.count << _LOWEST_BIT)

    @property
    def standard_deviation(self) -> float:
        """Population standard deviation; 0 without values."""
        if not self.count:
            return 0.0
        scaled = self.count * self.squares - self.total**2
        return float(np.sqrt(scaled / (self.count**2 << 2 * _LOWEST_BIT)))


def _exact_sum(values: npt.NDArray[np.float64], power: int) -> int:
    """The sum in units of 2^(-149 power), of which each value is a multiple.

    As Demmel and Nguyen, "Fast Reproducible Floating-Point Summation", 2013,
    but down to the last bit: values are cut at a bit so high that the sum of
    the upper parts is exact in any order; then likewise the lower parts.
    """
    total = 0
    values = values[values != 0]
    while len(values):
        _, exponent = np.frexp(np.max(np.abs(values)))
        step = int(exponent) + len(values).bit_length() - 52
        # What is added to it is rounded to a multiple of 2^step.
        anchor = np.ldexp(1.5, step + 52)
        upper = (values + anchor) - anchor
        number, unit = float(upper.sum()).as_integer_ratio()
        total += (number << _LOWEST_BIT * power) // unit
        values = values - upper
        values = values[values != 0]
    return total


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

    @classmethod
    def merge_all(cls, parts: Sequence["Histogram"]) -> "Histogram":
        """The histogram of the values of all parts."""
        if not parts:
            return cls.of(np.zeros(0, np.float32))
        if len(parts) == 1:
            return parts[0]
        every = np.concatenate([part.edges for part in parts])
        edges, place = np.unique(every, return_inverse=True)
        counts = np.zeros(len(edges), np.int64)
        np.add.at(counts, place, np.concatenate([p.counts for p in parts]))
        return cls(edges, counts)

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """What it is made of."""
        return {"edges": self.edges, "counts": self.counts}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> "Histogram":
        """The inverse of `arrays`."""
        return cls(arrays["edges"], arrays["counts"])

    def quantiles(self, ranks: int) -> tuple[float, ...]:
        """Values at `ranks` evenly spaced ranks; () without values."""
        rows = np.cumsum(self.counts)
        if not len(rows):
            return ()
        # Rank q stands for the value number floor(q (n - 1)), from 0.
        wanted = (rows[-1] - 1) * np.arange(ranks) // (ranks - 1)
        found = self.edges[np.searchsorted(rows, wanted, side="right")]
        return tuple(float(value) for value in found)


#: Buckets that may wait before they are merged.
_WAITING = 1 << 17


class HistogramBuilder:
    """A histogram that grows; merges are put off until they are worth it.

    Example:
    >>> builder = HistogramBuilder()
    >>> for value in (4, 2, 3):
    ...     builder.add(Histogram.of(np.float32([value])))
    >>> builder.histogram().quantiles(3)
    (2.0, 3.0, 4.0)
    """

    def __init__(self) -> None:
        self._parts: list[Histogram] = []
        self._waiting = 0

    def add(self, histogram: Histogram) -> None:
        """Adds the values of a histogram."""
        self._parts.append(histogram)
        self._waiting += len(histogram.edges)
        if self._waiting > _WAITING + 2 * len(self._parts[0].edges):
            self.histogram()

    def histogram(self) -> Histogram:
        """The histogram of all values added so far."""
        merged = Histogram.merge_all(self._parts)
        self._parts, self._waiting = [merged], len(merged.edges)
        return merged


class DenseSummary:
    """Statistics of the values of a dense feature, as they are added.

    The same values give the same numbers, however they are divided and in
    whatever order they come.

    Attributes:
        missing: Missing values.
        minimum: Smallest value; infinity without values.
        maximum: Largest value; -infinity without values.
        moments: Of the values.
        log_moments: Of sign(x) log(1 + |x|), rounded to float32.
        buckets: The histogram of the values.

    Example:
    >>> summary = DenseSummary()
    >>> summary.add(np.float32([1, 3]), missing=1)
    >>> record = summary.to_record()
    >>> record.mean, record.missing, record.quantiles[100]
    (2.0, 1, 3.0)
    """

    def __init__(self) -> None:
        self.missing = 0
        self.minimum = np.inf
        self.maximum = -np.inf
        self.moments = Moments()
        self.log_moments = Moments()
        self.buckets = HistogramBuilder()

    def add(self, values: Float32s, missing: int) -> None:
        """Adds values.

        Args:
            values: Finite, float32 `(rows,)`.
            missing: Number of values that are missing besides.
        """
        wide = values.astype(np.float64)
        logs = np.copysign(np.log1p(np.abs(wide)), wide).astype(np.float32)
        self.missing += missing
        self.minimum = float(np.min(values, initial=self.minimum))
        self.maximum = float(np.max(values, initial=self.maximum))
        self.moments = self.moments.merge(Moments.of(values))
        self.log_moments = self.log_moments.merge(Moments.of(logs))
        self.buckets.add(Histogram.of(values))

    def merge(self, other: "DenseSummary") -> None:
        """Adds the values of another."""
        self.missing += other.missing
        self.minimum = min(self.minimum, other.minimum)
        self.maximum = max(self.maximum, other.maximum)
        self.moments = self.moments.merge(other.moments)
        self.log_moments = self.log_moments.merge(other.log_moments)
        self.buckets.add(other.buckets.histogram())

    def numbers(self) -> dict[str, Any]:
        """All but the histogram, as JSON holds it."""
        return {
            "missing": self.missing,
            "minimum": self.minimum,
            "maximum": self.maximum,
            "moments": self.moments.to_texts(),
            "log_moments": self.log_moments.to_texts(),
        }

    @classmethod
    def from_numbers(
        cls, numbers: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]
    ) -> "DenseSummary":
        """The inverse of `numbers`, and of the histogram's `arrays`."""
        made = cls()
        made.missing = numbers["missing"]
        made.minimum = numbers["minimum"]
        made.maximum = numbers["maximum"]
        made.moments = Moments.from_texts(numbers["moments"])
        made.log_moments = Moments.from_texts(numbers["log_moments"])
        made.buckets.add(Histogram.from_arrays(arrays))
        return made

    def to_record(self) -> schema.DenseStatistics:
        """The record of `statistics.json`."""
        moments, logs = self.moments, self.log_moments
        lowest, highest = self.minimum, self.maximum
        if not moments.count:
            lowest = highest = 0.0
        quantiles = self.buckets.histogram().quantiles(_RANKS)
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
                float(value)
                for value in np.clip(
                    quantiles or (0.0,) * _RANKS, lowest, highest
                )
            ),
        )
