"""Quantiles of many numbers in bounded memory, as bytes that merge."""

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from beam_jobs.summaries import state_bytes
from beam_jobs.summaries import value_summary

#: Evenly spaced ranks, from 0 to 1, of all quantiles in `statistics.json`.
RANKS = 101


def count_sketch(counts: npt.NDArray[np.int64 | np.float64]) -> bytes:
    """A mergeable sketch of how often the ids of one file were seen.

    A `Histogram`: its ranks are exact, and so are counts below 4096 that are
    whole numbers; others are within a relative error of 2^-11.

    Args:
        counts: int64 or float64 `(ids,)`, any order.

    Example:
    >>> parts = [count_sketch(np.array(c)) for c in ([1, 1, 7], [2, 1])]
    >>> merge_count_sketches(parts)[::25]
    (1.0, 1.0, 1.0, 2.0, 7.0)
    """
    histogram = value_summary.Histogram.of(counts.astype(np.float32))
    return state_bytes.pack({}, histogram.arrays())


def merge_count_sketches(sketches: Iterable[bytes]) -> tuple[float, ...]:
    """Counts at 101 evenly spaced ranks; () without ids.

    Args:
        sketches: Of `count_sketch`, in any order.

    Raises:
        InputError: A sketch is damaged.

    Example: See `count_sketch`.
    """
    parts = [
        value_summary.Histogram.from_arrays(
            state_bytes.unpack(data, "a sketch of counts")[1]
        )
        for data in sketches
    ]
    return value_summary.Histogram.merge_all(parts).quantiles(RANKS)
