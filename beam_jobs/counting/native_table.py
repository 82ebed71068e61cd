"""Counts of ids in the C++ library's hash table."""

import ctypes
from collections.abc import Iterator
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from beam_jobs import conversions
from beam_jobs.counting import id_counts
from beam_jobs.counting import occurrences

_COUNTERS = {pa.uint32(): 0, pa.int64(): 1, pa.float64(): 2}
#: Values after which a uint32 might overflow by one more batch.
_MOST_VALUES = 1 << 31

#: Bytes an id of its place in the order, and of sorting one file of several.
_SORT_BYTES = 12

_Pointer = int | None


class _Column(ctypes.Structure):
    """Of id_table.h."""

    _fields_ = (
        ("rows", ctypes.c_int64),
        ("row_validity", ctypes.c_void_p),
        ("row_offset", ctypes.c_int64),
        ("list_offsets", ctypes.c_void_p),
        ("value_validity", ctypes.c_void_p),
        ("value_offset", ctypes.c_int64),
        ("integers", ctypes.c_void_p),
        ("string_offsets", ctypes.c_void_p),
        ("bytes", ctypes.c_void_p),
    )


class _Rows(ctypes.Structure):
    _fields_ = (("labels", ctypes.c_void_p), ("days", ctypes.c_void_p))


class NativeTable:
    """Ids and their counts, in memory that `nbytes` tells; see `IdTable`.

    Calls leave Python's lock to other threads; one thread a table.

    Args:
        library: Of `library.library()`.
        kind: What is counted.
        number: uint32 to count rows of a log; int64 or float64 to add up
            counts.
    """

    def __init__(
        self,
        library: ctypes.CDLL,
        kind: id_counts.TableKind,
        number: pa.DataType,
    ) -> None:
        self._library = library
        self._kind = kind
        self._schema = id_counts.schema(kind, number)
        self._values = 0
        for name in ("new", "size", "bytes", "string_bytes"):
            function = getattr(library, f"tfplugin_table_{name}")
            function.restype = ctypes.c_int64
        library.tfplugin_table_new.restype = ctypes.c_void_p
        self._table = ctypes.c_void_p(
            library.tfplugin_table_new(
                int(kind.dtype == "string"),
                _COUNTERS[number],
                len(kind.labels),
                int(kind.days),
            )
        )
        if not self._table:
            raise MemoryError("No memory for a table of counts.")

    def __del__(self) -> None:
        table = getattr(self, "_table", None)
        if table:
            self._library.tfplugin_table_delete(table)

    def __len__(self) -> int:
        return int(self._library.tfplugin_table_size(self._table))

    @property
    def nbytes(self) -> int:
        """Bytes it holds, and those that `by_place` takes."""
        held = int(self._library.tfplugin_table_bytes(self._table))
        return held + _SORT_BYTES * len(self)

    @property
    def is_full(self) -> bool:
        """Whether it must be emptied before it counts more rows."""
        return self._values >= _MOST_VALUES

    def add_rows(
        self, rows: Sequence[occurrences.Rows], features: Sequence[str]
    ) -> None:
        """Counts the ids of some columns."""
        for part in rows:
            said = _Rows(_address(part.words), _address(part.days))
            for feature in features:
                column = part.batch.column(feature)
                described, keep = _describe(column)
                self._values += len(keep[-1])
                self._try(
                    "add_rows", ctypes.byref(described), ctypes.byref(said)
                )

    def add_counts(self, counts: pa.RecordBatch) -> None:
        """Adds counts, columns as of `id_counts.schema`, to those it has."""
        counts = counts.cast(self._schema)
        described, _ = _describe(counts.column(id_counts.ID))
        numbers = [
            counts.column(name).to_numpy()
            for name in id_counts.numbers(self._kind)
        ]
        days = [
            counts.column(name).to_numpy()
            for name in id_counts.day_names(self._kind)
        ]
        self._try(
            "add_counts",
            ctypes.byref(described),
            _addresses(numbers),
            *(_address(part) for part in days or (None, None)),
        )

    def by_place(
        self, num_files: int, block_rows: int
    ) -> Iterator[tuple[int, pa.RecordBatch]]:
        """Yields (file, counts) by file, hash and id."""
        borders = np.zeros(num_files + 1, np.int64)
        self._try("sort_by_place", ctypes.c_int64(num_files), _address(borders))
        for file in range(num_files):
            for begin in range(borders[file], borders[file + 1], block_rows):
                end = min(begin + block_rows, int(borders[file + 1]))
                yield file, self._read(begin, end)

    def by_count(self, block_rows: int) -> Iterator[pa.RecordBatch]:
        """Yields counts, falling, equal ones by rising id."""
        self._try("sort_by_count")
        for begin in range(0, len(self), block_rows):
            yield self._read(begin, min(begin + block_rows, len(self)))

    def _read(self, begin: int, end: int) -> pa.RecordBatch:
        size = end - begin
        rows = ctypes.c_int64(begin), ctypes.c_int64(end)
        offsets = text = None
        ids = np.empty(size, np.int64)
        if self._kind.dtype == "string":
            used = self._library.tfplugin_table_string_bytes(self._table, *rows)
            offsets = np.empty(size + 1, np.int32)
            text = np.empty(used, np.uint8)
        number = self._schema.field(id_counts.COUNT).type.to_pandas_dtype()
        numbers = [
            np.empty(size, number) for _ in id_counts.numbers(self._kind)
        ]
        days = [
            np.empty(size, np.int32) for _ in id_counts.day_names(self._kind)
        ]
        self._library.tfplugin_table_read(
            self._table,
            *rows,
            _address(ids),
            _address(offsets),
            _address(text),
            _addresses(numbers),
            *(_address(part) for part in days or (None, None)),
        )
        found = pa.array(ids)
        if offsets is not None and text is not None:
            buffers = [None, pa.py_buffer(offsets), pa.py_buffer(text)]
            found = pa.StringArray.from_buffers(size, *buffers[1:])
        columns = [found, *(pa.array(part) for part in (*numbers, *days))]
        return pa.RecordBatch.from_arrays(columns, schema=self._schema)

    def _try(self, name: str, *arguments: Any) -> None:
        function = getattr(self._library, f"tfplugin_table_{name}")
        if function(self._table, *arguments):
            raise MemoryError(
                f"No memory for more ids. Received: {len(self)} distinct ids "
                f"in {self.nbytes} bytes. Lower `job.memory`."
            )


def file_hashes(library: ctypes.CDLL, ids: pa.Array) -> npt.NDArray[np.uint64]:
    """`row_hash.hash_columns([ids], 0)`, for ids without null."""
    described, _ = _describe(ids)
    hashes = np.empty(len(ids), np.uint64)
    library.tfplugin_file_hashes(ctypes.byref(described), _address(hashes))
    return hashes


def _describe(column: pa.Array) -> tuple[_Column, tuple[pa.Array, pa.Array]]:
    """The addresses of a column, and what must live as long as they."""
    column = conversions.plain(column)
    described = _Column(rows=len(column))
    values = column
    if conversions.is_list(column.type):
        validity, offsets = column.buffers()[:2]
        described.row_validity = _start(validity)
        described.row_offset = column.offset
        described.list_offsets = offsets.address + 4 * column.offset
        values = column.values
    buffers = values.buffers()
    described.value_validity = _start(buffers[0])
    described.value_offset = values.offset
    if pa.types.is_string(values.type):
        described.string_offsets = _start(buffers[1], 4 * values.offset)
        described.bytes = _start(buffers[2])
    else:
        described.integers = _start(buffers[1], 8 * values.offset)
    return described, (column, values)


def _start(buffer: pa.Buffer | None, skipped: int = 0) -> _Pointer:
    return None if buffer is None else buffer.address + skipped


def _address(array: npt.NDArray[Any] | None) -> Any:
    return None if array is None else ctypes.c_void_p(array.ctypes.data)


def _addresses(arrays: Sequence[npt.NDArray[Any]]) -> Any:
    return (ctypes.c_void_p * len(arrays))(*(a.ctypes.data for a in arrays))
