"""Random values that are functions of a key: nothing is kept in memory."""

import functools
import statistics
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Keys: TypeAlias = npt.NDArray[np.uint64]
Values: TypeAlias = npt.NDArray[np.float64]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)
_LEVELS_BITS = 12


def mix(keys: Keys) -> Keys:
    """SplitMix64's output function: a bijection of 64 bits.

    Args:
        keys: uint64, any shape.

    Returns:
        uint64 of the same shape; different keys give different values.

    Example:
    >>> hex(mix(np.zeros(1, np.uint64))[0])
    '0xe220a8397b1dcdaf'

    Steele, Lea, Flood: Fast splittable pseudorandom number generators (2014).
    """
    mixed = keys + _GOLDEN
    mixed ^= mixed >> np.uint64(30)
    mixed *= _FIRST
    mixed ^= mixed >> np.uint64(27)
    mixed *= _SECOND
    mixed ^= mixed >> np.uint64(31)
    return mixed


def stream(keys: Keys, number: int) -> Keys:
    """Keys of further values of the same things.

    Args:
        keys: uint64, any shape: well mixed, as `mix` returns them.
        number: From 0; each gives keys of its own.

    Returns:
        uint64 of the same shape.

    Example:
    >>> keys = mix(np.arange(2, dtype=np.uint64))
    >>> len({*stream(keys, 0).tolist(), *stream(keys, 1).tolist()})
    4
    """
    # An odd multiple of a large number: no counter comes near another's.
    step = (2 * number + 1) * 0xD1342543DE82EF95 % 2**64
    return mix(keys ^ np.uint64(step))


def uniform(keys: Keys) -> Values:
    """Values in [0, 1), by the upper 53 bits of a well mixed key.

    Args:
        keys: uint64, any shape.

    Returns:
        float64 of the same shape.

    Example:
    >>> uniform(np.array([0, 2**63], np.uint64))
    array([0. , 0.5])
    """
    upper = (keys >> np.uint64(11)).astype(np.float64)
    return upper * 2.0**-53


def normal(keys: Keys) -> Values:
    """Standard normal values, by the upper 12 bits of a well mixed key.

    They are the 4,096 quantiles at (i + 1/2) / 4096, scaled to variance 1.

    Args:
        keys: uint64, any shape.

    Returns:
        float64 of the same shape, within 3.7 of 0.

    Example:
    >>> normal(np.array([2**63 - 1, 2**63], np.uint64)).round(4)
    array([-0.0003,  0.0003])
    """
    return _quantiles()[keys >> np.uint64(64 - _LEVELS_BITS)]


@functools.cache
def _quantiles() -> Values:
    levels = 2**_LEVELS_BITS
    law = statistics.NormalDist()
    values = np.array([law.inv_cdf((i + 0.5) / levels) for i in range(levels)])
    values /= np.sqrt(np.mean(values**2))
    values.flags.writeable = False
    return values
