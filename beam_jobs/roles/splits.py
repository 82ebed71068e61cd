"""Which rows train, which choose, which are read once at the end."""

import fractions

import numpy as np
import numpy.typing as npt

from beam_jobs import row_hash
from beam_jobs.batches import Int64s
from beam_jobs.batches import UInt64s

TRAIN, VALIDATION, TEST = range(3)

Splits = npt.NDArray[np.uint8]


def by_hash(hashes: UInt64s, *, validation: float, test: float) -> Splits:
    """Splits rows by their hash: equal keys stay together.

    Args:
        hashes: uint64 `(rows,)`, of `row_hash.hash_columns`.
        validation: Share of hash values of validation.
        test: Share of hash values of test.

    Returns:
        uint8 `(rows,)`: 0 train, 1 validation, 2 test.
    """
    place = row_hash.fractions(hashes)
    splits = np.full(len(hashes), TRAIN, np.uint8)
    splits[place < test + validation] = VALIDATION
    splits[place < test] = TEST
    return splits


def by_time(seconds: Int64s, cut_offs: tuple[int, int]) -> Splits:
    """Splits rows by time.

    Args:
        seconds: int64 `(rows,)`, since 1970.
        cut_offs: First second of validation and of test.

    Returns:
        uint8 `(rows,)`: 0 train, 1 validation, 2 test.

    Example:
    >>> by_time(np.array([9, 10, 19, 20]), (10, 20)).tolist()
    [0, 1, 1, 2]
    """
    return np.searchsorted(np.array(cut_offs), seconds, side="right").astype(
        np.uint8
    )


def cut_offs(
    seconds: Int64s, counts: Int64s, *, validation: float, test: float
) -> tuple[int, int]:
    """Cut-offs that leave the latest rows to validation and test.

    Train takes the earliest seconds until it has at least its share of rows;
    train and validation together likewise. A second is never divided, so
    that test, then validation, get fewer rows than their share where many
    rows have the same second, and none at all if one second has them all.

    Args:
        seconds: int64 `(n,)`, n > 0, distinct and sorted.
        counts: int64 `(n,)`, rows of each second.
        validation: Share of rows of validation.
        test: Share of rows of test.

    Returns:
        First second of validation and of test.

    Example:
    >>> cut_offs(np.arange(10), np.ones(10, np.int64), validation=0.1, test=0.2)
    (7, 8)
    """
    rows = np.cumsum(counts)
    total = int(rows[-1])
    # As written in the file: 1 - 0.1 - 0.2 is not quite 0.7 in floats.
    shares = [fractions.Fraction(repr(share)) for share in (validation, test)]
    found = []
    for left_out in (shares[0] + shares[1], shares[1]):
        needed = -((-(1 - left_out) * total) // 1)
        last = int(np.searchsorted(rows, int(needed)))
        found.append(int(seconds[last]) + 1)
    # The first second that has rows reads better than the one after the last.
    starts = [
        int(seconds[min(place, len(seconds) - 1)])
        if place < len(seconds)
        else cut
        for cut in found
        for place in [int(np.searchsorted(seconds, cut))]
    ]
    return starts[0], starts[1]


def time_shards(seconds: Int64s, counts: Int64s, num_shards: int) -> Int64s:
    """First seconds of shards 1, 2, ... of about equal numbers of rows.

    Args:
        seconds: int64 `(n,)`, distinct and sorted; may be empty.
        counts: int64 `(n,)`, rows of each second.
        num_shards: Number of shards.

    Returns:
        int64 `(num_shards - 1,)`, not falling; `searchsorted(...,
        side="right")` gives a row's shard.
    """
    if not len(seconds):
        return np.zeros(num_shards - 1, np.int64)
    rows = np.cumsum(counts)
    wanted = rows[-1] * np.arange(1, num_shards) // num_shards
    place = np.searchsorted(rows, wanted, side="right")
    bounds: Int64s = seconds[np.minimum(place, len(seconds) - 1)]
    return bounds
