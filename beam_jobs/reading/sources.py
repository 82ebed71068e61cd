"""The log's files → Arrow batches."""

from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any
from typing import Protocol

import apache_beam as beam
import pyarrow as pa

from beam_jobs import batches
from beam_jobs import storage
from beam_jobs.reading import csv_log
from beam_jobs.reading import jsonl_log
from beam_jobs.reading import log_files
from beam_jobs.reading import parquet_log
from beam_jobs.reading import tfrecord_log
from beam_jobs.reading.log_files import Block
from beam_jobs.reading.log_files import LogFile
from tfplugin.config import LogFiles
from tfplugin.config import SideTable
from tfplugin.errors import InputError

#: Tags of what a step yields beside its batches.
REJECTED, COUNTS, PROBLEMS = "rejected", "counts", "problems"

#: Rows of a list of rejected rows, at most.
_REJECTED_ROWS = 4096


class Log(Protocol):
    """Files of one format with one set of columns."""

    @property
    def files(self) -> tuple[LogFile, ...]:
        """The files, by path."""

    @property
    def schema(self) -> pa.Schema:
        """Columns that are read, and their types."""

    @property
    def names(self) -> tuple[str, ...]:
        """All columns that the files are known to have."""

    @property
    def position_kind(self) -> str:
        """What positions of rows count: `byte`, `row` or `record`."""

    def only(self, columns: Sequence[str]) -> "Log":
        """The same rows with fewer columns."""

    def advice_on_empty(self) -> str:
        """What to declare for columns without a value; '' for none."""

    def blocks(self) -> list[Block]:
        """Parts to read, the same whatever the engine."""

    def read(
        self, block: Block
    ) -> Iterator[batches.LogBatch | batches.Rejected]:
        """Rows of a block, and its malformed rows."""


def open_log(
    source: LogFiles,
    *,
    key: str = "source.files",
    columns: list[str] | None = None,
    types: Mapping[str, pa.DataType] | None = None,
) -> Log:
    """Finds the files of a log or a side table and looks at each.

    Args:
        source: Where they are and how to read them.
        key: The key of the configuration, for messages.
        columns: Columns to read; None for all.
        types: What columns are for: types of CSV columns; in other formats
            what decides where the files leave a choice.

    Raises:
        InputError: A file is absent, empty, damaged or unlike the first.
    """
    files = log_files.expand(source.files, key)
    types = types or {}
    section = key.removesuffix("files") + source.format
    if source.format == "csv":
        return csv_log.open_csv(files, source.csv, columns, types, section)
    if source.format == "jsonl":
        return jsonl_log.open_jsonl(
            files, source.jsonl, columns, types, section
        )
    if source.format == "tfrecord":
        return tfrecord_log.open_tfrecord(files, columns, types)
    return parquet_log.open_parquet(files, columns, types)


def read_table(side_table: SideTable, name: str) -> pa.Table:
    """Reads a side table whole.

    Raises:
        InputError: As `open_log`, or a row is malformed.
    """
    log = open_log(side_table, key=f"source.side_tables.{name}.files")
    rows = []
    for block in log.blocks():
        for item in log.read(block):
            if isinstance(item, batches.Rejected):
                raise InputError(
                    f"A side table must be well-formed. Received: "
                    f"{log.files[item.file].path}, position {item.position}: "
                    f"{item.reason}."
                )
            rows.append(item.rows)
    return pa.Table.from_batches(rows, log.schema)


class ReadBlocks(beam.DoFn):
    """Block → `LogBatch`es, lists of `Rejected` rows, counts and problems.

    A refused file is a problem that the job reports at its end: an exception
    inside a worker would be logged with its traceback, and retried.

    Args:
        log: The log.
    """

    def __init__(self, log: Log) -> None:
        self._log = log

    def process(self, block: Block) -> Iterator[Any]:
        """Reads one block."""
        rows = 0
        refused: list[batches.Rejected] = []
        try:
            for item in self._log.read(block):
                if isinstance(item, batches.Rejected):
                    rows += 1
                    refused.append(item)
                elif item.rows.num_rows:
                    rows += item.rows.num_rows
                    yield item
                if len(refused) >= _REJECTED_ROWS:
                    yield beam.pvalue.TaggedOutput(REJECTED, refused)
                    refused = []
        except InputError as error:
            yield beam.pvalue.TaggedOutput(PROBLEMS, str(error))
        if refused:
            yield beam.pvalue.TaggedOutput(REJECTED, refused)
        yield beam.pvalue.TaggedOutput(COUNTS, ("rows_read", rows))


class Fingerprint(beam.DoFn):
    """`LogFile` → (index, CRC-32C of its bytes), and problems."""

    def process(self, file: LogFile) -> Iterator[Any]:
        """Reads one file."""
        try:
            with log_files.opened(file):
                yield file.index, storage.checksum(file.path)
        except InputError as error:
            yield beam.pvalue.TaggedOutput(PROBLEMS, str(error))
