"""Packed records → shuffled batches of any size, without a step a row."""

from collections.abc import Sequence
from typing import Any
from typing import TypeAlias

import tensorflow as tf

from tfplugin import schema as schema_lib
from tfplugin.data import parsing

_Parts: TypeAlias = tuple[tf.Tensor, ...]


def windows(
    records: tf.data.Dataset, num_records: int, seeds: tf.Tensor
) -> tf.data.Dataset:
    """Records of one epoch in windows that `batches` takes.

    Args:
        records: Serialized records.
        num_records: Records a window.
        seeds: int64 `(2,)`, from which the order of rows follows.

    Returns:
        (records, seeds of the window, whether it is the epoch's last); the
        last one holds no record.
    """
    numbered = records.batch(num_records).enumerate()

    def with_seeds(
        number: tf.Tensor, window: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        # Seeds of windows must differ, also from those of the records.
        return window, seeds + tf.stack([number + 1, 0]), tf.constant(False)

    last = tf.data.Dataset.from_tensors(
        (tf.zeros([0], tf.string), seeds, tf.constant(True))
    )
    return numbered.map(with_seeds).concatenate(last)


def batches(
    windows_of_epochs: tf.data.Dataset,
    schema: schema_lib.Schema,
    batch_size: int,
    *,
    shuffle: bool,
) -> tf.data.Dataset:
    """Batches as `parsing.parse_training` gives them.

    A window is parsed at once, its rows are permuted, and batches are slices
    of it; the rows that are left over are the first of the next window.

    Args:
        windows_of_epochs: What `windows` gives, epoch after epoch.
        schema: The dataset's schema.
        batch_size: Rows a batch; the last of an epoch has fewer.
        shuffle: Whether rows of a window are permuted.

    Returns:
        (features, labels, sample weights).
    """
    table = _Table(parsing.parse_packed(tf.constant([], tf.string), schema))

    def parse(
        records: tf.Tensor, seeds: tf.Tensor, last: tf.Tensor
    ) -> tuple[_Parts, tf.Tensor]:
        rows = parsing.parse_packed(records, schema)
        return table.parts(rows, seeds if shuffle else None), last

    windows_of_parts = windows_of_epochs.map(
        parse, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
    )

    def whole_batches(
        left: _Parts, window: tuple[_Parts, tf.Tensor]
    ) -> tuple[_Parts, _Parts]:
        parts, last = window
        joined = tuple(
            tf.concat(both, 0) for both in zip(left, parts, strict=True)
        )
        count = table.count(joined)
        rest = tf.where(last, tf.zeros_like(count), count % batch_size)
        ready, left = table.split(joined, count - rest, rest)
        return left, ready

    def cut(*ready: tf.Tensor) -> tf.data.Dataset:
        count = table.count(ready)
        starts = table.starts(ready)
        numbers = tf.data.Dataset.range(-(-count // batch_size))

        def batch(number: tf.Tensor) -> Any:
            first = number * batch_size
            size = tf.minimum(count - first, batch_size)
            return table.rows(ready, starts, first, size)

        return numbers.map(batch)

    return windows_of_parts.scan(table.no_rows, whole_batches).flat_map(cut)


class _Table:
    """Rows as few tensors: few steps for many columns.

    The parts are a matrix `(rows, columns)` of each dtype, that of int64 also
    with the lengths of lists, and then the values of each list.

    Args:
        no_rows: Tensors and ragged tensors, nested, of no rows.
    """

    def __init__(self, no_rows: Any) -> None:
        self._nested = no_rows
        self._leaves = tf.nest.flatten(no_rows)
        self._columns: dict[tf.DType, int] = {}
        # Each leaf's matrix and column in it; for a list, of its lengths.
        self._places: list[tuple[tf.DType, int]] = []
        for leaf in self._leaves:
            is_list = isinstance(leaf, tf.RaggedTensor)
            dtype = tf.int64 if is_list else leaf.dtype
            column = self._columns.get(dtype, 0)
            self._places.append((dtype, column))
            self._columns[dtype] = column + 1
        self.no_rows = self.parts(no_rows, None)

    def parts(self, rows: Any, seeds: tf.Tensor | None) -> _Parts:
        """The parts of nested rows, permuted by seeds if there are any."""
        columns: dict[tf.DType, list[tf.Tensor]] = {
            dtype: [] for dtype in self._columns
        }
        lists = []
        for leaf in tf.nest.flatten(rows):
            if isinstance(leaf, tf.RaggedTensor):
                lists.append(leaf)
                columns[tf.int64].append(leaf.row_lengths())
            else:
                columns[leaf.dtype].append(tf.reshape(leaf, [-1]))
        parts = [tf.stack(found, 1) for found in columns.values()]
        if seeds is not None:
            numbers = tf.range(tf.shape(parts[0], tf.int64)[0])
            order = tf.random.experimental.stateless_shuffle(numbers, seeds)
            parts = [tf.gather(matrix, order) for matrix in parts]
            lists = [tf.gather(one, order) for one in lists]
        return (*parts, *(one.flat_values for one in lists))

    def count(self, parts: _Parts) -> tf.Tensor:
        """Number of rows, int64."""
        return tf.shape(parts[0], tf.int64)[0]

    def starts(self, parts: _Parts) -> list[tf.Tensor]:
        """Where the values of each row begin, and the end, by list."""
        return [
            tf.concat([[0], tf.cumsum(lengths)], 0)
            for lengths in self._lengths(parts)
        ]

    def split(
        self, parts: _Parts, first: tf.Tensor, rest: tf.Tensor
    ) -> tuple[_Parts, _Parts]:
        """The parts of the first rows, and of the rest."""
        halves = [
            tf.split(matrix, tf.stack([first, rest]))
            for matrix in parts[: len(self._columns)]
        ]
        values = parts[len(self._columns) :]
        lengths = self._lengths(parts)
        for one, row_lengths in zip(values, lengths, strict=True):
            of_first = tf.reduce_sum(row_lengths[:first])
            of_rest = tf.size(one, tf.int64) - of_first
            halves.append(tf.split(one, tf.stack([of_first, of_rest])))
        return (
            tuple(half[0] for half in halves),
            tuple(half[1] for half in halves),
        )

    def rows(
        self,
        parts: _Parts,
        starts: Sequence[tf.Tensor],
        first: tf.Tensor,
        size: tf.Tensor,
    ) -> Any:
        """`size` rows from `first` on, nested."""
        columns = {
            dtype: tf.unstack(
                tf.slice(matrix, [first, 0], [size, -1]), number, axis=1
            )
            for (dtype, number), matrix in zip(
                self._columns.items(), parts, strict=False
            )
        }
        lists = iter(zip(parts[len(self._columns) :], starts, strict=True))
        leaves = []
        for leaf, (dtype, column) in zip(
            self._leaves, self._places, strict=True
        ):
            if isinstance(leaf, tf.RaggedTensor):
                values, start = next(lists)
                splits = tf.slice(start, [first], [size + 1])
                leaves.append(
                    tf.RaggedTensor.from_row_splits(
                        values[splits[0] : splits[-1]],
                        splits - splits[0],
                        validate=False,
                    )
                )
            elif leaf.shape.rank == 2:
                leaves.append(columns[dtype][column][:, tf.newaxis])
            else:
                leaves.append(columns[dtype][column])
        return tf.nest.pack_sequence_as(self._nested, leaves)

    def _lengths(self, parts: _Parts) -> list[tf.Tensor]:
        matrices = dict(zip(self._columns, parts, strict=False))
        return [
            matrices[dtype][:, column]
            for leaf, (dtype, column) in zip(
                self._leaves, self._places, strict=True
            )
            if isinstance(leaf, tf.RaggedTensor)
        ]
