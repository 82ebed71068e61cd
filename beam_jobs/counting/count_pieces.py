"""Counts on their way to a file: pieces, sorted by hash, merged by ranges.

A piece is what one bundle of rows, or a part of it, says of the ids of one
file, as an Arrow stream sorted by the hash of the ids. So any number of pieces
are merged in any memory: a range of hashes after the other.
"""

import contextlib
import io
import itertools
import operator
import uuid
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from beam_jobs import counting
from beam_jobs import storage
from beam_jobs.counting import id_counts

#: Pieces of fewer ids together are elements themselves, not files.
_MOST_IDS_INSIDE = 2_000

#: Files that are open at once, at most.
_MOST_OPEN = 128


class Piece(NamedTuple):
    """Counts of ids of one file, sorted by hash.

    Args:
        path: Where they are; empty: in `data`.
        offset: Their first byte in the file.
        size: How many there are.
        rows: Ids.
        data: The bytes of a small piece.
    """

    path: str
    offset: int
    size: int
    rows: int
    data: bytes = b""


def block_rows(memory: int) -> int:
    """Ids of a block of a piece: many blocks fit into `memory` bytes."""
    return max(1_024, min(16_384, memory >> 16))


def write(
    tables: Mapping[str, counting.IdTable],
    num_files: int,
    folder: str,
    block_rows: int,
) -> list[tuple[tuple[str, int], Piece]]:
    """Writes counts, divided by file; files without ids have no piece.

    Args:
        tables: Embedding table to counts.
        num_files: Files a table.
        folder: Where a temporary file is made, if they are many.
        block_rows: Ids of a block.

    Returns:
        ((table, number of the file), piece).
    """
    if sum(len(table) for table in tables.values()) <= _MOST_IDS_INSIDE:
        stream = io.BytesIO()
        places = _write(stream, tables, num_files, block_rows)
        data = stream.getvalue()
        return [
            (
                key,
                Piece("", 0, size, rows, data[offset : offset + size]),
            )
            for key, offset, size, rows in places
        ]
    path = storage.join(folder, f"{uuid.uuid4().hex}.counts")
    with storage.create(path) as file:
        places = _write(file, tables, num_files, block_rows)
    return [
        (key, Piece(path, offset, size, rows))
        for key, offset, size, rows in places
    ]


def _write(
    stream: Any,
    tables: Mapping[str, counting.IdTable],
    num_files: int,
    block_rows: int,
) -> list[tuple[tuple[str, int], int, int, int]]:
    places = []
    sink = pa.PythonFile(stream, mode="w")
    for name, table in tables.items():
        blocks = table.by_place(num_files, block_rows)
        for number, parts in itertools.groupby(blocks, operator.itemgetter(0)):
            start = sink.tell()
            rows = _write_stream(sink, (block for _, block in parts))
            size = sink.tell() - start
            places.append(((name, number), start, size, rows))
    sink.flush()
    return places


def _write_stream(sink: Any, blocks: Iterator[pa.RecordBatch]) -> int:
    first = next(blocks)
    rows = 0
    with pa.ipc.new_stream(sink, first.schema) as writer:
        for block in itertools.chain([first], blocks):
            writer.write_batch(block)
            rows += block.num_rows
    return rows


def write_blocks(blocks: Iterable[pa.RecordBatch], folder: str) -> Piece:
    """Writes counts, in whatever order they come, as a temporary file.

    Args:
        blocks: One or more.
        folder: Where the file is made.
    """
    path = storage.join(folder, f"{uuid.uuid4().hex}.counts")
    with storage.create(path) as file:
        sink = pa.PythonFile(file, mode="w")
        rows = _write_stream(sink, iter(blocks))
        size = sink.tell()
        sink.flush()
    return Piece(path, 0, size, rows)


@contextlib.contextmanager
def read(piece: Piece) -> Iterator[Iterator[pa.RecordBatch]]:
    """The blocks of a piece, read one by one."""
    inside = io.BytesIO(piece.data)
    with storage.open_file(piece.path) if piece.path else inside as file:
        file.seek(piece.offset)
        yield iter(pa.ipc.open_stream(pa.PythonFile(file, mode="r")))


class _Cursor:
    """Blocks sorted by hash, read up to a hash."""

    def __init__(self, blocks: Iterator[pa.RecordBatch]) -> None:
        self._blocks = blocks
        self._left: list[pa.RecordBatch] = []

    def until(self, bound: int) -> Iterator[pa.RecordBatch]:
        """Yields what is left with a hash below `bound`."""
        for block in itertools.chain(self._left, self._blocks):
            self._left = []
            size = block.num_rows
            if bound < 2**64:
                hashes = counting.file_hashes(block.column(id_counts.ID))
                size = int(np.searchsorted(hashes, np.uint64(bound)))
            if size:
                yield block.slice(0, size)
            if size < block.num_rows:
                self._left = [block.slice(size)]
                return


def merge(
    pieces: Sequence[Piece],
    kind: id_counts.TableKind,
    *,
    decayed: bool,
    num_parts: int,
) -> Iterator[counting.IdTable]:
    """Adds up pieces, a range of hashes after the other.

    Args:
        pieces: They are added in this order.
        kind: What is counted.
        decayed: Whether counts are float64.
        num_parts: Number of ranges.
    """
    with contextlib.ExitStack() as stack:
        cursors = [_Cursor(stack.enter_context(read(p))) for p in pieces]
        for part in range(num_parts):
            bound = 2**64 * (part + 1) // num_parts
            table = counting.for_counts(kind, decayed=decayed)
            for cursor in cursors:
                for block in cursor.until(bound):
                    table.add_counts(block)
            yield table


def merge_sorted(
    runs: Sequence[Iterator[pa.RecordBatch]],
) -> Iterator[pa.RecordBatch]:
    """Merges runs by falling count and rising id; no id is in two of them.

    Args:
        runs: Blocks of counts, each run sorted so.
    """
    heads = [
        (run, block) for run in runs if (block := next(run, None)) is not None
    ]
    while heads:
        # All up to the first of the blocks' last rows is known.
        border = min(_key(block, block.num_rows - 1) for _, block in heads)
        parts, left = [], []
        for run, block in heads:
            size = _rows_up_to(block, border)
            parts.append(block.slice(0, size))
            rest = block.slice(size) if size < len(block) else next(run, None)
            if rest is not None:
                left.append((run, rest))
        heads = left
        table = pa.Table.from_batches(parts).sort_by(
            [(id_counts.COUNT, "descending"), (id_counts.ID, "ascending")]
        )
        yield from table.combine_chunks().to_batches()


def _key(block: pa.RecordBatch, row: int) -> tuple[float, int | str]:
    count = block.column(id_counts.COUNT)[row].as_py()
    return -count, block.column(id_counts.ID)[row].as_py()


def _rows_up_to(block: pa.RecordBatch, border: tuple[float, int | str]) -> int:
    low, high = 0, block.num_rows
    while low < high:
        middle = (low + high) // 2
        if _key(block, middle) <= border:
            low = middle + 1
        else:
            high = middle
    return low


def reduce(
    items: list[Any], most: int, merge_some: Callable[[Sequence[Any]], Any]
) -> list[Any]:
    """Merges neighbours until there are at most `most` items."""
    most = max(2, min(most, _MOST_OPEN))
    while len(items) > most:
        items = [
            merge_some(items[i : i + most]) if len(items) > i + 1 else items[i]
            for i in range(0, len(items), most)
        ]
    return items
