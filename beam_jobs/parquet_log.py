"""A log in Parquet: row groups, in batches, of the columns that are used."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from beam_jobs import batches
from beam_jobs import conversions
from beam_jobs import log_files
from beam_jobs.log_files import LogFile
from tfplugin.errors import InputError


@dataclasses.dataclass(frozen=True)
class Block:
    """One row group.

    Args:
        file: Its file.
        row_group: Its number.
        first_row: Rows of the file before it.
    """

    file: LogFile
    row_group: int
    first_row: int


@dataclasses.dataclass(frozen=True)
class ParquetLog:
    """Files of Parquet with one set of columns.

    Args:
        files: The files.
        row_groups: Rows of each row group of each file.
        schema: Columns that are read, and their types.
        names: All columns of the first file.
    """

    files: tuple[LogFile, ...]
    row_groups: tuple[tuple[int, ...], ...]
    schema: pa.Schema
    names: tuple[str, ...]

    def blocks(self) -> list[Block]:
        """Parts to read, the same whatever the engine."""
        blocks = []
        for file, groups in zip(self.files, self.row_groups, strict=True):
            first = 0
            for number, rows in enumerate(groups):
                blocks.append(Block(file, number, first))
                first += rows
        return blocks

    def read(
        self, block: Block
    ) -> Iterator[batches.LogBatch | batches.Rejected]:
        """Rows of a block, and those whose values do not fit the log's types.

        Raises:
            InputError: The file is damaged.
        """
        position = block.first_row
        with _open(block.file) as stream:
            try:
                parquet = pyarrow.parquet.ParquetFile(stream)
                for rows in parquet.iter_batches(
                    batch_size=batches.MAX_ROWS,
                    row_groups=[block.row_group],
                    columns=self.schema.names,
                    use_threads=False,
                ):
                    yield from self._fit(block.file.index, position, rows)
                    position += rows.num_rows
            except (pa.ArrowInvalid, OSError) as error:
                raise _damaged(block.file, error) from error

    def _fit(
        self, file: int, first: int, rows: pa.RecordBatch
    ) -> Iterator[batches.LogBatch | batches.Rejected]:
        places = np.arange(first, first + rows.num_rows, dtype=np.int64)
        arrays, keep = [], np.ones(rows.num_rows, np.bool_)
        reasons = []
        for field in self.schema:
            array = conversions.plain(rows.column(field.name))
            values, bad = array, ~keep
            if array.type != field.type:
                values, bad = conversions.cast(array, field.type)
                reasons += [
                    (int(row), f"column `{field.name}` must be {field.type}")
                    for row in np.flatnonzero(bad & keep)
                ]
                keep &= ~bad
            arrays.append(values)
        whole = batches.LogBatch(file, places, np.zeros_like(places), rows)
        yield from whole.reject(reasons)
        fitting = pa.RecordBatch.from_arrays(arrays, schema=self.schema)
        batch = dataclasses.replace(whole, rows=fitting)
        yield batch if keep.all() else batch.take(keep)


def open_parquet(
    files: tuple[LogFile, ...], columns: list[str] | None
) -> ParquetLog:
    """Looks at the footers of the files.

    Args:
        files: The files.
        columns: Columns to read; None for all of the first file's. Those
            that the first file lacks are left out of the log's schema.

    Raises:
        InputError: A file is not Parquet, lacks a column that the first has,
            or has it twice or with another kind of type.
    """
    footers = [_read_footer(file) for file in files]
    names = [schema.names for schema, _ in footers]
    wanted = log_files.wanted_columns(files, names, columns)
    fields = []
    for name in wanted:
        for file, found in zip(files, names, strict=True):
            if found.count(name) > 1:
                raise InputError(
                    "A Parquet file must name each column once. Received: "
                    f"{file.path} with `{name}` twice. Rename one."
                )
        kinds = [
            (file, conversions.plain_type(schema.field(name).type))
            for file, (schema, _) in zip(files, footers, strict=True)
        ]
        fields.append((name, _common_type(name, kinds)))
    groups = tuple(groups for _, groups in footers)
    return ParquetLog(files, groups, pa.schema(fields), tuple(names[0]))


def _common_type(
    name: str, kinds: list[tuple[LogFile, pa.DataType]]
) -> pa.DataType:
    """The first type that is not null; the others must be castable to it."""
    known = [(file, kind) for file, kind in kinds if kind != pa.null()]
    if not known:
        return pa.null()
    first, wanted = known[0]
    for file, kind in known[1:]:
        if kind != wanted and _family(kind) != _family(wanted):
            raise InputError(
                "Files of a log must agree on the types of columns. "
                f"Received: column `{name}` is {wanted} in {first.path} and "
                f"{kind} in {file.path}. Write them alike."
            )
    return wanted


def _family(kind: pa.DataType) -> str:
    types = pa.types
    if types.is_integer(kind) or types.is_floating(kind):
        return "number"
    if types.is_string(kind) or types.is_binary(kind):
        return "text"
    if types.is_timestamp(kind):
        return "timestamp"
    if conversions.is_list(kind):
        return f"list of {_family(kind.value_type)}"
    return str(kind)


def _open(file: LogFile) -> Any:
    # Arrow reads local files itself, without a Python call a read.
    if "://" in file.path:
        return log_files.open_stored(file.path)
    return pa.OSFile(file.path)


def _read_footer(file: LogFile) -> tuple[pa.Schema, tuple[int, ...]]:
    try:
        with _open(file) as stream:
            parquet = pyarrow.parquet.ParquetFile(stream)
            footer = parquet.metadata
            groups = tuple(
                footer.row_group(number).num_rows
                for number in range(footer.num_row_groups)
            )
            return parquet.schema_arrow.remove_metadata(), groups
    except (pa.ArrowInvalid, OSError) as error:
        raise _damaged(file, error) from error


def _damaged(file: LogFile, error: Exception) -> InputError:
    reason = " ".join(str(error).split())
    return InputError(
        f"A file of the log must be whole Parquet. Received: {file.path} "
        f"({reason}). Fetch it again, or set `source.format`."
    )
