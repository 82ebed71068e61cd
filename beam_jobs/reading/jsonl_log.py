"""A log in JSON lines: byte ranges of plain files, or whole compressed ones."""

import dataclasses
import functools
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any
from typing import ClassVar

import pyarrow as pa

from beam_jobs import batches
from beam_jobs.reading import csv_lines
from beam_jobs.reading import csv_types
from beam_jobs.reading import jsonl_lines
from beam_jobs.reading import jsonl_types
from beam_jobs.reading import text_files
from beam_jobs.reading.log_files import Block
from beam_jobs.reading.log_files import LogFile
from tfplugin.config import JsonLinesOptions
from tfplugin.errors import InputError

_find_lines = functools.partial(csv_lines.find_lines, quoted_newlines=False)


@dataclasses.dataclass(frozen=True)
class JsonLinesLog:
    """Files of JSON lines: an object a line, whose keys are the columns.

    Args:
        files: The files.
        starts: Where the rows of each begin.
        schema: Columns that are read, and their types.
        names: All keys at the beginning of the files, and declared ones.
        inferred: Columns whose type was not declared.
        exact: Columns of doubles that must not round an integer: nobody
            asked for doubles.
    """

    files: tuple[LogFile, ...]
    starts: tuple[text_files.Start, ...]
    schema: pa.Schema
    names: tuple[str, ...]
    inferred: csv_types.Inferred
    exact: frozenset[str]

    #: What positions of rows count.
    position_kind: ClassVar[str] = "byte"

    def only(self, columns: Sequence[str]) -> "JsonLinesLog":
        """The same rows with fewer columns, which alone are converted."""
        fields = [self.schema.field(name) for name in columns]
        return dataclasses.replace(
            self,
            schema=pa.schema(fields),
            exact=self.exact.intersection(columns),
        )

    def advice_on_empty(self) -> str:
        """What to declare for columns without a value; '' for none."""
        return self.inferred.advice_on_empty()

    def blocks(self) -> list[Block]:
        """Parts to read, the same whatever the engine."""
        return [
            block
            for file, start in zip(self.files, self.starts, strict=True)
            for block in text_files.blocks(file, start, splittable=True)
        ]

    def read(
        self, block: Block
    ) -> Iterator[batches.LogBatch | batches.Rejected]:
        """Rows of a block, and its malformed rows.

        Raises:
            InputError: The file is cut off, damaged or changed.
        """
        file = block.file.index
        parser = jsonl_lines.Parser(self.schema, self.exact)
        start = self.starts[file]
        for offset, text in text_files.read(block, start, _find_lines):
            for item in parser.parse(text, offset):
                if isinstance(item, jsonl_lines.Refusal):
                    reason = item.reason + self._advice(item)
                    yield batches.Rejected(
                        file, item.position, reason, item.text
                    )
                    continue
                none = 0 * item.positions
                batch = batches.LogBatch(file, item.positions, none, item.rows)
                yield from batch.pieces()

    def _advice(self, refusal: jsonl_lines.Refusal) -> str:
        column = refusal.column
        if column not in self.inferred.names:
            return ""
        kind = self.schema.field(column).type
        found = jsonl_types.infer([refusal.value])
        wider = jsonl_types.settle(jsonl_types.widest(kind, found), None)
        if wider == kind and kind in jsonl_types.TYPES.values():
            scalar = not pa.types.is_list(kind)
            wider = pa.string() if scalar else pa.list_(pa.string())
        name = jsonl_types.name(wider)
        if wider == kind or name not in jsonl_types.TYPES:
            return ""
        return f"; declare `{self.inferred.key}.types: {{{column}: {name}}}`"


def open_jsonl(
    files: tuple[LogFile, ...],
    options: JsonLinesOptions,
    columns: list[str] | None,
    types: Mapping[str, pa.DataType],
    key: str = "source.jsonl",
) -> JsonLinesLog:
    """Looks at the heads of the files.

    Args:
        files: The files.
        options: How to read.
        columns: Columns to read; None for all. Those that no head has and
            nobody declares are left out of the log's schema.
        types: What roles ask for, where `options` declares nothing: see
            `jsonl_types.settle`.
        key: The section of the configuration, for messages.

    Raises:
        InputError: A file is empty, damaged, or no JSON lines.
    """
    declared = {n: jsonl_types.TYPES[t] for n, t in options.types.items()}
    starts, found = [], dict[str, pa.DataType | None]()
    for file in files:
        head = text_files.read_head(file)
        starts.append(head.start)
        rows = _head_rows(file, head, text_files.head_rows(len(files)))
        for name in dict.fromkeys(name for row in rows for name in row):
            kind = jsonl_types.infer([row.get(name) for row in rows])
            found[name] = jsonl_types.widest(found.get(name), kind)
    names = tuple(dict.fromkeys([*found, *declared]))
    asked = names if columns is None else dict.fromkeys(columns)
    wanted = [name for name in asked if name in names]
    settled = {
        name: jsonl_types.settle(found[name], types.get(name)) for name in found
    } | declared
    unknown = [name for name in wanted if name not in declared]
    empty = [n for n in unknown if found[n] is None and n not in types]
    return JsonLinesLog(
        files,
        tuple(starts),
        pa.schema([(name, settled[name]) for name in wanted]),
        names,
        csv_types.Inferred(key, frozenset(unknown), tuple(empty)),
        frozenset(
            name
            for name in unknown
            if name not in types and _is_double(settled[name])
        ),
    )


def _is_double(kind: pa.DataType) -> bool:
    if pa.types.is_list(kind):
        return _is_double(kind.value_type)
    return bool(pa.types.is_floating(kind))


def _head_rows(
    file: LogFile, head: text_files.Head, limit: int
) -> list[dict[str, Any]]:
    """The first rows; lines that are none are passed over here."""
    rows: list[dict[str, Any]] = []
    reason = ""
    lines = _find_lines(head.text)
    # The head of a longer file may end inside a line.
    cut = not lines.complete and not head.whole
    count = len(lines.starts) - cut
    for first, last in zip(
        lines.starts[:count].tolist(), lines.ends[:count].tolist(), strict=True
    ):
        line = head.text[first:last]
        if len(rows) == limit:
            break
        try:
            row = jsonl_lines.parse_line(line)
        except ValueError as error:
            reason = reason or (str(error) if line.strip() else "")
            continue
        rows.append(row)
    if not rows:
        raise InputError(
            "A file of JSON lines must have an object a line. Received: "
            f"{file.path}, which begins with none "
            f"({reason or 'its first line does not end'}). Check "
            "`source.format`, or write an object a line."
        )
    return rows
