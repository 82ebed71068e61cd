"""How far the answers of two models to the same rows are apart."""

import dataclasses
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfplugin import metrics
from tfplugin.export import predicting

#: From features of a batch to probabilities `(batch_size,)` by objective.
Answer = Callable[[predicting.Features], Mapping[str, tf.Tensor]]


@dataclasses.dataclass(frozen=True)
class ObjectiveChange:
    """How far the answers of one objective moved.

    Args:
        largest_change: Greatest |p' - p| of a row.
        mean_change: Mean |p' - p| over rows.
        auc_before: Area under the ROC curve of the trained model, over rows in
            which the objective was observed; NaN without a class.
        auc: That of the exported one.
        calibration_before: Mean probability over mean label of the trained
            model; NaN without positives.
        calibration: That of the exported one.
    """

    largest_change: float
    mean_change: float
    auc_before: float
    auc: float
    calibration_before: float
    calibration: float

    @property
    def auc_change(self) -> float:
        """Of the area; negative where the exported model ranks worse."""
        return self.auc - self.auc_before

    @property
    def calibration_change(self) -> float:
        """Of mean probability over mean label."""
        return self.calibration - self.calibration_before


def compare(
    batches: Iterable[Any],
    before: Answer,
    after: Answer,
    objectives: Sequence[str],
    *,
    max_rows: int | None = None,
) -> tuple[int, dict[str, ObjectiveChange]]:
    """Compares the answers of two models to the same rows.

    Args:
        batches: (features, labels, sample weights); the latter two by
            objective, weight 0 where it was not observed.
        before: The one model.
        after: The other.
        objectives: Which to compare.
        max_rows: The rows after which to stop, at the end of a batch; None
            for all.

    Returns:
        The number of rows, and the changes by objective.

    Example:
    >>> labels = {"buy": tf.constant([0.0, 1.0])}
    >>> weights = {"buy": tf.ones([2])}
    >>> rows, found = compare(
    ...     [({}, labels, weights)],
    ...     lambda features: {"buy": tf.constant([0.25, 0.75])},
    ...     lambda features: {"buy": tf.constant([0.25, 0.5])},
    ...     ["buy"],
    ... )
    >>> rows, found["buy"].largest_change, found["buy"].calibration_change
    (2, 0.25, -0.25)
    """
    comparisons = {objective: _Comparison() for objective in objectives}
    rows = 0
    for features, labels, weights in batches:
        old, new = before(features), after(features)
        for objective, comparison in comparisons.items():
            comparison.update(
                labels[objective],
                weights[objective],
                old[objective],
                new[objective],
            )
            size = len(new[objective])
        rows += size
        if max_rows is not None and rows >= max_rows:
            break
    return rows, {
        objective: comparison.result()
        for objective, comparison in comparisons.items()
    }


class _Comparison:
    """One objective's answers, in memory that does not grow with rows."""

    def __init__(self) -> None:
        self._metrics: dict[str, tuple[int, keras.metrics.Metric]] = {}
        for model, suffix in enumerate(("_before", "")):
            auc = metrics.AUC(from_logits=False)
            calibration = metrics.Calibration(from_logits=False)
            self._metrics["auc" + suffix] = (model, auc)
            self._metrics["calibration" + suffix] = (model, calibration)
        self._largest, self._total, self._rows = 0.0, 0.0, 0

    def update(
        self,
        labels: tf.Tensor,
        weights: tf.Tensor,
        before: tf.Tensor,
        after: tf.Tensor,
    ) -> None:
        for model, metric in self._metrics.values():
            metric.update_state(labels, (before, after)[model], weights)
        change = np.abs(after.numpy().astype(np.float64) - before.numpy())
        # The `max` of Python would pass over a NaN.
        self._largest = float(np.max(change, initial=self._largest))
        self._total += float(change.sum())
        self._rows += len(change)

    def result(self) -> ObjectiveChange:
        return ObjectiveChange(
            largest_change=self._largest,
            mean_change=self._total / max(self._rows, 1),
            **{
                name: float(metric.result())
                for name, (_, metric) in self._metrics.items()
            },
        )
