"""Sampled negatives of the training split, undone in a model."""

import copy
import dataclasses
from collections.abc import Iterator

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from tfplugin import calibration
from tfplugin import data
from tfplugin import schema as schema_lib

Batch = tuple[dict[str, tf.Tensor], dict[str, tf.Tensor], dict[str, tf.Tensor]]

#: Training rows that are looked at, and how many at a time.
_MOST_ROWS = 1 << 18
_BATCH_ROWS = 1 << 14


@dataclasses.dataclass(frozen=True)
class SampledTraining:
    """What undoing the sampling of a training split needs.

    Args:
        labels: The labels by which negatives were sampled.
        rate: The share of negatives that was kept.
        outside: Objective to the share of its kept positives that are in
            negatives; objectives without any are absent.
        unaffected: Objectives that are observed in no negative.
        base_rates: Objective to its rate of positives in the whole log.
    """

    labels: tuple[str, ...]
    rate: float
    outside: dict[str, float]
    unaffected: tuple[str, ...]
    base_rates: dict[str, float]

    def correct(self, model: keras.Model) -> keras.Model:
        """The model with a `SamplingCorrection` after its logits.

        It shares all layers and weights.

        Args:
            model: From a dict of features to a dict of logits. One of a class
                of its own must be made like `keras.Model`, from inputs and
                outputs.
        """
        layer = calibration.SamplingCorrection(
            labels=self.labels,
            rate=self.rate,
            outside=self.outside,
            unaffected=self.unaffected,
        )
        return type(model)(model.input, layer(model.output), name=model.name)


def examine(dataset: data.Dataset) -> SampledTraining | None:
    """What the sampling of the training split did to each objective.

    Rates are exact where the split has at most 262,144 rows, else of the first
    as many in an order that is always the same. Labels alone are parsed.

    Args:
        dataset: Narrowed to the model's labels.

    Returns:
        None where no training row was left out.
    """
    negatives = dataset.schema.negatives
    if (
        negatives is None
        or negatives.rate == 1.0
        or "train" not in negatives.splits
    ):
        return None
    objectives = dataset.schema.labels
    # Rows in which it was observed, by whether it is 1 (columns) and by
    # whether the row was kept for one of the labels (rows).
    counts = {name: np.zeros((2, 2)) for name in objectives}
    for labels, weights in _labels(dataset):
        kept = data.is_positive(labels, negatives)
        for name in objectives:
            seen = weights[name].numpy() > 0.0
            cells = 2 * kept.numpy() + (labels[name].numpy()[:, 0] == 1.0)
            found = np.bincount(cells[seen], minlength=4)
            counts[name] += found.reshape(2, 2)
    return SampledTraining(
        labels=negatives.labels,
        rate=negatives.rate,
        outside={
            name: float(count[0, 1] / count[:, 1].sum())
            for name, count in counts.items()
            if count[0, 1]
        },
        unaffected=tuple(
            name
            for name, count in counts.items()
            if count[1].any() and not count[0].any()
        ),
        base_rates={
            name: _base_rate(
                dataset.statistics.labels[name], count, negatives.rate
            )
            for name, count in counts.items()
        },
    )


def _base_rate(
    label: schema_lib.LabelStatistics,
    count: npt.NDArray[np.float64],
    rate: float,
) -> float:
    """The rate of positives in the whole log.

    Args:
        label: Of all training rows, as they were kept.
        count: Of those looked at: kept at the rate or for a label, by label.
        rate: The share of negatives that was kept.
    """
    sampled = count.sum(0)
    whole = count[0] / rate + count[1]
    # They only say by how much; the rate is of all rows.
    positives = label.positives * (whole[1] / sampled[1] if sampled[1] else 1)
    observed = label.observed * (
        whole.sum() / sampled.sum() if sampled.any() else 1
    )
    return float(positives / observed) if observed else 0.0


def _labels(
    dataset: data.Dataset,
) -> Iterator[tuple[dict[str, tf.Tensor], dict[str, tf.Tensor]]]:
    """Labels and sample weights of the training rows that are looked at."""
    narrowed = copy.copy(dataset)
    narrowed.schema = dataset.schema.select(features=())
    batches = narrowed.train(_BATCH_ROWS, epochs=range(1), shuffle_rows=1)
    for _, labels, weights in batches.take(_MOST_ROWS // _BATCH_ROWS):
        yield labels, weights
