"""One batch of labels, scores and weights, flattened and checked."""

from typing import Any
from typing import NamedTuple

import tensorflow as tf


class Observations(NamedTuple):
    """A batch as a metric sees it: three float32 tensors of shape `(n,)`."""

    labels: tf.Tensor
    scores: tf.Tensor
    weights: tf.Tensor


def _flatten(name: str, values: Any) -> tf.Tensor:
    tensor = tf.convert_to_tensor(values)
    rank = tensor.shape.rank
    if rank is not None and (
        rank not in (1, 2) or (rank == 2 and tensor.shape[1] not in (1, None))
    ):
        raise ValueError(
            f"`{name}` must have the shape (batch_size,) or (batch_size, 1): "
            "one objective a metric. "
            f"Received: {name} of shape {tuple(tensor.shape)}."
        )
    return tf.cast(tf.reshape(tensor, (-1,)), tf.float32)


def _check_sizes(values: tf.Tensor, scores: tf.Tensor, name: str) -> None:
    # Otherwise a single label or weight would be broadcast to all scores.
    if not values.shape.is_compatible_with(scores.shape):
        raise ValueError(
            f"`{name}` must have as many elements as `y_pred`. Received: "
            f"{name} of {values.shape[0]} elements for {scores.shape[0]}."
        )


def observations(
    y_true: Any, y_pred: Any, sample_weight: Any | None
) -> Observations:
    """Flattens a batch and gives refused observations the weight NaN.

    Args:
        y_true: labels from 0 to 1 of any dtype, shape `(n,)` or `(n, 1)`.
        y_pred: scores of any float dtype, shape `(n,)` or `(n, 1)`.
        sample_weight: non-negative weights of the same shapes, or None for
            ones. Weight 0 masks an observation whatever its label and score.

    Returns:
        `Observations`. Where a label outside 0 to 1 or a NaN score carries
        weight, the weight is NaN, so that the metric becomes NaN rather than
        silently wrong. Multiply by a weight with `tf.math.multiply_no_nan`:
        what is masked may hold NaN.

    Raises:
        ValueError: a shape that is neither `(n,)` nor `(n, 1)`, or different
            numbers of labels, scores and weights, as far as the shapes are
            known when a function is traced.

    Example:
    >>> batch = observations([1, 0, -1], [0.5, 0.2, 0.1], [1.0, 2.0, 0.0])
    >>> batch.weights.numpy().tolist()
    [1.0, 2.0, 0.0]
    >>> observations([1, -1], [0.5, 0.2], None).weights.numpy().tolist()
    [1.0, nan]
    """
    labels = _flatten("y_true", y_true)
    scores = _flatten("y_pred", y_pred)
    _check_sizes(labels, scores, "y_true")
    if sample_weight is None:
        weights = tf.ones_like(scores)
    else:
        weights = _flatten("sample_weight", sample_weight)
        _check_sizes(weights, scores, "sample_weight")
    # NaN compares False, so this also finds a NaN label or score.
    usable = tf.abs(labels - 0.5) <= 0.5
    usable = tf.logical_and(usable, tf.equal(scores, scores))
    usable_or_masked = tf.logical_or(usable, tf.equal(weights, 0.0))
    weights = tf.where(usable_or_masked, weights, float("nan"))
    return Observations(labels=labels, scores=scores, weights=weights)
