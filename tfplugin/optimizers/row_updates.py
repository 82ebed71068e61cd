"""The one path of an update: from a gradient to the rows it touches.

Knows `tf.Variable` and the state beside it, and no optimizer class, so that the
Keras 3 front and the tf_keras front share it.
"""

import tensorflow as tf

from tfplugin.optimizers import indexed_slices
from tfplugin.optimizers import kernel_updates
from tfplugin.optimizers import row_options
from tfplugin.optimizers import row_rates
from tfplugin.optimizers import rules
from tfplugin.optimizers import table_state

_NO_OPTIONS = row_options.RowOptions()


def update(
    variable: tf.Variable,
    gradient: tf.Tensor | tf.IndexedSlices,
    state: table_state.TableState,
    rate: tf.Tensor,
    rule: rules.Rule,
    row_rate: row_rates.RowRate | None = None,
    options: row_options.RowOptions = _NO_OPTIONS,
) -> None:
    """Updates one variable; its state and row counts with it.

    In this order: duplicates are summed; the rows counted; the sums clipped;
    the rate of each row taken; the weights decayed; the rule applied; rows and
    states written. `clip_global_norm` is not seen to here: it needs the
    gradients of all variables, see `row_options.clip_by_global_norm`.

    Args:
        variable: `(rows, dim)` or any other shape.
        gradient: Tensor, which touches every row, or IndexedSlices.
        state: What `state_creation.create_state` made for the variable with
            the same rule, row rate and options.
        rate: Scalar, the learning rate of this step.
        rule: What is applied.
        row_rate: A factor on the rate of each row of a variable with two axes
            or more. Defaults to None.
        options: Weight decay and clipping. Defaults to none.

    Raises:
        ValueError: If the counts of rows are read and none were set.

    Example:
    >>> table = tf.Variable(tf.zeros((3, 1)))
    >>> gradient = tf.IndexedSlices(tf.ones((2, 1)), tf.constant([2, 2]))
    >>> state = table_state.TableState(tf.float32)
    >>> update(table, gradient, state, tf.constant(0.5), rules.Sgd())
    >>> table.numpy()[:, 0].tolist()
    [0.0, 0.0, -1.0]
    """
    _require_counts(variable, state)
    if kernel_updates.update(
        variable, gradient, state, rate, rule, row_rate, options
    ):
        return
    counts = state.row_counts
    online = None if counts is None else counts.online
    summed = indexed_slices.sum_gradient(
        gradient,
        state.dtype,
        count=options.counts_occurrences
        or (online is not None and online.unit == "occurrences"),
    )
    if counts is not None:
        counts.advance(summed.rows, summed.occurrences)
    rate = tf.cast(rate, state.dtype)
    if row_rate is not None and len(variable.shape) >= 2:
        rate = rate * _row_factors(variable, state, summed.rows, row_rate)
    _update_rows(variable, state, summed, rate, rule, options)


def _update_rows(
    variable: tf.Variable,
    state: table_state.TableState,
    summed: indexed_slices.SummedRows,
    rate: tf.Tensor,
    rule: rules.Rule,
    options: row_options.RowOptions,
) -> None:
    """Gather, clip, rule, scatter."""
    rows = summed.rows
    clock = state.advance(rows)
    states = tuple(slot.read(rows) for slot in state.slots)
    weights = None
    if options.uses_weights or rule.uses_weights:
        weights = tf.cast(_read(variable, rows), state.dtype)
    gradient = options.clip(summed.values, weights, summed.occurrences)
    if weights is not None and options.decays:
        counts = None
        if options.needs_counts and state.row_counts is not None:
            counts = _by_row(variable, state, state.row_counts.read(rows))
        weights = options.decay(weights, rate, clock, counts)
    delta, new_states = rule.compute_update(
        gradient, states, rate, clock, weights if rule.uses_weights else None
    )
    for slot, new_state in zip(state.slots, new_states, strict=True):
        slot.write(rows, new_state)
    if weights is not None:
        _write(variable, rows, tf.cast(weights - delta, variable.dtype))
    elif rows is None:
        variable.assign_sub(tf.cast(delta, variable.dtype))
    else:
        delta = tf.cast(delta, variable.dtype)
        variable.scatter_sub(tf.IndexedSlices(delta, rows))


def _read(variable: tf.Variable, rows: tf.Tensor | None) -> tf.Tensor:
    if rows is None:
        return tf.convert_to_tensor(variable)
    return tf.gather(variable, rows)


def _write(
    variable: tf.Variable, rows: tf.Tensor | None, values: tf.Tensor
) -> None:
    if rows is None:
        variable.assign(values)
    else:
        variable.scatter_update(tf.IndexedSlices(values, rows))


def _require_counts(
    variable: tf.Variable, state: table_state.TableState
) -> None:
    if state.row_counts is not None and not state.row_counts.is_set():
        raise ValueError(
            "A rate or decay by frequency needs the row counts of every table. "
            f"Received: none for {variable.name} of shape "
            f"{tuple(variable.shape)}. Call `set_row_counts(variable, counts)` "
            "before training, or count with `online_counts`, and keep dense "
            "layers out of this optimizer with `optimizers.split`."
        )


def _row_factors(
    variable: tf.Variable,
    state: table_state.TableState,
    rows: tf.Tensor | None,
    row_rate: row_rates.RowRate,
) -> tf.Tensor:
    """Factors of the rows, `(n, 1, ...)`, in the state's dtype."""
    if state.row_counts is not None and row_rate.needs_counts:
        factors = state.row_counts.factors(rows, row_rate)
    else:
        num_rows = variable.shape[0] if rows is None else tf.size(rows)
        zeros = tf.zeros([num_rows])
        factors = row_rate.factors(zeros, tf.constant(0.0), None)
    return _by_row(variable, state, factors)


def _by_row(
    variable: tf.Variable, state: table_state.TableState, numbers: tf.Tensor
) -> tf.Tensor:
    """One number a row, `(n, 1, ...)`, in the state's dtype."""
    ones = [1] * (len(variable.shape) - 1)
    return tf.cast(tf.reshape(numbers, [-1, *ones]), state.dtype)
