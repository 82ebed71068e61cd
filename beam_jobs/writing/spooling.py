"""Rows that wait on a disk, by the group they will be written with."""

import contextlib
import itertools
import operator
import uuid
from collections.abc import Iterable
from collections.abc import Iterator
from typing import BinaryIO
from typing import NamedTuple

import pyarrow as pa

from beam_jobs import storage
from beam_jobs.batches import Int64s
from beam_jobs.batches import UInt64s

#: Names of the two columns that a spooled batch has before those of its rows;
#: they are found by place, as a feature may have any name.
_PLACE = ("time", "key")
_OPTIONS = pa.ipc.IpcWriteOptions(compression="lz4")


class Piece(NamedTuple):
    """Rows of one group in a temporary file.

    Args:
        path: An Arrow IPC file.
        batch: Number of a record batch in it.
        rows: Its rows.
        bytes: What it takes in memory.
    """

    path: str
    batch: int
    rows: int
    bytes: int


def with_place(
    rows: pa.RecordBatch, times: Int64s, keys: UInt64s
) -> pa.RecordBatch:
    """A batch to spool: rows behind what they are sorted by."""
    return pa.RecordBatch.from_arrays(
        [pa.array(times), pa.array(keys), *rows.columns],
        [*_PLACE, *rows.schema.names],
    )


def place(batch: pa.RecordBatch) -> tuple[Int64s, UInt64s]:
    """Times and keys of a spooled batch."""
    return batch.column(0).to_numpy(), batch.column(1).to_numpy()


def rows(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The rows alone of a spooled batch."""
    return pa.RecordBatch.from_arrays(batch.columns[2:], batch.schema.names[2:])


def combine(batches: list[pa.RecordBatch]) -> pa.RecordBatch:
    """One batch of several, at least one, all small enough together."""
    if len(batches) == 1:
        return batches[0]
    return pa.concat_batches(batches)


class PieceWriter:
    """Writes pieces into a stream; see `open_writer`.

    Args:
        path: The name that the stream's file will have.
        stream: Where to write.
    """

    def __init__(self, path: str, stream: BinaryIO) -> None:
        self.path = path
        self._sink = pa.PythonFile(stream, mode="w")
        self._writer: pa.ipc.RecordBatchFileWriter | None = None
        self._count = 0

    def write(self, batch: pa.RecordBatch) -> Piece:
        """Writes one batch; all of a file have one schema."""
        if self._writer is None:
            self._writer = pa.ipc.new_file(
                self._sink, batch.schema, options=_OPTIONS
            )
        self._writer.write_batch(batch)
        self._count += 1
        return Piece(self.path, self._count - 1, batch.num_rows, batch.nbytes)

    def finish(self) -> None:
        """Writes what stands at the file's end."""
        if self._writer is not None:
            self._writer.close()
        self._sink.flush()


@contextlib.contextmanager
def open_writer(folder: str) -> Iterator[PieceWriter]:
    """Opens a new file of pieces; it is gone if the block raises.

    Args:
        folder: A local folder or a URL.
    """
    path = storage.join(folder, f"{uuid.uuid4().hex}.arrow")
    with storage.create(path) as stream:
        writer = PieceWriter(path, stream)
        yield writer
        writer.finish()


def read(pieces: Iterable[Piece]) -> Iterator[pa.RecordBatch]:
    """The batches of pieces; each file is opened once."""
    by_path = operator.attrgetter("path")
    for path, found in itertools.groupby(sorted(pieces), by_path):
        with storage.open_file(path) as stream:
            file = pa.ipc.open_file(pa.PythonFile(stream, mode="r"))
            for piece in found:
                yield file.get_batch(piece.batch)
