"""The log's files → Arrow batches."""

from collections.abc import Iterator
from collections.abc import Mapping
from typing import Any
from typing import TypeAlias

import apache_beam as beam
import pyarrow as pa

from beam_jobs import batches
from beam_jobs import csv_log
from beam_jobs import log_files
from beam_jobs import parquet_log
from tfplugin.config import SideTable
from tfplugin.config import SourceConfig
from tfplugin.errors import InputError

Log: TypeAlias = csv_log.CsvLog | parquet_log.ParquetLog
Block: TypeAlias = csv_log.Block | parquet_log.Block

#: Tags of what a step yields beside its batches.
REJECTED, COUNTS, PROBLEMS = "rejected", "counts", "problems"

#: Rows of a list of rejected rows, at most.
_REJECTED_ROWS = 4096


def open_log(
    source: SourceConfig | SideTable,
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
        types: Types of some CSV columns; others are inferred.

    Raises:
        InputError: A file is absent, empty, damaged or unlike the first.
    """
    files = log_files.expand(source.files, key)
    if source.format == "csv":
        section = key.removesuffix("files") + "csv"
        return csv_log.open_csv(
            files, source.csv, columns, types or {}, section
        )
    return parquet_log.open_parquet(files, columns)


def read_table(side_table: SideTable, name: str) -> pa.Table:
    """Reads a side table whole.

    Raises:
        InputError: As `open_log`, or a row is malformed.
    """
    log = open_log(side_table, key=f"source.side_tables.{name}.files")
    rows = []
    for block in log.blocks():
        for item in read_block(log, block):
            if isinstance(item, batches.Rejected):
                raise InputError(
                    f"A side table must be well-formed. Received: "
                    f"{log.files[item.file].path}, position {item.position}: "
                    f"{item.reason}."
                )
            rows.append(item.rows)
    return pa.Table.from_batches(rows, log.schema)


def read_block(
    log: Log, block: Block
) -> Iterator[batches.LogBatch | batches.Rejected]:
    """Reads a block of the log it belongs to."""
    if isinstance(log, csv_log.CsvLog) and isinstance(block, csv_log.Block):
        return log.read(block)
    if isinstance(log, parquet_log.ParquetLog) and isinstance(
        block, parquet_log.Block
    ):
        return log.read(block)
    raise TypeError(f"A block must be of its log. Received: block={block!r}.")


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
            for item in read_block(self._log, block):
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
    """`LogFile` → (index, CRC-32C of its bytes)."""

    def process(self, file: log_files.LogFile) -> Iterator[tuple[int, int]]:
        """Reads one file."""
        yield file.index, log_files.checksum(file.path)
