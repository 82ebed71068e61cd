"""Bytes of JSON lines → rows of columns, each with its byte offset.

Arrow parses whole pieces; where it refuses one, small parts of it are tried,
and the lines of those that it refuses too are parsed one by one.
"""

import dataclasses
import json
from collections.abc import Iterator
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json

from beam_jobs.batches import Bools
from beam_jobs.batches import Int64s
from beam_jobs.reading import csv_lines
from beam_jobs.reading import jsonl_types

#: Lines of the parts that are tried in turn where Arrow refuses a piece; the
#: lines of the last ones are parsed one by one.
PART_LINES = (1024, 128, 16)

_RETURN, _OPEN, _CLOSE = b"\r{}"
#: Integers of this size and more are not all floats.
_EXACT = 2.0**53


@dataclasses.dataclass(frozen=True)
class Refusal:
    """A line that is no row.

    Args:
        position: Its byte offset in the file.
        reason: Why.
        text: The line.
        column: The column whose value does not fit; '' for none.
        value: That value.
    """

    position: int
    reason: str
    text: str
    column: str = ""
    value: Any = None


@dataclasses.dataclass(frozen=True)
class Rows:
    """Rows of a piece, in order.

    Args:
        positions: int64 `(rows,)`, byte offset of each.
        rows: Their columns.
    """

    positions: Int64s
    rows: pa.RecordBatch


def parse_line(line: bytes) -> dict[str, Any]:
    """Parses one line.

    Raises:
        ValueError: It is no JSON object in UTF-8.

    Example:
    >>> parse_line(b'{"a": [1, null]}')
    {'a': [1, None]}
    """
    try:
        found = json.loads(
            line.decode("utf-8"),
            object_pairs_hook=jsonl_types.to_object,
            parse_float=jsonl_types.parse_float,
        )
    except UnicodeDecodeError as error:
        raise ValueError("text must be UTF-8") from error
    except (ValueError, RecursionError) as error:
        raise ValueError(f"a line must be a JSON object: {error}") from error
    if not isinstance(found, dict):
        raise ValueError("a line must be a JSON object")
    return found


class Parser:
    """Parses pieces of a file.

    Args:
        schema: The wanted columns.
        exact: Columns of doubles that must not round an integer.
    """

    def __init__(self, schema: pa.Schema, exact: frozenset[str]) -> None:
        self._schema = schema
        self._columns = [
            (field.name, field.type, jsonl_types.converter(field.type))
            for field in schema
        ]
        self._exact = exact
        self._floats = pa.schema(
            [(field.name, _with_floats(field.type)) for field in schema]
        )

    def parse(self, text: bytes, offset: int) -> Iterator[Rows | Refusal]:
        """Parses whole lines; blank ones are no rows.

        Args:
            text: Bytes from a line's start to a line's end.
            offset: Place of `text` in its file.
        """
        piece = _Piece.of(text, offset)
        yield from self._parse_part(piece, 0, len(piece.starts), PART_LINES)

    def _parse_part(
        self, piece: "_Piece", first: int, last: int, sizes: Sequence[int]
    ) -> Iterator[Rows | Refusal]:
        rows = self._parse_fast(piece, first, last)
        if rows is not None:
            yield rows
        elif not sizes:
            yield from self._parse_slowly(piece, first, last)
        else:
            for begin in range(first, last, sizes[0]):
                end = min(begin + sizes[0], last)
                yield from self._parse_part(piece, begin, end, sizes[1:])

    def _parse_fast(
        self, piece: "_Piece", first: int, last: int
    ) -> Rows | None:
        """By Arrow; None if that would not give each line its row."""
        if not piece.regular[first:last].all():
            return None
        body = piece.body(first, last)
        try:
            body.decode("utf-8")
        except UnicodeDecodeError:
            return None
        table = _read_json(body, self._schema)
        if table is None:
            table = self._read_integral_floats(body)
        if table is None or table.num_rows != last - first:
            return None
        if any(map(_may_round, (table[name] for name in self._exact))):
            return None
        (rows,) = table.select(self._schema.names).combine_chunks().to_batches()
        return Rows(piece.positions(first, last), rows)

    def _read_integral_floats(self, body: bytes) -> pa.Table | None:
        """Columns of integers that are written as floats: 7.0."""
        if self._floats == self._schema:
            return None
        table = _read_json(body, self._floats)
        if table is None:
            return None
        table = table.select(self._schema.names)
        for field in self._schema:
            column = table[field.name]
            if column.type != field.type and _may_round(column):
                return None
        try:
            return table.cast(self._schema)
        except pa.ArrowInvalid:
            return None

    def _parse_slowly(
        self, piece: "_Piece", first: int, last: int
    ) -> Iterator[Rows | Refusal]:
        rows, places = [], []
        for number in range(first, last):
            line = piece.line(number)
            position = piece.offset + int(piece.starts[number])
            try:
                rows.append(self._fit(parse_line(line)))
                places.append(position)
            except _Refused as refused:
                yield Refusal(position, str(refused), _show(line), *refused.at)
            except ValueError as error:
                yield Refusal(position, str(error), _show(line))
        columns = [
            pa.array([row[number] for row in rows], kind)
            for number, (_, kind, _) in enumerate(self._columns)
        ]
        yield Rows(
            np.array(places, np.int64),
            pa.RecordBatch.from_arrays(columns, schema=self._schema),
        )

    def _fit(self, row: dict[str, Any]) -> list[Any]:
        """The values of the columns."""
        found = []
        for column, kind, to in self._columns:
            try:
                found.append(jsonl_types.fit_key(row, column, to))
                value = row.get(column)
                if column in self._exact and jsonl_types.is_rounded(value):
                    raise jsonl_types.Unfit(json.dumps(value))
            except jsonl_types.Unfit as error:
                raise _Refused(
                    f"column `{column}` must be {jsonl_types.name(kind)}; "
                    f"received {error}",
                    (column, row.get(column)),
                ) from error
        return found


def _read_json(body: bytes, schema: pa.Schema) -> pa.Table | None:
    """Columns of some lines, or None if Arrow refuses one."""
    try:
        return pyarrow.json.read_json(
            pa.BufferReader(body),
            pyarrow.json.ReadOptions(
                use_threads=False, block_size=len(body) + 1
            ),
            pyarrow.json.ParseOptions(
                explicit_schema=schema, unexpected_field_behavior="ignore"
            ),
        )
    except pa.ArrowInvalid:
        return None


def _with_floats(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_list(kind):
        return pa.list_(_with_floats(kind.value_type))
    return pa.float64() if kind == pa.int64() else kind


def _may_round(doubles: pa.ChunkedArray) -> bool:
    """Whether a double may stand for another integer than was written."""
    while pa.types.is_list(doubles.type):
        doubles = pc.list_flatten(doubles)
    return bool((pc.max(pc.abs(doubles)).as_py() or 0.0) >= _EXACT)


class _Refused(ValueError):
    def __init__(self, reason: str, at: tuple[str, Any]) -> None:
        super().__init__(reason)
        self.at = at


def _show(line: bytes) -> str:
    return line.decode("utf-8", "replace")


@dataclasses.dataclass(frozen=True)
class _Piece:
    """Lines of a text that are not blank.

    Args:
        text: The bytes.
        offset: Their place in the file.
        starts: int64 `(lines,)`, first byte of each.
        ends: int64 `(lines,)`, byte after its last, without line breaks.
        regular: bool `(lines,)`, whether braces are around it: no row of
            Arrow's can then be in two lines.
        whole: Whether no line was left out.
    """

    text: bytes
    offset: int
    starts: Int64s
    ends: Int64s
    regular: Bools
    whole: bool

    @classmethod
    def of(cls, text: bytes, offset: int) -> "_Piece":
        """The lines of a text."""
        lines = csv_lines.find_lines(text, quoted_newlines=False)
        starts, ends = lines.starts, lines.ends
        array = np.frombuffer(text + b"\n", np.uint8)
        ends = ends - ((ends > starts) & (array[ends - 1] == _RETURN))
        regular = (
            (ends - starts >= 2)
            & (array[starts] == _OPEN)
            & (array[ends - 1] == _CLOSE)
        )
        blank = np.zeros(len(starts), np.bool_)
        for number in np.flatnonzero(~regular):
            blank[number] = not text[starts[number] : ends[number]].strip()
        if not blank.any():
            return cls(text, offset, starts, ends, regular, True)
        kept = ~blank
        return cls(text, offset, starts[kept], ends[kept], regular[kept], False)

    def line(self, number: int) -> bytes:
        """One line."""
        return self.text[self.starts[number] : self.ends[number]]

    def body(self, first: int, last: int) -> bytes:
        """Some lines, as one text."""
        if first == last:
            return b""
        if self.whole:
            return self.text[self.starts[first] : self.ends[last - 1]]
        return b"\n".join(map(self.line, range(first, last)))

    def positions(self, first: int, last: int) -> Int64s:
        """Byte offsets of some lines in the file."""
        return self.starts[first:last] + self.offset
