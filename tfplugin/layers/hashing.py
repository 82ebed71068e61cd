"""The one hash of the project: raw ids to buckets, in stock TF operations.

int64 ids go through the finaliser of splitmix64 (Steele, Lea and Flood, "Fast
splittable pseudorandom number generators", OOPSLA 2014); strings first through
TensorFlow's FarmHash `Fingerprint64`, which is the same on every machine. Both
are functions of the id and the seed alone: not of the batch, the process or the
TensorFlow version.
"""

import tensorflow as tf

_MASK = 2**64 - 1
_GOLDEN_GAMMA = 0x9E3779B97F4A7C15
_MULTIPLIERS = (0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
_SHIFTS = (30, 27, 31)
#: Buckets of the fingerprint that precedes the mixer; nearly all of int64.
_FINGERPRINTS = 2**63 - 1


def splitmix64(value: int) -> int:
    """Returns the splitmix64 output of a state, as a Python int below 2**64.

    Args:
        value: The state; taken modulo 2**64.

    Returns:
        The mixed value, in [0, 2**64).

    Example:
    >>> hex(splitmix64(0))
    '0xe220a8397b1dcdaf'
    """
    mixed = (value + _GOLDEN_GAMMA) & _MASK
    mixed = ((mixed ^ (mixed >> _SHIFTS[0])) * _MULTIPLIERS[0]) & _MASK
    mixed = ((mixed ^ (mixed >> _SHIFTS[1])) * _MULTIPLIERS[1]) & _MASK
    return mixed ^ (mixed >> _SHIFTS[2])


def hash_buckets(ids: tf.Tensor, num_buckets: int, seed: int = 0) -> tf.Tensor:
    """Hashes every id to a bucket.

    Args:
        ids: int64 or string, any shape.
        num_buckets: How many buckets there are, at least 1.
        seed: Ids that share a bucket under one seed share it under another
            only by chance.

    Returns:
        int64 tensor of the shape of `ids`, each value in [0, num_buckets).

    Example:
    >>> hash_buckets(tf.constant([7, 8, 7], tf.int64), 1000).numpy().tolist()
    [614, 831, 614]
    """
    if ids.dtype == tf.string:
        ids = tf.strings.to_hash_bucket_fast(ids, _FINGERPRINTS)
    mixed = tf.bitcast(ids, tf.uint64) + _uint64(
        # The seed is mixed first, or ids k and seeds k apart would coincide.
        (splitmix64(seed) + _GOLDEN_GAMMA) & _MASK
    )
    mixed = _xor_shift(mixed, _SHIFTS[0]) * _uint64(_MULTIPLIERS[0])
    mixed = _xor_shift(mixed, _SHIFTS[1]) * _uint64(_MULTIPLIERS[1])
    mixed = _xor_shift(mixed, _SHIFTS[2])
    return tf.cast(mixed % _uint64(num_buckets), tf.int64)


def _xor_shift(value: tf.Tensor, shift: int) -> tf.Tensor:
    shifted = tf.bitwise.right_shift(value, _uint64(shift))
    return tf.bitwise.bitwise_xor(value, shifted)


def _uint64(value: int) -> tf.Tensor:
    return tf.constant(value, tf.uint64)
