"""Creates what a sparse optimizer keeps about one variable."""

from typing import Any
from typing import Protocol

import tensorflow as tf

from tfplugin.optimizers import row_blocks
from tfplugin.optimizers import row_counts
from tfplugin.optimizers import row_options
from tfplugin.optimizers import row_rates
from tfplugin.optimizers import rules
from tfplugin.optimizers import table_state


class Creator(Protocol):
    """How a front makes one variable that becomes its own.

    Call arguments:
        name: Name of the variable.
        shape: Its shape; `()` for a scalar, which all replicas change alike, so
            that the first one's value may stand for all.
        dtype: Name of its dtype.
        initial_value: Value of every element, best by `tf.fill`, of which the
            variable takes the memory without a copy.

    Returns:
        A `keras.Variable` or `tf.Variable`, not trainable.
    """

    def __call__(
        self,
        name: str,
        shape: tuple[int, ...],
        dtype: str,
        initial_value: float,
    ) -> Any:
        """Makes the variable."""


def create_state(
    variable: Any,
    create: Creator,
    rule: rules.Rule,
    row_rate: row_rates.RowRate | None = None,
    online_counts: row_counts.OnlineCounts | None = None,
    options: row_options.RowOptions | None = None,
) -> table_state.TableState:
    """Makes slots, steps and row counts of one variable, beside it.

    Args:
        variable: `keras.Variable` or `tf.Variable` to be updated, any shape.
        create: Makes one variable of the optimizer.
        rule: Its `state_specs` and what it uses say which.
        row_rate: The rate of rows, or None.
        online_counts: How rows are counted while training, or None.
        options: What acts on touched rows, or None.

    Returns:
        The state, at its initial values, float32 at least.

    Example:
    >>> create = lambda name, shape, dtype, initial_value: tf.Variable(
    ...     tf.fill(shape, tf.cast(initial_value, dtype)), name=name
    ... )
    >>> table = tf.Variable([[0.0, 0.0]], name="table")
    >>> state = create_state(table, create, rules.LazyAdam())
    >>> [tuple(variable.shape) for variable in state.variables()]
    [(1, 2), (1, 2), ()]
    """
    shape = tuple(variable.shape)
    path = getattr(variable, "path", None) or variable.name
    name = path.replace("/", "_").replace(":", "_")
    dtype = computing_dtype(variable.dtype)
    options = options or row_options.RowOptions()
    per_row = shape[:1] + (1,) * (len(shape) - 1)
    uses_last_step = rule.uses_last_step or options.uses_last_step
    strategy = tf.distribute.get_strategy()
    with strategy.extended.colocate_vars_with(row_blocks.native(variable)):
        slots = []
        for spec in rule.state_specs():
            size = per_row if spec.per_row else shape
            start = spec.initial_value
            # With its value: a checkpoint restored before fills it at once.
            slot = create(f"{name}_{spec.name}", size, dtype.name, start)
            slots.append(table_state.Slot(slot, start))
        step = last_step = None
        if rule.uses_step or uses_last_step:
            step = create(f"{name}_step", (), "int64", 0)
        if uses_last_step:
            last = create(f"{name}_last_step", per_row, "float32", 0.0)
            last_step = table_state.Slot(last, 0.0)
        counts = None
        # Made for every table at build, set or not: what is restored into an
        # optimizer must not depend on which counts it was given before.
        if row_options.reads_counts(row_rate, options) and len(shape) >= 2:
            uses_clock = row_rate is not None and row_rate.uses_clock
            counts = _create_counts(
                create, name, shape[:1], uses_clock, online_counts
            )
        return table_state.TableState(
            dtype, tuple(slots), step, last_step, counts
        )


def computing_dtype(dtype: Any) -> tf.DType:
    """Returns the dtype that the states of a variable have.

    Args:
        dtype: Of the variable.

    Example:
    >>> computing_dtype("bfloat16").name, computing_dtype("float64").name
    ('float32', 'float64')
    """
    dtype = tf.as_dtype(dtype)
    return tf.float32 if dtype.size < 4 else dtype


def _create_counts(
    create: Creator,
    name: str,
    shape: tuple[int, ...],
    uses_clock: bool,
    online: row_counts.OnlineCounts | None,
) -> row_counts.RowCounts:
    decays = online is not None and online.half_life is not None
    clock = last_counted = None
    counts = create(f"{name}_row_counts", shape, "float32", 0.0)
    maximum = create(
        f"{name}_maximum_count",
        (),
        # A factor close to 1 is lost in a float32.
        "float64" if decays else "float32",
        row_counts.UNSET_COUNT,
    )
    num_special_rows = create(f"{name}_num_special_rows", (), "int64", 0)
    if decays or uses_clock:
        clock = create(f"{name}_clock", (), "int64", 0)
    if decays:
        last_counted = create(f"{name}_last_counted", shape, "float32", 0.0)
    return row_counts.RowCounts(
        counts, maximum, num_special_rows, clock, last_counted, online
    )
