"""What an optimizer keeps about one variable: slots, step, row counts."""

import dataclasses
import math
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tfplugin.optimizers import row_blocks
from tfplugin.optimizers import row_rates

# A count is never negative, so this marks counts that nobody has set; being
# state, the mark travels through checkpoints with the counts.
UNSET_COUNT = -1.0


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


@dataclasses.dataclass(frozen=True)
class Slot:
    """One state of a rule for one variable.

    Args:
        variable: Keras variable, `(rows, dim)`, or `(rows, 1)` for a state with
            one number a row.
        initial_value: What `reset` writes.

    Example:
    >>> slot = Slot(keras.Variable(np.ones((2, 1), "float32")), 0.0)
    >>> slot.reset()
    >>> slot.variable.numpy().tolist()
    [[0.0], [0.0]]
    """

    variable: keras.Variable
    initial_value: float

    def reset(self) -> None:
        """Writes the initial value to every row, block by block."""
        row_blocks.fill(self.variable, self.initial_value)

    def read(self, rows: tf.Tensor | None) -> tf.Tensor:
        """Returns the given rows; all of them for None."""
        if rows is None:
            return tf.convert_to_tensor(self.variable.value)
        return tf.gather(self.variable.value, rows)

    def write(self, rows: tf.Tensor | None, values: tf.Tensor) -> None:
        """Replaces the given rows; all of them for None."""
        if rows is None:
            self.variable.value.assign(values)
        else:
            self.variable.value.scatter_update(tf.IndexedSlices(values, rows))


@dataclasses.dataclass(frozen=True)
class RowCounts:
    """How often each row of one table occurs in the training data.

    Args:
        counts: float32 Keras variable `(rows,)`.
        maximum: float32 scalar Keras variable, the largest count that is not a
            special row's; `UNSET_COUNT` until the counts are set.
        num_special_rows: int64 scalar Keras variable: that many rows at the
            start are not ids (missing, out of vocabulary).

    Example:
    >>> row_counts = RowCounts(
    ...     keras.Variable(np.zeros(3, "float32")),
    ...     keras.Variable(UNSET_COUNT),
    ...     keras.Variable(0, dtype="int64"),
    ... )
    >>> row_counts.is_set()
    False
    >>> row_counts.set(np.array([500, 9, 99]), num_special_rows=1)
    >>> float(row_counts.maximum)
    99.0
    """

    counts: keras.Variable
    maximum: keras.Variable
    num_special_rows: keras.Variable

    def is_set(self) -> bool:
        """Whether counts were set, here or in a restored checkpoint."""
        with tf.init_scope():
            return float(self.maximum.numpy()) >= 0.0

    def set(self, counts: np.ndarray, num_special_rows: int) -> None:
        """Writes checked counts, block by block, and their maximum."""
        ids = counts[num_special_rows:]
        row_blocks.copy(self.counts, counts)
        self.num_special_rows.assign(num_special_rows)
        self.maximum.assign(float(ids.max()) if len(ids) else 0.0)

    def factors(
        self, rows: tf.Tensor | None, row_rate: row_rates.RowRate
    ) -> tf.Tensor:
        """Returns the row rate's factors, float32 `(n,)`."""
        if rows is None:
            counts = tf.convert_to_tensor(self.counts.value)
            rows = tf.range(tf.size(counts, tf.int64))
        else:
            counts = tf.gather(self.counts.value, rows)
        factors = row_rate(counts, tf.convert_to_tensor(self.maximum.value))
        is_special = tf.cast(rows, tf.int64) < self.num_special_rows.value
        special = tf.constant(row_rate.special_rate, factors.dtype)
        return tf.where(is_special, special, factors)


@dataclasses.dataclass(frozen=True)
class TableState:
    """Everything an optimizer keeps about one variable.

    Args:
        dtype: Dtype the rule computes in; that of the slots.
        slots: The rule's states, in the rule's order.
        step: int64 scalar Keras variable, the updates since the last reset, or
            None for a rule without bias correction.
        row_counts: Counts of the rows, or None for a rate without counts.

    Example:
    >>> state = TableState(
    ...     tf.float32, (), keras.Variable(5, dtype="int64"), None
    ... )
    >>> state.reset()
    >>> int(state.step.numpy())
    0
    """

    dtype: tf.DType
    slots: tuple[Slot, ...] = ()
    step: keras.Variable | None = None
    row_counts: RowCounts | None = None

    def reset(self) -> None:
        """Forgets what was learned: slots and step; the counts stay."""
        for slot in self.slots:
            slot.reset()
        if self.step is not None:
            self.step.assign(0)

    def variables(self) -> list[keras.Variable]:
        """Returns all that is kept: slots, step, counts."""
        kept = [slot.variable for slot in self.slots]
        if self.step is not None:
            kept.append(self.step)
        if self.row_counts is not None:
            counts = self.row_counts
            kept += [counts.counts, counts.maximum, counts.num_special_rows]
        return kept

    def num_bytes(self) -> int:
        """Returns the size of all that is kept, in bytes."""
        return sum(
            math.prod(variable.shape) * tf.as_dtype(variable.dtype).size
            for variable in self.variables()
        )

    def next_step(self) -> tf.Tensor | None:
        """Counts one update; returns its number, from 1, in `dtype`."""
        if self.step is None:
            return None
        self.step.value.assign_add(1)
        return tf.cast(tf.convert_to_tensor(self.step.value), self.dtype)


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
        # The variables the states are of, in the order of the indices.
        self.variables: list[keras.Variable] = []
        # (variable, counts, num_special_rows) until the optimizer is built.
        self.waiting_counts: list[tuple[keras.Variable, np.ndarray, int]] = []


def check_counts(
    counts: np.ndarray, num_rows: int, num_special_rows: int
) -> np.ndarray:
    """Checks row counts; returns them as a float32 array.

    Args:
        counts: Numbers `(num_rows,)`, finite and not negative.
        num_rows: Rows of the table.
        num_special_rows: Rows at the start that are not ids.

    Returns:
        float32 `(num_rows,)`.

    Raises:
        ValueError: If `counts` does not fit the table.

    Example:
    >>> check_counts([1, 2], num_rows=2, num_special_rows=0)
    array([1., 2.], dtype=float32)
    """
    array = np.array(counts, dtype=np.float32)
    if array.shape != (num_rows,):
        raise ValueError(
            "`counts` must hold one count for each row of the table. Received: "
            f"counts of shape {array.shape} for a table with {num_rows} rows."
        )
    if not (np.isfinite(array).all() and (array >= 0.0).all()):
        raise ValueError(
            "`counts` must be finite and not negative. Received: minimum "
            f"{array.min()}, maximum {array.max()}"
        )
    if not 0 <= num_special_rows <= num_rows:
        raise ValueError(
            "`num_special_rows` must be between 0 and the number of rows. "
            f"Received: num_special_rows={num_special_rows} for a table with "
            f"{num_rows} rows."
        )
    return array
