"""Id frequencies: how often each id occurs in training rows."""

import concurrent.futures
import os
import threading
import weakref
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import apache_beam as beam
import pyarrow as pa

from beam_jobs import counting
from beam_jobs import pipelines
from beam_jobs import storage
from beam_jobs.counting import count_files
from beam_jobs.counting import count_pieces
from beam_jobs.counting import id_counts
from beam_jobs.counting.count_files import TableSummary
from beam_jobs.counting.count_pieces import Piece
from tfplugin import schema as schemas

__all__ = ["CountIds", "TableSummary"]

#: Files a table, and parts by which ids are merged.
NUM_SHARDS = 8

#: Rows that are counted at once.
_ROWS_AT_ONCE = 1 << 16

#: Less memory than this is not divided among threads that write files.
_MEMORY_OF_A_THREAD = 1 << 27


class CountIds(beam.PTransform):
    """Counts ids and writes `id_frequencies/TABLE/part-*.parquet`.

    Input: `pyarrow.RecordBatch`es of training rows, as in `ExampleBatch`.
    Output: one `TableSummary` a file.

    A file holds the ids of one hash, most frequent first, equal counts by
    rising id: `id`, `count`, `label_NAME` and, where rows have `event_time`,
    `first_day` and `last_day` (date32; null without a known moment).

    Counts are exact in any memory. A bundle counts its rows in hash tables,
    in threads of its own; when these reach their share of `memory`, they are
    written as pieces sorted by hash, and what is shuffled are the pieces'
    places. A file is made of its pieces at once if they fit, or else range of
    hashes by range of hashes, whose sorted results are merged.

    Args:
        schema: Features, tables and labels.
        paths: Where to write.
        memory: Bytes that one worker may hold for this.
        num_shards: Files a table.
        subfolder: Folder of the files inside their table's folder.
        earlier: Table to files of counts that are added to those of the
            rows, in the order of their numbers.
        factor: What earlier counts are multiplied by. Unless it is 1, and
            where earlier counts are float64, so are the new ones.

    Example:
    >>> import glob
    >>> import pathlib
    >>> import tempfile
    >>> import pyarrow.parquet as pq
    >>> user = schemas.IdFeature(dtype="int64", table="user")
    >>> schema = schemas.Schema(id_features={"user": user}, labels=())
    >>> batch = pa.RecordBatch.from_pydict({"user": [7, 8, 7]})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     paths = storage.DatasetPaths(folder)
    ...     with pipelines.pipeline([]) as pipeline:
    ...         _ = (
    ...             pipeline
    ...             | beam.Create([batch])
    ...             | CountIds(schema, paths, num_shards=1)
    ...         )
    ...     (name,) = pathlib.Path(paths.id_frequencies("user")).iterdir()
    ...     pq.read_table(name).to_pylist()
    [{'id': 7, 'count': 2}, {'id': 8, 'count': 1}]
    """

    def __init__(
        self,
        schema: schemas.Schema,
        paths: storage.DatasetPaths,
        *,
        memory: int = 1 << 30,
        num_shards: int = NUM_SHARDS,
        subfolder: str = "",
        earlier: Mapping[str, Sequence[str]] | None = None,
        factor: float = 1.0,
    ) -> None:
        super().__init__()
        self._schema = schema
        self._paths = paths
        self._memory = memory
        self._num_shards = num_shards
        self._subfolder = subfolder
        self._earlier = earlier or {}
        self._factor = factor

    def expand(self, rows: beam.pvalue.PCollection) -> beam.pvalue.PCollection:
        """Builds the steps."""
        every = [
            ((target.table, target.number), target)
            for target in self._targets()
        ]
        counts = rows | "Count" >> beam.ParDo(
            _CountBundle(
                self._schema,
                self._paths.temporary,
                self._num_shards,
                self._memory // 2,
            )
        )
        files = rows.pipeline | "EveryFile" >> beam.Create(every)
        return (
            (counts, files)
            | "AndEmptyFiles" >> beam.Flatten()
            | "ByTableAndShard" >> beam.GroupByKey()
            | "WriteCounts"
            >> beam.ParDo(
                _WriteCounts(self._paths.temporary, self._memory // 2)
            )
        )

    def _targets(self) -> Iterator[count_files.Target]:
        for table in self._schema.table_features():
            earlier = tuple(self._earlier.get(table, ()))
            decayed = self._factor != 1.0 or count_files.are_floats(earlier)
            for number in range(self._num_shards):
                name = f"part-{number:05d}-of-{self._num_shards:05d}.parquet"
                yield count_files.Target(
                    table=table,
                    kind=id_counts.kind_of(self._schema, table),
                    folder=self._paths.id_frequencies(table),
                    name=f"{self._subfolder}/{name}".lstrip("/"),
                    number=number,
                    num_files=self._num_shards,
                    earlier=earlier,
                    factor=self._factor,
                    decayed=decayed,
                )


class _Held:
    """Bytes of all bundles that this process counts side by side."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._bundles: weakref.WeakSet[_CountBundle] = weakref.WeakSet()

    def add(self, bundle: "_CountBundle") -> None:
        """A bundle begins; it tells what it holds as `held`."""
        with self._lock:
            self._bundles.add(bundle)

    def is_too_much(self, bundle: "_CountBundle", memory: int) -> bool:
        """Whether a bundle has to give up what it holds."""
        with self._lock:
            held = [other.held for other in self._bundles]
        # The largest first: small pieces would be many.
        return sum(held) > memory and bundle.held * 2 >= max(held)


_held = _Held()


class _CountBundle(beam.DoFn):
    """Batches of a bundle → ((table, shard), `Piece`)."""

    def __init__(
        self,
        schema: schemas.Schema,
        temporary: str,
        num_shards: int,
        memory: int,
    ) -> None:
        self._schema = schema
        self._temporary = temporary
        self._num_shards = num_shards
        self._memory = memory
        self._kinds = {
            table: id_counts.kind_of(schema, table)
            for table in schema.table_features()
        }
        self.held = 0

    def setup(self) -> None:
        self._threads = concurrent.futures.ThreadPoolExecutor(
            min(os.cpu_count() or 1, len(self._kinds), 4) or 1,
            "count_ids",
        )

    def teardown(self) -> None:
        self._threads.shutdown()

    def start_bundle(self) -> None:
        self._rows: list[pa.RecordBatch] = []
        self._num_rows = self._bytes = 0
        self._working: list[concurrent.futures.Future[None]] = []
        self._begin()
        _held.add(self)

    def process(self, rows: pa.RecordBatch) -> Iterator[Any]:
        # All ids may be new, and take several times the bytes of their rows.
        most_bytes = max(1, self._memory // 32)
        step = max(1, rows.num_rows * most_bytes // max(1, rows.nbytes))
        for first in range(0, rows.num_rows, step):
            part = rows.slice(first, step)
            self._rows.append(part)
            self._num_rows += part.num_rows
            self._bytes += part.nbytes
            if self._num_rows >= _ROWS_AT_ONCE or self._bytes >= most_bytes:
                yield from self._count()

    def finish_bundle(self) -> Iterator[Any]:
        for element in (*self._count(), *self._write()):
            yield pipelines.at_bundle_end(element)

    def _begin(self) -> None:
        self._tables = {
            table: counting.for_rows(kind)
            for table, kind in self._kinds.items()
        }
        self.held = 0

    def _count(self) -> Iterator[Any]:
        """Counts what waits while the next rows are read; yields if full."""
        if not self._rows:
            return
        read = [
            counting.read_rows(
                batch, self._schema.labels, days=self._schema.event_time
            )
            for batch in self._rows
        ]
        self._rows, self._num_rows, self._bytes = [], 0, 0
        self._wait()
        self.held = sum(table.nbytes for table in self._tables.values())
        full = any(table.is_full for table in self._tables.values())
        if full or _held.is_too_much(self, self._memory * 3 // 4):
            yield from self._write()
        self._working = [
            self._threads.submit(self._tables[table].add_rows, read, features)
            for table, features in self._schema.table_features().items()
        ]

    def _wait(self) -> None:
        for work in self._working:
            work.result()
        self._working = []

    def _write(self) -> Iterator[Any]:
        self._wait()
        yield from count_pieces.write(
            self._tables,
            self._num_shards,
            self._temporary,
            count_pieces.block_rows(self._memory),
        )
        self._begin()


class _WriteCounts(beam.DoFn):
    """((table, shard), its `Target` and `Piece`s) → a file's summary."""

    def __init__(self, temporary: str, memory: int) -> None:
        self._temporary = temporary
        self._num_threads = min(
            os.cpu_count() or 1, max(1, memory // _MEMORY_OF_A_THREAD), 4
        )
        self._memory = memory // self._num_threads

    def setup(self) -> None:
        self._threads = concurrent.futures.ThreadPoolExecutor(
            self._num_threads, "write_counts"
        )

    def teardown(self) -> None:
        self._threads.shutdown()

    def start_bundle(self) -> None:
        self._working: list[concurrent.futures.Future[TableSummary]] = []

    def process(
        self, element: tuple[Any, Iterable[Piece | count_files.Target]]
    ) -> None:
        items = list(element[1])
        pieces = [item for item in items if isinstance(item, Piece)]
        (target,) = [
            item for item in items if isinstance(item, count_files.Target)
        ]
        self._working.append(
            self._threads.submit(
                count_files.write, target, pieces, self._temporary, self._memory
            )
        )

    def finish_bundle(self) -> Iterator[Any]:
        for work in self._working:
            yield pipelines.at_bundle_end(work.result())
        self._working = []
