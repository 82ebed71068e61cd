"""What a model answers outside of training: calibrated probabilities."""

from collections.abc import Callable

import keras
import tensorflow as tf

from tfplugin import calibration as calibration_lib
from tfplugin import schema as schema_lib
from tfplugin.errors import InputError

#: Missing ids by dtype.
MISSING: dict[str, int | str] = {
    "int64": schema_lib.MISSING_INT64,
    "string": schema_lib.MISSING_STRING,
}

Features = dict[str, tf.Tensor | tf.RaggedTensor]
#: From features and the size of their batch to float32 `(batch_size,)` an
#: objective.
Predict = Callable[[Features, tf.Tensor | int], dict[str, tf.Tensor]]


def predict_function(
    model: keras.Model,
    schema: schema_lib.Schema,
    calibration: calibration_lib.CalibrationRecord | None = None,
) -> Predict:
    """What signatures answer, as a function of parsed features.

    Args:
        model: From a dict of features to a dict of logits by label.
        schema: The model's columns, see `data.select_for_model`.
        calibration: How its logits are calibrated; None for not at all.

    Returns:
        A function of features (those that are training-only are replaced by
        their serving value) and the batch's size.

    Raises:
        InputError: The calibration is of other weights or objectives.

    Example:
    >>> user = schema_lib.IdFeature(dtype="int64", table="user")
    >>> schema = schema_lib.Schema(id_features={"user": user}, labels=("buy",))
    >>> ids = keras.Input((), dtype="int64", name="user")
    >>> zero = keras.layers.Lambda(lambda x: keras.ops.cast(x, "float32") * 0)
    >>> predict = predict_function(
    ...     keras.Model({"user": ids}, {"buy": zero(ids)}), schema
    ... )
    >>> predict({"user": tf.constant([7], tf.int64)}, 1)["buy"].numpy().tolist()
    [0.5]
    """
    calibrate = _calibration_layer(model, schema, calibration)

    def predict(
        features: Features, batch_size: tf.Tensor | int
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


def _serving_values(
    schema: schema_lib.Schema, batch_size: tf.Tensor | int
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
            constant = MISSING[feature.dtype]
        values[name] = tf.fill([batch_size], tf.constant(constant, dtype))
    for name, dense in schema.dense_features.items():
        if dense.training_only:
            number = dense.serving_value
            number = float("nan") if number is None else number
            values[name] = tf.fill([batch_size], number)
    return values
