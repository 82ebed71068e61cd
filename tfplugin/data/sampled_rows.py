"""Rows of a sampled split, made to stand for the whole log."""

from typing import Any

import tensorflow as tf

from tfplugin import schema as schema_lib
from tfplugin.errors import InputError

Columns = dict[str, tf.Tensor]


def is_positive(
    labels: Columns, negatives: schema_lib.NegativeSampling
) -> tf.Tensor:
    """Which rows were kept for their labels, and not at a rate.

    Args:
        labels: Objective to labels `(batch_size, 1)`, 0 where not observed.
        negatives: How negatives were sampled.

    Returns:
        bool `(batch_size,)`.

    Example:
    >>> sampling = schema_lib.NegativeSampling(
    ...     labels=("click", "buy"), rate=0.1, splits=("train",)
    ... )
    >>> labels = {
    ...     "click": tf.constant([[1.0], [0.0], [0.0]]),
    ...     "buy": tf.constant([[0.0], [0.0], [1.0]]),
    ... }
    >>> is_positive(labels, sampling).numpy().tolist()
    [True, False, True]
    """
    found = [labels[name][:, 0] == 1.0 for name in negatives.labels]
    return tf.reduce_any(tf.stack(found), axis=0)


def weighted(
    batches: tf.data.Dataset, schema: schema_lib.Schema, split: str
) -> tf.data.Dataset:
    """Batches whose sample weights stand for the whole log.

    Where the split was sampled, the weight of a negative is divided by the
    rate at which it was kept, so that weighted means are those of the log (the
    estimate of Horvitz and Thompson). Elsewhere batches stay as they are.

    Args:
        batches: Of features, labels and sample weights.
        schema: Of the dataset.
        split: Name of the split.

    Raises:
        InputError: The split was sampled by a label that `schema` lacks.
    """
    negatives = schema.negatives
    if negatives is None or split not in negatives.splits:
        return batches
    sampling = negatives
    absent = sorted(set(sampling.labels) - set(schema.labels))
    if absent:
        raise InputError(
            "What is measured on a sampled split needs the labels that it was "
            f"sampled by. Received: the {split} split, sampled by {absent}, "
            f"for {list(schema.labels)}. Give the model these objectives too, "
            f"or leave {split} out of dataset.negatives.splits."
        )

    def weigh(
        features: dict[str, Any], labels: Columns, weights: Columns
    ) -> tuple[dict[str, Any], Columns, Columns]:
        kept = is_positive(labels, sampling)
        factor = tf.where(kept, 1.0, 1.0 / sampling.rate)
        return features, labels, {k: w * factor for k, w in weights.items()}

    return batches.map(weigh)
