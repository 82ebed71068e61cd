"""Examples → shards of TFRecords, in an order no engine can change."""

import dataclasses
import itertools
import operator
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from typing import Any
from typing import NamedTuple
from typing import TypeAlias

import apache_beam as beam
import numpy as np
import pyarrow as pa

from beam_jobs import pipelines
from beam_jobs import row_hash
from beam_jobs import storage
from beam_jobs.batches import Int64s
from beam_jobs.batches import UInt64s
from beam_jobs.roles.columns import ExampleBatch
from beam_jobs.writing import encoding
from beam_jobs.writing import example_sizes
from beam_jobs.writing import shard_layout
from beam_jobs.writing import sorting
from beam_jobs.writing import spooling
from beam_jobs.writing import tfrecords
from tfplugin import config
from tfplugin import schema as schemas

#: Bytes of rows that a bundle holds before it writes them, at most.
_BUFFER_BYTES = 1 << 26
#: Bytes of rows that are sorted in memory, at most: what Arrow's 32-bit
#: offsets can address, with room to spare.
_SORT_BYTES = 1 << 29
_SIZES = "sizes"

#: Number of a split, and of a group of rows in it.
Group: TypeAlias = tuple[int, int]


class Place(NamedTuple):
    """Where rows of a batch go; each `(rows,)`.

    Args:
        groups: Number of the group that a row waits in.
        times: What a shard is sorted by; 0 when rows are shuffled.
        keys: What rows of one time are sorted by.
    """

    groups: Int64s
    times: Int64s
    keys: UInt64s


@dataclasses.dataclass(frozen=True)
class Order:
    """Which shard a row goes to, and its place there.

    Args:
        dataset: Number or size of shards, order and seed.
        time_bounds: By split, first seconds of shards 1, 2, ..., int64
            `(num_shards - 1,)`; None when rows are shuffled.
    """

    dataset: config.DatasetConfig
    time_bounds: tuple[Int64s, ...] | None = None

    def place(self, batch: ExampleBatch) -> Place:
        """Where each row waits, and what it is sorted by.

        A group is a shard, unless shards have a wanted size.
        """
        keys = row_hash.row_keys(
            file=batch.file,
            positions=batch.positions,
            occurrences=batch.occurrences,
            seed=self.dataset.seed,
        )
        times = np.zeros(len(keys), np.int64)
        if self.dataset.shard_size is not None:
            return Place(shard_layout.group(keys), times, keys)
        if self.time_bounds is None:
            shards = keys % np.uint64(self.dataset.num_shards)
            return Place(shards.astype(np.int64), times, keys)
        times = batch.rows.column(schemas.EVENT_TIME_FEATURE).to_numpy()
        groups = np.zeros(len(keys), np.int64)
        for split, bounds in enumerate(self.time_bounds):
            mask = batch.splits == split
            groups[mask] = np.searchsorted(bounds, times[mask], side="right")
        return Place(groups, times, keys)


class WriteExamples(beam.PTransform):
    """Writes `SPLIT/part-*.tfrecord.gz`.

    Input: `ExampleBatch`es. Output: (split, `Shard`), also of empty shards.

    What is shuffled are the places of pieces in temporary files: the
    in-memory runner holds shuffles in memory, and other runners would copy
    every Example twice.

    Args:
        paths: The dataset; every worker must see it.
        order: Shard and place of a row.
        schema: What the Examples hold, and their format.
        splits: The splits to write.
        subfolder: Folder of the files inside their split's, if not itself.
        memory: Bytes that a worker may hold.
    """

    def __init__(
        self,
        paths: storage.DatasetPaths,
        order: Order,
        *,
        schema: schemas.Schema,
        splits: Iterable[str] = schemas.SPLITS,
        subfolder: str = "",
        memory: int = 1 << 30,
    ) -> None:
        super().__init__()
        self._paths = paths
        self._order = order
        self._schema = schema
        self._splits = [schemas.SPLITS.index(split) for split in splits]
        self._subfolder = subfolder
        self._memory = memory

    def expand(
        self, batches: beam.pvalue.PCollection
    ) -> beam.pvalue.PCollection:
        """Builds the steps."""
        buffer_bytes = min(_BUFFER_BYTES, self._memory // 8)
        spooled = batches | "Spool" >> beam.ParDo(
            _Spool(
                self._paths.temporary, self._order, self._schema, buffer_bytes
            )
        ).with_outputs(_SIZES, main="pieces")
        splits = batches.pipeline | "Splits" >> beam.Create(self._splits)
        layouts = self._layouts(spooled[_SIZES], splits)
        tasks = splits | "EveryTask" >> beam.FlatMap(_tasks, layouts)
        pieces = spooled.pieces | "ToTask" >> beam.Map(_to_task, layouts)
        write = _WriteShards(
            self._paths,
            self._schema,
            self._subfolder,
            min(_SORT_BYTES, self._memory // 4),
        )
        return (
            (pieces, tasks)
            | "AndEmptyShards" >> beam.Flatten()
            | "ByTask" >> beam.GroupByKey()
            | "WriteShards" >> beam.ParDo(write, layouts)
        )

    def _layouts(
        self, sizes: beam.pvalue.PCollection, splits: beam.pvalue.PCollection
    ) -> Any:
        """`ShardLayout` by split: a dict, or a side input of one."""
        dataset = self._order.dataset
        size = dataset.shard_size
        if size is None:
            layout = shard_layout.ShardLayout(dataset.num_shards)
            return dict.fromkeys(self._splits, layout)
        of_size = shard_layout.ShardLayout.of_size
        empty = splits | "NoBytes" >> beam.Map(lambda split: (split, 0))
        return beam.pvalue.AsDict(
            (sizes, empty)
            | "AndEmptySplits" >> beam.Flatten()
            | "SplitBytes" >> beam.CombinePerKey(sum)
            | "Layouts"
            >> beam.MapTuple(lambda split, total: (split, of_size(total, size)))
        )


_Layouts: TypeAlias = Mapping[int, shard_layout.ShardLayout]


def _tasks(split: int, layouts: _Layouts) -> Iterator[tuple[Group, None]]:
    for task in range(layouts[split].num_tasks):
        yield (split, task), None


def _to_task(
    element: tuple[Group, spooling.Piece], layouts: _Layouts
) -> tuple[Group, spooling.Piece]:
    (split, number), piece = element
    return (split, layouts[split].task(number)), piece


class _Spool(beam.DoFn):
    """Batches of a bundle → temporary files, and their pieces."""

    def __init__(
        self,
        folder: str,
        order: Order,
        schema: schemas.Schema,
        buffer_bytes: int,
    ) -> None:
        self._folder = folder
        self._order = order
        self._format = schema.format
        self._buffer_bytes = buffer_bytes

    def start_bundle(self) -> None:
        self._splits: list[np.ndarray] = []
        self._groups: list[Int64s] = []
        self._batches: list[pa.RecordBatch] = []
        self._bytes = 0

    def process(self, batch: ExampleBatch) -> Iterator[Any]:
        found = self._order.place(batch)
        self._splits.append(batch.splits)
        self._groups.append(found.groups)
        spooled = spooling.with_place(batch.rows, found.times, found.keys)
        self._batches.append(spooled)
        self._bytes += spooled.nbytes
        if self._order.dataset.shard_size is not None:
            rows = example_sizes.row_bytes(batch.rows, self._format)
            sums = np.bincount(batch.splits, rows, len(schemas.SPLITS))
            for split, size in enumerate(sums.astype(np.int64).tolist()):
                yield beam.pvalue.TaggedOutput(_SIZES, (split, size))
        if self._bytes >= self._buffer_bytes:
            yield from self._flush()

    def finish_bundle(self) -> Iterator[Any]:
        if self._batches:
            for piece in self._flush():
                yield pipelines.at_bundle_end(piece)

    def _flush(self) -> Iterator[tuple[Group, spooling.Piece]]:
        splits = np.concatenate(self._splits).astype(np.int64)
        groups = np.concatenate(self._groups)
        order = np.lexsort((groups, splits))
        # One take for all pieces: a slice of it costs nothing.
        rows = spooling.combine(self._batches).take(pa.array(order))
        splits, groups = splits[order], groups[order]
        self.start_bundle()
        changes = (np.diff(splits) != 0) | (np.diff(groups) != 0)
        bounds = [0, *(np.flatnonzero(changes) + 1).tolist(), len(order)]
        with spooling.open_writer(self._folder) as writer:
            pieces = [
                writer.write(rows.slice(first, last - first))
                for first, last in itertools.pairwise(bounds)
            ]
        for first, piece in zip(bounds, pieces, strict=False):
            yield (int(splits[first]), int(groups[first])), piece


class _WriteShards(beam.DoFn):
    """((split, task), pieces) → files, and (split, `Shard`) of each."""

    def __init__(
        self,
        paths: storage.DatasetPaths,
        schema: schemas.Schema,
        subfolder: str,
        sort_bytes: int,
    ) -> None:
        self._paths = paths
        self._schema = schema
        self._subfolder = subfolder
        self._sort_bytes = sort_bytes

    def process(
        self,
        element: tuple[Group, Iterable[spooling.Piece | None]],
        layouts: _Layouts,
    ) -> Iterator[tuple[str, schemas.Shard]]:
        (split, task), pieces = element
        layout = layouts[split]
        rows = sorting.sort(
            (piece for piece in pieces if piece is not None),
            folder=self._paths.temporary,
            max_bytes=self._sort_bytes,
        )
        for shard, batches in _by_shard(rows, layout, task):
            name = f"part-{shard:05d}-of-{layout.num_shards:05d}.tfrecord.gz"
            if self._subfolder:
                name = f"{self._subfolder}/{name}"
            yield (
                schemas.SPLITS[split],
                tfrecords.write(
                    self._paths.split(schemas.SPLITS[split]),
                    name,
                    encoding.encode(batches, self._schema),
                ),
            )


def _by_shard(
    batches: Iterator[pa.RecordBatch],
    layout: shard_layout.ShardLayout,
    task: int,
) -> Iterator[tuple[int, Iterator[pa.RecordBatch]]]:
    """Sorted batches → each shard of the task and its rows, also none."""

    def cut() -> Iterator[tuple[int, pa.RecordBatch]]:
        for batch in batches:
            shards = layout.shard(task, spooling.place(batch)[1])
            changes = (np.flatnonzero(np.diff(shards)) + 1).tolist()
            bounds = [0, *changes, batch.num_rows]
            for first, last in itertools.pairwise(bounds):
                part = batch.slice(first, last - first)
                yield int(shards[first]), spooling.rows(part)

    groups = itertools.groupby(cut(), key=operator.itemgetter(0))
    found = next(groups, None)
    for shard in layout.shards(task):
        if found is not None and found[0] == shard:
            yield shard, (batch for _, batch in found[1])
            found = next(groups, None)
        else:
            yield shard, iter(())
