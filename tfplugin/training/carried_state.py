"""What optimizers keep, carried from an older model to a newer one."""

import dataclasses
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfplugin import optimizers
from tfplugin.training import carried_rows

#: What an optimizer keeps about how often rows occur, by the ends of names.
_COUNTS = (
    "row_counts",
    "maximum_count",
    "num_special_rows",
    "clock",
    "last_counted",
)
#: Of these, what follows from the others or from the new mapping.
_DERIVED = ("maximum_count", "num_special_rows")


@dataclasses.dataclass
class TableCarry:
    """The state of one table, on its way.

    Args:
        per_row: Old and new variables with a value or a vector a row.
        counts: The new variables of counts by the ends of their names, if
            these are carried; else empty.
        half_life: Of the counts, in updates of the table, or None.
        reason: Why the state stays fresh, or None.
    """

    per_row: list[tuple[Any, Any]] = dataclasses.field(default_factory=list)
    counts: dict[str, Any] = dataclasses.field(default_factory=dict)
    half_life: float | None = None
    reason: str | None = None

    def finish(self) -> None:
        """Finds the largest of the counts, once rows are copied."""
        if not self.counts:
            return
        counts = self.counts["row_counts"]
        first = int(self.counts["num_special_rows"].numpy())
        largest = 0.0
        for start in range(first, counts.shape[0], carried_rows.BLOCK_ROWS):
            stop = min(start + carried_rows.BLOCK_ROWS, counts.shape[0])
            rows = tf.range(start, stop)
            block = tf.gather(counts.value, rows).numpy().astype(np.float64)
            if self.half_life is not None:
                last = tf.gather(self.counts["last_counted"].value, rows)
                age = float(self.counts["clock"].numpy()) - last.numpy()
                block *= 2.0 ** (-age.astype(np.float64) / self.half_life)
            largest = max(largest, float(block.max()))
        self.counts["maximum_count"].assign(largest)


class CarriedState:
    """Pairs the optimizers of two compiled models.

    Args:
        old: The model that was trained.
        new: The one that takes over.
        counts: Whether counts that grew while training are carried.
        half_life: Of the new counts, in updates of a table, or None.
    """

    def __init__(
        self,
        old: keras.Model,
        new: keras.Model,
        *,
        counts: bool,
        half_life: float | None,
    ) -> None:
        self._old, self._new = _Side(old), _Side(new)
        self._counts = counts
        self._half_life = half_life

    def of(self, old: keras.Variable, new: keras.Variable) -> TableCarry:
        """Carries what is one value a table, and pairs what is one a row.

        Args:
            old: The older table.
            new: The newer one.
        """
        before = self._old.state(old)
        now = self._new.state(new)
        if not now:  # frozen, or of a rule that keeps nothing
            return TableCarry()
        if self._old.rule != self._new.rule:
            return TableCarry(
                reason=f"the rule was {self._old.rule} and is {self._new.rule}"
            )
        if not before:
            return TableCarry(reason="the older model did not train it")
        carried = TableCarry(half_life=self._half_life)
        if self._counts and "row_counts" in before and "row_counts" in now:
            carried.counts = {k: now[k] for k in _COUNTS if k in now}
        for name, target in now.items():
            if name in _DERIVED or (name in _COUNTS and not carried.counts):
                continue
            source = before.get(name)
            if len(target.shape) == 0:
                if source is not None:
                    target.assign(source.value)
            elif source is not None and source.shape[1:] == target.shape[1:]:
                carried.per_row.append((source, target))
        # A row that is made now has lost nothing of its counts or weights
        # before; other readers of a last step take 0 for a row of no updates.
        if "last_counted" in carried.counts:
            _fill(now["last_counted"], float(now["clock"].numpy()))
        if self._new.tables.options.compound_weight_decay:
            _fill(now["last_step"], float(now["step"].numpy()))
        return carried

    def carry_rest(self) -> list[tuple[str, str]]:
        """Carries the optimizer of the other weights, and all steps done.

        Returns:
            What stays fresh, each with the reason.
        """
        if self._old.both is not None and self._new.both is not None:
            self._new.both.iterations.assign(self._old.both.iterations)
        tables = (self._old.tables, self._new.tables)
        if self._old.rule == self._new.rule and None not in tables:
            self._new.tables.iterations.assign(self._old.tables.iterations)
        old, new = self._old.rest, self._new.rest
        if type(old) is not type(new):
            return [
                (
                    "weights outside of tables",
                    f"the rule was {type(old).__name__} and is "
                    f"{type(new).__name__}",
                )
            ]
        before = {variable.name: variable for variable in old.variables}
        for variable in new.variables:
            source = before.get(variable.name)
            if source is None or variable.name == "learning_rate":
                continue
            if source.shape == variable.shape:
                variable.assign(source.value)
        return []


class _Side:
    """The optimizers of one model."""

    def __init__(self, model: keras.Model) -> None:
        optimizer = model.optimizer
        split = isinstance(optimizer, optimizers.SplitOptimizer)
        self.both: Any = optimizer if split else None
        self.tables: Any = optimizer.tables if split else None
        self.rest: keras.optimizers.Optimizer = (
            optimizer.rest if split else optimizer
        )
        prefixes = [_prefix(table) for table in optimizers.find_tables(model)]
        self._states: dict[str, dict[str, Any]] = {}
        kept = optimizer.tables.variables if split else []
        for variable in kept:
            of = [p for p in prefixes if variable.name.startswith(p)]
            if of:
                # One name may be the beginning of another.
                prefix = max(of, key=len)
                end = variable.name.removeprefix(prefix)
                self._states.setdefault(prefix, {})[end] = variable

    @property
    def rule(self) -> str | None:
        """The class of the tables' rule."""
        if self.tables is None:
            return None
        return type(self.tables.rule).__name__

    def state(self, table: keras.Variable) -> dict[str, Any]:
        """What is kept about a table, by the ends of the variables' names."""
        return self._states.get(_prefix(table), {})


def copy_rows(
    source: keras.Variable,
    target: keras.Variable,
    source_rows: tf.Tensor,
    target_rows: tf.Tensor,
) -> None:
    """Writes some rows of a variable into those of another.

    Args:
        source: Read.
        target: Written; rows of the same shape.
        source_rows: Integers `(n,)`.
        target_rows: Likewise, distinct.

    Example:
    >>> source = keras.Variable([[1.0], [2.0]])
    >>> target = keras.Variable([[0.0], [0.0], [0.0]])
    >>> copy_rows(source, target, tf.constant([1]), tf.constant([2]))
    >>> target.numpy().tolist()
    [[0.0], [0.0], [2.0]]
    """
    values = tf.gather(source.value, source_rows)
    target.value.scatter_update(
        tf.IndexedSlices(tf.cast(values, target.dtype), target_rows)
    )


def _fill(variable: keras.Variable, value: float) -> None:
    size = variable.shape[0]
    for start in range(0, size, carried_rows.BLOCK_ROWS):
        rows = tf.range(start, min(start + carried_rows.BLOCK_ROWS, size))
        block = tf.fill([len(rows), *variable.shape[1:]], value)
        variable.value.scatter_update(
            tf.IndexedSlices(tf.cast(block, variable.dtype), rows)
        )


def _prefix(table: keras.Variable) -> str:
    # As `optimizers` names what it keeps about a table.
    return table.path.replace("/", "_").replace(":", "_") + "_"
