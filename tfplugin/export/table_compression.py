"""Embedding tables of an export in fewer rows and fewer bytes.

While a model is compressed, what it looks up outside of training comes from
smaller variables, by TensorFlow's own operators:

    vector = cast(gather(numbers, row)) [* cast(gather(scales, row))]

Rows go by count. The ids of a vocabulary lose their key, or share the last
row; rows of other tables are renumbered by one int32 a row, where that saves
bytes. The trained tables stay as they are, and no copy of one is made.
"""

import dataclasses
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from contextlib import ExitStack
from contextlib import contextmanager
from typing import Literal

import keras
import numpy as np
import tensorflow as tf

from tfplugin import data
from tfplugin import layers
from tfplugin.errors import InputError
from tfplugin.export import table_compression_plan as plans
from tfplugin.export.table_compression_dtypes import StoredRows
from tfplugin.export.table_compression_plan import TableCompression
from tfplugin.export.table_compression_pruning import RowMap
from tfplugin.export.table_compression_pruning import row_map
from tfplugin.layers import table_rows

_Plan = Mapping[str, TableCompression]
_Counts = Mapping[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class TableSize:
    """What became of a table.

    Args:
        name: The table's, which is its layer's.
        embedding_dim: Length of a row.
        dtype: Of its numbers as written.
        rows_before: As trained.
        rows: As written.
        bytes_before: As trained.
        bytes: As written, with scales and numbers of rows.
        vocabulary_bytes_saved: By keys that left the vocabulary; told of
            one of the tables that share it.
        renumbered_by: `vocabulary` or `rows`; None where all rows stay.
    """

    name: str
    embedding_dim: int
    dtype: str
    rows_before: int
    rows: int
    bytes_before: int
    bytes: int
    vocabulary_bytes_saved: int = 0
    renumbered_by: Literal["vocabulary", "rows"] | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class CompressedTables:
    """What a SavedModel of a compressed model holds.

    Args:
        trackables: Variables that take the place of those replaced.
        replaced: The trained tables that are not to be written.
        tables: Every table, whether compressed or not.
    """

    trackables: list[tf.Variable]
    replaced: list[keras.Variable]
    tables: tuple[TableSize, ...]

    def weights(self, model: keras.Model) -> list[tf.Variable]:
        """All variables that are to be written.

        Args:
            model: The model that is compressed.
        """
        gone = {id(variable) for variable in self.replaced}
        kept = [v.value for v in model.variables if id(v) not in gone]
        return [*kept, *self.trackables]


@contextmanager
def compressing(
    model: keras.layers.Layer, plan: _Plan, counts: _Counts
) -> Iterator[CompressedTables]:
    """Makes a model read compressed tables, outside of training.

    Enter it before `layers.exporting`, so that vocabularies are written as
    they are inside. Rows of missing and unknown ids are never pruned. Tables
    that share an id mapping lose keys of its vocabulary if all of them lose
    the same; otherwise each is renumbered for itself.

    Args:
        model: Built.
        plan: Table to how it is written, by the name of its `Embedding` or
            `ComposedEmbedding`; `default` for the others, which otherwise
            stay as trained.
        counts: How often each row of a table was read in training, `(rows,)`,
            by the name of the `Embedding`, for tables that are pruned; see
            `row_counts`.

    Yields:
        What to track and what to leave out.

    Raises:
        InputError: There is no such table, its counts are absent, or its
            numbers do not fit the dtype.
        ValueError: Counts of another table.

    Example:
    >>> layer = layers.Embedding(4, 2, seed=1, name="item")
    >>> ids = keras.Input((), dtype="int64")
    >>> model = keras.Model(ids, layer(ids))
    >>> with compressing(model, {"item": TableCompression("int8")}, {}) as made:
    ...     made.tables[0].bytes_before, made.tables[0].bytes
    (32, 16)
    """
    tables = plans.planned_tables(model, plan)
    maps = [_row_map(table, counts) for table in tables]
    shrinking = _shrinking_vocabularies(model, tables, maps)
    trackables: list[tf.Variable] = []
    replaced: list[keras.Variable] = []
    sizes: list[TableSize] = []
    with ExitStack() as stack:
        saved = {
            key: _shrink_vocabulary(stack, mapping, rows)
            for key, (mapping, rows) in shrinking.items()
        }
        for table, rows in zip(tables, maps, strict=True):
            layer = table.layer
            in_vocabulary = id(layer.id_mapping) in shrinking
            rows = rows if in_vocabulary else _if_smaller(table, rows)
            stored, remap = None, None
            if rows is not None or table.dtype != table.trained_dtype:
                stored = _store(table, rows, counts)
                if rows is not None and not in_vocabulary:
                    remap = tf.Variable(rows.new_rows, trainable=False)
                stack.callback(layer.set_stand_in, None)
                layer.set_stand_in(_reader(stored, remap, layer))
                replaced.append(layer.embeddings)
                trackables += stored.variables
                trackables += [] if remap is None else [remap]
            size = _size(table, rows, stored, remap)
            sizes.append(
                dataclasses.replace(
                    size,
                    vocabulary_bytes_saved=saved.pop(id(layer.id_mapping), 0),
                )
            )
        yield CompressedTables(trackables, replaced, tuple(sizes))


def row_counts(
    model: keras.layers.Layer,
    plan: _Plan,
    id_frequencies: Callable[[str], data.IdFrequencies],
) -> dict[str, np.ndarray]:
    """Counts of rows for the tables of a plan that are pruned.

    Args:
        model: Built.
        plan: See `compressing`.
        id_frequencies: From a table's name to counts of its ids, such as
            `Dataset.id_frequencies`.

    Returns:
        The name of an `Embedding` to counts `(rows,)`.

    Raises:
        InputError: See `compressing`.

    Example:
    >>> item = layers.Embedding(
    ...     id_mapping=layers.VocabularyMapping([7, 8]), name="item"
    ... )
    >>> counts = data.IdFrequencies.from_counts([7, 9], [5, 1])
    >>> row_counts(item, {"item": TableCompression(min_count=2)},
    ...            {"item": counts}.__getitem__)
    {'item': array([0, 1, 5, 0])}
    """
    found = {}
    for name, layer, how in plans.planned_tables(model, plan):
        if not how.prunes:
            continue
        frequencies = id_frequencies(name)
        ids, numbers = frequencies.ids, frequencies.counts
        if layer.id_mapping is not None:
            totals = layer.id_mapping.row_counts(ids, numbers)
        else:
            totals = np.zeros(layer.vocabulary_size, numbers.dtype)
            np.add.at(totals, ids, numbers)
        found[layer.table_name] = totals
    return found


def _row_map(table: plans.PlannedTable, counts: _Counts) -> RowMap | None:
    layer, how = table.layer, table.how
    if not how.prunes:
        return None
    if layer.table_name not in counts:
        raise InputError(
            "Rows are pruned by how often training read them, so that counts "
            f"must be given. Received: none of table {layer.table_name}. Give "
            "them, or set min_count=0 and drop_unused=false."
        )
    found = np.asarray(counts[layer.table_name])
    if found.shape != (layer.vocabulary_size,):
        raise ValueError(
            "Counts must be one a row. Received: "
            f"shape {found.shape} of table {layer.table_name!r}, which has "
            f"{layer.vocabulary_size} rows"
        )
    mapping = layer.id_mapping
    oov_rows = None
    if isinstance(mapping, layers.VocabularyMapping):

        def oov_rows(rows: np.ndarray) -> np.ndarray:
            return mapping.oov_rows(_keys(mapping, rows)).numpy()

    return row_map(
        found,
        num_special_rows=layer.num_special_rows,
        min_count=how.min_count,
        drop_unused=how.drop_unused,
        rare_rows=how.rare_rows,
        oov_rows=oov_rows,
    )


def _keys(mapping: layers.VocabularyMapping, rows: np.ndarray) -> tf.Tensor:
    """The ids of rows that are no special ones."""
    keys = mapping.vocabulary_slice(0, mapping.num_ids)
    return tf.gather(keys, rows - mapping.num_special_rows)


def _shrinking_vocabularies(
    model: keras.layers.Layer,
    tables: list[plans.PlannedTable],
    maps: list[RowMap | None],
) -> dict[int, tuple[layers.VocabularyMapping, RowMap]]:
    """Mappings, by `id`, that all their users want to lose the same keys."""
    others = plans.mappings_outside_of_tables(model)
    found: dict[int, tuple[layers.VocabularyMapping, RowMap]] = {}
    for table, rows in zip(tables, maps, strict=True):
        mapping = table.layer.id_mapping
        key = id(mapping)
        if key in others or not isinstance(mapping, layers.VocabularyMapping):
            continue
        same = key not in found or (
            rows is not None
            and np.array_equal(rows.new_rows, found[key][1].new_rows)
        )
        if rows is not None and same:
            found[key] = (mapping, rows)
        else:
            others.add(key)
            found.pop(key, None)
    return found


def _shrink_vocabulary(
    stack: ExitStack, mapping: layers.VocabularyMapping, rows: RowMap
) -> int:
    """Lets a mapping map to the smaller table; the bytes of keys saved."""
    kept = _keys(mapping, rows.kept[mapping.num_special_rows :])
    pruned = _keys(mapping, rows.pruned)
    if rows.shared_row is not None:
        keys = tf.concat([kept, pruned], axis=0)
        stack.enter_context(mapping.mapping_by(keys, rows.shared_row))
        return 0
    stack.enter_context(mapping.mapping_by(kept))
    if pruned.dtype == tf.string:
        # A key's length and a tag stand before it in the file.
        return int(tf.reduce_sum(tf.strings.length(pruned) + 2))
    return 8 * len(pruned)


def _if_smaller(
    table: plans.PlannedTable, rows: RowMap | None
) -> RowMap | None:
    """A map by renumbering, unless it would cost more than it saves."""
    if rows is None:
        return None
    num_rows = table.layer.vocabulary_size
    saved = (num_rows - rows.num_rows) * _row_bytes(table)
    return rows if saved > 4 * num_rows else None


def _row_bytes(table: plans.PlannedTable) -> int:
    dtype = tf.as_dtype(table.dtype)
    scale = 2 if dtype == tf.int8 else 0
    return table.layer.embedding_dim * dtype.size + scale


def _store(
    table: plans.PlannedTable, rows: RowMap | None, counts: _Counts
) -> StoredRows:
    """The smaller table; the trained one is read by the chunk."""
    layer = table.layer
    num_rows = layer.vocabulary_size if rows is None else rows.num_rows
    stored = StoredRows(
        num_rows, layer.embedding_dim, table.dtype, layer.table_name
    )
    for start, stop in _chunks(num_rows if rows is None else len(rows.kept)):
        # No array of all rows where they are simply counted.
        chunk = (
            np.arange(start, stop) if rows is None else rows.kept[start:stop]
        )
        stored.write(start, tf.gather(layer.embeddings.value, chunk), chunk)
    if rows is not None and rows.shared_row is not None:
        shared = _mean_row(layer, rows.pruned, counts[layer.table_name])
        stored.write(rows.shared_row, shared, rows.pruned[:1])
    return stored


def _mean_row(
    layer: layers.Embedding, rows: np.ndarray, counts: np.ndarray
) -> tf.Tensor:
    """Σ c v / Σ c over rows v of count c, shape (1, dim); 0 without count."""
    total = np.zeros(layer.embedding_dim)
    for start, stop in _chunks(len(rows)):
        chunk = rows[start:stop]
        vectors = tf.gather(layer.embeddings.value, chunk)
        vectors = tf.cast(vectors, tf.float32).numpy()
        total += counts[chunk].astype(np.float64) @ vectors
    weight = float(counts[rows].sum())
    mean = total / weight if weight > 0 else np.zeros_like(total)
    return tf.constant(mean[np.newaxis], tf.float32)


def _chunks(num_rows: int) -> Iterator[tuple[int, int]]:
    for start in range(0, num_rows, table_rows.CHUNK_ROWS):
        yield start, min(start + table_rows.CHUNK_ROWS, num_rows)


def _reader(
    stored: StoredRows, remap: tf.Variable | None, layer: layers.Embedding
) -> Callable[[tf.Tensor], tf.Tensor]:
    dtype = layer.embeddings.value.dtype

    def gather(rows: tf.Tensor) -> tf.Tensor:
        if remap is not None:
            rows = tf.gather(remap, rows)
        return stored.gather(rows, dtype)

    return gather


def _size(
    table: plans.PlannedTable,
    rows: RowMap | None,
    stored: StoredRows | None,
    remap: tf.Variable | None,
) -> TableSize:
    layer = table.layer
    num_rows, dim = layer.vocabulary_size, layer.embedding_dim
    before = num_rows * dim * layer.embeddings.value.dtype.size
    written = before if stored is None else stored.num_bytes
    renumbered: Literal["vocabulary", "rows"] | None = None
    if rows is not None:
        renumbered = "vocabulary" if remap is None else "rows"
    return TableSize(
        name=layer.table_name,
        embedding_dim=dim,
        dtype=table.dtype,
        rows_before=num_rows,
        rows=num_rows if rows is None else rows.num_rows,
        bytes_before=before,
        bytes=written + (0 if remap is None else 4 * num_rows),
        renumbered_by=renumbered,
    )
