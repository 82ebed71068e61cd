"""How many ids of a hashed table share their row, expected and measured."""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from tfplugin.errors import InputError

#: Ids hashed at a time, by every mapping in turn.
_CHUNK = 1 << 18


@dataclasses.dataclass(frozen=True)
class Collisions:
    """What a hash with a number of buckets did to the ids of one table.

    Args:
        num_buckets: Rows for ids.
        expected: Share of ids, and of occurrences, expected to share a row.
        ids: Share of ids that share their row with another id.
        occurrences: Share of occurrences whose id does.
        mixed: Share of what a row learns from that is of other ids than the
            one it is asked for, over occurrences: 1 - sum c^2 / C over N, with
            c the count of an id, C that of its row and N the sum of all. A
            frequent id that shares its row with a rare one hardly suffers.

    Example:
    >>> count_shared(np.array([4, 4]), np.array([99, 1]), num_buckets=9).ids
    1.0
    """

    num_buckets: int
    expected: float
    ids: float
    occurrences: float
    mixed: float


def expected_shared(num_ids: int, num_buckets: int) -> float:
    """The chance that an id shares its bucket, 1 - (1 - 1/B)^(n - 1).

    Each of the other ids falls into the same bucket with chance 1/B. It does
    not depend on how often an id occurs, so it is the expected share both of
    ids and of occurrences; what is measured by occurrences scatters more
    around it, since few frequent ids weigh much.

    Args:
        num_ids: n, at least 0.
        num_buckets: B, at least 1.

    Returns:
        In [0, 1].

    Example:
    >>> [round(expected_shared(ids, 4), 3) for ids in (1, 2, 5)]
    [0.0, 0.25, 0.684]
    """
    if num_ids < 2:
        return 0.0
    if num_buckets == 1:
        return 1.0
    return -math.expm1((num_ids - 1) * math.log1p(-1.0 / num_buckets))


def count_shared(
    rows: np.ndarray, counts: np.ndarray, num_buckets: int
) -> Collisions:
    """Counts collisions of ids whose rows are known.

    Memory grows with the number of ids, not of buckets.

    Args:
        rows: Row of each distinct id, integers `(n,)`.
        counts: Occurrences of each, `(n,)`.
        num_buckets: Buckets they were hashed to.

    Returns:
        The shares, all 0 without ids.

    Example:
    >>> found = count_shared(
    ...     np.array([5, 7, 5]), np.array([6, 90, 4]), num_buckets=10
    ... )
    >>> round(found.ids, 3), found.occurrences, round(found.mixed, 3)
    (0.667, 0.1, 0.048)
    """
    expected = expected_shared(len(rows), num_buckets)
    if not len(rows):
        return Collisions(num_buckets, expected, 0.0, 0.0, 0.0)
    order = np.argsort(rows, kind="stable")
    ordered = rows[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    sizes = np.diff(np.r_[starts, len(rows)])
    weights = counts[order].astype(np.float64)
    sums = np.add.reduceat(weights, starts)
    squares = np.add.reduceat(weights * weights, starts)
    total = float(sums.sum())
    return Collisions(
        num_buckets,
        expected,
        ids=float(sizes[sizes > 1].sum() / len(rows)),
        occurrences=float(sums[sizes > 1].sum() / total),
        # Rounding may leave a hair below 0 where no row is shared.
        mixed=max(0.0, 1.0 - float((squares / sums).sum()) / total),
    )


def measure(
    ids: np.ndarray,
    counts: np.ndarray,
    id_dtype: str,
    bucket_numbers: Sequence[int],
) -> list[Collisions]:
    """Maps ids as training would, and counts those that share a row.

    The rows are those of `tfplugin.layers.HashMapping`, the very layer that
    maps in training and in the SavedModel.

    Args:
        ids: Distinct raw ids, int64 or str, `(n,)`.
        counts: Occurrences of each, `(n,)`.
        id_dtype: `"int64"` or `"string"`.
        bucket_numbers: Numbers of buckets to try, at least 1 each.

    Returns:
        One finding a number, in their order.

    Raises:
        InputError: A number of buckets is below 1.

    Example:
    >>> found = measure(np.arange(1000), np.ones(1000), "int64", [1000])[0]
    >>> round(found.expected, 2), abs(found.ids - found.expected) < 0.05
    (0.63, True)
    """
    # TensorFlow is loaded when something is mapped, not when a plan is read.
    import tensorflow as tf

    from tfplugin import layers

    if any(number < 1 for number in bucket_numbers):
        raise InputError(
            "A hash needs at least 1 bucket. Received: "
            f"bucket_numbers={list(bucket_numbers)}."
        )
    mappings = [
        layers.HashMapping(number, id_dtype=id_dtype)
        for number in bucket_numbers
    ]
    rows = [
        np.empty(len(ids), np.uint32 if number < 2**32 - 1 else np.int64)
        for number in bucket_numbers
    ]
    for start in range(0, len(ids), _CHUNK):
        chunk = slice(start, start + _CHUNK)
        # Made once for all mappings: strings are what takes time.
        tensor = tf.constant(ids[chunk], id_dtype)
        for mapping, mapped in zip(mappings, rows, strict=True):
            mapped[chunk] = mapping(tensor).numpy()
    return [
        count_shared(mapped, counts, number)
        for mapped, number in zip(rows, bucket_numbers, strict=True)
    ]
