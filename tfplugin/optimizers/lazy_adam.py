"""Adam on touched rows."""

from typing import Any

import keras
import tensorflow as tf

from tfplugin.optimizers import constructor_checks
from tfplugin.optimizers import row_rates
from tfplugin.optimizers import sparse_optimizer
from tfplugin.optimizers import table_state
from tfplugin.optimizers import update_rules


@keras.saving.register_keras_serializable(package="tfplugin")
class LazyAdam(sparse_optimizer.SparseOptimizer):
    """Adam whose moments rest while their row is absent.

    `m += (1 - beta_1) (g - m)`, `v += (1 - beta_2) (g^2 - v)`,
    `alpha = rate * sqrt(1 - beta_2^t) / (1 - beta_1^t)`,
    `w -= alpha * m / (sqrt(v) + epsilon)`, where `g` is the sum over all
    occurrences of the row in the batch and `t` counts the updates of the table
    since it was made or reset (`reset_state`): after a reset the first updates
    are as large as at the start, not several times that. Where every row is
    touched, equal to `keras.optimizers.Adam`. State: twice the table.

    Args:
        learning_rate: Float, schedule or callable. Defaults to 0.001.
        beta_1: Float in [0, 1), decay of the first moment. Defaults to 0.9.
        beta_2: Float in [0, 1), decay of the second moment. Defaults to 0.999.
        epsilon: Float, not negative. Defaults to 1e-7, as Keras.
        row_rate: `RowRate`, a factor for each row. Defaults to None.
        name: Name of the optimizer. Defaults to None, the class's.
        **base_options: See `SparseOptimizer`.

    Raises:
        ValueError: If a constant is out of its range.

    Example:
    >>> table = keras.Variable([[0.0], [0.0]])
    >>> optimizer = LazyAdam(0.5)
    >>> gradient = tf.IndexedSlices(tf.ones((1, 1)), tf.constant([1]))
    >>> optimizer.apply([gradient], [table])
    >>> table.numpy().round(4).tolist()
    [[0.0], [-0.5]]

    Reference: Kingma and Ba, https://arxiv.org/abs/1412.6980; lazy as
    torch.optim.SparseAdam.
    """

    uses_step = True

    def __init__(
        self,
        learning_rate: float
        | keras.optimizers.schedules.LearningRateSchedule = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        row_rate: row_rates.RowRate | None = None,
        name: str | None = None,
        **base_options: Any,
    ) -> None:
        constructor_checks.require_not_negative(epsilon=epsilon)
        for argument, value in (("beta_1", beta_1), ("beta_2", beta_2)):
            if not 0.0 <= value < 1.0:
                raise ValueError(
                    f"`{argument}` must be in [0, 1). "
                    f"Received: {argument}={value}"
                )
        super().__init__(learning_rate, row_rate, name, **base_options)
        self.beta_1 = float(beta_1)
        self.beta_2 = float(beta_2)
        self.epsilon = float(epsilon)

    def state_specs(self) -> tuple[table_state.StateSpec, ...]:
        """Two states, the moments."""
        return (
            table_state.StateSpec("momentum"),
            table_state.StateSpec("velocity"),
        )

    def compute_update(
        self,
        gradient: tf.Tensor,
        states: tuple[tf.Tensor, ...],
        rate: tf.Tensor,
        step: tf.Tensor | None,
    ) -> tuple[tf.Tensor, tuple[tf.Tensor, ...]]:
        """Applies the rule."""
        return update_rules.lazy_adam(
            gradient,
            states,
            rate,
            step=step,
            beta_1=self.beta_1,
            beta_2=self.beta_2,
            epsilon=self.epsilon,
        )

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {
            **super().get_config(),
            "beta_1": self.beta_1,
            "beta_2": self.beta_2,
            "epsilon": self.epsilon,
        }
