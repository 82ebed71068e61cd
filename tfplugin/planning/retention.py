"""What a vocabulary keeps of a table's ids: coverage, and what it misses.

All functions take the counts of a table's ids in falling order, integers or,
after a half-life, floats; shape `(n,)`, `n` may be 0.
"""

import math

import numpy as np


def wanted_ids(
    counts: np.ndarray,
    coverage: float,
    min_count: int,
    top_n: int | None = None,
) -> int:
    """How many of the most frequent ids are worth a row, whatever it costs.

    Args:
        counts: Falling, `(n,)`.
        coverage: Share of occurrences in (0, 1]; no more ids than make it.
        min_count: No id with fewer occurrences.
        top_n: No more ids than these.

    Returns:
        The least of the three numbers.

    Example:
    >>> wanted_ids(np.array([90, 8, 1, 1]), coverage=0.99, min_count=1)
    3
    >>> wanted_ids(np.array([90, 8, 1, 1]), coverage=0.99, min_count=2)
    2
    """
    if not len(counts):
        return 0
    often_enough = int(np.searchsorted(-counts, -min_count, "right"))
    cumulated = np.cumsum(counts, dtype=np.float64)
    covering = int(np.searchsorted(cumulated, coverage * cumulated[-1])) + 1
    limit = len(counts) if top_n is None else top_n
    return min(often_enough, covering, limit, len(counts))


def covered_share(counts: np.ndarray, kept: int) -> float:
    """The share of counted occurrences that are of the `kept` first ids.

    Args:
        counts: Falling, `(n,)`.
        kept: From 0 to n.

    Returns:
        In [0, 1]; 1 if nothing was counted.

    Example:
    >>> covered_share(np.array([6, 3, 1]), 2)
    0.9
    """
    total = float(np.sum(counts, dtype=np.float64))
    kept_total = float(np.sum(counts[:kept], dtype=np.float64))
    return kept_total / total if total else 1.0


def expected_oov_share(counts: np.ndarray, kept: int) -> float | None:
    """The share of new occurrences that a vocabulary is expected not to know.

    Good and Turing's estimate: of N occurrences, with f(r) ids seen r times,
    the ids seen r times make (r + 1) f(r + 1) / N of what comes next, and
    those never seen f(1) / N. Summed over all that is not kept. New rows are
    taken to be like the counted ones; those of a later day have more new ids.

    Args:
        counts: Falling, `(n,)`.
        kept: From 0 to n; of equal counts at the cut, those kept and those
            left out share the estimate by their number.

    Returns:
        In [0, 1]; f(1) / N with all ids kept. None for counts that are not
        whole, of which there is no f; 0 if nothing was counted.

    Reference: I. J. Good, "The population frequencies of species and the
    estimation of population parameters", Biometrika 40 (1953).

    Example:
    >>> counts = np.array([6, 2, 1, 1])
    >>> expected_oov_share(counts, kept=4), expected_oov_share(counts, kept=2)
    (0.2, 0.4)
    """
    if not len(counts):
        return 0.0
    if not np.issubdtype(counts.dtype, np.integer):
        if not np.array_equal(counts, np.floor(counts)):
            return None
        counts = counts.astype(np.int64)
    if kept == 0:
        return 1.0

    def occurrences(count: int) -> int:
        """Occurrences in ids seen exactly so often: r f(r)."""
        low = np.searchsorted(-counts, -count, "left")
        return count * int(np.searchsorted(-counts, -count, "right") - low)

    total = int(counts.sum())
    if kept == len(counts):
        return occurrences(1) / total
    cut = int(counts[kept])
    # Ids rarer than the cut, and never seen: the sum of r f(r) up to it.
    first = int(np.searchsorted(-counts, -cut, "left"))
    after = int(np.searchsorted(-counts, -cut, "right"))
    rarer = int(counts[first:].sum())
    left_out = (after - kept) / (after - first)
    return min(1.0, (rarer + left_out * occurrences(cut + 1)) / total)


def min_count_of(counts: np.ndarray, kept: int) -> int | None:
    """The least `min_count` that keeps exactly the `kept` first ids.

    Args:
        counts: Falling, `(n,)`.
        kept: From 0 to n.

    Returns:
        At least 1; None if ids that are kept and ids that are not have equal
        counts, or no whole number lies between them.

    Example:
    >>> counts = np.array([6, 3, 3, 1])
    >>> min_count_of(counts, 3), min_count_of(counts, 2)
    (2, None)
    """
    if kept == len(counts):
        return 1
    min_count = math.floor(counts[kept]) + 1
    if kept and counts[kept - 1] < min_count:
        return None
    return min_count
