"""Gradient descent on touched rows."""

from typing import Any

import keras
import tensorflow as tf

from tfplugin.optimizers import row_rates
from tfplugin.optimizers import sparse_optimizer
from tfplugin.optimizers import table_state
from tfplugin.optimizers import update_rules


@keras.saving.register_keras_serializable(package="tfplugin")
class SparseSGD(sparse_optimizer.SparseOptimizer):
    """Gradient descent, with or without momentum, on touched rows.

    `m = momentum * m + g`, `w -= rate * m`; without momentum `w -= rate * g`
    and no state. The momentum of a row rests while the row is absent. At a
    constant rate, and where every row is touched, equal to
    `keras.optimizers.SGD`.

    Args:
        learning_rate: Float, schedule or callable. Defaults to 0.01.
        momentum: Float in [0, 1). Defaults to 0.0, no state.
        row_rate: `RowRate`, a factor for each row. Defaults to None.
        name: Name of the optimizer. Defaults to None, the class's.
        **base_options: See `SparseOptimizer`.

    Raises:
        ValueError: If `momentum` is outside of [0, 1).

    Example:
    >>> table = keras.Variable([[0.0], [0.0]])
    >>> optimizer = SparseSGD(0.5, momentum=0.5)
    >>> gradient = tf.IndexedSlices(tf.ones((1, 1)), tf.constant([1]))
    >>> for _ in range(2):
    ...     optimizer.apply([gradient], [table])
    >>> table.numpy().tolist()
    [[0.0], [-1.25]]
    """

    def __init__(
        self,
        learning_rate: float
        | keras.optimizers.schedules.LearningRateSchedule = 0.01,
        momentum: float = 0.0,
        row_rate: row_rates.RowRate | None = None,
        name: str | None = None,
        **base_options: Any,
    ) -> None:
        if not 0.0 <= momentum < 1.0:
            raise ValueError(
                f"`momentum` must be in [0, 1). Received: momentum={momentum}"
            )
        super().__init__(learning_rate, row_rate, name, **base_options)
        self.momentum = float(momentum)

    def state_specs(self) -> tuple[table_state.StateSpec, ...]:
        """One state, the momentum, if there is any."""
        if not self.momentum:
            return ()
        return (table_state.StateSpec("momentum"),)

    def compute_update(
        self,
        gradient: tf.Tensor,
        states: tuple[tf.Tensor, ...],
        rate: tf.Tensor,
        step: tf.Tensor | None,
    ) -> tuple[tf.Tensor, tuple[tf.Tensor, ...]]:
        """Applies the rule."""
        if not self.momentum:
            return update_rules.sgd(gradient, rate)
        return update_rules.momentum_sgd(
            gradient, states, rate, momentum=self.momentum
        )

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {**super().get_config(), "momentum": self.momentum}
