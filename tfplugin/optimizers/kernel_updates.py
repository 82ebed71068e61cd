"""An update of a table in one C++ operator, where there is one."""

from typing import Any

import tensorflow as tf

from tfplugin import kernels
from tfplugin.optimizers import row_blocks
from tfplugin.optimizers import row_options
from tfplugin.optimizers import row_rates
from tfplugin.optimizers import rules
from tfplugin.optimizers import table_state


def update(
    variable: tf.Variable,
    gradient: tf.Tensor | tf.IndexedSlices,
    state: table_state.TableState,
    rate: tf.Tensor,
    rule: rules.Rule,
    row_rate: row_rates.RowRate | None,
    options: row_options.RowOptions,
) -> bool:
    """Does what `row_updates.update` does, in one pass over the batch.

    Results agree with those of TensorFlow's operators up to the order in which
    a float32 is rounded: see tests/optimizers/test_kernel_updates.py.

    Args:
        variable: See `row_updates.update`.
        gradient: See there.
        state: See there.
        rate: See there.
        rule: See there.
        row_rate: See there.
        options: See there.

    Returns:
        False, and nothing is done, if the operator does not suit: there is
        none; the gradient is dense; the table is not float32 with two axes, or
        is on a GPU; or the rule or the law is a user's own.

    Example:
    >>> table = tf.Variable(tf.zeros((3, 1)))
    >>> state = table_state.TableState(tf.float32)
    >>> with kernels.fallback():
    ...     update(table, tf.ones((3, 1)), state, tf.constant(0.5),
    ...            rules.Sgd(), None, row_options.RowOptions())
    False
    """
    library = kernels.library()
    if library is None or not _suits(variable, gradient, state, rule):
        return False
    factors = tf.zeros([0])
    law: dict[str, Any] = {}
    counts = state.row_counts
    if row_rate is not None:
        if _is_known(row_rate, "__call__", "factors"):
            law = _law(row_rate)
        elif counts is not None and counts.clock is not None:
            return False  # clock and counts move before a law may read them
        elif counts is not None and counts.online is not None:
            return False
        else:
            factors = _factors(gradient.indices, state, row_rate)
    books = _bookkeeping(state)
    online = None if counts is None else counts.online
    library.tfplugin_update_rows(
        variable.handle,
        [slot.native.handle for slot in state.slots],
        [native.handle for native in books.values()],
        gradient.indices,
        tf.cast(gradient.values, tf.float32),
        tf.cast(rate, tf.float32),
        factors,
        bookkeeping_roles=list(books),
        # Device and graph suffixes tell a user nothing.
        table_name=variable.name.split(":")[0],
        rule=rule.kernel,
        constants=[float(value) for value in rule.kernel_constants()],
        online_unit="" if online is None else online.unit,
        half_life=0.0 if online is None else online.half_life or 0.0,
        **_options(options),
        **law,
    )
    return True


def _suits(
    variable: tf.Variable,
    gradient: tf.Tensor | tf.IndexedSlices,
    state: table_state.TableState,
    rule: rules.Rule,
) -> bool:
    return (
        isinstance(gradient, tf.IndexedSlices)
        and gradient.values.shape.rank == 2
        and variable.dtype == tf.float32
        and variable.shape.rank == 2
        and _is_on_local_cpu(variable)
        and state.dtype == tf.float32
        and _is_known(rule, "compute_update", "state_specs")
    )


def _is_on_local_cpu(variable: tf.Variable) -> bool:
    device = tf.DeviceSpec.from_string(variable.device or "")
    is_local = device.job in (None, "localhost")
    return is_local and device.device_type in (None, "CPU")


def _is_known(thing: Any, *methods: str) -> bool:
    """Whether the operator has the formula of this very class.

    A subclass that overrides part of the formula inherits the name of the
    kernel with the rest, and must not get the formula of its parent.
    """
    if thing.kernel is None:
        return False
    classes = type(thing).__mro__
    named = next(c for c in classes if "kernel" in c.__dict__)
    return not any(
        method in c.__dict__
        for c in classes[: classes.index(named)]
        for method in (*methods, "kernel_constants")
    )


def _law(row_rate: row_rates.RowRate) -> dict[str, Any]:
    return {
        "law": row_rate.kernel,
        "law_constants": [float(v) for v in row_rate.kernel_constants()],
        "special_rate": row_rate.special_rate,
        "floor": row_rate.floor,
        "cap": float("inf") if row_rate.cap is None else row_rate.cap,
        "warm_up_steps": row_rate.warm_up_steps,
        "start_step": row_rate.start_step,
    }


def _options(options: row_options.RowOptions) -> dict[str, Any]:
    """Decays and clippings; the operator has 0 where one is off."""
    return {
        "weight_decay": options.weight_decay or 0.0,
        "compound_weight_decay": options.compound_weight_decay,
        "clip_value": options.clip_value or 0.0,
        "clip_row_norm": options.clip_row_norm or 0.0,
        "adaptive_decay": options.adaptive_decay or 0.0,
        "adaptive_decay_kept": options.adaptive_decay_kept,
        "cow_clip_ratio": options.cow_clip_ratio or 0.0,
        "cow_clip_bound": options.cow_clip_bound,
        "frequency_decay": options.frequency_decay or 0.0,
    }


def _factors(
    rows: tf.Tensor,
    state: table_state.TableState,
    row_rate: row_rates.RowRate,
) -> tf.Tensor:
    """Factors of a user's own law, one for each occurrence."""
    counts = state.row_counts
    if counts is None or not row_rate.needs_counts:
        zeros = tf.zeros(tf.shape(rows))
        return row_rate.factors(zeros, tf.constant(0.0), None)
    return counts.factors(rows, row_rate)


def _bookkeeping(state: table_state.TableState) -> dict[str, tf.Variable]:
    """What the operator reads and writes beside the slots, by its role."""
    books: dict[str, tf.Variable] = {}
    if state.step is not None:
        books["step"] = row_blocks.native(state.step)
    if state.last_step is not None:
        books["last_step"] = state.last_step.native
    counts = state.row_counts
    if counts is not None:
        for role, kept in (
            ("row_counts", counts.counts),
            ("maximum_count", counts.maximum),
            ("num_special_rows", counts.num_special_rows),
            ("clock", counts.clock),
            ("last_counted", counts.last_counted),
        ):
            if kept is not None:
                books[role] = row_blocks.native(kept)
    return books
