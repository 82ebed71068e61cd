"""Row-wise Adagrad on touched rows."""

from typing import Any

import keras
import tensorflow as tf

from tfplugin.optimizers import constructor_checks
from tfplugin.optimizers import row_rates
from tfplugin.optimizers import sparse_optimizer
from tfplugin.optimizers import table_state
from tfplugin.optimizers import update_rules


@keras.saving.register_keras_serializable(package="tfplugin")
class RowwiseAdagrad(sparse_optimizer.SparseOptimizer):
    """Adagrad with one accumulator a row: the least state that adapts.

    `a += mean(g^2)` over the row, `w -= rate * g / (sqrt(a) + epsilon)`, where
    `g` is the sum over all occurrences of the row in the batch. State: one
    number a row, 1/dim of the table. In a variable of one axis every element is
    a row; beyond two axes the mean is over all but the first.

    Args:
        learning_rate: Float, schedule or callable. Defaults to 0.01.
        initial_accumulator_value: Float, not negative: what every accumulator
            starts from. Defaults to 0.0; Keras's 0.1 nearly stops tables whose
            gradients are means over a batch.
        epsilon: Float, not negative. Defaults to 1e-8, as FBGEMM's; it stands
            outside of the root.
        row_rate: `RowRate`, a factor for each row. Defaults to None.
        name: Name of the optimizer. Defaults to None, the class's.
        **base_options: See `SparseOptimizer`.

    Raises:
        ValueError: If a constant is negative.

    Example:
    >>> table = keras.Variable([[0.0, 0.0], [0.0, 0.0]])
    >>> optimizer = RowwiseAdagrad(1.0)
    >>> gradient = tf.IndexedSlices(
    ...     tf.constant([[1.0, 7.0]]), tf.constant([1])
    ... )
    >>> optimizer.apply([gradient], [table])
    >>> table.numpy()[1].round(4)
    array([-0.2, -1.4], dtype=float32)

    Reference: EXACT_ROWWISE_ADAGRAD of FBGEMM,
    https://github.com/pytorch/FBGEMM.
    """

    def __init__(
        self,
        learning_rate: float
        | keras.optimizers.schedules.LearningRateSchedule = 0.01,
        initial_accumulator_value: float = 0.0,
        epsilon: float = 1e-8,
        row_rate: row_rates.RowRate | None = None,
        name: str | None = None,
        **base_options: Any,
    ) -> None:
        constructor_checks.require_not_negative(
            initial_accumulator_value=initial_accumulator_value,
            epsilon=epsilon,
        )
        super().__init__(learning_rate, row_rate, name, **base_options)
        self.initial_accumulator_value = float(initial_accumulator_value)
        self.epsilon = float(epsilon)

    def state_specs(self) -> tuple[table_state.StateSpec, ...]:
        """One state, the accumulator."""
        return (
            table_state.StateSpec(
                "accumulator", self.initial_accumulator_value, per_row=True
            ),
        )

    def compute_update(
        self,
        gradient: tf.Tensor,
        states: tuple[tf.Tensor, ...],
        rate: tf.Tensor,
        step: tf.Tensor | None,
    ) -> tuple[tf.Tensor, tuple[tf.Tensor, ...]]:
        """Applies the rule."""
        return update_rules.rowwise_adagrad(
            gradient, states, rate, epsilon=self.epsilon
        )

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {
            **super().get_config(),
            "initial_accumulator_value": self.initial_accumulator_value,
            "epsilon": self.epsilon,
        }
