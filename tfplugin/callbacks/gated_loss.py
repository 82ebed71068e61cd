"""A loss that can be switched off between two epochs."""

from typing import Any

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable(package="tfplugin")
class GatedLoss(keras.losses.Loss):
    """Another loss, or exactly 0 with exactly zero gradients.

    What `ObjectiveEarlyStopping` needs around the loss of each objective.
    While the gate is open, value and gradients are those of `loss`, bit for
    bit. While it is closed, `loss` is not computed, so that not even an
    infinite or NaN logit has a gradient. The gate may change between two
    steps; nothing is traced again.

    Args:
        loss: `keras.losses.Loss`, an object.
        is_open: Whether the gate is open at first.
        name: Name of the loss. Defaults to None, that of `loss`.

    Attributes:
        gate: Bool `tf.Variable`, True while open. It is in no checkpoint;
            `get_config` has its value as `is_open`.

    Raises:
        TypeError: `loss` is not a `keras.losses.Loss`.

    Example:
    >>> gated = GatedLoss(keras.losses.MeanSquaredError())
    >>> float(gated([[1.0]], [[3.0]]))
    4.0
    >>> _ = gated.gate.assign(False)
    >>> float(gated([[1.0]], [[3.0]]))
    0.0
    """

    def __init__(
        self, loss: Any, is_open: bool = True, name: str | None = None
    ) -> None:
        if not isinstance(loss, keras.losses.Loss):
            raise TypeError(
                "`loss` must be a Keras loss. Received: "
                f"loss={loss!r}. Use an object, such as "
                "`keras.losses.BinaryCrossentropy(from_logits=True)`."
            )
        super().__init__(
            name=loss.name if name is None else name,
            reduction=loss.reduction,
            dtype=loss.dtype,
        )
        self.loss = loss
        with tf.init_scope():
            self.gate = tf.Variable(is_open, dtype=tf.bool, trainable=False)

    def __call__(
        self, y_true: Any, y_pred: Any, sample_weight: Any = None
    ) -> tf.Tensor:
        """The value of `loss`, or 0.

        Args:
            y_true: As `loss` takes it.
            y_pred: As `loss` takes it.
            sample_weight: As `loss` takes it.
        """
        return tf.cond(
            self.gate,
            lambda: tf.cast(
                self.loss(y_true, y_pred, sample_weight), self.dtype
            ),
            lambda: tf.zeros((), self.dtype),
        )

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """The losses of `loss` before they are reduced, whatever the gate."""
        return self.loss.call(y_true, y_pred)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {
            "loss": keras.saving.serialize_keras_object(self.loss),
            "is_open": bool(self.gate.numpy()),
            "name": self.name,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "GatedLoss":
        """Returns a loss with the arguments `get_config` gave."""
        config = dict(config)
        if isinstance(config["loss"], dict):
            config["loss"] = keras.saving.deserialize_keras_object(
                config["loss"]
            )
        return cls(**config)
