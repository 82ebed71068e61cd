"""A log in CSV: byte ranges of plain files, or whole compressed files."""

import contextlib
import csv
import dataclasses
import gzip
import io
import zlib
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from beam_jobs import batches
from beam_jobs import conversions
from beam_jobs import csv_lines
from beam_jobs import csv_types
from beam_jobs import log_files
from beam_jobs.log_files import LogFile
from tfplugin.config import CsvOptions
from tfplugin.errors import InputError

#: Bytes of a block of a plain file, and of a piece that is parsed at once.
BLOCK_BYTES = 1 << 24

_HEAD_BYTES = 1 << 20
#: Rows of all heads together that types are inferred from, about.
_HEAD_ROWS = 100_000
_MIN_HEAD_ROWS = 1000
_BOM = b"\xef\xbb\xbf"
_GZIP = b"\x1f\x8b"


@dataclasses.dataclass(frozen=True)
class Block:
    """A part of one file that is read at once.

    Args:
        file: The file.
        start: First byte.
        stop: Byte after the last; None for the end of the file.
    """

    file: LogFile
    start: int
    stop: int | None


@dataclasses.dataclass(frozen=True)
class _Head:
    """The beginning of a file.

    Args:
        names: Its columns.
        data_start: Byte after the header line, in the decompressed file.
        compressed: Whether it is gzip.
    """

    names: tuple[str, ...]
    data_start: int
    compressed: bool


@dataclasses.dataclass(frozen=True)
class CsvLog:
    """Files of CSV with one set of columns.

    Args:
        files: The files.
        heads: The beginning of each.
        options: How to read.
        schema: Columns that are read, and their types.
        names: All columns of the first file.
        inferred: Columns whose type was neither asked for nor declared.
    """

    files: tuple[LogFile, ...]
    heads: tuple[_Head, ...]
    options: CsvOptions
    schema: pa.Schema
    names: tuple[str, ...]
    inferred: csv_types.Inferred

    def blocks(self) -> list[Block]:
        """Parts to read, the same whatever the engine."""
        blocks = []
        for file, head in zip(self.files, self.heads, strict=True):
            if head.compressed or self.options.quoted_newlines:
                blocks.append(Block(file, head.data_start, None))
                continue
            for start in range(head.data_start, file.size, BLOCK_BYTES):
                stop = min(start + BLOCK_BYTES, file.size)
                blocks.append(Block(file, start, stop))
        return blocks

    def read(
        self, block: Block
    ) -> Iterator[batches.LogBatch | batches.Rejected]:
        """Rows of a block, and its malformed rows.

        Raises:
            InputError: The file is cut off or damaged.
        """
        head = self.heads[block.file.index]
        if block.stop is None:
            pieces = _stream(block.file, head, self.options.quoted_newlines)
        else:
            pieces = _read_range(block.file, head, block.start, block.stop)
        for offset, text in pieces:
            try:
                parsed = csv_lines.parse(
                    text,
                    offset=offset,
                    names=list(head.names),
                    columns=self.schema.names,
                    options=self.options,
                )
            except (InputError, pa.ArrowInvalid) as error:
                raise _malformed(block.file, error) from error
            yield from self._to_batches(block.file.index, parsed)

    def _to_batches(
        self, file: int, parsed: csv_lines.ParsedLines
    ) -> Iterator[batches.LogBatch | batches.Rejected]:
        for position, reason, row_text in parsed.rejected:
            yield batches.Rejected(file, position, reason, row_text)
        table = parsed.table.combine_chunks()
        arrays, keep = [], np.ones(table.num_rows, np.bool_)
        for field in self.schema:
            strings = _one_array(table[field.name])
            values, bad = conversions.cast(strings, field.type)
            if field.name in self.inferred.names and field.type == pa.float64():
                bad |= csv_types.inexact(strings, values)
            yield from self._refuse(file, parsed, field, strings, bad & keep)
            keep &= ~bad
            arrays.append(values)
        rows = pa.RecordBatch.from_arrays(arrays, schema=self.schema)
        positions = parsed.positions
        if not keep.all():
            rows, positions = rows.filter(pa.array(keep)), positions[keep]
        none = np.zeros_like(positions)
        yield from batches.LogBatch(file, positions, none, rows).pieces()

    def _refuse(
        self,
        file: int,
        parsed: csv_lines.ParsedLines,
        field: pa.Field,
        strings: pa.Array,
        bad: batches.Bools,
    ) -> Iterator[batches.Rejected]:
        """The rows whose word in one column does not fit its type."""
        if not bad.any():
            return
        words = strings.filter(pa.array(bad))
        advice = self.inferred.advice(field.name, words, field.type)
        rule = f"column `{field.name}` must be {field.type}"
        for row, word in zip(
            np.flatnonzero(bad).tolist(), words.to_pylist(), strict=True
        ):
            yield batches.Rejected(
                file,
                int(parsed.positions[row]),
                f"{rule}; received {word!r}{advice}",
                parsed.row_text(row),
            )


def open_csv(
    files: tuple[LogFile, ...],
    options: CsvOptions,
    columns: list[str] | None,
    types: Mapping[str, pa.DataType],
    key: str = "source.csv",
) -> CsvLog:
    """Looks at the heads of the files.

    Args:
        files: The files.
        options: How to read.
        columns: Columns to read; None for all of the first file's. Those
            that the first file lacks are left out of the log's schema.
        types: Types of some columns, where `options` declares none; the
            others are inferred from the heads: int64, double or string.
        key: The section of the configuration, for messages.

    Raises:
        InputError: A file is damaged or has no rows of text, a header names
            a column twice, a file lacks a column that the first has, or a
            type is declared for a column that there is not.
    """
    texts = [_read_head(file) for file in files]
    heads = tuple(
        _parse_head(file, *text, options)
        for file, text in zip(files, texts, strict=True)
    )
    names = [head.names for head in heads]
    wanted = log_files.wanted_columns(files, names, columns)
    known = {**types, **csv_types.declared(options.types, names[0], key)}
    unknown = [name for name in wanted if name not in known]
    found: dict[str, pa.DataType | None] = dict.fromkeys(unknown)
    rows = max(_MIN_HEAD_ROWS, _HEAD_ROWS // len(files))
    for file, (text, _), head in zip(files, texts, heads, strict=True):
        try:
            kinds = _infer(
                text[head.data_start :], head, unknown, options, rows
            )
        except (InputError, pa.ArrowInvalid) as error:
            raise _malformed(file, error) from error
        found = {
            name: csv_types.widest([kind, kinds[name]])
            for name, kind in found.items()
        }
    empty = tuple(name for name, kind in found.items() if kind is None)
    known |= {name: kind or pa.string() for name, kind in found.items()}
    schema = pa.schema([(name, known[name]) for name in wanted])
    inferred = csv_types.Inferred(key, frozenset(unknown), empty)
    return CsvLog(files, heads, options, schema, names[0], inferred)


def _malformed(file: LogFile, error: Exception) -> InputError:
    reason = " ".join(str(error).split())
    return InputError(f"{file.path} must be CSV. Received: {reason}")


@contextlib.contextmanager
def _open(file: LogFile, compressed: bool) -> Iterator[Any]:
    with log_files.open_stored(file.path) as stream:
        if not compressed:
            yield stream
            return
        # It does not close the stream below it.
        with gzip.GzipFile(fileobj=stream) as text:
            yield text


def _reading(file: LogFile, read: Callable[[], bytes]) -> bytes:
    """Calls `read`; a cut or damaged gzip file becomes an `InputError`."""
    try:
        return read()
    except (EOFError, OSError, zlib.error) as error:
        raise InputError(
            f"A .gz file must be whole. Received: {file.path}, which is cut "
            f"off or damaged ({error}). Fetch it again."
        ) from error


def _read_head(file: LogFile) -> tuple[bytes, bool]:
    """The first bytes, decompressed, and whether they were compressed."""
    with log_files.open_stored(file.path) as stream:
        compressed = stream.read(2) == _GZIP
    if file.path.endswith(".gz") and not compressed:
        raise InputError(
            f"A .gz file must hold gzip. Received: {file.path}, which does "
            "not. Rename it or compress it."
        )
    with _open(file, compressed) as stream:
        text = _reading(file, lambda: bytes(stream.read(_HEAD_BYTES)))
    if not text.removeprefix(_BOM).strip():
        raise InputError(
            f"A file of the log must hold rows. Received: {file.path}, which "
            "is empty. Remove or replace it."
        )
    return text, compressed


def _parse_head(
    file: LogFile, text: bytes, compressed: bool, options: CsvOptions
) -> _Head:
    start = len(_BOM) if text.startswith(_BOM) else 0
    if options.column_names is not None:
        return _Head(options.column_names, start, compressed)
    lines = csv_lines.find_lines(text[start:], quoted_newlines=True)
    stop = start + int(lines.ends[0])
    try:
        line = text[start:stop].decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(
            f"A CSV file must be UTF-8. Received: {file.path}, whose first "
            f"line is not ({error})."
        ) from error
    reader = csv.reader(
        io.StringIO(line.rstrip("\r"), newline=""), delimiter=options.delimiter
    )
    try:
        names = tuple(next(reader, []))
    except csv.Error as error:
        raise InputError(
            f"The first line of a CSV file must be a header. Received: "
            f"{file.path} ({error}). Check `source.csv.delimiter` and the "
            "quotes, or set `source.csv.column_names`."
        ) from error
    for name in names:
        if names.count(name) > 1:
            raise InputError(
                f"A header must name each column once. Received: {file.path} "
                f"with `{name}` twice. Rename one, or set "
                "`source.csv.column_names`."
            )
    return _Head(names, stop + 1, compressed)


def _infer(
    text: bytes,
    head: _Head,
    columns: list[str],
    options: CsvOptions,
    rows: int,
) -> dict[str, pa.DataType | None]:
    """Types of columns by the first rows of a file."""
    lines = csv_lines.find_lines(text, quoted_newlines=options.quoted_newlines)
    count = len(lines.starts)
    # The head of a longer file may end inside a line.
    if count > 1 and head.data_start + len(text) >= _HEAD_BYTES:
        count -= not lines.complete
    count = min(count, rows)
    if not count or not columns:
        return dict.fromkeys(columns)
    parsed = csv_lines.parse(
        text[: int(lines.ends[count - 1])],
        offset=0,
        names=list(head.names),
        columns=columns,
        options=options,
    )
    return {name: csv_types.infer(parsed.table[name]) for name in columns}


def _read_range(
    file: LogFile, head: _Head, start: int, stop: int
) -> Iterator[tuple[int, bytes]]:
    """The lines that begin in [start, stop)."""
    with _open(file, compressed=False) as stream:
        if start > head.data_start:
            # A line begins at `start` if the byte before ends one.
            stream.seek(start - 1)
            start += len(_until_newline(stream)) - 1
        else:
            stream.seek(start)
        if start >= stop:
            return
        text = stream.read(stop - start)
        if not text.endswith(b"\n"):
            text += _until_newline(stream)
    yield start, text


def _until_newline(stream: Any) -> bytes:
    """Bytes up to and with the next line break, or to the end."""
    found = b""
    while chunk := stream.read(1 << 16):
        end = chunk.find(b"\n")
        if end >= 0:
            stream.seek(end + 1 - len(chunk), io.SEEK_CUR)
            return found + chunk[: end + 1]
        found += chunk
    return found


def _stream(
    file: LogFile, head: _Head, quoted_newlines: bool
) -> Iterator[tuple[int, bytes]]:
    """Pieces of whole lines of a file that is read from its beginning."""
    with _open(file, head.compressed) as stream:
        _reading(file, lambda: bytes(stream.read(head.data_start)))
        offset, rest = head.data_start, b""
        while chunk := _reading(file, lambda: bytes(stream.read(BLOCK_BYTES))):
            rest += chunk
            lines = csv_lines.find_lines(rest, quoted_newlines=quoted_newlines)
            cut = len(rest) if lines.complete else int(lines.starts[-1])
            if cut:
                yield offset, rest[:cut]
                offset, rest = offset + cut, rest[cut:]
        if rest:
            yield offset, rest


def _one_array(column: pa.ChunkedArray) -> pa.Array:
    if column.num_chunks == 1:
        return column.chunk(0)
    return pa.concat_arrays(column.chunks or [pa.array([], column.type)])
