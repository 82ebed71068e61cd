"""The set of metrics that every objective is judged by."""

import keras

from tfplugin.metrics import auc
from tfplugin.metrics import calibration
from tfplugin.metrics import normalized_entropy
from tfplugin.metrics import pr_auc


def objective_metrics(
    base_rate: float, from_logits: bool = True
) -> list[keras.metrics.Metric]:
    """Returns fresh metrics of one objective, to be given to `compile`.

    Give them as `weighted_metrics={objective: objective_metrics(rate)}`: under
    `metrics=` Keras ignores sample weights, and with them masked labels. Logs
    are named `<objective>_auc` and `val_<objective>_auc`; for a model with one
    output Keras leaves the objective out: `auc`, `val_auc`.

    Args:
        base_rate: fraction of positives in the training split, between 0 and 1.
        from_logits: whether the model's outputs are logits (default), else
            probabilities.

    Returns:
        Metrics named `auc`, `pr_auc`, `normalized_entropy`, `calibration`.

    Raises:
        ValueError: `base_rate` does not lie between 0 and 1.

    Example:
    >>> [metric.name for metric in objective_metrics(base_rate=0.01)]
    ['auc', 'pr_auc', 'normalized_entropy', 'calibration']
    """
    return [
        auc.AUC(from_logits),
        pr_auc.PRAUC(from_logits),
        normalized_entropy.NormalizedEntropy(base_rate, from_logits),
        calibration.Calibration(from_logits),
    ]
