"""Hash tables from ids to counts."""

import ctypes
from collections.abc import Iterator
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from beam_jobs import row_hash
from beam_jobs.counting import id_counts
from beam_jobs.counting import library
from beam_jobs.counting import native_table
from beam_jobs.counting import occurrences
from beam_jobs.counting.arrow_table import ArrowTable


class IdTable(Protocol):
    """Ids of one embedding table, and their counts.

    Missing ids are not counted; others are, whether in columns of single ids
    or of lists. Every id is there once.
    """

    def __len__(self) -> int:
        """Distinct ids."""

    @property
    def nbytes(self) -> int:
        """Bytes it holds, and those that `by_place` takes."""

    @property
    def is_full(self) -> bool:
        """Whether it must be emptied before it counts more rows."""

    def add_rows(
        self, rows: Sequence[occurrences.Rows], features: Sequence[str]
    ) -> None:
        """Counts the ids of some columns."""

    def add_counts(self, counts: pa.RecordBatch) -> None:
        """Adds counts, columns as of `id_counts.schema`, to those it has."""

    def by_place(
        self, num_files: int, block_rows: int
    ) -> Iterator[tuple[int, pa.RecordBatch]]:
        """Yields (file, counts) by file, then hash, then id.

        The file of an id is `file_hashes(ids) % num_files`.
        """

    def by_count(self, block_rows: int) -> Iterator[pa.RecordBatch]:
        """Yields counts, falling, equal ones by rising id."""


def for_rows(kind: id_counts.TableKind) -> IdTable:
    """A table that counts rows of a log.

    Example:
    >>> import pyarrow as pa
    >>> kind = id_counts.TableKind("int64", ("click",), days=False)
    >>> batch = pa.RecordBatch.from_pydict(
    ...     {"item": [7, 7, None], "click": pa.array([1.0, 0.0, 1.0])}
    ... )
    >>> table = for_rows(kind)
    >>> rows = occurrences.read_rows(batch, kind.labels, days=False)
    >>> table.add_rows([rows], ["item"])
    >>> [block.to_pylist() for block in table.by_count(10)]
    [[{'id': 7, 'count': 2, 'label_click': 1}]]
    """
    found = _library(kind)
    if found is None:
        return ArrowTable(kind, pa.int64())
    return native_table.NativeTable(found, kind, pa.uint32())


def for_counts(kind: id_counts.TableKind, *, decayed: bool) -> IdTable:
    """A table that adds up counts.

    Args:
        kind: What is counted.
        decayed: Whether counts are float64 instead of int64.
    """
    number = pa.float64() if decayed else pa.int64()
    found = _library(kind)
    if found is None:
        return ArrowTable(kind, number)
    return native_table.NativeTable(found, kind, number)


def file_hashes(ids: pa.Array) -> npt.NDArray[np.uint64]:
    """The hashes that decide on the file of each id, and its place in pieces.

    Args:
        ids: int64 or string, without null.

    Example:
    >>> import pyarrow as pa
    >>> (file_hashes(pa.array([1, 2, 3])) % np.uint64(8)).tolist()
    [6, 4, 7]
    """
    found = library.library()
    if found is None:
        return row_hash.hash_columns([ids], 0)
    return native_table.file_hashes(found, ids)


def _library(kind: id_counts.TableKind) -> ctypes.CDLL | None:
    if len(kind.labels) > occurrences.MAX_LABELS:
        return None
    return library.library()
