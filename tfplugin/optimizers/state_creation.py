"""Creates what a sparse optimizer keeps about one variable."""

from typing import TYPE_CHECKING

import keras
import tensorflow as tf

from tfplugin.optimizers import table_state

if TYPE_CHECKING:
    from tfplugin.optimizers import sparse_optimizer


def create_state(
    optimizer: "sparse_optimizer.SparseOptimizer", variable: keras.Variable
) -> table_state.TableState:
    """Makes slots, step and row counts of one variable, beside it.

    Args:
        optimizer: The state becomes variables of it; its `state_specs`,
            `uses_step` and `row_rate` say which.
        variable: What the optimizer will update, any shape.

    Returns:
        The state, at its initial values, float32 at least.

    Example:
    >>> from tfplugin import optimizers
    >>> table = keras.Variable([[0.0, 0.0]])
    >>> state = create_state(optimizers.SparseAdagrad(0.1), table)
    >>> [tuple(variable.shape) for variable in state.variables()]
    [(1, 2)]
    """
    shape = tuple(variable.shape)
    name = getattr(variable, "path", variable.name)
    name = name.replace("/", "_").replace(":", "_")
    native = variable
    if isinstance(variable, keras.Variable):
        native = variable.value
    dtype = tf.as_dtype(variable.dtype)
    dtype = tf.float32 if dtype.size < 4 else dtype
    strategy = tf.distribute.get_strategy()
    with strategy.extended.colocate_vars_with(native):
        slots = []
        for spec in optimizer.state_specs():
            ones = (1,) * (len(shape) - 1)
            slot = optimizer.add_variable(
                shape[:1] + ones if spec.per_row else shape,
                dtype=dtype.name,
                name=f"{name}_{spec.name}",
            )
            slots.append(table_state.Slot(slot, spec.initial_value))
            if spec.initial_value:
                slots[-1].reset()
        step = None
        if optimizer.uses_step:
            step = _add_scalar(optimizer, f"{name}_step")
        return table_state.TableState(
            dtype, tuple(slots), step, _create_counts(optimizer, shape, name)
        )


def _create_counts(
    optimizer: "sparse_optimizer.SparseOptimizer",
    shape: tuple[int, ...],
    name: str,
) -> table_state.RowCounts | None:
    # Made for every table at build, set or not: what is restored into an
    # optimizer must not depend on which counts it was given before.
    if optimizer.row_rate is None or not optimizer.row_rate.needs_counts:
        return None
    if len(shape) < 2:
        return None
    return table_state.RowCounts(
        optimizer.add_variable(
            shape[:1], dtype="float32", name=f"{name}_row_counts"
        ),
        _add_scalar(
            optimizer,
            f"{name}_maximum_count",
            "float32",
            table_state.UNSET_COUNT,
        ),
        _add_scalar(optimizer, f"{name}_num_special_rows"),
    )


def _add_scalar(
    optimizer: "sparse_optimizer.SparseOptimizer",
    name: str,
    dtype: str = "int64",
    value: float = 0,
) -> keras.Variable:
    return optimizer.add_variable(
        (),
        initializer=keras.initializers.Constant(value),
        dtype=dtype,
        aggregation="only_first_replica",
        name=name,
    )
