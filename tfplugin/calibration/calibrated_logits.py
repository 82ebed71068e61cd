"""Calibrated logits inside a graph, of TensorFlow's own operators."""

from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from tfplugin.calibration import curve as curve_lib


@keras.saving.register_keras_serializable(package="tfplugin")
class CalibratedLogits(keras.layers.Layer):
    """Applies each objective's curve to its logit.

    Args:
        curves: Objective to its `Curve`, or to the same as a dict; an
            objective without one passes as it is.
        **kwargs: Of `keras.layers.Layer`. The dtype is float32, also under a
            policy of mixed precision.

    Example:
    >>> layer = CalibratedLogits({"click": {"slope": 2.0, "intercept": 1.0}})
    >>> float(layer({"click": tf.constant([[1.0]])})["click"][0, 0])
    3.0
    """

    def __init__(
        self,
        curves: Mapping[str, curve_lib.Curve | Mapping[str, Any]],
        **kwargs: Any,
    ) -> None:
        super().__init__(**{"dtype": "float32", **kwargs})
        self._curves = {
            objective: curve_lib.Curve.model_validate(curve)
            for objective, curve in curves.items()
        }

    def call(self, logits: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Calibrates a batch.

        Args:
            logits: Objective to float logits of any shape.

        Returns:
            Objective to float32 logits of the same shape.
        """
        return {
            objective: _apply(self._curves[objective], z)
            if objective in self._curves
            else tf.cast(z, tf.float32)
            for objective, z in logits.items()
        }

    def compute_output_shape(
        self, input_shape: Mapping[str, Any]
    ) -> dict[str, Any]:
        """The shapes of the logits."""
        return dict(input_shape)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor arguments."""
        curves = {k: v.model_dump() for k, v in self._curves.items()}
        return {**super().get_config(), "curves": curves}


def _apply(curve: curve_lib.Curve, logits: tf.Tensor) -> tf.Tensor:
    z = tf.cast(logits, tf.float32)
    boundaries, x, y, slopes = (
        tf.constant(part, tf.float32) for part in curve.pieces()
    )
    flat = tf.reshape(z, [-1])
    piece = tf.searchsorted(boundaries, flat, side="right")
    # From the point of the piece, not from 0: nothing large cancels.
    calibrated = tf.gather(y, piece) + tf.gather(slopes, piece) * (
        flat - tf.gather(x, piece)
    )
    return tf.reshape(calibrated, tf.shape(z))
