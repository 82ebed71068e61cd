"""Counts of ids as Arrow tables: where there is no C++ library."""

from collections.abc import Iterator
from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from beam_jobs import row_hash
from beam_jobs.counting import id_counts
from beam_jobs.counting import occurrences

#: Rows of counts that are kept apart before they are merged.
_ROWS_APART = 1 << 20


class ArrowTable:
    """Ids and their counts, in memory that `nbytes` tells; see `IdTable`.

    Args:
        kind: What is counted.
        number: int64 or float64.
    """

    is_full = False

    def __init__(self, kind: id_counts.TableKind, number: pa.DataType) -> None:
        self._kind = kind
        self._schema = id_counts.schema(kind, number)
        self._merged = self._schema.empty_table()
        self._apart: list[pa.Table] = []

    def __len__(self) -> int:
        self._merge()
        return self._merged.num_rows

    @property
    def nbytes(self) -> int:
        """Bytes it holds, and as many again, which merging takes."""
        return 2 * sum(part.nbytes for part in (self._merged, *self._apart))

    def add_rows(
        self, rows: Sequence[occurrences.Rows], features: Sequence[str]
    ) -> None:
        """Counts the ids of some columns."""
        parts = [
            id_counts.count(
                part.batch.column(feature), part.positives, part.days
            )
            for part in rows
            for feature in features
        ]
        self._add(pa.concat_tables(parts))

    def add_counts(self, counts: pa.RecordBatch) -> None:
        """Adds counts, columns as of `id_counts.schema`, to those it has."""
        self._add(pa.Table.from_batches([counts]))

    def by_place(
        self, num_files: int, block_rows: int
    ) -> Iterator[tuple[int, pa.RecordBatch]]:
        """Yields (file, counts) by file, hash and id."""
        self._merge()
        table = self._merged.combine_chunks().sort_by(id_counts.ID)
        hashes = np.zeros(0, np.uint64)
        if table.num_rows:
            (ids,) = table[id_counts.ID].chunks
            hashes = row_hash.hash_columns([ids], 0)
        files = hashes % np.uint64(num_files)
        order = np.lexsort((hashes, files))
        table = table.take(pa.array(order))
        borders = np.searchsorted(files[order], np.arange(num_files + 1))
        for file in range(num_files):
            size = borders[file + 1] - borders[file]
            part = table.slice(borders[file], size).combine_chunks()
            for block in part.to_batches(block_rows):
                yield file, block

    def by_count(self, block_rows: int) -> Iterator[pa.RecordBatch]:
        """Yields counts, falling, equal ones by rising id."""
        self._merge()
        order = [(id_counts.COUNT, "descending"), (id_counts.ID, "ascending")]
        table = self._merged.combine_chunks().sort_by(order).combine_chunks()
        yield from table.to_batches(block_rows)

    def _add(self, counts: pa.Table) -> None:
        self._apart.append(counts.cast(self._schema))
        rows = sum(part.num_rows for part in self._apart)
        if rows >= max(_ROWS_APART, self._merged.num_rows):
            self._merge()

    def _merge(self) -> None:
        if self._apart:
            self._merged = id_counts.merge([self._merged, *self._apart])
            self._apart = []
