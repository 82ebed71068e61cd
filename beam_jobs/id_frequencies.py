"""Id frequencies: how often each id occurs in training rows."""

import pathlib
from collections.abc import Iterable
from collections.abc import Iterator
from typing import Any
from typing import NamedTuple

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.parquet

from beam_jobs import id_counts
from beam_jobs import pipelines
from tfplugin import artifacts
from tfplugin import schema as schemas

#: Files a table, and parts by which ids are merged.
NUM_SHARDS = 8

#: Rows of a bundle that are counted at once, and rows of counts that are
#: merged at once: what bounds a worker's memory.
_ROWS_AT_ONCE = 1 << 18
_COUNTS_AT_ONCE = 1 << 21


class TableSummary(NamedTuple):
    """What one file of id frequencies holds.

    Args:
        table: Its embedding table.
        file: The file; `rows` are distinct ids.
        occurrences: Sum of their counts.
        ids_seen_once: Ids with count 1.
    """

    table: str
    file: schemas.Shard
    occurrences: int
    ids_seen_once: int


class CountIds(beam.PTransform):
    """Counts ids and writes `id_frequencies/TABLE/part-*.parquet`.

    Input: `pyarrow.RecordBatch`es of training rows, as in `ExampleBatch`.
    Output: one `TableSummary` a file.

    A bundle counts its rows by Arrow's `value_counts`; what is shuffled are
    tables of counts, keyed by (table, hash of the id), never single ids.

    Args:
        schema: Features, tables and labels.
        folder: Where to write.
        num_shards: Files a table.
    """

    def __init__(
        self,
        schema: schemas.Schema,
        folder: artifacts.DatasetFolder,
        num_shards: int = NUM_SHARDS,
    ) -> None:
        super().__init__()
        self._schema = schema
        self._folder = folder
        self._num_shards = num_shards

    def expand(self, rows: beam.pvalue.PCollection) -> beam.pvalue.PCollection:
        """Builds the steps."""
        keys = [
            ((table, shard), b"")
            for table in self._schema.table_features()
            for shard in range(self._num_shards)
        ]
        counts = rows | "Count" >> beam.ParDo(
            _CountBundle(self._schema, self._num_shards)
        )
        every = rows.pipeline | "EveryFile" >> beam.Create(keys)
        return (
            (counts, every)
            | "AndEmptyFiles" >> beam.Flatten()
            | "ByTableAndShard" >> beam.GroupByKey()
            | "WriteCounts"
            >> beam.ParDo(
                _WriteCounts(self._schema, self._folder, self._num_shards)
            )
        )


class _CountBundle(beam.DoFn):
    """Batches of a bundle → ((table, shard), counts as Arrow IPC)."""

    def __init__(self, schema: schemas.Schema, num_shards: int) -> None:
        self._schema = schema
        self._num_shards = num_shards

    def start_bundle(self) -> None:
        self._rows: list[pa.RecordBatch] = []
        self._num_rows = 0
        self._counts: dict[str, list[pa.Table]] = {
            table: [] for table in self._schema.table_features()
        }

    def process(self, rows: pa.RecordBatch) -> Iterator[Any]:
        self._rows.append(rows)
        self._num_rows += rows.num_rows
        if self._num_rows >= _ROWS_AT_ONCE:
            self._count()
            for table, counts in self._counts.items():
                if sum(c.num_rows for c in counts) < _COUNTS_AT_ONCE:
                    continue
                merged = id_counts.merge(counts)
                self._counts[table] = [merged]
                if merged.num_rows >= _COUNTS_AT_ONCE // 2:
                    self._counts[table] = []
                    yield from self._divide(table, merged)

    def finish_bundle(self) -> Iterator[Any]:
        if self._rows:
            self._count()
        for table, counts in self._counts.items():
            if counts:
                merged = id_counts.merge(counts)
                for element in self._divide(table, merged):
                    yield pipelines.at_bundle_end(element)
        self.start_bundle()

    def _count(self) -> None:
        table = pa.Table.from_batches(self._rows).combine_chunks()
        rows = table.to_batches()
        for name, features in self._schema.table_features().items():
            for batch in rows:
                counted = id_counts.count(batch, features, self._schema.labels)
                self._counts[name].append(counted)
        self._rows, self._num_rows = [], 0

    def _divide(self, table: str, counts: pa.Table) -> Iterator[Any]:
        divided = id_counts.divide(counts, self._num_shards)
        for shard, part in divided.items():
            yield (table, shard), _to_bytes(part)


class _WriteCounts(beam.DoFn):
    """((table, shard), counts) → a Parquet file and its `TableSummary`."""

    def __init__(
        self,
        schema: schemas.Schema,
        folder: artifacts.DatasetFolder,
        num_shards: int,
    ) -> None:
        self._schema = schema
        self._folder = folder
        self._num_shards = num_shards

    def process(
        self, element: tuple[tuple[str, int], Iterable[bytes]]
    ) -> Iterator[TableSummary]:
        (table, shard), parts = element
        dtype = self._schema.table_dtype(table)
        tables = [id_counts.empty(dtype, self._schema.labels)]
        for part in parts:
            if part:
                tables.append(_from_bytes(part))
        counts = id_counts.most_frequent_first(id_counts.merge(tables))
        name = f"part-{shard:05d}-of-{self._num_shards:05d}.parquet"
        path = self._folder.id_frequencies(table) / name
        _write(counts, path)
        column = counts[id_counts.COUNT].to_numpy()
        yield TableSummary(
            table,
            schemas.Shard(
                name=name,
                rows=counts.num_rows,
                bytes=path.stat().st_size,
                crc32c=artifacts.file_crc32c(path),
            ),
            int(column.sum()),
            int(np.count_nonzero(column == 1)),
        )


def _write(counts: pa.Table, path: pathlib.Path) -> None:
    """Writes under a temporary name first: a retried task may be cut off."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    pyarrow.parquet.write_table(counts, temporary, compression="zstd")
    temporary.replace(path)


def _to_bytes(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def _from_bytes(data: bytes) -> pa.Table:
    return pa.ipc.open_stream(data).read_all()
