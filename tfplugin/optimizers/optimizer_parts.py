"""The parts that a sparse optimizer is put together from.

Rules are registered with Keras here, so that they themselves need no Keras, and
in a package of their own, since optimizers bear the same names.
"""

from typing import Any

import keras
import tensorflow as tf

from tfplugin.optimizers import row_counts
from tfplugin.optimizers import row_options
from tfplugin.optimizers import row_rates
from tfplugin.optimizers import rules

for _rule in (
    rules.Sgd,
    rules.Adagrad,
    rules.RowwiseAdagrad,
    rules.LazyAdam,
    rules.PartialRowwiseAdam,
    rules.Ftrl,
):
    keras.saving.register_keras_serializable(package="tfplugin.rules")(_rule)


def check(
    rule: Any,
    row_rate: Any,
    online_counts: Any,
    options: row_options.RowOptions,
) -> None:
    """Checks that the parts are what they should be and fit.

    Args:
        rule: `rules.Rule`.
        row_rate: `RowRate` or None.
        online_counts: `OnlineCounts` or None.
        options: What acts on touched rows.

    Raises:
        TypeError: If one is of another class.
        ValueError: If nothing reads the online counts.

    Example:
    >>> check(
    ...     rules.Sgd(),
    ...     row_rates.LogFrequency(),
    ...     row_counts.OnlineCounts(),
    ...     row_options.RowOptions(),
    ... )
    """
    if not isinstance(rule, rules.Rule):
        raise TypeError(
            f"`rule` must be a Rule. Received: rule={rule!r}. Use one of "
            "`optimizers.rules`, or a subclass such as LazyAdam, which makes "
            "its own."
        )
    for argument, value, kind in (
        ("row_rate", row_rate, row_rates.RowRate),
        ("online_counts", online_counts, row_counts.OnlineCounts),
    ):
        if value is not None and not isinstance(value, kind):
            raise TypeError(
                f"`{argument}` must be a {kind.__name__} or None. "
                f"Received: {argument}={value!r}"
            )
    reads_counts = row_options.reads_counts(row_rate, options)
    if online_counts is not None and not reads_counts:
        raise ValueError(
            "`online_counts` needs a row rate that reads counts, or "
            "`frequency_decay`. Received: "
            f"row_rate={row_rate!r}. Add row_rate=LogFrequency(), for example."
        )


def require_rows_and_reader(
    variable: keras.Variable | tf.Variable,
    row_rate: row_rates.RowRate | None,
    options: row_options.RowOptions,
) -> None:
    """Checks that counts of a variable's rows would be read.

    Args:
        variable: What the counts are of.
        row_rate: The row rate of its optimizer, or None.
        options: What acts on touched rows.

    Raises:
        ValueError: If neither reads counts, or the variable has no rows.

    Example:
    >>> require_rows_and_reader(
    ...     tf.Variable(tf.zeros((3, 2))),
    ...     row_rates.LogFrequency(),
    ...     row_options.RowOptions(),
    ... )
    """
    if not row_options.reads_counts(row_rate, options):
        raise ValueError(
            "Row counts need a row rate that reads them, or `frequency_decay`. "
            f"Received: row_rate={row_rate!r}. Construct the optimizer with "
            "row_rate=LogFrequency(), for example."
        )
    if len(variable.shape) < 2:
        raise ValueError(
            "Row counts need a variable with rows, of two axes or more. "
            f"Received: variable.shape={tuple(variable.shape)}"
        )
