"""Bytes of CSV → rows of text, each with its byte offset."""

import dataclasses

import numpy as np
import pyarrow as pa
import pyarrow.csv

from beam_jobs.batches import Bools
from beam_jobs.batches import Int64s
from tfplugin.config import CsvOptions
from tfplugin.errors import InputError

_NEWLINE, _RETURN, _QUOTE = 10, 13, 34


@dataclasses.dataclass(frozen=True)
class Lines:
    """Where rows of text begin and end.

    Args:
        starts: int64 `(lines,)`, first byte of each.
        ends: int64 `(lines,)`, its line break.
        complete: Whether the last one ends in a line break.
    """

    starts: Int64s
    ends: Int64s
    complete: bool


@dataclasses.dataclass(frozen=True)
class ParsedLines:
    """Rows of text as columns of strings.

    Args:
        table: Columns of strings; an empty field is null.
        positions: int64 `(rows,)`, byte offset of each row.
        rejected: Byte offset, reason and text of each malformed row.
        text: The parsed bytes.
        spans: First and last byte of each row in `text`, int64 `(rows, 2)`.
    """

    table: pa.Table
    positions: Int64s
    rejected: list[tuple[int, str, str]]
    text: bytes
    spans: Int64s

    def row_text(self, row: int) -> str:
        """A row as it was written."""
        first, last = self.spans[row]
        return self.text[first:last].decode("utf-8", "replace").rstrip("\r")


def find_lines(text: bytes, *, quoted_newlines: bool) -> Lines:
    r"""Finds the lines of `text`.

    Args:
        text: Bytes that begin at a line's start.
        quoted_newlines: Whether line breaks between double quotes belong to
            a value.

    Example:
    >>> find_lines(b'a\n"b\nc"\n', quoted_newlines=True).starts.tolist()
    [0, 2]
    """
    array = np.frombuffer(text, np.uint8)
    breaks = np.flatnonzero(array == _NEWLINE)
    if quoted_newlines and _QUOTE in text:
        quotes = np.flatnonzero(array == _QUOTE)
        # Doubled quotes inside a value keep the parity.
        breaks = breaks[np.searchsorted(quotes, breaks) % 2 == 0]
    starts = np.concatenate([np.zeros(1, np.int64), breaks + 1])
    complete = int(starts[-1]) == len(text)
    if complete:
        return Lines(starts[:-1], breaks, True)
    return Lines(starts, np.append(breaks, len(text)), False)


def parse(
    text: bytes,
    *,
    offset: int,
    names: list[str],
    columns: list[str],
    options: CsvOptions,
) -> ParsedLines:
    """Parses whole lines.

    Args:
        text: Bytes from a line's start to a line's end.
        offset: Place of `text` in its file.
        names: Names of all columns.
        columns: Names of the columns to return.
        options: How to read.

    Returns:
        The rows; empty lines are no rows.

    Raises:
        InputError: The lines and Arrow's rows do not agree.
    """
    lines = find_lines(text, quoted_newlines=options.quoted_newlines)
    rejected: list[tuple[int, str, str]] = []
    keep = _not_blank(text, lines)
    for line, reason in _malformed(text, lines, options.quoted_newlines):
        if keep[line]:
            keep[line] = False
            rejected.append(_refusal(text, lines, line, offset, reason))
    starts, ends = lines.starts[keep], lines.ends[keep]
    body = text
    if not keep.all():
        body = b"\n".join(
            text[first:last] for first, last in zip(starts, ends, strict=True)
        )
    table, wrong = _parse_columns(body, names, columns, options)
    if table.num_rows + len(wrong) != len(starts):
        raise InputError(
            f"Lines must be rows. Received: {len(starts)} lines but "
            f"{table.num_rows + len(wrong)} rows near byte {offset}. Check "
            "the quotes, or set `source.csv.quoted_newlines: true`."
        )
    fits = np.ones(len(starts), np.bool_)
    for row, actual in wrong:
        fits[row] = False
        reason = f"a row must have {len(names)} columns; received {actual}"
        line = int(np.flatnonzero(keep)[row])
        rejected.append(_refusal(text, lines, line, offset, reason))
    starts, ends = starts[fits], ends[fits]
    return ParsedLines(
        table, starts + offset, rejected, text, np.stack([starts, ends], 1)
    )


def _refusal(
    text: bytes, lines: Lines, line: int, offset: int, reason: str
) -> tuple[int, str, str]:
    first, last = int(lines.starts[line]), int(lines.ends[line])
    row = text[first:last].decode("utf-8", "replace").rstrip("\r")
    return offset + first, reason, row


def _not_blank(text: bytes, lines: Lines) -> Bools:
    lengths = lines.ends - lines.starts
    array = np.frombuffer(text, np.uint8)
    keep = lengths > 0
    single = np.flatnonzero(lengths == 1)
    keep[single[array[lines.starts[single]] == _RETURN]] = False
    return keep


def _malformed(
    text: bytes, lines: Lines, quoted_newlines: bool
) -> list[tuple[int, str]]:
    """Lines on which Arrow's parser would fail or take in its neighbours."""
    array = np.frombuffer(text, np.uint8)
    found: list[tuple[int, str]] = []
    if _QUOTE in text:
        quotes = np.flatnonzero(array == _QUOTE)
        line = np.searchsorted(lines.starts, quotes, side="right") - 1
        odd = np.flatnonzero(np.bincount(line) % 2)
        reason = "a quote must be closed on its line"
        if not quoted_newlines:
            reason += ", unless `source.csv.quoted_newlines: true`"
        found += [(int(row), reason) for row in odd]
    if _RETURN in text and not quoted_newlines:
        returns = np.flatnonzero(array == _RETURN)
        line = np.searchsorted(lines.starts, returns, side="right") - 1
        bare = np.unique(line[returns + 1 != lines.ends[line]])
        reason = "a carriage return must end its line"
        found += [(int(row), reason) for row in bare]
    try:
        text.decode("utf-8")
    except UnicodeDecodeError:
        pairs = zip(lines.starts, lines.ends, strict=True)
        found += [
            (row, "text must be UTF-8")
            for row, (first, last) in enumerate(pairs)
            if not _is_utf8(text[first:last])
        ]
    return found


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _parse_columns(
    body: bytes, names: list[str], columns: list[str], options: CsvOptions
) -> tuple[pa.Table, list[tuple[int, int]]]:
    """Columns of strings, and (row, number of columns) of unfit rows."""
    wrong: list[tuple[int, int]] = []
    if not body:
        empty = pa.array([], pa.string())
        return pa.table([empty] * len(columns), names=columns), wrong

    def skip(row: pyarrow.csv.InvalidRow) -> str:
        wrong.append((row.number - 1, row.actual_columns))
        return "skip"

    table = pyarrow.csv.read_csv(
        pa.BufferReader(body),
        read_options=pyarrow.csv.ReadOptions(
            # Row numbers are known to one thread and one block only.
            use_threads=False,
            column_names=names,
            block_size=len(body) + 1,
        ),
        parse_options=pyarrow.csv.ParseOptions(
            delimiter=options.delimiter,
            invalid_row_handler=skip,
            newlines_in_values=True,
        ),
        convert_options=pyarrow.csv.ConvertOptions(
            column_types={name: pa.string() for name in names},
            include_columns=columns,
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=True,
            check_utf8=False,
        ),
    )
    return table, wrong
