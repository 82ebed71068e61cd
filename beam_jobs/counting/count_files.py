"""Pieces of counts → one Parquet file of id frequencies."""

import contextlib
import dataclasses
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from beam_jobs import counting
from beam_jobs import storage
from beam_jobs.counting import count_pieces
from beam_jobs.counting import id_counts
from beam_jobs.counting.count_pieces import Piece
from beam_jobs.summaries import sketches
from tfplugin import schema as schemas
from tfplugin.errors import InputError

#: Ids of a row group: the same for any memory, and so the file's bytes.
_ROW_GROUP = 1 << 16

#: Bytes beside its counters that adding up, sorting and writing an id takes.
_BYTES_AN_ID = 80


class TableSummary(NamedTuple):
    """What one file of id frequencies holds.

    Args:
        table: Its embedding table.
        file: The file; `rows` are distinct ids.
        occurrences: Sum of their counts.
        ids_seen_once: Ids with count 1.
        count_sketches: Of the counts; see `sketches.count_sketch`.
    """

    table: str
    file: schemas.Shard
    occurrences: int | float
    ids_seen_once: int
    count_sketches: tuple[bytes, ...] = ()


@dataclasses.dataclass(frozen=True)
class Target:
    """One file to write.

    Args:
        table: Its embedding table.
        kind: What is counted.
        folder: The table's folder.
        name: The file's name in it.
        number: Of the file among `num_files`.
        num_files: Files of the table.
        earlier: Files of counts to add to; one for each number, or any.
        factor: Of the earlier counts.
        decayed: Whether counts are float64.
    """

    table: str
    kind: id_counts.TableKind
    folder: str
    name: str
    number: int
    num_files: int
    earlier: tuple[str, ...] = ()
    factor: float = 1.0
    decayed: bool = False


def write(
    target: Target,
    pieces: Sequence[Piece],
    temporary: str,
    memory: int,
) -> TableSummary:
    """Adds up pieces and writes the file.

    Args:
        target: The file.
        pieces: Of the file's ids.
        temporary: Folder for what does not fit.
        memory: Bytes to do it in.
    """
    made: list[str] = []
    try:
        merged = _Merge(target, temporary, memory, made).run(list(pieces))
        return _write(target, merged)
    finally:
        for path in made:
            storage.remove(path)


def are_floats(paths: Iterable[str]) -> bool:
    """Whether counts of these files are float64."""
    for path in paths:
        with storage.open_file(path) as file:
            field = pq.read_schema(file).field(id_counts.COUNT)
            if pa.types.is_floating(field.type):
                return True
    return False


class _Merge:
    """Pieces → counts, most frequent first, in bounded memory.

    Args:
        target: The file.
        temporary: Folder of temporary files.
        memory: Bytes to do it in.
        made: Takes the temporary files it makes.
    """

    def __init__(
        self, target: Target, temporary: str, memory: int, made: list[str]
    ) -> None:
        self._target = target
        self._temporary = temporary
        self._memory = memory
        self._made = made
        self._block_rows = count_pieces.block_rows(memory)
        number = pa.float64() if target.decayed else pa.int64()
        self._schema = id_counts.schema(target.kind, number)

    def run(self, pieces: list[Piece]) -> Iterator[pa.RecordBatch]:
        """Yields blocks of counts."""
        pieces.sort()
        # What counting took before is Arrow's otherwise.
        pa.default_memory_pool().release_unused()
        earlier = _earlier_rows(self._target)
        block_bytes = self._block_rows * self._bytes_a_row(pieces)
        pieces = count_pieces.reduce(
            pieces, int(self._memory / 4 / block_bytes), self._merge_pieces
        )
        rows = sum(piece.rows for piece in pieces) + earlier
        wanted = rows * (self._bytes_a_row(pieces) + _BYTES_AN_ID)
        num_parts = max(1, -int(-wanted // (self._memory / 2)))
        if num_parts == 1:
            (table,) = self._tables(pieces, 1)
            for block in _read_earlier(self._target, self._block_rows):
                table.add_counts(block)
            yield from table.by_count(_ROW_GROUP)
            return
        # Last, as sums of floats are only then the same in any pieces.
        pieces += self._earlier_pieces()
        runs = []
        for table in self._tables(pieces, num_parts):
            if len(table):
                runs.append(self._keep(table.by_count(self._block_rows)))
            del table
        runs = count_pieces.reduce(
            runs, int(self._memory / 4 / block_bytes), self._merge_runs
        )
        yield from self._merge_sorted(runs)

    def _bytes_a_row(self, pieces: Sequence[Piece]) -> float:
        counters = 8 * len(self._schema)
        rows = sum(piece.rows for piece in pieces)
        if self._target.kind.dtype == "int64" or not rows:
            return counters
        return counters + 2 * sum(piece.size for piece in pieces) / rows

    def _tables(
        self, pieces: Sequence[Piece], num_parts: int
    ) -> Iterator[counting.IdTable]:
        return count_pieces.merge(
            pieces,
            self._target.kind,
            decayed=self._target.decayed,
            num_parts=num_parts,
        )

    def _merge_pieces(self, pieces: Sequence[Piece]) -> Piece:
        rows = sum(piece.rows for piece in pieces)
        wanted = rows * (self._bytes_a_row(pieces) + _BYTES_AN_ID)
        num_parts = max(1, -int(-wanted // (self._memory / 2)))
        return self._keep(
            block
            for table in self._tables(pieces, num_parts)
            for _, block in table.by_place(1, self._block_rows)
        )

    def _merge_runs(self, runs: Sequence[Piece]) -> Piece:
        return self._keep(self._merge_sorted(runs))

    def _merge_sorted(self, runs: Sequence[Piece]) -> Iterator[pa.RecordBatch]:
        with contextlib.ExitStack() as stack:
            opened = [stack.enter_context(count_pieces.read(r)) for r in runs]
            yield from count_pieces.merge_sorted(opened)

    def _keep(self, blocks: Iterable[pa.RecordBatch]) -> Piece:
        piece = count_pieces.write_blocks(blocks, self._temporary)
        self._made.append(piece.path)
        return piece

    def _earlier_pieces(self) -> list[Piece]:
        """The earlier counts, sorted by hash."""
        pieces = []
        table = counting.for_counts(self._target.kind, decayed=True)
        for block in _read_earlier(self._target, self._block_rows):
            table.add_counts(block)
            if table.nbytes + len(table) * _BYTES_AN_ID > self._memory / 2:
                pieces.append(self._keep(_by_place(table, self._block_rows)))
                table = counting.for_counts(self._target.kind, decayed=True)
        if len(table):
            pieces.append(self._keep(_by_place(table, self._block_rows)))
        return pieces


def _by_place(
    table: counting.IdTable, block_rows: int
) -> Iterator[pa.RecordBatch]:
    for _, block in table.by_place(1, block_rows):
        yield block


def _own_earlier(target: Target) -> tuple[tuple[str, ...], bool]:
    """Earlier files, and whether they hold ids of other files as well."""
    if len(target.earlier) == target.num_files:
        return target.earlier[target.number : target.number + 1], False
    return target.earlier, True


def _earlier_rows(target: Target) -> int:
    rows = 0
    paths, mixed = _own_earlier(target)
    for path in paths:
        with storage.open_file(path) as file:
            rows += pq.read_metadata(file).num_rows
    return rows // target.num_files if mixed else rows


def _read_earlier(target: Target, block_rows: int) -> Iterator[pa.RecordBatch]:
    """Yields the earlier counts of the file's ids, times the factor."""
    paths, mixed = _own_earlier(target)
    for path in paths:
        with storage.open_file(path) as file:
            for block in pq.ParquetFile(file).iter_batches(
                block_rows, use_threads=False
            ):
                if mixed:
                    ids = block.column(id_counts.ID)
                    hashes = counting.file_hashes(ids)
                    number = hashes % np.uint64(target.num_files)
                    block = block.filter(pa.array(number == target.number))
                if block.num_rows:
                    yield _as_counts(target, block, path)


def _as_counts(
    target: Target, block: pa.RecordBatch, path: str
) -> pa.RecordBatch:
    names = block.schema.names
    for name in (id_counts.ID, *id_counts.numbers(target.kind)):
        if name not in names:
            raise InputError(
                f"Earlier id frequencies must have a column `{name}`. "
                f"Received: {path} with {', '.join(names)}. Run `tfplugin "
                "preprocess --overwrite` over all logs."
            )
    table = id_counts.without_dates(pa.table(block), target.kind)
    if target.decayed:
        table = id_counts.decay(table, target.factor)
    (counts,) = table.combine_chunks().to_batches()
    return counts


def _write(target: Target, blocks: Iterator[pa.RecordBatch]) -> TableSummary:
    path = storage.join(target.folder, target.name)
    number = pa.float64() if target.decayed else pa.int64()
    empty = id_counts.schema(target.kind, number).empty_table()
    schema = id_counts.with_dates(empty).schema
    rows = ones = 0
    occurrences: int | float = 0
    sketched = []
    with (
        storage.create(path) as file,
        pq.ParquetWriter(
            file,
            schema,
            compression="zstd",
            # Every id is there once.
            use_dictionary=[n for n in schema.names if n != id_counts.ID],
        ) as writer,
    ):
        for group in _regroup(blocks):
            table = id_counts.with_dates(group)
            writer.write_table(table.combine_chunks(), _ROW_GROUP)
            counts = group[id_counts.COUNT].to_numpy()
            rows += group.num_rows
            occurrences += counts.sum().item()
            ones += int(np.count_nonzero(counts == 1))
            sketched.append(sketches.count_sketch(counts))
    file_record = schemas.Shard(
        name=target.name,
        rows=rows,
        bytes=storage.size(path),
        crc32c=storage.checksum(path),
    )
    return TableSummary(
        target.table, file_record, occurrences, ones, tuple(sketched)
    )


def _regroup(blocks: Iterator[pa.RecordBatch]) -> Iterator[pa.Table]:
    """The same rows in tables of `_ROW_GROUP`, the last one smaller."""
    kept: list[pa.RecordBatch] = []
    rows = 0
    for block in blocks:
        kept.append(block)
        rows += block.num_rows
        while rows >= _ROW_GROUP:
            table = pa.Table.from_batches(kept)
            yield table.slice(0, _ROW_GROUP)
            rest = table.slice(_ROW_GROUP)
            kept, rows = rest.to_batches(), rest.num_rows
    if rows:
        yield pa.Table.from_batches(kept)
