"""Areas under curves, from a histogram of the scores of both classes."""

import tensorflow as tf


def area_under_roc(counts: tf.Tensor) -> tf.Tensor:
    """The probability that a positive scores above a negative.

    Pairs in one bin count one half, as ties do in the Mann-Whitney statistic.

    Args:
        counts: float64, shape `(bins, 2)`: weight of negatives and of positives
            a bin, the bins in rising order of score.

    Returns:
        float64 scalar; NaN unless both classes have weight.

    Example:
    >>> float(area_under_roc(tf.constant([[2.0, 0.0], [1.0, 1.0]])))
    0.8333333134651184
    """
    negatives, positives = counts[:, 0], counts[:, 1]
    below = tf.cumsum(negatives)
    pairs = tf.reduce_sum(positives * (below - 0.5 * negatives))
    # 0 / 0 is NaN, which is what a missing class is documented to give.
    return pairs / (below[-1] * tf.reduce_sum(positives))


def average_precision(counts: tf.Tensor) -> tf.Tensor:
    """The mean, over positives, of the precision at each one's score.

    Scores in one bin count as tied: all of them are retrieved together, as in
    `sklearn.metrics.average_precision_score`.

    Args:
        counts: float64, shape `(bins, 2)`: weight of negatives and of positives
            a bin, the bins in rising order of score.

    Returns:
        float64 scalar; NaN if the positives have no weight.

    Example:
    >>> float(average_precision(tf.constant([[2.0, 1.0], [1.0, 1.0]])))
    0.44999998807907104
    """
    positives = counts[:, 1]
    true_positives = tf.cumsum(positives, reverse=True)
    retrieved = tf.cumsum(counts[:, 0] + positives, reverse=True)
    # Bins above the best score retrieve nothing: 0 / 0 is 0 there.
    precision = tf.math.divide_no_nan(true_positives, retrieved)
    return tf.reduce_sum(positives * precision) / true_positives[0]
