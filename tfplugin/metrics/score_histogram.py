"""Base of the metrics that rank: a streaming histogram of scores by class."""

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from tfplugin.metrics import observations
from tfplugin.metrics import score_bins


class ScoreHistogram(keras.metrics.Metric):
    """Counts positives and negatives in bins of score; subclasses integrate.

    Memory is fixed (about 4 MB a metric) however many scores are seen, an
    update costs O(batch) (a scatter, never a sweep over the bins), and counts
    are float64, so 1e8 observations do not saturate them.

    `result()` has two precisions, because Keras computes every metric's result
    inside the graph of every training step. Inside a `tf.function` it is
    integrated over about 1,800 coarse bins: what the progress bar,
    `train_on_batch` and `on_train_batch_end` show, good to a few thousandths.
    Called eagerly it is integrated over all fine bins: what `fit` and
    `evaluate` return and put in the logs of an epoch, since they ask each
    metric again after the last step. A model with a `train_step` of its own
    whose logs have other keys than `model.metrics` gets coarse values.

    The bins adapt to the first unmasked batch after a reset (see
    `score_bins`). The state is three variables (fine counts, coarse counts, the
    placement of the bins) that a reset zeroes and `tf.train.Checkpoint` saves
    when handed `metric.variables`. Replicas would place their bins differently,
    so a strategy of several replicas is refused.

    Args:
        area: from counts of shape `(bins, 2)` to a float64 scalar.
        from_logits: whether scores are logits, else probabilities.
        name: name of the metric.
        dtype: for Keras's sake; counts are float64, results float32.
    """

    def __init__(
        self,
        area: Callable[[tf.Tensor], tf.Tensor],
        from_logits: bool,
        name: str | None,
        dtype: Any,
    ) -> None:
        super().__init__(name=name, dtype=dtype)
        replicas = tf.distribute.get_strategy().num_replicas_in_sync
        if replicas > 1:
            raise ValueError(
                f"`{type(self).__name__}` counts on one replica only. "
                f"Received: num_replicas_in_sync={replicas}. Evaluate on one "
                "device, outside of the strategy's scope."
            )
        self.from_logits = bool(from_logits)
        self._area = area
        self._fine = self.add_variable(
            (score_bins.num_bins(self.from_logits), 2),
            "zeros",
            dtype="float64",
            name="fine_counts",
        )
        self._coarse = self.add_variable(
            (score_bins.num_coarse_bins(self.from_logits), 2),
            "zeros",
            dtype="float64",
            name="coarse_counts",
        )
        self._placement = self.add_variable(
            (2,), "zeros", dtype="float32", name="placement"
        )

    def update_state(
        self, y_true: Any, y_pred: Any, sample_weight: Any = None
    ) -> None:
        """Counts one batch.

        Args:
            y_true: labels from 0 to 1, shape `(n,)` or `(n, 1)`; a label
                between them counts as that much of a positive.
            y_pred: scores of the same shape.
            sample_weight: weights, 0 to mask, or None for ones.

        Raises:
            ValueError: a shape that is neither `(n,)` nor `(n, 1)`.
        """
        batch = observations.observations(y_true, y_pred, sample_weight)
        placement = self._placed(batch)
        fine = score_bins.index(batch.scores, placement, self.from_logits)
        positives = tf.math.multiply_no_nan(batch.labels, batch.weights)
        negatives = tf.math.multiply_no_nan(1.0 - batch.labels, batch.weights)
        updates = tf.cast(tf.stack([negatives, positives], 1), tf.float64)
        _scatter_add(self._fine, fine, updates)
        _scatter_add(self._coarse, score_bins.coarse_index(fine), updates)

    def result(self) -> tf.Tensor:
        """Returns the area, float32 scalar: fine eagerly, coarse in a graph.

        NaN if a class it needs has no weight.
        """
        counts = self._fine if tf.executing_eagerly() else self._coarse
        return tf.cast(self._area(counts.value), tf.float32)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor arguments of the subclasses."""
        return {**super().get_config(), "from_logits": self.from_logits}

    def _placed(self, batch: observations.Observations) -> tf.Tensor:
        """The placement of the bins, made from this batch if there is none."""
        variable = self._placement.value

        def place() -> tf.Tensor:
            counted = tf.logical_and(
                batch.weights > 0.0, tf.equal(batch.scores, batch.scores)
            )
            placement = score_bins.place(tf.boolean_mask(batch.scores, counted))
            variable.assign(placement)
            return placement

        placement = tf.convert_to_tensor(variable)
        return tf.cond(tf.equal(placement[1], 0.0), place, lambda: placement)


def _scatter_add(
    variable: keras.Variable, bins: tf.Tensor, updates: tf.Tensor
) -> None:
    # `keras.Variable.assign` is dense; this touches the named bins alone.
    tf.raw_ops.ResourceScatterAdd(
        resource=variable.value.handle, indices=bins, updates=updates
    )
