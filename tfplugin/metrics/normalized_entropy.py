"""Cross entropy measured against knowing nothing but the base rate."""

import math
from typing import Any

import keras
import tensorflow as tf

from tfplugin.metrics import observations
from tfplugin.metrics import weighted_sums


@keras.saving.register_keras_serializable(package="tfplugin")
class NormalizedEntropy(weighted_sums.WeightedSums):
    """Mean cross entropy over the entropy of the training split's base rate.

    Below 1 the model beats the constant prediction `base_rate` on data of that
    rate; lower is better. Unlike the cross entropy itself it can be compared
    between objectives of different rates.

        NE = mean(-y log p - (1 - y) log(1 - p)) / H
        H = -r log r - (1 - r) log(1 - r),  r = base_rate

    A NaN means that nothing carried weight, or that a NaN score or a label
    outside 0 to 1 did.

    Args:
        base_rate: fraction of positives in the TRAINING split, between 0 and 1
            exclusively. Never that of the evaluated data: the value of one
            model would move with the data it is shown.
        from_logits: whether `y_pred` are logits (default), else probabilities,
            which are clipped to 1e-7 from 0 and 1.
        name: name of the metric.
        dtype: for Keras's sake; sums are float64, results float32.

    Raises:
        ValueError: `base_rate` does not lie between 0 and 1.

    Example:
    >>> metric = NormalizedEntropy(base_rate=0.5)
    >>> metric.update_state([0, 1], [0.0, 0.0])
    >>> float(metric.result())
    1.0

    Reference: He et al., "Practical lessons from predicting clicks on ads at
    Facebook", ADKDD 2014.
    """

    def __init__(
        self,
        base_rate: float,
        from_logits: bool = True,
        name: str = "normalized_entropy",
        dtype: Any = None,
    ) -> None:
        super().__init__(self._cross_entropy, from_logits, name, dtype)
        if not 0.0 < base_rate < 1.0:
            raise ValueError(
                "`base_rate` must lie between 0 and 1: a split without "
                "positives, or without negatives, has no entropy to compare "
                f"with. Received: base_rate={base_rate}."
            )
        self.base_rate = float(base_rate)
        self._entropy = -(
            self.base_rate * math.log(self.base_rate)
            + (1.0 - self.base_rate) * math.log1p(-self.base_rate)
        )

    def _cross_entropy(
        self, batch: observations.Observations
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the cross entropy in nats, and 1, of each observation."""
        if self.from_logits:
            losses = tf.nn.sigmoid_cross_entropy_with_logits(
                labels=batch.labels, logits=batch.scores
            )
        else:
            margin = weighted_sums.PROBABILITY_MARGIN
            scores = tf.clip_by_value(batch.scores, margin, 1.0 - margin)
            losses = -(
                batch.labels * tf.math.log(scores)
                + (1.0 - batch.labels) * tf.math.log1p(-scores)
            )
        return losses, tf.ones_like(losses)

    def result(self) -> tf.Tensor:
        """Returns the normalized entropy, float32 scalar; NaN if empty."""
        sums = self._sums.value
        return tf.cast(sums[0] / (sums[1] * self._entropy), tf.float32)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor arguments."""
        return {**super().get_config(), "base_rate": self.base_rate}
