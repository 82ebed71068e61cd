"""Which bin of a histogram a score falls into: pure, exact, monotone.

The bins are the common refinement of three grids, so that a score
distribution is resolved wherever it lies:

* an even grid placed by the first batch: fine bins around its median, scaled
  to its spread, whether that is 1e-5 or 100;
* a logarithmic grid around the same median, for scores the first batch did not
  foretell: the width of a bin is a thousandth of its distance to the median;
* a fixed grid, for streams whose first batch says little: even for logits,
  logarithmic towards 0 and towards 1 for probabilities.

The index in the refinement is the SUM of the three indices: all three are
monotone in the score, so two scores share the sum only if they share all
three. Only operations that IEEE 754 rounds correctly are used, and bit patterns
instead of logarithms: equal scores always meet in one bin, whatever their place
in a batch, and rounding never swaps two scores.
"""

import tensorflow as tf

_EVEN_BINS = 2**16  # a side of the centre
_EVEN_SPREADS = 4  # how many spreads the even grid reaches to each side
_FIXED_LOGIT = 32.0  # beyond it the fixed grid of logits has no bins
_FIXED_BINS_PER_UNIT = 512
_MANTISSA_BITS = 23
_BINS_PER_OCTAVE = 2**10
_SMALLEST_DISTANCE = 2.0**-20
_LARGEST_SCORE = 2.0**10
_SMALLEST_PROBABILITY_EXPONENT = -40
_COARSE_FACTOR = 2**7


def _octave_bin(exponent: int) -> int:
    """The logarithmic index of 2**exponent, before any offset."""
    return (127 + exponent) * _BINS_PER_OCTAVE


def _logarithmic_index(positive: tf.Tensor) -> tf.Tensor:
    """The leading bits of positive float32 values, as int32: log2 in steps."""
    shift = _MANTISSA_BITS - (_BINS_PER_OCTAVE.bit_length() - 1)
    return tf.bitwise.right_shift(
        tf.bitcast(positive, tf.int32), tf.constant(shift, tf.int32)
    )


_LOG_BINS = _octave_bin(10) - _octave_bin(-20)
_FIXED_LOGIT_BINS = int(_FIXED_LOGIT) * _FIXED_BINS_PER_UNIT
_LOWEST_PROBABILITY = _octave_bin(_SMALLEST_PROBABILITY_EXPONENT)
_FIXED_PROBABILITY_BINS = _octave_bin(-1) - _LOWEST_PROBABILITY


def _fixed_bins(from_logits: bool) -> int:
    return _FIXED_LOGIT_BINS if from_logits else _FIXED_PROBABILITY_BINS


def num_bins(from_logits: bool) -> int:
    """Returns the number of fine bins, about 225,000 to 270,000.

    Example:
    >>> num_bins(from_logits=True)
    225282
    """
    per_side = _EVEN_BINS + _LOG_BINS + _fixed_bins(from_logits)
    total = 2 * per_side + 1
    return total + (-total) % 2


def num_coarse_bins(from_logits: bool) -> int:
    """Returns the number of coarse bins, one to 128 fine ones.

    Example:
    >>> num_coarse_bins(from_logits=True)
    1761
    """
    return -(-num_bins(from_logits) // _COARSE_FACTOR)


def place(scores: tf.Tensor) -> tf.Tensor:
    """Places the adaptive grids by the scores of a first batch.

    Args:
        scores: float32, shape `(n,)`, without NaN; n = 0 places nothing.

    Returns:
        float32, shape `(2,)`: the centre (the median) and the even grid's bins
        per unit of score; zeros when there are no scores.

    Example:
    >>> place(tf.constant([1.0, 2.0, 3.0])).numpy().tolist()
    [2.0, 16384.0]
    """
    ordered = tf.sort(clip(scores))
    size = tf.size(ordered)
    if_empty = tf.zeros((2,), tf.float32)

    def placed() -> tf.Tensor:
        last = size - 1
        centre = ordered[size // 2]
        spread = tf.maximum(
            ordered[last - last // 100] - centre, centre - ordered[last // 100]
        )
        spread = tf.maximum(spread, _SMALLEST_DISTANCE)
        return tf.stack([centre, _EVEN_BINS / (_EVEN_SPREADS * spread)])

    return tf.cond(size > 0, placed, lambda: if_empty)


def clip(scores: tf.Tensor) -> tf.Tensor:
    """Clips scores to +-1024, so that infinities have a bin.

    Example:
    >>> clip(tf.constant([float("inf"), -2.0])).numpy().tolist()
    [1024.0, -2.0]
    """
    return tf.clip_by_value(scores, -_LARGEST_SCORE, _LARGEST_SCORE)


def index(
    scores: tf.Tensor, placement: tf.Tensor, from_logits: bool
) -> tf.Tensor:
    """Returns the fine bin of each score.

    Args:
        scores: float32, shape `(n,)`: logits or probabilities.
        placement: what `place` returned.
        from_logits: whether the scores are logits.

    Returns:
        int32, shape `(n,)`, in `[0, num_bins(from_logits))`, never decreasing
        in the score. A NaN falls into any bin.

    Example:
    >>> scores = tf.constant([-7.0, -1.0, -1.0, 3.0])
    >>> bins = index(scores, place(scores), from_logits=True).numpy()
    >>> bool(bins[0] < bins[1] == bins[2] < bins[3])
    True
    """
    scores = clip(scores)
    distance = scores - placement[0]
    # Casting truncates towards 0: monotone, and one operation less than floor.
    even = tf.cast(
        tf.clip_by_value(distance * placement[1], -_EVEN_BINS, _EVEN_BINS),
        tf.int32,
    )
    log = _logarithmic_index(tf.abs(distance)) - _octave_bin(-20)
    log = tf.clip_by_value(log, 0, _LOG_BINS)
    log = tf.where(distance < 0.0, -log, log)
    if from_logits:
        fixed = tf.cast(
            tf.clip_by_value(scores, -_FIXED_LOGIT, _FIXED_LOGIT)
            * _FIXED_BINS_PER_UNIT,
            tf.int32,
        )
    else:
        small = tf.maximum(tf.minimum(scores, 1.0 - scores), 0.0)
        fixed = _octave_bin(-1) - tf.maximum(
            _logarithmic_index(small), _LOWEST_PROBABILITY
        )
        fixed = tf.where(scores < 0.5, -fixed, fixed)
    offset = _EVEN_BINS + _LOG_BINS + _fixed_bins(from_logits)
    bins = even + log + fixed + offset
    # A NaN casts to the smallest integer: keep the scatter in bounds.
    return tf.clip_by_value(bins, 0, num_bins(from_logits) - 1)


def coarse_index(fine: tf.Tensor) -> tf.Tensor:
    """Returns the coarse bins that fine bins belong to.

    Example:
    >>> coarse_index(tf.constant([0, 127, 128])).numpy().tolist()
    [0, 0, 1]
    """
    shift = _COARSE_FACTOR.bit_length() - 1
    return tf.bitwise.right_shift(fine, tf.constant(shift, tf.int32))
