"""Rows in temporary files, by the hash of their key or place.

A piece is a record batch of an Arrow file. What a pipeline shuffles are
descriptions of pieces, never their rows.
"""

import contextlib
import uuid
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
from typing import Any
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from beam_jobs import conversions
from beam_jobs import storage
from beam_jobs.batches import Int64s

_OPTIONS = pa.ipc.IpcWriteOptions(compression="lz4")


class Piece(NamedTuple):
    """Rows of one part.

    Args:
        path: An Arrow IPC file.
        batch: Number of a record batch in it.
        rows: Its rows.
        size: Their bytes in memory, as `row_bytes` counts them.
        low: The least hash.
        high: The greatest hash.
    """

    path: str
    batch: int
    rows: int
    size: int
    low: int
    high: int


class Spooler:
    """Batches → one temporary file, sorted into parts.

    Args:
        folder: Where the file is made; a path or a URL.
        buffer_bytes: Bytes of rows that are held before they are written.
    """

    def __init__(self, folder: str, buffer_bytes: int) -> None:
        self.path = storage.join(folder, f"{uuid.uuid4().hex}.arrow")
        self._buffer_bytes = buffer_bytes
        self._rows: list[pa.RecordBatch] = []
        self._parts: list[Int64s] = []
        self._bytes = 0
        self._index = 0
        self._pieces: list[tuple[int, Piece]] = []
        self._open = contextlib.ExitStack()
        self._writer: pa.ipc.RecordBatchFileWriter | None = None

    def add(self, parts: Int64s, rows: pa.RecordBatch) -> None:
        """Takes rows.

        Args:
            parts: int64 `(rows,)`, the part of each.
            rows: Their columns, the first of which is the hash, uint64.
        """
        if not rows.num_rows:
            return
        self._parts.append(parts)
        self._rows.append(rows)
        self._bytes += rows.nbytes
        if self._bytes >= self._buffer_bytes:
            self._flush()

    def finish(self) -> list[tuple[int, Piece]]:
        """Writes what is left; parts and their pieces."""
        self._flush()
        if self._writer is not None:
            self._writer.close()
        self._open.close()
        return self._pieces

    def _flush(self) -> None:
        if not self._rows:
            return
        rows = _together(self._rows)
        parts = np.concatenate(self._parts)
        self._rows, self._parts, self._bytes = [], [], 0
        order = np.argsort(parts, kind="stable")
        rows, parts = rows.take(pa.array(order)), parts[order]
        starts = np.flatnonzero(np.r_[True, parts[1:] != parts[:-1]])
        stops = [*starts[1:].tolist(), len(parts)]
        for first, last in zip(starts.tolist(), stops, strict=True):
            self._write(int(parts[first]), rows.slice(first, last - first))

    def _write(self, part: int, rows: pa.RecordBatch) -> None:
        if self._writer is None:
            stream = self._open.enter_context(storage.create(self.path))
            self._writer = pa.ipc.new_file(
                stream, rows.schema, options=_OPTIONS
            )
        self._writer.write_batch(rows)
        hashes = rows.column(0).to_numpy()
        piece = Piece(
            self.path,
            self._index,
            rows.num_rows,
            row_bytes(rows),
            int(hashes.min()),
            int(hashes.max()),
        )
        self._pieces.append((part, piece))
        self._index += 1


def load(
    pieces: Iterable[Piece], columns: Sequence[int] | None = None
) -> pa.RecordBatch | None:
    """Rows of pieces, in one batch; None without pieces.

    Args:
        pieces: Any pieces of one schema.
        columns: Numbers of the columns to read; None for all.
    """
    found = list(read(pieces, columns))
    return _together(found) if found else None


def read(
    pieces: Iterable[Piece], columns: Sequence[int] | None = None
) -> Iterator[pa.RecordBatch]:
    """The pieces' rows, one after the other, as `load`."""
    options = pa.ipc.IpcReadOptions(
        included_fields=None if columns is None else list(columns),
        use_threads=False,
    )
    by_path: dict[str, list[int]] = {}
    for piece in pieces:
        by_path.setdefault(piece.path, []).append(piece.batch)
    for path, numbers in by_path.items():
        with _open(path) as stream:
            reader = pa.ipc.open_file(stream, options=options)
            for number in numbers:
                yield reader.get_batch(number)


def schema(piece: Piece) -> pa.Schema:
    """Columns of a piece."""
    with _open(piece.path) as stream:
        return pa.ipc.open_file(stream).schema


def row_bytes(rows: pa.RecordBatch) -> int:
    """Bytes of rows: a sum over rows, whatever the batches they are in.

    Decisions on how to divide a join rest on it, so that they are the same
    on every engine; `nbytes` is not such a sum.

    Example:
    >>> import pyarrow as pa
    >>> row_bytes(pa.record_batch({"a": [1, 2], "b": ["xyz", None]}))
    27
    """
    return sum(_array_bytes(column) for column in rows.columns)


def _array_bytes(array: pa.Array) -> int:
    kind = array.type
    if pa.types.is_string(kind) or pa.types.is_binary(kind):
        text = pc.sum(pc.binary_length(array)).as_py() or 0
        return 4 * len(array) + int(text)
    if conversions.is_list(kind):
        return 4 * len(array) + _array_bytes(array.flatten())
    if pa.types.is_struct(kind):
        return sum(_array_bytes(part) for part in array.flatten())
    try:
        return len(array) * kind.bit_width // 8
    except ValueError:
        # Maps and unions have no fixed width.
        return 64 * len(array)


def _open(path: str) -> Any:
    # Arrow reads local files itself, without a Python call a read.
    local = storage.local_path(path)
    return storage.open_file(path) if local is None else pa.OSFile(str(local))


def _together(rows: list[pa.RecordBatch]) -> pa.RecordBatch:
    if len(rows) == 1:
        return rows[0]
    return pa.concat_batches(rows)
