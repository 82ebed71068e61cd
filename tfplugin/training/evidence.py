"""One pass over a split: metrics by evidence, calibration, grouped metrics."""

import pathlib
import tempfile
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfplugin import data
from tfplugin import metrics
from tfplugin import schema as schema_lib

#: Rows of a batch at least: evaluation has no reason to take small steps.
_LEAST_BATCH = 4096
#: Ranks that NDCG looks at.
NDCG_RANKS = 10

_Buckets = dict[str, np.ndarray]


class EvidencePass:
    """Measures a model on a split, by what training had seen of its ids.

    Reads the split with a function of its own, in inference, and changes
    nothing of the model: neither weights nor metrics nor random generators.
    Holds the ids of each table once, 9 bytes each, and histograms; see
    `tfplugin.metrics`.

    Args:
        model: From features to a dict of logits.
        dataset: Narrowed to the model's columns.
        base_rates: Objective to its positive rate in training rows.
        batch_size: Rows a batch, 4,096 at least.
        folder: Where files of rows by group are put while a pass lasts.
    """

    def __init__(
        self,
        model: keras.Model,
        dataset: data.Dataset,
        *,
        base_rates: Mapping[str, float],
        batch_size: int,
        folder: pathlib.Path,
    ) -> None:
        self._dataset = dataset
        self._base_rates = base_rates
        self._batch_size = max(batch_size, _LEAST_BATCH)
        self._folder = folder
        self._tables = dataset.schema.table_features()
        self._pipelines: dict[str, tf.data.Dataset] = {}
        self._buckets: dict[str, metrics.IdBuckets] = {}
        for table in self._tables:
            frequencies = dataset.id_frequencies(table)
            self._buckets[table] = metrics.IdBuckets(
                frequencies.ids, frequencies.counts
            )

        def predict(
            features: dict[str, Any], keys: dict[str, tf.Tensor]
        ) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
            logits = model(features, training=False)
            ids = {
                name: _keys_and_splits(features[name])
                for name in dataset.schema.id_features
            }
            return (
                {name: tf.reshape(logits[name], [-1]) for name in base_rates},
                ids,
                {
                    name: metrics.id_keys(column)
                    for name, column in keys.items()
                },
            )

        self._predict = tf.function(
            predict, autograph=False, reduce_retracing=True
        )

    def measure(self, split: str) -> dict[str, Any]:
        """Reads a split once.

        Args:
            split: `validation` or `test`.

        Returns:
            `objectives`, each with `tables` (table to a list of its buckets,
            see `BucketMetrics.by_bucket`, and `bucket`, its name),
            `calibration_curve`, and `group` and `request`, as
            `GroupedRanking.result` gives them, None where the dataset has no
            such column.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self._folder) as folder:
            judges = {
                objective: _Judge(
                    self._base_rates[objective],
                    list(self._tables),
                    self._group_folders(pathlib.Path(folder) / str(number)),
                    self._dataset.rows(split),
                )
                for number, objective in enumerate(self._base_rates)
            }
            for features, labels, weights, keys in self._batches(split):
                logits, ids, groups = self._predict(features, keys)
                buckets = self._buckets_of_rows(ids)
                for objective, judge in judges.items():
                    judge.update(
                        labels[objective].numpy().reshape(-1),
                        logits[objective].numpy(),
                        weights[objective].numpy(),
                        buckets,
                        {k: v.numpy() for k, v in groups.items()},
                    )
            return {
                "objectives": {
                    objective: judge.result()
                    for objective, judge in judges.items()
                }
            }

    def _batches(self, split: str) -> tf.data.Dataset:
        # Kept, since making a pipeline costs more than reading a small split.
        if split not in self._pipelines:
            self._pipelines[split] = data.keyed_batches(
                self._dataset, split, self._batch_size
            )
        return self._pipelines[split]

    def _group_folders(self, parent: pathlib.Path) -> dict[str, pathlib.Path]:
        schema = self._dataset.schema
        present = {
            schema_lib.GROUP_FEATURE: schema.group,
            schema_lib.REQUEST_ID_FEATURE: schema.request_id,
        }
        folders = {k: parent / k for k, dtype in present.items() if dtype}
        for folder in folders.values():
            folder.mkdir(parents=True)
        return folders

    def _buckets_of_rows(self, ids: dict[str, Any]) -> _Buckets:
        found = {}
        for table, features in self._tables.items():
            columns = []
            for name in features:
                keys, splits = ids[name]
                of_keys = self._buckets[table].of_keys(keys.numpy())
                columns.append(
                    (of_keys, None if splits is None else splits.numpy())
                )
            keys, splits = columns[0]
            rows = len(keys) if splits is None else len(splits) - 1
            found[table] = metrics.rarest_of_rows(rows, columns)
        return found


class _Judge:
    """All measures of one objective."""

    def __init__(
        self,
        base_rate: float,
        tables: list[str],
        folders: dict[str, pathlib.Path],
        rows: int,
    ) -> None:
        self._tables = tables
        self._by_bucket = metrics.BucketMetrics(
            base_rate, dict.fromkeys(tables, len(metrics.BUCKETS))
        )
        self._rankings = {
            key: metrics.GroupedRanking(folder, rows)
            for key, folder in folders.items()
        }

    def update(
        self,
        labels: np.ndarray,
        logits: np.ndarray,
        weights: np.ndarray,
        buckets: _Buckets,
        groups: dict[str, np.ndarray],
    ) -> None:
        """Adds a batch."""
        self._by_bucket.update(labels, logits, weights, buckets)
        for key, ranking in self._rankings.items():
            ranking.update(groups[key], labels, logits, weights)

    def result(self) -> dict[str, Any]:
        """What `EvidencePass.measure` says of an objective."""
        ranked = {
            key: ranking.result(NDCG_RANKS)
            for key, ranking in self._rankings.items()
        }
        return {
            "tables": {
                table: [
                    {"bucket": name, **measured}
                    for name, measured in zip(
                        metrics.BUCKETS,
                        self._by_bucket.by_bucket(table),
                        strict=True,
                    )
                    if measured["rows"]
                ]
                for table in self._tables
            },
            "calibration_curve": self._by_bucket.calibration_curve(),
            "group": ranked.get(schema_lib.GROUP_FEATURE),
            "request": ranked.get(schema_lib.REQUEST_ID_FEATURE),
        }


def _keys_and_splits(ids: Any) -> tuple[tf.Tensor, tf.Tensor | None]:
    if isinstance(ids, tf.RaggedTensor):
        return metrics.id_keys(ids.flat_values), ids.row_splits
    return metrics.id_keys(ids), None
