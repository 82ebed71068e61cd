"""How often each row of a table occurs: given, grown while training, or both.

The counts of a `RowRate` are state of the optimizer. Nothing here sweeps over a
table but `set`, which a user calls: an update reads and writes the rows that it
touches, and a half-life is applied to a row when the row is next counted.
"""

import dataclasses
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfplugin.optimizers import row_blocks
from tfplugin.optimizers import row_rates

# A count is never negative, so this marks counts that nobody has set; being
# state, the mark travels through checkpoints with the counts.
UNSET_COUNT = -1.0

UNITS = ("occurrences", "batches")


@keras.saving.register_keras_serializable(package="tfplugin")
@dataclasses.dataclass(frozen=True)
class OnlineCounts:
    """Lets an optimizer count the rows it updates.

    In an update of a table with `n_i` occurrences of row i in the batch,

        c_i <- 2^(-Δ / half_life) c_i + n_i

    where Δ are the updates of this table since row i was last counted; without
    a half-life the factor is 1. Rows are counted first, and then the row rate
    reads the counts: else a new row would have the count 0, of which a
    logarithm makes the rate 0. Counts start from those of
    `SparseOptimizer.set_row_counts` if these are given, else from 0. Adding 1
    to a float32 stops at 2^24 = 16,777,216.

    Args:
        unit: `"occurrences"`: every occurrence of an id counts, duplicates in a
            batch as well; `"batches"`: an id counts once a batch. Defaults to
            `"occurrences"`. In an update with a dense gradient every row counts
            once.
        half_life: Updates of the table after which an occurrence counts half.
            Defaults to None: an occurrence counts for good.

    Raises:
        ValueError: If `unit` is unknown, or `half_life` is not positive.

    Example:
    >>> from tfplugin import optimizers
    >>> table = keras.Variable(np.zeros((4, 1), "float32"))
    >>> optimizer = optimizers.SparseSGD(
    ...     1.0,
    ...     row_rate=optimizers.LogFrequency(),
    ...     online_counts=OnlineCounts("batches", half_life=1000),
    ... )
    >>> gradient = tf.IndexedSlices(tf.ones((2, 1)), tf.constant([3, 3]))
    >>> optimizer.apply([gradient], [table])
    >>> table.numpy()[:, 0].tolist()
    [0.0, 0.0, 0.0, -2.0]

    Reference: FAL, https://arxiv.org/abs/2505.05605, counts online; the
    half-life is FBGEMM's `counter_halflife` (rowwise_adagrad_with_counter).
    """

    unit: str = "occurrences"
    half_life: float | None = None

    def __post_init__(self) -> None:
        if self.unit not in UNITS:
            raise ValueError(
                f"`unit` must be one of {', '.join(UNITS)}. "
                f"Received: unit={self.unit!r}"
            )
        half_life = self.half_life
        if half_life is not None and not 0.0 < half_life < float("inf"):
            raise ValueError(
                "`half_life` must be a positive number of updates, or None. "
                f"Received: half_life={half_life}"
            )

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {"unit": self.unit, "half_life": self.half_life}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "OnlineCounts":
        """Returns an instance with the arguments `get_config` gave."""
        return cls(**config)

    def decay(self, updates: tf.Tensor) -> tf.Tensor:
        """Returns `2^(-updates / half_life)`, in the dtype of `updates`.

        Args:
            updates: Float tensor of any shape.
        """
        if self.half_life is None:
            return tf.ones_like(updates)
        return tf.pow(tf.cast(2.0, updates.dtype), -updates / self.half_life)


@dataclasses.dataclass(frozen=True)
class RowCounts:
    """How often each row of one table occurs in the training data.

    The variables may be Keras's or TensorFlow's. The maximum needs no sweep:
    all counts lose the same share in an update, and only touched rows gain, so
    `max <- max(2^(-1 / half_life) max, counts of the touched ids)` is exact.

    Args:
        counts: float32 variable `(rows,)`.
        maximum: Scalar variable, the largest count that is not a special
            row's; `UNSET_COUNT` until the counts are set or the first update is
            counted. float32, or float64 where a half-life is long: in float32
            a factor so close to 1 would be lost.
        num_special_rows: int64 scalar variable: that many rows at the start are
            not ids (missing, out of vocabulary). They are counted, but left out
            of the maximum, and have `row_rate.special_rate`.
        clock: int64 scalar variable, the updates of the table; no reset sets it
            back. None if neither a half-life nor the row rate reads it.
        last_counted: float32 variable `(rows,)`, the clock when a row was last
            counted. None without a half-life.
        online: Whether and how `advance` counts. None: it only moves the clock.

    Raises:
        ValueError: If `online` has a half-life and a variable for it is absent.

    Example:
    >>> row_counts = RowCounts(
    ...     tf.Variable(tf.zeros(3)),
    ...     tf.Variable(UNSET_COUNT),
    ...     tf.Variable(0, dtype=tf.int64),
    ...     online=OnlineCounts(),
    ... )
    >>> row_counts.set(np.array([500, 9, 98]), num_special_rows=1)
    >>> row_counts.advance(tf.constant([2]), tf.constant([1]))
    >>> float(row_counts.maximum)
    99.0
    >>> rate = row_rates.LogFrequency()
    >>> row_counts.factors(tf.constant([1, 2]), rate).numpy().tolist()
    [0.5, 1.0]
    """

    counts: keras.Variable | tf.Variable
    maximum: keras.Variable | tf.Variable
    num_special_rows: keras.Variable | tf.Variable
    clock: keras.Variable | tf.Variable | None = None
    last_counted: keras.Variable | tf.Variable | None = None
    online: OnlineCounts | None = None

    def __post_init__(self) -> None:
        needed = self.online is not None and self.online.half_life is not None
        absent = self.clock is None or self.last_counted is None
        if needed and absent:
            raise ValueError(
                "A half-life needs `clock` and `last_counted`. Received: "
                f"clock={self.clock}, last_counted={self.last_counted}"
            )

    def is_set(self) -> bool:
        """Whether `factors` may be asked for.

        Counts were set, here or in a restored checkpoint, or grow online from
        0, so that they need not be set.
        """
        if self.online is not None:
            return True
        with tf.init_scope():
            maximum = tf.convert_to_tensor(row_blocks.native(self.maximum))
            return float(maximum.numpy()) >= 0.0

    def set(self, counts: np.ndarray, num_special_rows: int) -> None:
        """Writes checked counts, block by block, and their maximum.

        Args:
            counts: Of `check_counts`, `(rows,)`.
            num_special_rows: Rows at the start that are not ids.
        """
        _, greatest = _extremes(counts[num_special_rows:])
        row_blocks.copy(self.counts, counts)
        self.num_special_rows.assign(num_special_rows)
        self.maximum.assign(greatest)
        if self.last_counted is not None and self.clock is not None:
            clock = tf.convert_to_tensor(row_blocks.native(self.clock))
            row_blocks.fill(self.last_counted, float(clock.numpy()))

    def advance(
        self, rows: tf.Tensor | None, occurrences: tf.Tensor | None
    ) -> None:
        """Moves the clock by one update and counts the rows if online.

        To be called once an update of the table, before `factors`.

        Args:
            rows: int32 or int64 `(n,)`, distinct, `n` may be 0; None for all
                rows, each of which then counts once.
            occurrences: Integers or floats `(n,)`; not read if `rows` is None
                or batches are counted.
        """
        if self.clock is not None:
            clock = row_blocks.native(self.clock)
            clock.assign_add(tf.ones([], clock.dtype))
        if self.online is None:
            return
        counts = _read(self.counts, rows) * self._decay(rows)
        if rows is None or occurrences is None or self.online.unit == "batches":
            counts += 1.0
        else:
            counts += tf.cast(occurrences, counts.dtype)
        _write(self.counts, rows, counts)
        if self.last_counted is not None:
            now = tf.fill(tf.shape(counts), self._now())
            _write(self.last_counted, rows, now)
        self._raise_maximum(rows, counts)

    def read(self, rows: tf.Tensor | None) -> tf.Tensor:
        """Returns the counts as they stand, float32 `(n,)`.

        Args:
            rows: int32 or int64 `(n,)`; None for all rows.
        """
        return _read(self.counts, rows)

    def factors(
        self, rows: tf.Tensor | None, row_rate: row_rates.RowRate
    ) -> tf.Tensor:
        """Returns the row rate's factors, float32 `(n,)`.

        Args:
            rows: int32 or int64 `(n,)`; None for all rows.
            row_rate: The law. Special rows have its `special_rate`, which no
                floor, cap or warm-up changes.
        """
        counts = self.read(rows)
        maximum = tf.cast(_read(self.maximum, None), tf.float32)
        step = None if self.clock is None else self._now()
        factors = row_rate.factors(counts, maximum, step)
        special = tf.constant(row_rate.special_rate, factors.dtype)
        return tf.where(self._is_special(rows, counts), special, factors)

    def variables(self) -> list[keras.Variable | tf.Variable]:
        """Returns all that is kept, in the order of the arguments."""
        kept = [self.counts, self.maximum, self.num_special_rows]
        if self.clock is not None:
            kept.append(self.clock)
        if self.last_counted is not None:
            kept.append(self.last_counted)
        return kept

    def _now(self) -> tf.Tensor:
        return tf.cast(_read(self.clock, None), tf.float32)

    def _decay(self, rows: tf.Tensor | None) -> tf.Tensor:
        if self.last_counted is None or self.online is None:
            return tf.ones([])
        return self.online.decay(self._now() - _read(self.last_counted, rows))

    def _raise_maximum(self, rows: tf.Tensor | None, counts: tf.Tensor) -> None:
        maximum = _read(self.maximum, None)
        # The mark of unset counts is below every count.
        maximum = tf.maximum(maximum, tf.zeros_like(maximum))
        if self.online is not None:
            maximum *= self.online.decay(tf.ones_like(maximum))
        is_special = self._is_special(rows, counts)
        ids = tf.where(is_special, tf.zeros_like(counts), counts)
        # Of no rows the largest is -inf, which leaves the maximum.
        largest = tf.cast(tf.reduce_max(ids), maximum.dtype)
        row_blocks.native(self.maximum).assign(tf.maximum(maximum, largest))

    def _is_special(
        self, rows: tf.Tensor | None, counts: tf.Tensor
    ) -> tf.Tensor:
        if rows is None:
            rows = tf.range(tf.size(counts, tf.int64))
        num_special_rows = _read(self.num_special_rows, None)
        return tf.cast(rows, num_special_rows.dtype) < num_special_rows


def check_counts(
    counts: np.ndarray,
    num_rows: int,
    num_special_rows: int,
    *,
    copy: bool = True,
) -> np.ndarray:
    """Checks row counts, block by block; returns them as an array.

    Args:
        counts: Numbers `(num_rows,)`, whole or not, finite, not negative.
        num_rows: Rows of the table.
        num_special_rows: Rows at the start that are not ids.
        copy: Whether to copy them as float32, for use after the caller may
            have changed them. Else an array is returned as it is, for
            `RowCounts.set` at once.

    Returns:
        `(num_rows,)`, float32 if copied.

    Raises:
        ValueError: If `counts` does not fit the table.

    Example:
    >>> check_counts([1, 2.5], num_rows=2, num_special_rows=0)
    array([1. , 2.5], dtype=float32)
    """
    array = np.array(counts, np.float32) if copy else np.asarray(counts)
    if array.shape != (num_rows,):
        raise ValueError(
            "`counts` must hold one count for each row of the table. Received: "
            f"counts of shape {array.shape} for a table with {num_rows} rows."
        )
    smallest, greatest = _extremes(array)
    # A comparison with NaN is false.
    if not (smallest >= 0.0 and greatest < float("inf")):
        raise ValueError(
            "`counts` must be finite and not negative. Received: minimum "
            f"{smallest}, maximum {greatest}"
        )
    if not 0 <= num_special_rows <= num_rows:
        raise ValueError(
            "`num_special_rows` must be between 0 and the number of rows. "
            f"Received: num_special_rows={num_special_rows} for a table with "
            f"{num_rows} rows."
        )
    return array


def _extremes(counts: np.ndarray) -> tuple[float, float]:
    """Smallest and greatest as float32, 0 of none; NaN if there is one."""
    if not len(counts):
        return 0.0, 0.0
    size = row_blocks.BLOCK_ROWS
    blocks = (
        np.asarray(counts[start : start + size], np.float32)
        for start in range(0, len(counts), size)
    )
    extremes = np.array([(block.min(), block.max()) for block in blocks])
    return float(extremes[:, 0].min()), float(extremes[:, 1].max())


def _read(
    variable: keras.Variable | tf.Variable | None, rows: tf.Tensor | None
) -> tf.Tensor:
    if rows is None:
        return tf.convert_to_tensor(row_blocks.native(variable))
    return tf.gather(row_blocks.native(variable), rows)


def _write(
    variable: keras.Variable | tf.Variable,
    rows: tf.Tensor | None,
    values: tf.Tensor,
) -> None:
    if rows is None:
        row_blocks.native(variable).assign(values)
    else:
        row_blocks.native(variable).scatter_update(
            tf.IndexedSlices(values, rows)
        )
