"""Examples as one side: a split of a dataset, or served tf.train.Examples.

Loads TensorFlow, since `tfplugin.data` alone parses Examples.
"""

import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import tensorflow as tf

from tfplugin import artifacts
from tfplugin import data
from tfplugin import schema as schema_lib
from tfplugin.errors import InputError
from tfplugin.planning import drift_counting
from tfplugin.planning import drift_sides

_BATCH = 4096
_GZIP = b"\x1f\x8b"


def split(folder: artifacts.DatasetFolder, name: str) -> drift_sides.Side:
    """The rows of `validation` or `test`, which are read once.

    Args:
        folder: A finished dataset.
        name: The split.

    Raises:
        InputError: The dataset is damaged, or the split has no rows.
    """
    dataset = data.open_dataset(folder.path)
    where = f"{name} of {folder.path}"
    drift_sides.require_rows(dataset.rows(name), where)
    # A weight of 0 would pass for a label that was not observed.
    dataset.schema = dataset.schema.model_copy(update={"weight": False})
    batches = (
        dataset.validation(_BATCH)
        if name == "validation"
        else dataset.test(_BATCH)
    )
    counter = drift_counting.SideCounter(dataset.schema)
    for batch in batches:
        _count(counter, dataset.schema, *batch)
    return counter.side(where, drift_sides.sampling(dataset.schema, name))


def served(
    paths: Sequence[pathlib.Path], schema: schema_lib.Schema
) -> drift_sides.Side:
    """TFRecords of tf.train.Example, as sent to the signature `examples`.

    Args:
        paths: Files, gzip or plain.
        schema: Of the dataset whose model is served.

    Raises:
        InputError: A file is damaged, holds something else, or there is no
            row.
    """
    schema = schema.model_copy(update={"weight": False})
    counter = drift_counting.SideCounter(schema)
    for path in paths:
        with path.open("rb") as file:
            kind = "GZIP" if file.read(2) == _GZIP else ""
        records = tf.data.TFRecordDataset(str(path), kind).batch(_BATCH)
        try:
            for batch in records:
                _count(counter, schema, *data.parse_training(batch, schema))
        except (
            tf.errors.DataLossError,
            tf.errors.InvalidArgumentError,
        ) as error:
            raise InputError(
                "A sample of Examples must be TFRecords with the dataset's "
                f"features. Received: {path} ({error.message}). Name another "
                "--sample."
            ) from error
    return counter.side(f"Examples in {paths[0]}", served=True)


def _count(
    counter: drift_counting.SideCounter,
    schema: schema_lib.Schema,
    features: dict[str, Any],
    labels: dict[str, Any],
    weights: dict[str, Any],
) -> None:
    first = next(iter(weights.values()))
    counter.add_rows(int(first.shape[0]))
    for name, feature in schema.id_features.items():
        values, lengths = features[name], None
        if feature.is_list:
            lengths = values.row_lengths().numpy()
            values = values.values
        ids = (
            drift_counting.strings(values.numpy(), name)
            if feature.dtype == "string"
            else pa.array(values.numpy())
        )
        counter.add_ids(name, ids, lengths)
    for name in schema.dense_features:
        counter.add_numbers(name, features[name].numpy())
    for name in schema.labels:
        observed = weights[name].numpy() > 0
        counter.add_labels(
            name, np.where(observed, labels[name].numpy()[:, 0], np.nan)
        )
