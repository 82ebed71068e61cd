"""A trained Keras model → a SavedModel that stock TF Serving runs."""

import pathlib
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from tfplugin import calibration as calibration_lib
from tfplugin import layer_tree
from tfplugin import layers
from tfplugin import schema as schema_lib
from tfplugin.data import model_columns
from tfplugin.export import export_record
from tfplugin.export import golden as golden_lib
from tfplugin.export import predicting
from tfplugin.export import signatures as signatures_lib
from tfplugin.export import smaller_tables
from tfplugin.export import staging
from tfplugin.export import table_compression
from tfplugin.export import tables as tables_lib
from tfplugin.export import warm_up as warm_up_lib


def save(
    model: keras.Model,
    path: str | pathlib.Path,
    schema: schema_lib.Schema,
    *,
    calibration: calibration_lib.CalibrationRecord | None = None,
    scores: Mapping[str, str] | None = None,
    compressed: smaller_tables.SmallerTables | None = None,
    golden: golden_lib.GoldenRequests | None = None,
    warm_up: Sequence[int] | None = None,
    overwrite: bool = False,
) -> pathlib.Path:
    """Writes a SavedModel whose answers are probabilities.

    Its signatures, each from a batch, which may be empty:

    * `serving_default`: raw values by feature name. Scalar ids are int64 or
      string `(batch_size,)`, a missing one -2^63 or ''; dense features
      float32 `(batch_size,)`, a missing one NaN; a list feature is a pair,
      NAME of shape `(batch_size, width)` and NAME_length, int64
      `(batch_size,)`: how many of a row's values count. Outputs: a float32
      probability `(batch_size,)` an objective.
    * `examples`: one input `examples`, string `(batch_size,)`, each a
      serialized tf.train.Example, parsed as in training; outputs as above.
    * `classify_OBJECTIVE`, `regress_OBJECTIVE`: TensorFlow Serving's Classify
      and Regress of one objective, from `inputs`, serialized Examples;
      `classes` are '0' and '1' and `scores` their probabilities, float32
      `(batch_size, 2)`; `outputs` is the probability, `(batch_size,)`.
    * `embeddings_TABLE`: `ids`, raw ids `(batch_size,)` of a table, to
      `embeddings`, float32 `(batch_size, dim)`.
    * `scores`, where there are formulas: the inputs of `serving_default` and
      float32 `(batch_size,)` for each further name in a formula, to float32
      `(batch_size,)` a formula.

    None asks for training-only features; they take their serving value.
    Every variable is written once, vocabularies as assets; the graph holds
    TensorFlow's own operators only and loads without this package. What the
    model does outside of training (a `SamplingCorrection`) and the
    calibration are part of it. Beside the graph, `assets.extra/export.json`
    says what is in it.

    Args:
        model: From a dict of features, some or all of the dataset's, to a
            dict of logits `(batch_size, 1)` by label.
        path: The version's folder, `W/model/1`. It appears at once and
            whole: it is written beside and renamed.
        schema: The dataset's schema.
        calibration: How its logits are calibrated; None for not at all.
        scores: Name to formula over objectives, dense features and further
            inputs; see `formulas.parse`.
        compressed: Which tables are written smaller, and how much worse
            the answers may become; None for all as trained.
        golden: Requests that travel with the model; see `golden.draw`. With
            smaller tables they are answered anew.
        warm_up: Batch sizes of the requests that a server replays before
            the version takes traffic; None for no such requests.
        overwrite: Whether an existing `path` is replaced.

    Returns:
        `path`.

    Raises:
        InputError: `path` exists and `overwrite` is False, the disk refuses
            it, the model does not fit the schema (see
            `data.select_for_model`), the calibration is of other weights or
            objectives, a formula cannot be read, or a bound of `compressed`
            is exceeded. Whatever is raised, `path` stays as it was.
    """
    schema = model_columns.select_for_model(schema, model)
    path = pathlib.Path(path)
    predict = predicting.predict_function(model, schema, calibration)
    signatures = signatures_lib.build(predict, model, schema, scores)
    smaller = compressed or smaller_tables.SmallerTables()
    with staging.staged(path, overwrite=overwrite) as folder:
        with smaller.read_by(model) as made:
            if golden is not None:
                golden = smaller.answers(golden, model, schema, calibration)
            _write(model, folder, signatures, made)
        if golden is not None:
            golden_lib.write(folder, golden)
        if warm_up:
            warm_up_lib.write(folder, schema, batch_sizes=warm_up)
        report = smaller.measure(folder, schema, made.tables, predict)
        record = export_record.describe(
            schema,
            signatures,
            tables_lib.find(model, schema),
            made.tables,
            calibration=calibration.method if calibration else None,
            size_report=report.as_json() if report else None,
        )
        export_record.write(folder, record)
    return path


def next_version(folder: pathlib.Path) -> int:
    """One more than the highest version in a folder of versions, or 1.

    Example:
    >>> import tempfile
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> (folder / "7").mkdir()
    >>> next_version(folder), next_version(folder / "absent")
    (8, 1)
    """
    versions = [
        int(child.name)
        for child in (folder.iterdir() if folder.is_dir() else ())
        if child.name.isascii() and child.name.isdecimal()
    ]
    return max(versions, default=0) + 1


def _write(
    model: keras.Model,
    folder: pathlib.Path,
    signatures: signatures_lib.Signatures,
    made: table_compression.CompressedTables,
) -> None:
    """Writes the SavedModel of a model that reads the tables it is to have."""
    module = tf.Module()
    with layers.exporting(model) as assets:
        module.weights = made.weights(model)
        module.trackables = [*assets, *_lookup_tables(model)]
        module.functions = signatures.functions
        tf.saved_model.save(
            module, str(folder), signatures=signatures.functions
        )
    signatures.write_methods(str(folder))


def _lookup_tables(model: keras.Model) -> list[Any]:
    """Tables of Keras's own lookup layers, which a SavedModel must track."""
    kinds = (keras.layers.StringLookup, keras.layers.IntegerLookup)
    return [
        layer.lookup_table
        for layer in layer_tree.walk(model)
        if isinstance(layer, kinds)
    ]
