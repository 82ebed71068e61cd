"""Distances of two columns of numbers that are known by their quantiles."""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from tfplugin.planning import drift_distances

#: Ranks of a dataset's quantiles, from 0 to 1.
RANKS = 101
#: Bins of equal weight of both columns together.
BINS = 20
# A stored quantile is within 2^-11 of its value, on either side.
_CLOSE = 1.01 * 2.0**-10
# Critical value of the two-sample Kolmogorov-Smirnov test at 0.001.
_CRITICAL = math.sqrt(-math.log(drift_distances.SIGNIFICANCE / 2.0) / 2.0)


@dataclasses.dataclass(frozen=True)
class Numbers:
    """A column of numbers, as far as drift looks at it.

    Args:
        count: Values that are not missing; not 0.
        quantiles: Values at evenly spaced ranks from 0 to 1, `(n,)`,
            ascending.
    """

    count: int
    quantiles: np.ndarray

    @classmethod
    def of(cls, values: np.ndarray) -> "Numbers":
        """The quantiles of raw values, at `RANKS` ranks.

        Args:
            values: `(n,)`, without NaN.

        Example:
        >>> Numbers.of(np.arange(1000.0)).quantiles[[0, 50, 100]].tolist()
        [0.0, 499.0, 999.0]
        """
        ranks = np.linspace(0.0, 1.0, RANKS)
        return cls(
            len(values), np.quantile(values, ranks, method="inverted_cdf")
        )

    @classmethod
    def stored(cls, count: int, quantiles: Sequence[float]) -> "Numbers":
        """What `statistics.json` says of a column; at least one quantile."""
        # A single one is both the lowest and the highest.
        known = [*quantiles, *quantiles] if len(quantiles) == 1 else quantiles
        return cls(count, np.asarray(known, np.float64))

    def below(self, values: np.ndarray) -> np.ndarray:
        """Share of numbers under each value; `at_most` with `<` for `<=`."""
        return self._shares(values, "left")

    def at_most(self, values: np.ndarray) -> np.ndarray:
        """Share of numbers up to each value, float64 `(n,)`.

        Between two quantiles it grows linearly; a value that fills several
        ranks is a jump.

        Example:
        >>> Numbers.stored(9, [0, 1, 1, 1, 3]).at_most([0.5, 1.0, 2.0]).tolist()
        [0.125, 0.75, 0.875]
        """
        return self._shares(values, "right")

    def _shares(self, values: np.ndarray, side: str) -> np.ndarray:
        values = np.asarray(values, np.float64)
        known = self.quantiles
        places = np.searchsorted(known, values, side=side)  # type: ignore[call-overload]
        last = len(known) - 1
        lower = np.clip(places - 1, 0, last)
        upper = np.clip(places, 0, last)
        width = known[upper] - known[lower]
        inside = np.divide(
            values - known[lower],
            width,
            out=np.zeros(values.shape),
            where=width > 0,
        )
        shares = (lower + np.clip(inside, 0.0, 1.0)) / last
        if side == "left":
            return np.where(places == 0, 0.0, shares)
        return np.where(places > last, 1.0, np.where(places == 0, 0.0, shares))


def number_measures(
    a: Numbers, b: Numbers
) -> dict[str, drift_distances.Measured]:
    """Measures of one column of numbers.

    Args:
        a: The baseline's.
        b: The other side's.

    Returns:
        `kolmogorov_smirnov`, the L-infinity distance of the cumulative
        distributions; `l_infinity` and `jensen_shannon` of the shares of
        `BINS` bins, cut at quantiles of both.

    Example:
    >>> a = Numbers.of(np.arange(1000.0))
    >>> found = number_measures(a, Numbers.of(np.arange(1000.0) + 250))
    >>> round(found["kolmogorov_smirnov"].value, 2)
    0.25
    """
    bins_a, bins_b = _histograms(a, b)
    return {
        "kolmogorov_smirnov": kolmogorov_smirnov(a, b),
        "l_infinity": drift_distances.l_infinity(bins_a, bins_b),
        "jensen_shannon": drift_distances.jensen_shannon(bins_a, bins_b),
    }


def kolmogorov_smirnov(a: Numbers, b: Numbers) -> drift_distances.Measured:
    """The largest difference of two cumulative distributions.

    Values within 2^-10 of one another, relatively, are taken as equal, since
    quantiles are stored no closer; of 101 quantiles the distance is within
    0.01 of the exact one for a continuous column. Chance: the critical value
    of the two-sample test at 0.001, sqrt(-log(0.0005) / 2) sqrt(1 / n_a +
    1 / n_b).

    Args:
        a: One column.
        b: The other.
    """
    values = np.unique(np.concatenate([a.quantiles, b.quantiles]))
    # A little lower on one side and higher on the other, so that equal
    # values that were stored a rounding apart do not count.
    low = values - _CLOSE * np.abs(values)
    high = values + _CLOSE * np.abs(values)
    gaps = [
        a.at_most(values) - b.at_most(high),
        b.at_most(values) - a.at_most(high),
        a.below(low) - b.below(values),
        b.below(low) - a.below(values),
    ]
    value = round(float(max(0.0, *(gap.max() for gap in gaps))), 12)
    chance = _CRITICAL * math.sqrt(1.0 / a.count + 1.0 / b.count)
    return drift_distances.Measured(value, 0.0, chance, value)


def _histograms(a: Numbers, b: Numbers) -> tuple[np.ndarray, np.ndarray]:
    """Counts by bin, of bins that hold equal shares of both together."""
    both = np.sort(np.concatenate([_thinned(a), _thinned(b)]))
    ranks = np.arange(1, BINS) / BINS
    edges = np.quantile(both, ranks, method="inverted_cdf")
    # Just above: a value that is an edge lies under it on both sides.
    edges = np.unique(edges + 2.0 * _CLOSE * np.abs(edges))
    return _bins(a, edges), _bins(b, edges)


def _thinned(numbers: Numbers) -> np.ndarray:
    ranks = np.linspace(0.0, 1.0, RANKS)
    return np.quantile(numbers.quantiles, ranks, method="inverted_cdf")


def _bins(numbers: Numbers, edges: np.ndarray) -> np.ndarray:
    shares = np.concatenate([[0.0], numbers.at_most(edges), [1.0]])
    return np.diff(shares) * numbers.count
