"""Whether predicted probabilities add up to what happened."""

from typing import Any

import keras
import tensorflow as tf

from tfplugin.metrics import observations
from tfplugin.metrics import weighted_sums


@keras.saving.register_keras_serializable(package="tfplugin")
class Calibration(weighted_sums.WeightedSums):
    """Mean predicted probability over the observed rate of positives.

    1 is calibrated on average; 1.1 promises 10 % more positives than came. A
    NaN means that there was no positive, or that a NaN score or a label outside
    0 to 1 carried weight.

    Args:
        from_logits: whether `y_pred` are logits (default), else probabilities.
        name: name of the metric.
        dtype: for Keras's sake; sums are float64, results float32.

    Example:
    >>> metric = Calibration()
    >>> metric.update_state([0, 0, 0, 1], [0.0, 0.0, 0.0, 0.0])
    >>> float(metric.result())
    2.0

    Reference: He et al., "Practical lessons from predicting clicks on ads at
    Facebook", ADKDD 2014.
    """

    def __init__(
        self,
        from_logits: bool = True,
        name: str = "calibration",
        dtype: Any = None,
    ) -> None:
        super().__init__(self._rates, from_logits, name, dtype)

    def _rates(
        self, batch: observations.Observations
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the probability and the label of each observation."""
        scores = batch.scores
        return tf.sigmoid(scores) if self.from_logits else scores, batch.labels

    def result(self) -> tf.Tensor:
        """Returns the ratio, float32 scalar; NaN without positives."""
        predicted, positives = tf.unstack(self._sums.value)
        # Dividing would give infinity, which plots and JSON do not take.
        ratio = tf.where(positives > 0.0, predicted / positives, float("nan"))
        return tf.cast(ratio, tf.float32)
