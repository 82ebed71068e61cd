"""A trained Keras model → a SavedModel that stock TF Serving runs."""

import pathlib
import shutil
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from tfplugin import calibration as calibration_lib
from tfplugin import layer_tree
from tfplugin import layers
from tfplugin import schema as schema_lib
from tfplugin.data import model_columns
from tfplugin.data import parsing
from tfplugin.errors import InputError

_MISSING: dict[str, int | str] = {
    "int64": schema_lib.MISSING_INT64,
    "string": schema_lib.MISSING_STRING,
}

Features = dict[str, tf.Tensor | tf.RaggedTensor]


def save(
    model: keras.Model,
    path: str | pathlib.Path,
    schema: schema_lib.Schema,
    *,
    calibration: calibration_lib.CalibrationRecord | None = None,
    overwrite: bool = False,
) -> pathlib.Path:
    """Writes a SavedModel whose answers are probabilities.

    Two signatures, each from a batch to a float32 probability of shape
    `(batch_size,)` an objective:

    * `serving_default`: raw values by feature name. Scalar ids are int64 or
      string `(batch_size,)`, a missing one -2^63 or ''; dense features
      float32 `(batch_size,)`, a missing one NaN; a list feature is a pair,
      NAME of shape `(batch_size, width)` and NAME_length, int64
      `(batch_size,)`: how many of a row's values count.
    * `examples`: one input `examples`, string `(batch_size,)`, each a
      serialized tf.train.Example, parsed as in training.

    Neither asks for training-only features; they take their serving value.
    Every variable is written once, vocabularies as assets; the graph holds
    TensorFlow's own operators only and loads without this package. What the
    model does outside of training (a `SamplingCorrection`) and the
    calibration are part of it.

    Args:
        model: From a dict of features, some or all of the dataset's, to a
            dict of logits `(batch_size, 1)` by label.
        path: The version's folder, `W/model/1`. It appears at once and
            whole: it is written beside and renamed.
        schema: The dataset's schema.
        calibration: How its logits are calibrated; None for not at all.
        overwrite: Whether an existing `path` is replaced.

    Returns:
        `path`.

    Raises:
        InputError: `path` exists and `overwrite` is False, the model does
            not fit the schema (see `data.select_for_model`), or the
            calibration is of other weights or objectives.
    """
    schema = model_columns.select_for_model(schema, model)
    path = pathlib.Path(path)
    if path.exists() and not overwrite:
        raise InputError(
            f"An exported version is never changed. Received: {path}, which "
            "exists. Name another --version or pass --overwrite."
        )
    calibrate = _calibration_layer(model, schema, calibration)
    temporary = path.with_name(f".{path.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.parent.mkdir(parents=True, exist_ok=True)
    module = tf.Module()
    module.weights = [variable.value for variable in model.variables]
    predict = _predict_function(model, schema, calibrate)
    with layers.exporting(model) as trackables:
        module.trackables = [*trackables, *_lookup_tables(model)]
        module.serve_raw = _raw_signature(predict, schema)
        module.serve_examples = _examples_signature(predict, schema)
        tf.saved_model.save(
            module,
            str(temporary),
            signatures={
                "serving_default": module.serve_raw,
                "examples": module.serve_examples,
            },
        )
    shutil.rmtree(path, ignore_errors=True)
    temporary.replace(path)
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
        if child.name.isdigit()
    ]
    return max(versions, default=0) + 1


def _calibration_layer(
    model: keras.Model,
    schema: schema_lib.Schema,
    calibration: calibration_lib.CalibrationRecord | None,
) -> calibration_lib.CalibratedLogits:
    if calibration is None:
        return calibration_lib.CalibratedLogits({})
    curves = calibration.curves()
    wanted = calibration_lib.model_fingerprint(model)
    if calibration.model_fingerprint != wanted or set(curves) != set(
        schema.labels
    ):
        raise InputError(
            f"A calibration must be of the model that is exported, {wanted} "
            f"with {sorted(schema.labels)}. Received: one of "
            f"{calibration.model_fingerprint} with {sorted(curves)}. Fit it "
            "again after the last change of weights."
        )
    return calibration_lib.CalibratedLogits(curves)


def _lookup_tables(model: keras.Model) -> list[Any]:
    """Tables of Keras's own lookup layers, which a SavedModel must track."""
    kinds = (keras.layers.StringLookup, keras.layers.IntegerLookup)
    return [
        layer.lookup_table
        for layer in layer_tree.walk(model)
        if isinstance(layer, kinds)
    ]


def _predict_function(
    model: keras.Model,
    schema: schema_lib.Schema,
    calibrate: calibration_lib.CalibratedLogits,
) -> Callable[[Features, tf.Tensor], dict[str, tf.Tensor]]:
    def predict(
        features: Features, batch_size: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        features = features | _serving_values(schema, batch_size)
        logits = calibrate(model(features, training=False))
        return {
            objective: tf.reshape(
                tf.sigmoid(tf.cast(logits[objective], tf.float32)), [-1]
            )
            for objective in schema.labels
        }

    return predict


def _serving_values(
    schema: schema_lib.Schema, batch_size: tf.Tensor
) -> Features:
    """The constants that training-only features take."""
    values: Features = {}
    for name, feature in schema.id_features.items():
        if not feature.training_only:
            continue
        dtype = tf.dtypes.as_dtype(feature.dtype)
        if feature.is_list:
            values[name] = tf.RaggedTensor.from_row_lengths(
                tf.constant([], dtype), tf.zeros([batch_size], tf.int64)
            )
            continue
        constant = feature.serving_value
        if constant is None:
            constant = _MISSING[feature.dtype]
        values[name] = tf.fill([batch_size], tf.constant(constant, dtype))
    for name, dense in schema.dense_features.items():
        if dense.training_only:
            number = dense.serving_value
            number = float("nan") if number is None else number
            values[name] = tf.fill([batch_size], number)
    return values


def _raw_signature(
    predict: Callable[[Features, tf.Tensor], dict[str, tf.Tensor]],
    schema: schema_lib.Schema,
) -> tf.types.experimental.PolymorphicFunction:
    specs: dict[str, tf.TensorSpec] = {}
    lists = []
    for name, feature in schema.id_features.items():
        if feature.training_only:
            continue
        shape = [None, None] if feature.is_list else [None]
        specs[name] = tf.TensorSpec(shape, feature.dtype, name)
        if feature.is_list:
            length = name + schema_lib.LENGTHS_SUFFIX
            specs[length] = tf.TensorSpec([None], tf.int64, length)
            lists.append(name)
    for name, dense in schema.dense_features.items():
        if not dense.training_only:
            specs[name] = tf.TensorSpec([None], tf.float32, name)

    if not specs:
        raise InputError(
            "A model must take a feature that is known at serving. Received: "
            f"a model of {sorted(schema.id_features)}, all training-only."
        )

    @tf.function(input_signature=[specs], autograph=False)
    def serve_raw(raw: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        features: Features = dict(raw)
        for name in lists:
            lengths = features.pop(name + schema_lib.LENGTHS_SUFFIX)
            features[name] = _ragged(name, raw[name], lengths)
        first = next(iter(raw.values()))
        return predict(features, tf.shape(first)[0])

    return serve_raw


def _ragged(
    name: str, values: tf.Tensor, lengths: tf.Tensor
) -> tf.RaggedTensor:
    """A list feature from its fixed-width tensor and its lengths."""
    width = tf.shape(values, tf.int64)[1]
    legal = tf.reduce_all((lengths >= 0) & (lengths <= width))
    check = tf.debugging.Assert(
        legal,
        [
            f"{name}{schema_lib.LENGTHS_SUFFIX} must lie between 0 and the "
            f"width of {name}. Received lengths and width:",
            lengths,
            width,
        ],
    )
    # Without the check, lengths over the width would be cut in silence.
    with tf.control_dependencies([check] if check is not None else []):
        return tf.RaggedTensor.from_tensor(values, tf.identity(lengths))


def _examples_signature(
    predict: Callable[[Features, tf.Tensor], dict[str, tf.Tensor]],
    schema: schema_lib.Schema,
) -> tf.types.experimental.PolymorphicFunction:
    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "examples")])
    def serve_examples(examples: tf.Tensor) -> dict[str, tf.Tensor]:
        features = parsing.parse_features(examples, schema)
        return predict(features, tf.shape(examples)[0])

    return serve_examples
