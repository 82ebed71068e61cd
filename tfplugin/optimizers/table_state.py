"""What an optimizer keeps about one variable: slots, steps, row counts."""

import dataclasses
import math
from typing import Any
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfplugin.optimizers import row_blocks
from tfplugin.optimizers import row_counts as row_counts_module


class StateSpec(NamedTuple):
    """One state that a rule keeps for each variable.

    Args:
        name: Ends the name of the optimizer variable.
        initial_value: Value of every element at first and after a reset.
        per_row: One number a row, `(rows, 1)`, rather than the variable's
            shape.

    Example:
    >>> StateSpec("accumulator", per_row=True).initial_value
    0.0
    """

    name: str
    initial_value: float = 0.0
    per_row: bool = False


class Clock(NamedTuple):
    """Where in time an update of some rows is.

    Args:
        step: Float scalar: which update of the table this is, from 1, since it
            was made or reset. None for a rule that does not read it.
        skipped: Float `(n, 1)`: the steps since each row's last update, this
            one included, so 1 for a row that the previous update touched, and
            `step` for one never touched. None unless asked for.

    Example:
    >>> Clock(tf.constant(3.0)).skipped is None
    True
    """

    step: tf.Tensor | None = None
    skipped: tf.Tensor | None = None


@dataclasses.dataclass(frozen=True)
class Slot:
    """One state of a rule for one variable.

    Args:
        variable: `keras.Variable` or `tf.Variable`, `(rows, dim)`, or
            `(rows, 1)` for a state with one number a row.
        initial_value: What `reset` writes.

    Example:
    >>> slot = Slot(tf.Variable(tf.ones((2, 1))), 0.0)
    >>> slot.reset()
    >>> slot.variable.numpy().tolist()
    [[0.0], [0.0]]
    """

    variable: Any
    initial_value: float

    @property
    def native(self) -> tf.Variable:
        """TensorFlow's variable."""
        return row_blocks.native(self.variable)

    def reset(self) -> None:
        """Writes the initial value to every row, block by block."""
        row_blocks.fill(self.variable, self.initial_value)

    def read(self, rows: tf.Tensor | None) -> tf.Tensor:
        """Returns the given rows; all of them for None."""
        if rows is None:
            return tf.convert_to_tensor(self.native)
        return tf.gather(self.native, rows)

    def write(self, rows: tf.Tensor | None, values: tf.Tensor) -> None:
        """Replaces the given rows; all of them for None.

        Raises:
            ValueError: If rows are not as long as those of the state.
        """
        kept = self.native.shape[1:]
        if not values.shape[1:].is_compatible_with(kept):
            # TensorFlow's scatter would end the process.
            raise ValueError(
                "A rule must return states of the shapes in its `state_specs`."
                f" Received: rows of shape {values.shape[1:]} for a state with "
                f"rows of shape {kept}"
            )
        if rows is None:
            self.native.assign(values)
        else:
            self.native.scatter_update(tf.IndexedSlices(values, rows))


@dataclasses.dataclass(frozen=True)
class TableState:
    """Everything an optimizer keeps about one variable.

    Args:
        dtype: Dtype the rule computes in; that of the slots.
        slots: The rule's states, in the rule's order.
        step: int64 scalar variable, the updates since the last reset, or None
            for a rule that does not read it.
        last_step: float32 `(rows, 1)`, the step of each row's last update, or
            None. Exact up to 2^24 steps; an int32 has no kernels on a GPU.
        row_counts: Counts of the rows, or None for a rate without counts.

    Example:
    >>> state = TableState(tf.float32, step=tf.Variable(5, dtype=tf.int64))
    >>> state.reset()
    >>> int(state.step.numpy())
    0
    """

    dtype: tf.DType
    slots: tuple[Slot, ...] = ()
    step: Any = None
    last_step: Slot | None = None
    row_counts: row_counts_module.RowCounts | None = None

    def reset(self) -> None:
        """Forgets what was learned: slots and steps; the counts stay."""
        for slot in self.slots:
            slot.reset()
        if self.step is not None:
            row_blocks.fill(self.step, 0)
        if self.last_step is not None:
            self.last_step.reset()

    def learned(self) -> list[Any]:
        """Returns what `reset` sets back: slots, then steps."""
        kept = [slot.variable for slot in self.slots]
        if self.step is not None:
            kept.append(self.step)
        if self.last_step is not None:
            kept.append(self.last_step.variable)
        return kept

    def variables(self) -> list[Any]:
        """Returns all that is kept: slots, steps, counts."""
        kept = self.learned()
        if self.row_counts is not None:
            kept += self.row_counts.variables()
        return kept

    def num_bytes(self) -> int:
        """Returns the size of all that is kept, in bytes."""
        return sum(
            math.prod(variable.shape) * tf.as_dtype(variable.dtype).size
            for variable in self.variables()
        )

    def advance(self, rows: tf.Tensor | None) -> Clock:
        """Counts one update of the table that touches the given rows.

        Args:
            rows: Integers `(n,)`, distinct; None for all.

        Returns:
            The clock of this update, in `dtype`.
        """
        if self.step is None:
            return Clock()
        variable = row_blocks.native(self.step)
        variable.assign_add(1)
        number = tf.convert_to_tensor(variable)
        step = tf.cast(number, self.dtype)
        if self.last_step is None:
            return Clock(step)
        last = self.last_step.read(rows)
        now = tf.cast(number, last.dtype)
        self.last_step.write(rows, tf.fill(tf.shape(last), now))
        return Clock(step, tf.cast(now - last, self.dtype))


class TableStates:
    """The states of an optimizer's variables, by their index.

    A plain object on purpose: a list or dict as an optimizer's attribute would
    be tracked a second time beside `optimizer.variables`.

    Example:
    >>> states = TableStates()
    >>> states.by_index, states.waiting_counts
    ({}, [])
    """

    def __init__(self) -> None:
        self.by_index: dict[int, TableState] = {}
        # Switches of updates, of the variables that have one.
        self.gates: dict[int, tf.Variable | None] = {}
        # The variables the states are of, in the order of the indices.
        self.variables: list[Any] = []
        # (variable, counts, num_special_rows) until the optimizer is built.
        self.waiting_counts: list[tuple[Any, np.ndarray, int]] = []
