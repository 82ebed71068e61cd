"""A log in CSV: byte ranges of plain files, or whole compressed files."""

import csv
import dataclasses
import functools
import io
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import pyarrow as pa

from beam_jobs import batches
from beam_jobs import conversions
from beam_jobs.reading import csv_lines
from beam_jobs.reading import csv_types
from beam_jobs.reading import log_files
from beam_jobs.reading import text_files
from beam_jobs.reading.log_files import Block
from beam_jobs.reading.log_files import LogFile
from tfplugin.config import CsvOptions
from tfplugin.errors import InputError


@dataclasses.dataclass(frozen=True)
class _Head:
    """The beginning of a file.

    Args:
        names: Its columns.
        start: Where its rows begin.
    """

    names: tuple[str, ...]
    start: text_files.Start


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

    #: What positions of rows count.
    position_kind: ClassVar[str] = "byte"

    def only(self, columns: Sequence[str]) -> "CsvLog":
        """The same rows with fewer columns."""
        fields = [self.schema.field(name) for name in columns]
        return dataclasses.replace(self, schema=pa.schema(fields))

    def advice_on_empty(self) -> str:
        """What to declare for columns without a value; '' for none."""
        return self.inferred.advice_on_empty()

    def blocks(self) -> list[Block]:
        """Parts to read, the same whatever the engine."""
        return [
            block
            for file, head in zip(self.files, self.heads, strict=True)
            for block in text_files.blocks(
                file,
                head.start,
                splittable=not self.options.quoted_newlines,
            )
        ]

    def read(
        self, block: Block
    ) -> Iterator[batches.LogBatch | batches.Rejected]:
        """Rows of a block, and its malformed rows.

        Raises:
            InputError: The file is cut off, damaged or changed.
        """
        head = self.heads[block.file.index]
        find_lines = functools.partial(
            csv_lines.find_lines, quoted_newlines=self.options.quoted_newlines
        )
        for offset, text in text_files.read(block, head.start, find_lines):
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
    texts = [text_files.read_head(file) for file in files]
    heads = tuple(
        _parse_head(file, text, options)
        for file, text in zip(files, texts, strict=True)
    )
    names = [head.names for head in heads]
    wanted = log_files.wanted_columns(files, names, columns)
    known = {**types, **csv_types.declared(options.types, names[0], key)}
    unknown = [name for name in wanted if name not in known]
    found: dict[str, pa.DataType | None] = dict.fromkeys(unknown)
    rows = text_files.head_rows(len(files))
    for file, text, head in zip(files, texts, heads, strict=True):
        try:
            kinds = _infer(text, head, unknown, options, rows)
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


def _parse_head(
    file: LogFile, head: text_files.Head, options: CsvOptions
) -> _Head:
    start = head.start
    if options.column_names is not None:
        return _Head(options.column_names, start)
    lines = csv_lines.find_lines(head.text, quoted_newlines=True)
    stop = int(lines.ends[0])
    try:
        line = head.text[:stop].decode("utf-8")
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
    after = dataclasses.replace(start, byte=start.byte + stop + 1)
    return _Head(names, after)


def _infer(
    found: text_files.Head,
    head: _Head,
    columns: list[str],
    options: CsvOptions,
    rows: int,
) -> dict[str, pa.DataType | None]:
    """Types of columns by the first rows of a file."""
    text = found.text[head.start.byte - found.start.byte :]
    lines = csv_lines.find_lines(text, quoted_newlines=options.quoted_newlines)
    count = len(lines.starts)
    # The head of a longer file may end inside a line.
    if count > 1 and not found.whole:
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


def _one_array(column: pa.ChunkedArray) -> pa.Array:
    if column.num_chunks == 1:
        return column.chunk(0)
    return pa.concat_arrays(column.chunks or [pa.array([], column.type)])
