"""Area under the ROC curve, streaming and right at rare positives."""

from typing import Any

import keras

from tfplugin.metrics import areas
from tfplugin.metrics import score_histogram


@keras.saving.register_keras_serializable(package="tfplugin")
class AUC(score_histogram.ScoreHistogram):
    """The probability that a positive scores above a negative.

    `keras.metrics.AUC` cuts the scores at 200 even thresholds of probability,
    which leaves nearly all scores in one bin when 0.1 % are positive. This one
    stays within 1e-4 of `sklearn.metrics.roc_auc_score`; pairs of equal scores
    count one half. A NaN means that a class has no weight, or that a NaN score
    or a label outside 0 to 1 carried weight.

    Inside a `tf.function` the result is coarse, eagerly (as in the logs of
    `fit` and `evaluate`) it is fine: see `ScoreHistogram`.

    Args:
        from_logits: whether `y_pred` are logits (default), else probabilities.
        name: name of the metric.
        dtype: for Keras's sake; counts are float64, results float32.

    Example:
    >>> metric = AUC()
    >>> metric.update_state([0, 1, 0, 1], [-3.0, -1.0, -2.0, -2.5])
    >>> float(metric.result())
    0.75

    Reference: Hanley and McNeil, "The meaning and use of the area under a
    receiver operating characteristic curve", Radiology 143 (1982).
    """

    def __init__(
        self,
        from_logits: bool = True,
        name: str = "auc",
        dtype: Any = None,
    ) -> None:
        super().__init__(areas.area_under_roc, from_logits, name, dtype)
