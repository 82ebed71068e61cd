"""Average precision, streaming and right at rare positives."""

from typing import Any

import keras

from tfplugin.metrics import areas
from tfplugin.metrics import score_histogram


@keras.saving.register_keras_serializable(package="tfplugin")
class PRAUC(score_histogram.ScoreHistogram):
    """Area under the precision-recall curve, as average precision.

    The sum over thresholds of precision times the step in recall, without
    interpolation: `sklearn.metrics.average_precision_score`, within 1e-4. For a
    model that knows nothing it is the positive rate, so compare it between
    models on one data set, not between objectives. A NaN means that positives
    have no weight, or that a NaN score or a label outside 0 to 1 carried
    weight; without negatives it is 1.

    Inside a `tf.function` the result is coarse, eagerly (as in the logs of
    `fit` and `evaluate`) it is fine: see `ScoreHistogram`.

    Args:
        from_logits: whether `y_pred` are logits (default), else probabilities.
        name: name of the metric.
        dtype: for Keras's sake; counts are float64, results float32.

    Example:
    >>> metric = PRAUC()
    >>> metric.update_state([0, 1, 0, 1], [-3.0, -1.0, -2.0, -2.5])
    >>> round(float(metric.result()), 6)
    0.833333

    Reference: `sklearn.metrics.average_precision_score`.
    """

    def __init__(
        self,
        from_logits: bool = True,
        name: str = "pr_auc",
        dtype: Any = None,
    ) -> None:
        super().__init__(areas.average_precision, from_logits, name, dtype)
