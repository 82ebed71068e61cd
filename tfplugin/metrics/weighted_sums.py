"""Base of the metrics that are a ratio of two weighted sums."""

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from tfplugin.metrics import observations

#: Probabilities are kept this far from 0 and 1, as in `keras.losses`.
PROBABILITY_MARGIN = 1e-7


class WeightedSums(keras.metrics.Metric):
    """Adds two float64 sums over the stream; subclasses say which.

    Args:
        terms: from a batch of n observations, masked ones of which may hold
            NaN, to the two addends of each: float32, two of shape `(n,)`.
        from_logits: whether `y_pred` are logits, else probabilities.
        name: name of the metric.
        dtype: for Keras's sake; sums are float64, results float32.
    """

    def __init__(
        self,
        terms: Callable[
            [observations.Observations], tuple[tf.Tensor, tf.Tensor]
        ],
        from_logits: bool,
        name: str | None,
        dtype: Any,
    ) -> None:
        super().__init__(name=name, dtype=dtype)
        self._terms = terms
        self.from_logits = bool(from_logits)
        self._sums = self.add_variable(
            (2,), "zeros", dtype="float64", name="sums"
        )

    def update_state(
        self, y_true: Any, y_pred: Any, sample_weight: Any = None
    ) -> None:
        """Adds one batch to the sums.

        Args:
            y_true: labels from 0 to 1, shape `(n,)` or `(n, 1)`.
            y_pred: scores of the same shape.
            sample_weight: weights, 0 to mask, or None for ones.

        Raises:
            ValueError: a shape that is neither `(n,)` nor `(n, 1)`.
        """
        batch = observations.observations(y_true, y_pred, sample_weight)
        terms = tf.stack(self._terms(batch))
        weighted = tf.math.multiply_no_nan(terms, batch.weights[tf.newaxis])
        # Summed in float64: a float32 sum of a large batch loses digits.
        sums = tf.reduce_sum(tf.cast(weighted, tf.float64), axis=1)
        self._sums.value.assign_add(sums)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor arguments shared by the subclasses."""
        return {**super().get_config(), "from_logits": self.from_logits}
