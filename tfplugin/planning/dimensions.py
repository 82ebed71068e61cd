"""How many numbers a row should have: a rule of thumb."""

import math

#: Above this a row is never proposed to be, unless the configuration says so.
MAX_DIM = 64


def rule_of_thumb(num_ids: int) -> float:
    """Six times the fourth root of the number of ids.

    Args:
        num_ids: Ids that are to have a row, at least 0.

    Returns:
        6 * num_ids^(1/4), the dimension in Wang et al., "Deep & Cross Network
        for Ad Click Predictions" (arXiv 1708.05123), section 4.1. The feature
        column guide of TensorFlow has the root without the 6.

    Example:
    >>> rule_of_thumb(10_000)
    60.0
    """
    return 6.0 * num_ids**0.25


def propose(num_ids: int, largest: int | None = None) -> int:
    """The rule of thumb as a dimension that vector units like.

    Args:
        num_ids: Ids that are to have a row.
        largest: The configured dimension, which is not exceeded; None for
            `MAX_DIM`.

    Returns:
        The rule's value rounded up, to a multiple of 4 up to 16 and of 8
        above, at least 4; or `largest` if that is less.

    Example:
    >>> propose(3), propose(60), propose(10_000), propose(10**9)
    (8, 24, 64, 64)
    >>> propose(10_000, largest=16)
    16
    """
    wanted = rule_of_thumb(max(num_ids, 0))
    step = 4 if wanted <= 16 else 8
    rounded = max(4, step * math.ceil(wanted / step))
    return min(rounded, MAX_DIM if largest is None else largest)
