"""Examples → shards of TFRecords, in an order no engine can change."""

import dataclasses
import pathlib
import uuid
from collections.abc import Iterable
from collections.abc import Iterator
from typing import Any
from typing import NamedTuple

import apache_beam as beam
import numpy as np
import pyarrow as pa

from beam_jobs import examples
from beam_jobs import pipelines
from beam_jobs import row_hash
from beam_jobs import tfrecords
from beam_jobs.batches import Int64s
from beam_jobs.batches import UInt64s
from beam_jobs.columns import ExampleBatch
from tfplugin import artifacts
from tfplugin import config
from tfplugin import schema as schemas

#: Bytes of Examples that a bundle holds before it writes them.
_BUFFER_BYTES = 1 << 26


class Piece(NamedTuple):
    """Examples of one shard in a temporary file.

    Args:
        path: An Arrow IPC file.
        batch: Number of a record batch in it.
    """

    path: str
    batch: int


@dataclasses.dataclass(frozen=True)
class Order:
    """Which shard a row goes to, and its place there.

    Args:
        dataset: Number of shards, order and seed.
        time_bounds: By split, first seconds of shards 1, 2, ..., int64
            `(num_shards - 1,)`; None when rows are shuffled.
    """

    dataset: config.DatasetConfig
    time_bounds: tuple[Int64s, ...] | None = None

    def place(self, batch: ExampleBatch) -> tuple[Int64s, Int64s, UInt64s]:
        """Shard, time and key of each row, each `(rows,)`.

        Rows of a shard are sorted by time, then by key; times are 0 when
        rows are shuffled.
        """
        keys = row_hash.row_keys(
            file=batch.file,
            positions=batch.positions,
            occurrences=batch.occurrences,
            seed=self.dataset.seed,
        )
        if self.time_bounds is None:
            shards = (keys % np.uint64(self.dataset.num_shards)).astype(
                np.int64
            )
            return shards, np.zeros(len(keys), np.int64), keys
        times = batch.rows.column(schemas.EVENT_TIME_FEATURE).to_numpy()
        shards = np.zeros(len(keys), np.int64)
        for split, bounds in enumerate(self.time_bounds):
            mask = batch.splits == split
            shards[mask] = np.searchsorted(bounds, times[mask], side="right")
        return shards, times, keys


class WriteExamples(beam.PTransform):
    """Writes `SPLIT/part-*.tfrecord.gz`.

    Input: `ExampleBatch`es. Output: (split, `Shard`), also of empty shards.

    What is shuffled are the places of pieces in temporary files: the
    in-memory runner holds shuffles in memory, and other runners would copy
    every Example twice.

    Args:
        folder: The dataset.
        temporary: Where pieces are kept until the shards are written; every
            worker must see it.
        order: Shard and place of a row.
    """

    def __init__(
        self,
        folder: artifacts.DatasetFolder,
        temporary: pathlib.Path,
        order: Order,
    ) -> None:
        super().__init__()
        self._folder = folder
        self._temporary = temporary
        self._order = order

    def expand(
        self, batches: beam.pvalue.PCollection
    ) -> beam.pvalue.PCollection:
        """Builds the steps."""
        every = [
            ((split, shard), None)
            for split in range(len(schemas.SPLITS))
            for shard in range(self._order.dataset.num_shards)
        ]
        pieces = batches | "Spool" >> beam.ParDo(
            _SpoolBundle(self._temporary, self._order)
        )
        shards = batches.pipeline | "EveryShard" >> beam.Create(every)
        return (
            (pieces, shards)
            | "AndEmptyShards" >> beam.Flatten()
            | "ByShard" >> beam.GroupByKey()
            | "WriteShard"
            >> beam.ParDo(
                _WriteShard(self._folder, self._order.dataset.num_shards)
            )
        )


class _SpoolBundle(beam.DoFn):
    """Batches of a bundle → one temporary file, and its pieces."""

    def __init__(self, temporary: pathlib.Path, order: Order) -> None:
        self._temporary = temporary
        self._order = order

    def start_bundle(self) -> None:
        self._parts: list[pa.RecordBatch] = []
        self._bytes = 0
        self._path = self._temporary / f"{uuid.uuid4().hex}.arrow"
        self._writer: pa.ipc.RecordBatchFileWriter | None = None
        self._index = 0
        self._pieces: list[tuple[tuple[int, int], Piece]] = []

    def process(self, batch: ExampleBatch) -> None:
        shards, times, keys = self._order.place(batch)
        part = pa.RecordBatch.from_pydict(
            {
                "split": batch.splits,
                "shard": shards,
                "time": times,
                "key": keys,
                "example": examples.encode(batch.rows),
            }
        )
        self._parts.append(part)
        self._bytes += part.nbytes
        if self._bytes >= _BUFFER_BYTES:
            self._flush()

    def finish_bundle(self) -> Iterator[Any]:
        if self._parts:
            self._flush()
        if self._writer is not None:
            self._writer.close()
        for piece in self._pieces:
            yield pipelines.at_bundle_end(piece)
        self.start_bundle()

    def _flush(self) -> None:
        table = pa.Table.from_batches(self._parts)
        self._parts, self._bytes = [], 0
        splits, shards = table["split"].to_numpy(), table["shard"].to_numpy()
        order = np.lexsort((shards, splits))
        kept = table.select(["time", "key", "example"])
        if self._writer is None:
            self._writer = pa.ipc.new_file(
                str(self._path),
                kept.schema,
                options=pa.ipc.IpcWriteOptions(compression="lz4"),
            )
        groups = np.stack([splits[order], shards[order]], axis=1)
        starts = np.flatnonzero(
            np.r_[True, (groups[1:] != groups[:-1]).any(axis=1)]
        )
        for first, last in zip(starts, [*starts[1:], len(order)], strict=True):
            piece = kept.take(pa.array(order[first:last])).combine_chunks()
            (batch,) = piece.to_batches()
            self._writer.write_batch(batch)
            split, shard = (int(value) for value in groups[first])
            self._pieces.append(
                ((split, shard), Piece(str(self._path), self._index))
            )
            self._index += 1


class _WriteShard(beam.DoFn):
    """((split, shard), pieces) → a file, and (split, `Shard`)."""

    def __init__(
        self, folder: artifacts.DatasetFolder, num_shards: int
    ) -> None:
        self._folder = folder
        self._num_shards = num_shards

    def process(
        self, element: tuple[tuple[int, int], Iterable[Piece | None]]
    ) -> Iterator[tuple[str, schemas.Shard]]:
        (split, shard), pieces = element
        name = schemas.SPLITS[split]
        folder = self._folder.split(name)
        folder.mkdir(parents=True, exist_ok=True)
        path = (
            folder / f"part-{shard:05d}-of-{self._num_shards:05d}.tfrecord.gz"
        )
        batches = [_read(piece) for piece in pieces if piece is not None]
        yield name, tfrecords.write(path, _in_order(batches))


def _read(piece: Piece) -> pa.RecordBatch:
    with pa.OSFile(piece.path) as stream:
        return pa.ipc.open_file(stream).get_batch(piece.batch)


def _in_order(batches: list[pa.RecordBatch]) -> Iterator[bytes]:
    """Examples sorted by time and key, as bytes."""
    if not batches:
        return
    table = pa.Table.from_batches(batches)
    order = np.lexsort((table["key"].to_numpy(), table["time"].to_numpy()))
    column = table["example"]
    for first in range(0, len(order), 4096):
        yield from column.take(
            pa.array(order[first : first + 4096])
        ).to_pylist()
