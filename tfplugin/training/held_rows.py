"""Parsed rows of a split, held in memory."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from tfplugin import config as config_lib
from tfplugin import data
from tfplugin import layers
from tfplugin.errors import InputError

#: Rows read at a time.
_READ_ROWS = 65_536
#: Buckets that whole groups are sampled by.
_SAMPLE_BUCKETS = 1_000_000


class HeldRows:
    """Parsed rows of one split.

    Args:
        features: Name to a tensor, ragged for lists.
        labels: Objective to float32 `(rows,)`.
        weights: Objective to float32 `(rows,)`.
    """

    def __init__(
        self,
        features: dict[str, Any],
        labels: dict[str, np.ndarray],
        weights: dict[str, np.ndarray],
    ) -> None:
        self.features = features
        self.labels = labels
        self.weights = weights
        self.rows = len(next(iter(labels.values())))

    def slice(self, start: int, stop: int) -> dict[str, Any]:
        """Features of some rows."""
        return {name: f[start:stop] for name, f in self.features.items()}


class Sample:
    """Chooses whole groups, or rows, by a seeded hash.

    Args:
        feature: Scalar id feature that holds the groups; None for rows.
        share: Of the groups, or rows.
        seed: Of the hash.
    """

    def __init__(self, feature: str | None, share: float, seed: int) -> None:
        self.feature = feature
        self.share = share
        self.seed = seed

    def choose(self, features: dict[str, Any], first_row: int) -> tf.Tensor:
        """Which rows of a batch to keep, bool `(batch_size,)`.

        Args:
            features: Of the batch.
            first_row: Its place in the split. Rows without a group are chosen
                by their place: all of them are no group.
        """
        count = tf.shape(next(iter(features.values())), tf.int64)[0]
        rows = tf.range(count, dtype=tf.int64) + first_row
        chosen = self._is_chosen(rows)
        if self.feature is None:
            return chosen
        groups = features[self.feature]
        mapping = self._mapping(groups.dtype.name)
        is_missing = groups == tf.constant(mapping.missing_id, groups.dtype)
        return tf.where(is_missing, chosen, self._is_chosen(groups))

    def _is_chosen(self, keys: tf.Tensor) -> tf.Tensor:
        mapping = self._mapping(keys.dtype.name)
        return mapping(keys) <= round(self.share * _SAMPLE_BUCKETS)

    def _mapping(self, dtype: str) -> layers.HashMapping:
        return layers.HashMapping(
            _SAMPLE_BUCKETS, id_dtype=dtype, seed=self.seed
        )


def group_feature(config: config_lib.ExperimentConfig) -> str | None:
    """The scalar id feature whose column is the group's; None without one.

    Args:
        config: The experiment.
    """
    for name, feature in config.features.items():
        column = feature.column or name
        if feature.type == "id" and column == config.group:
            return name
    return None


def hold(dataset: data.Dataset, split: str, sample: Sample) -> HeldRows:
    """Reads the chosen rows of a split.

    Args:
        dataset: Opened.
        split: `train`, `validation` or `test`.
        sample: Which rows.

    Raises:
        InputError: There are none.
    """
    parts = list(_read(dataset, split, sample))
    if not parts:
        raise InputError(
            f"A trial needs rows of every split. Received: none of {split}."
        )
    features, labels, weights = (
        {name: [part[k][name] for part in parts] for name in parts[0][k]}
        for k in range(3)
    )
    return HeldRows(
        {name: tf.concat(found, 0) for name, found in features.items()},
        {k: tf.concat(v, 0).numpy().reshape(-1) for k, v in labels.items()},
        {k: tf.concat(v, 0).numpy().reshape(-1) for k, v in weights.items()},
    )


def _read(
    dataset: data.Dataset, split: str, sample: Sample
) -> Iterator[tuple[dict[str, Any], dict[str, Any], dict[str, Any]]]:
    reader = {
        "train": lambda size: dataset.train(size, shuffle_rows=1),
        "validation": dataset.validation,
        "test": dataset.test,
    }[split]
    first_row = 0
    for batch in reader(_READ_ROWS):
        features, labels, weights = batch
        if sample.share < 1.0:
            kept = sample.choose(features, first_row)
            features, labels, weights = (
                {k: _mask(v, kept) for k, v in part.items()} for part in batch
            )
        first_row += _READ_ROWS
        yield features, labels, weights


def _mask(values: Any, kept: tf.Tensor) -> Any:
    if isinstance(values, tf.RaggedTensor):
        return tf.ragged.boolean_mask(values, kept)
    return tf.boolean_mask(values, kept)
