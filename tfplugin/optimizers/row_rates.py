"""Row rates: from the count of an id to a factor on its learning rate."""

from typing import Any

import keras
import tensorflow as tf

from tfplugin.optimizers import constructor_checks


class RowRate:
    """A factor on the learning rate for each row of an embedding table.

    Hand an instance to any sparse optimizer as `row_rate`; the rate of row i is
    `learning_rate * row_rate(counts, maximum_count)[i]`. A subclass overrides
    `__call__` and `get_config`, keeps no state, and is registered with
    `keras.saving.register_keras_serializable`.

    Attributes:
        needs_counts: Whether the rate reads the counts. If so, an update
            without `SparseOptimizer.set_row_counts` is an error.
        special_rate: Factor of the special rows (missing, out of vocabulary),
            which are not ids and have no meaningful count.

    Call arguments:
        counts: float32 `(n,)`, how often the ids of the touched rows occur in
            the training data. Zeros if `needs_counts` is false.
        maximum_count: float32 scalar, the largest count of any id of the table,
            special rows left out.

    Returns:
        float32 `(n,)`, the factors.

    Example:
    >>> class OnlyFrequent(RowRate):
    ...     def __call__(self, counts, maximum_count):
    ...         return tf.cast(counts >= 10.0, tf.float32)
    >>> OnlyFrequent()(tf.constant([3.0, 30.0]), 30.0).numpy().tolist()
    [0.0, 1.0]
    """

    needs_counts: bool = True
    special_rate: float = 1.0

    def __call__(
        self, counts: tf.Tensor, maximum_count: tf.Tensor
    ) -> tf.Tensor:
        """Returns the factors of rows with these counts."""
        raise NotImplementedError(
            f"{type(self).__name__} must override `__call__`."
        )

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "RowRate":
        """Returns an instance with the arguments `get_config` gave."""
        return cls(**config)


@keras.saving.register_keras_serializable(package="tfplugin")
class ConstantRate(RowRate):
    """The same factor for every row, special or not; reads no counts.

    The control of an experiment on row rates: it tells WHICH rows slow down
    from HOW MUCH the table slows down.

    Args:
        value: Float, not negative. Defaults to 1.0.

    Raises:
        ValueError: If `value` is negative or not a number.

    Example:
    >>> ConstantRate(0.25)(tf.constant([0.0, 9.0]), 9.0).numpy().tolist()
    [0.25, 0.25]
    """

    needs_counts = False

    def __init__(self, value: float = 1.0) -> None:
        constructor_checks.require_not_negative(value=value)
        self.value = float(value)
        self.special_rate = self.value

    def __call__(
        self, counts: tf.Tensor, maximum_count: tf.Tensor
    ) -> tf.Tensor:
        """Returns `value` for each row."""
        return tf.fill(tf.shape(counts), tf.constant(self.value, tf.float32))

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {"value": self.value}


@keras.saving.register_keras_serializable(package="tfplugin")
class LogFrequency(RowRate):
    """Frequency-adaptive rate: rare rows, which memorise, learn slower.

    `factor_i = log(count_i + 1) / max_j log(count_j + 1)`, the maximum over the
    rows of one table, special rows left out. A row with count 0 does not
    learn; a table whose counts are all 0 learns at the plain rate.

    Args:
        special_rate: Float, not negative; factor of the missing and
            out-of-vocabulary rows. Defaults to 1.0.

    Raises:
        ValueError: If `special_rate` is negative or not a number.

    Example:
    >>> rate = LogFrequency()
    >>> rate(tf.constant([0.0, 9.0, 99.0]), 99.0).numpy().round(4).tolist()
    [0.0, 0.5, 1.0]

    Reference: FAL, https://arxiv.org/abs/2505.05605.
    """

    def __init__(self, special_rate: float = 1.0) -> None:
        constructor_checks.require_not_negative(special_rate=special_rate)
        self.special_rate = float(special_rate)

    def __call__(
        self, counts: tf.Tensor, maximum_count: tf.Tensor
    ) -> tf.Tensor:
        """Returns the factors of rows with these counts."""
        counts = tf.convert_to_tensor(counts, tf.float32)
        maximum_count = tf.convert_to_tensor(maximum_count, tf.float32)
        factors = tf.math.divide_no_nan(
            tf.math.log1p(counts), tf.math.log1p(maximum_count)
        )
        return tf.where(maximum_count > 0.0, factors, tf.ones_like(factors))

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {"special_rate": self.special_rate}
