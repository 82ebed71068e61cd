"""A log in Parquet: row groups, in batches, of the columns that are used."""

import dataclasses
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from beam_jobs import batches
from beam_jobs import conversions
from beam_jobs.reading import log_files
from beam_jobs.reading.log_files import Block
from beam_jobs.reading.log_files import LogFile
from tfplugin.errors import InputError


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

    #: What positions of rows count.
    position_kind: ClassVar[str] = "row"

    def only(self, columns: Sequence[str]) -> "ParquetLog":
        """The same rows with fewer columns, which alone are then read."""
        fields = [self.schema.field(name) for name in columns]
        return dataclasses.replace(self, schema=pa.schema(fields))

    def advice_on_empty(self) -> str:
        """What to declare for columns without a value: nothing."""
        return ""

    def blocks(self) -> list[Block]:
        """Parts to read, the same whatever the engine."""
        return [
            Block(file, number, number + 1)
            for file, groups in zip(self.files, self.row_groups, strict=True)
            for number in range(len(groups))
        ]

    def read(
        self, block: Block
    ) -> Iterator[batches.LogBatch | batches.Rejected]:
        """Rows of a block, and those whose values do not fit the log's types.

        Raises:
            InputError: The file is damaged or changed.
        """
        groups = self.row_groups[block.file.index]
        position = sum(groups[: block.start])
        with log_files.opened(block.file) as stream:
            try:
                parquet = pyarrow.parquet.ParquetFile(stream)
                for rows in parquet.iter_batches(
                    batch_size=batches.MAX_ROWS,
                    row_groups=[block.start],
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
    files: tuple[LogFile, ...],
    columns: list[str] | None,
    types: Mapping[str, pa.DataType] | None = None,
) -> ParquetLog:
    """Looks at the footers of the files.

    Args:
        files: The files.
        columns: Columns to read; None for all of the first file's. Those
            that the first file lacks are left out of the log's schema.
        types: int64 or float64 for columns that are integers in some files
            and floats in others; other types are ignored.

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
        wanted_type = (types or {}).get(name)
        fields.append((name, _common_type(name, kinds, wanted_type)))
    groups = tuple(groups for _, groups in footers)
    return ParquetLog(files, groups, pa.schema(fields), tuple(names[0]))


def _common_type(
    name: str,
    kinds: list[tuple[LogFile, pa.DataType]],
    asked: pa.DataType | None,
) -> pa.DataType:
    """The widest type; values are cast to it exactly, or refused."""
    known = [(file, kind) for file, kind in kinds if kind != pa.null()]
    if not known:
        return pa.null()
    first, wanted = known[0]
    for file, kind in known[1:]:
        wider = _wider(wanted, kind, asked)
        if wider is None:
            raise InputError(
                "Files of a log must agree on the types of columns. "
                f"Received: column `{name}` is {wanted} in {first.path} and "
                f"{kind} in {file.path}. Write them alike."
            )
        first, wanted = (first if wider == wanted else file), wider
    return wanted


def _wider(
    one: pa.DataType, other: pa.DataType, asked: pa.DataType | None
) -> pa.DataType | None:
    """A type for the values of both; None if there is none."""
    types = pa.types
    pair = (one, other)
    if one == other:
        return one
    if all(types.is_integer(kind) for kind in pair):
        unsigned = all(types.is_unsigned_integer(kind) for kind in pair)
        return pa.uint64() if unsigned else pa.int64()
    if all(types.is_floating(kind) for kind in pair):
        return pa.float64()
    if all(types.is_integer(k) or types.is_floating(k) for k in pair):
        # Writers make floats of integers where one is null; what the column
        # is for then says which it is.
        return asked if asked in (pa.int64(), pa.float64()) else None
    if all(types.is_string(kind) or types.is_binary(kind) for kind in pair):
        return pa.string()
    if all(types.is_timestamp(kind) for kind in pair):
        units = ("s", "ms", "us", "ns")
        return max(pair, key=lambda kind: units.index(kind.unit))
    if all(types.is_list(kind) for kind in pair):
        inside = _wider(one.value_type, other.value_type, asked)
        return None if inside is None else pa.list_(inside)
    return None


def _read_footer(file: LogFile) -> tuple[pa.Schema, tuple[int, ...]]:
    try:
        with log_files.opened(file) as stream:
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
