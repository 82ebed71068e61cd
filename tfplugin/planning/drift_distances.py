"""Distances of two counted distributions, and what chance makes of them.

A distance of two samples is never 0, even if both come from one source: of a
long tail two samples share few ids. Each measure therefore comes with its mean
and standard deviation if the occurrences of both sides were shuffled together
and dealt out again, an id with c occurrences in all giving each of them to the
first side with probability n_a / (n_a + n_b).
"""

import dataclasses
import math
import statistics
from collections.abc import Iterator

import numpy as np

#: By chance alone a measure passes mean + so many deviations in about 1 of
#: 1000 comparisons.
DEVIATIONS = 3.09
#: That chance.
SIGNIFICANCE = 0.001
# Where both sides expect more occurrences of an id than this, its part of the
# divergence is that of a chi-square of one degree, to a percent.
_MANY = 50.0
_TABLE = 64
_BLOCK_CELLS = 1 << 20
_LOG_FACTORIALS = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, 64)))])


@dataclasses.dataclass(frozen=True)
class Measured:
    """A measure, beside what chance alone would give.

    Args:
        value: The measure.
        expected: Its mean by chance.
        chance: What it hardly passes by chance (1 in 1000).
        excess: What it has beyond its mean by chance; 0 if less.
    """

    value: float
    expected: float
    chance: float
    excess: float

    @classmethod
    def linear(
        cls, value: float, expected: float, deviation: float
    ) -> "Measured":
        """A measure whose excess is a difference.

        Args:
            value: The measure.
            expected: Its mean by chance.
            deviation: Its standard deviation by chance.
        """
        # Sums of many terms; two equal sides are to give 0, not 1e-17.
        excess = value - expected
        return cls(
            value,
            expected,
            expected + DEVIATIONS * deviation,
            excess if excess > 1e-12 else 0.0,
        )


def id_measures(a: np.ndarray, b: np.ndarray) -> dict[str, Measured]:
    """Measures of the ids of one table.

    Args:
        a: Counts of the baseline, of each id of the union, `(n,)`; 0 where it
            does not occur. Not all 0.
        b: Counts of the other side, likewise.

    Returns:
        `new_ids`, `new_occurrences`, `lost_ids`, `lost_occurrences`,
        `l_infinity`, `jensen_shannon`.

    Example:
    >>> found = id_measures(np.array([8, 2, 0]), np.array([8, 0, 2]))
    >>> {name: round(measure.value, 3) for name, measure in found.items()}
    ... # doctest: +NORMALIZE_WHITESPACE
    {'new_ids': 0.5, 'new_occurrences': 0.2, 'lost_ids': 0.5,
     'lost_occurrences': 0.2, 'l_infinity': 0.2, 'jensen_shannon': 0.447}
    """
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    share = a.sum() / (a.sum() + b.sum())
    counts, numbers = _pooled(a, b)
    new = _unseen(a, b, counts, numbers, share)
    lost = _unseen(b, a, counts, numbers, 1.0 - share)
    return {
        "new_ids": new[0],
        "new_occurrences": new[1],
        "lost_ids": lost[0],
        "lost_occurrences": lost[1],
        "l_infinity": l_infinity(a, b),
        "jensen_shannon": jensen_shannon(a, b),
    }


def jensen_shannon(a: np.ndarray, b: np.ndarray) -> Measured:
    """The Jensen-Shannon distance: the root of the divergence, base 2.

    Of distributions p and q with the mean m the divergence is
    sum(p log2(p / m) + q log2(q / m)) / 2 (Lin, "Divergence Measures Based on
    the Shannon Entropy", 1991); its root is a metric (Endres and Schindelin,
    2003). The excess is the root of what the divergence has beyond its mean
    by chance.

    Args:
        a: Counts of one side, `(n,)`, not all 0.
        b: Counts of the other, by the same ids or bins.

    Returns:
        From 0, equal, to 1, nothing in common.

    Example:
    >>> jensen_shannon(np.array([5, 0]), np.array([0, 9])).value
    1.0
    """
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    n_a, n_b = a.sum(), b.sum()
    # Sorted, so that the sum does not depend on the order of the ids, and
    # is the same to the last bit with the sides exchanged.
    terms = _divergence_terms(a / n_a, b / n_b)
    value = min(max(float(np.sort(terms).sum()), 0.0), 1.0)
    mean, variance = _chance_divergence(*_pooled(a, b), n_a, n_b)
    excess = value - mean
    return Measured(
        math.sqrt(value),
        math.sqrt(mean),
        math.sqrt(mean + DEVIATIONS * math.sqrt(variance)),
        math.sqrt(excess) if excess > 1e-12 else 0.0,
    )


def l_infinity(a: np.ndarray, b: np.ndarray) -> Measured:
    """The largest difference of an id's shares.

    Chance: the bound that the largest of n differences, each about normal,
    passes once in 1000 times (Bonferroni), for the id that differs most.

    Args:
        a: Counts of one side, `(n,)`, not all 0.
        b: Counts of the other, by the same ids or bins.

    Example:
    >>> l_infinity(np.array([9, 1]), np.array([6, 4])).value
    0.3
    """
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    n_a, n_b = a.sum(), b.sum()
    gaps = np.abs(a / n_a - b / n_b)
    worst = int(gaps.argmax())
    pooled = (a[worst] + b[worst]) / (n_a + n_b)
    tail = SIGNIFICANCE / (2.0 * len(gaps))
    chance = -statistics.NormalDist().inv_cdf(tail) * deviation_of_rates(
        pooled, n_a, n_b
    )
    value = round(float(gaps[worst]), 15)
    return Measured(value, 0.0, chance, value)


def deviation_of_rates(rate: float, n_a: float, n_b: float) -> float:
    """Standard deviation of the difference of two rates, by chance.

    Args:
        rate: The rate of both together.
        n_a: Observations of one.
        n_b: Observations of the other.

    Example:
    >>> deviation_of_rates(0.5, 50, 50)
    0.1
    """
    if not n_a or not n_b:
        return math.inf
    return math.sqrt(max(rate * (1.0 - rate), 0.0) * (1.0 / n_a + 1.0 / n_b))


def _divergence_terms(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    mean = (p + q) / 2.0
    terms = np.zeros(mean.shape)
    for side in (p, q):
        there = side > 0
        terms[there] += side[there] * np.log2(side[there] / mean[there]) / 2.0
    return terms


def _pooled(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The counts of both together, and how many ids have each.

    Counts that decayed are rounded: a fraction of an occurrence cannot be
    dealt out.
    """
    together = np.rint(a + b)
    return np.unique(np.maximum(together, 1.0), return_counts=True)


def _unseen(
    seen: np.ndarray,
    other: np.ndarray,
    counts: np.ndarray,
    numbers: np.ndarray,
    share: float,
) -> tuple[Measured, Measured]:
    """Ids, and occurrences, of `other` that `seen` lacks.

    Args:
        seen: Counts by id of the union.
        other: Counts of the other side.
        counts: Counts of both together, unique.
        numbers: How many ids have each.
        share: Probability that an occurrence falls to `seen`.
    """
    unseen = (seen == 0) & (other > 0)
    ids, total = float((other > 0).sum()), float(other.sum())
    absent = np.exp(counts * math.log1p(-share)) if share < 1 else 0 * counts
    present = numbers * (
        1.0 - (np.exp(counts * math.log(share)) if share > 0 else 0 * counts)
    )
    variance = numbers * absent * (1.0 - absent)
    return (
        Measured.linear(
            float(unseen.sum()) / ids,
            float((numbers * absent).sum() / max(present.sum(), 1e-300)),
            math.sqrt(variance.sum()) / ids,
        ),
        Measured.linear(
            float(other[unseen].sum()) / total,
            float((numbers * absent * counts).sum()) / total,
            math.sqrt((variance * counts**2).sum()) / total,
        ),
    )


def _chance_divergence(
    counts: np.ndarray, numbers: np.ndarray, n_a: float, n_b: float
) -> tuple[float, float]:
    """Mean and variance of the divergence of two shuffled sides."""
    share = n_a / (n_a + n_b)
    many = counts * min(share, 1.0 - share) > _MANY
    # (p - q)^2 / (8 m ln 2) to second order, a chi-square over its scale.
    scale = (1.0 / n_a + 1.0 / n_b) / (8.0 * math.log(2.0))
    large = float(numbers[many].sum())
    mean, variance = scale * large, 2.0 * scale * scale * large
    few, weights = counts[~many], numbers[~many]
    for places in _blocks(few, share):
        first, second = _moments(few[places], n_a, n_b)
        mean += float((weights[places] * first).sum())
        spread = np.maximum(second - first**2, 0.0)
        variance += float((weights[places] * spread).sum())
    return mean, variance


def _blocks(counts: np.ndarray, share: float) -> Iterator[slice]:
    """Parts of ascending counts whose supports fit into memory."""
    start = 0
    while start < len(counts):
        stop = start + 1
        while stop < len(counts) and (
            (stop + 1 - start) * _support(counts[stop], share) <= _BLOCK_CELLS
        ):
            stop += 1
        yield slice(start, stop)
        start = stop


def _support(count: float, share: float) -> int:
    """How many occurrences the smaller side may get, all but never more."""
    expected = count * min(share, 1.0 - share)
    return int(min(count, math.ceil(expected + 12 * math.sqrt(expected) + 12)))


def _moments(
    counts: np.ndarray, n_a: float, n_b: float
) -> tuple[np.ndarray, np.ndarray]:
    """Mean of an id's part of the divergence, and of its square.

    Args:
        counts: Of both sides together, `(n,)`, ascending.
        n_a: Occurrences of one side.
        n_b: Occurrences of the other.
    """
    small, large = min(n_a, n_b), max(n_a, n_b)
    share = small / (small + large)
    got = np.arange(_support(counts[-1], share) + 1, dtype=np.float64)
    rest = counts[:, None] - got
    possible = rest >= 0
    rest = np.maximum(rest, 0.0)
    logs = (
        _log_factorial(counts)[:, None]
        - _log_factorial(got)
        - _log_factorial(rest)
        + got * math.log(share)
        + rest * math.log1p(-share)
    )
    chance = np.where(possible, np.exp(logs), 0.0)
    terms = _divergence_terms(
        np.broadcast_to(got / small, rest.shape), rest / large
    )
    return (chance * terms).sum(1), (chance * terms**2).sum(1)


def _log_factorial(n: np.ndarray) -> np.ndarray:
    """Log n!, exact below 64, Stirling's series above."""
    x = np.maximum(n, 1.0)
    series = (
        x * np.log(x)
        - x
        + 0.5 * np.log(2.0 * math.pi * x)
        + 1.0 / (12.0 * x)
        - 1.0 / (360.0 * x**3)
    )
    small = np.minimum(n, _TABLE - 1).astype(np.int64)
    return np.where(n < _TABLE, _LOG_FACTORIALS[small], series)
