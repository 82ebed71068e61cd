"""The select of the configuration, run by DuckDB on each batch."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import apache_beam as beam
import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from beam_jobs import conversions
from beam_jobs.batches import Int64s
from beam_jobs.batches import LogBatch
from beam_jobs.reading import sources
from beam_jobs.selecting import select_rules
from tfplugin.config import SourceConfig
from tfplugin.errors import InputError


@dataclasses.dataclass(frozen=True)
class Query:
    """A checked select.

    Args:
        sql: The statement, with the hidden column.
        side_tables: Name to side table.
        schema: Columns of its result, without the hidden one.
    """

    sql: str
    side_tables: dict[str, Any]
    schema: pa.Schema

    def only(self, column: str) -> "Query":
        """The same rows with one column, for which less is computed."""
        name = column.replace('"', '""')
        return Query(
            f'SELECT "{select_rules.ROW_COLUMN}", "{name}" FROM ({self.sql})',
            self.side_tables,
            pa.schema([self.schema.field(column)]),
        )


def connect() -> duckdb.DuckDBPyConnection:
    """A database in memory that gives the same answer everywhere."""
    connection = duckdb.connect(
        ":memory:",
        config={
            # More than one would change the order of joined rows.
            "threads": 1,
            "enable_external_access": False,
            # Another algorithm for small batches would take another of the
            # rows that an ASOF JOIN finds at the same moment.
            "asof_loop_join_threshold": 0,
        },
    )
    connection.execute("SET TimeZone = 'UTC'").fetchall()
    return connection


def prepare(source: SourceConfig, log_schema: pa.Schema) -> Query:
    """Checks the select of `source` and tries it on an empty batch.

    Args:
        source: The raw log; its `select` is not None.
        log_schema: Columns of the log.

    Raises:
        InputError: The select is refused, does not parse, or names an
            unknown table or column; a side table is refused.
    """
    if source.select is None:
        raise ValueError("`source.select` must be given. Received: None.")
    sql = select_rules.check(
        connect(), source.select, source.side_tables, log_schema.names
    )
    runner = Runner(Query(sql, dict(source.side_tables), pa.schema([])))
    empty = pa.RecordBatch.from_pylist([], log_schema)
    schema = runner.run(empty)[1].schema
    return Query(sql, dict(source.side_tables), schema)


class Runner:
    """A connection with the side tables loaded.

    Args:
        query: The select.

    Raises:
        InputError: A side table is refused.
    """

    def __init__(self, query: Query) -> None:
        self._query = query
        self._connection = connect()
        for name, side_table in query.side_tables.items():
            table = sources.read_table(side_table, name)
            self._connection.register("__tfplugin_side_table", table)
            quoted = name.replace('"', '""')
            self._connection.execute(
                f'CREATE TABLE "{quoted}" AS FROM __tfplugin_side_table'
            ).fetchall()
            self._connection.unregister("__tfplugin_side_table")

    def run(self, rows: pa.RecordBatch) -> tuple[Int64s, pa.RecordBatch]:
        """Runs the select.

        Args:
            rows: A batch of the log.

        Returns:
            int64 `(n,)`, sorted: the row of `rows` that each selected row
            comes from; and the selected rows. Those of one row are sorted
            by their values, as a join gives them in an order that differs
            with the batch.

        Raises:
            InputError: DuckDB refuses the select, or a value of this batch.
        """
        numbers = pa.array(np.arange(rows.num_rows, dtype=np.int64))
        log = rows.append_column(select_rules.ROW_COLUMN, numbers)
        self._connection.register("log", log)
        try:
            table = self._connection.sql(self._query.sql).to_arrow_table()
        except duckdb.Error as error:
            reason = " ".join(str(error).split())
            raise InputError(
                f"`source.select` must run on the log. Received: {reason}"
            ) from error
        finally:
            self._connection.unregister("log")
        table = table.combine_chunks()
        origin = _column(table, 0).to_numpy()
        order = np.argsort(origin, kind="stable")
        selected = _without_row_column(table)
        order = self._sort_repeated(order, origin[order], selected)
        if (order[1:] < order[:-1]).any():
            selected = selected.take(pa.array(order))
        return origin[order], selected

    def _sort_repeated(
        self, order: Int64s, origin: Int64s, selected: pa.RecordBatch
    ) -> Int64s:
        """Sorts the rows of `order` that come from one row by their values."""
        same = origin[1:] == origin[:-1]
        repeated = np.append(same, False) | np.append(False, same)
        if not same.any():
            return order
        order = order.copy()
        places = order[repeated]
        rows = selected.take(pa.array(places)).columns
        keys = [pa.array(origin[repeated]), *rows, pa.array(places)]
        names = [f"key_{i}" for i in range(len(keys))]
        # By DuckDB, as Arrow does not sort lists.
        self._connection.register("__tfplugin_repeated", pa.table(keys, names))
        found = self._connection.sql(
            f"SELECT {names[-1]} FROM __tfplugin_repeated "
            f"ORDER BY {', '.join(names)}"
        ).to_arrow_table()
        self._connection.unregister("__tfplugin_repeated")
        order[repeated] = _column(found, 0).to_numpy()
        return order


def _column(table: pa.Table, index: int) -> pa.Array:
    column = table.column(index)
    if column.num_chunks == 1:
        return column.chunk(0)
    return pa.concat_arrays(column.chunks or [pa.array([], column.type)])


def _without_row_column(table: pa.Table) -> pa.RecordBatch:
    """The selected columns; `SELECT *` brought the hidden one once more."""
    names, arrays = [], []
    for index, name in enumerate(table.schema.names):
        if name == select_rules.ROW_COLUMN:
            continue
        if name in names:
            raise InputError(
                "`source.select` must name each column once. Received: "
                f"`{name}` twice. Rename one with AS."
            )
        names.append(name)
        arrays.append(conversions.plain(_column(table, index)))
    if not arrays:
        raise InputError("`source.select` must select columns. Received: none.")
    return pa.RecordBatch.from_arrays(arrays, names)


def occurrences(origin: npt.NDArray[np.int64]) -> Int64s:
    """Numbers the rows that come from one row.

    Args:
        origin: int64 `(n,)`, sorted.

    Example:
    >>> occurrences(np.array([0, 2, 2, 2, 5])).tolist()
    [0, 0, 1, 2, 0]
    """
    first = np.searchsorted(origin, origin, side="left")
    return np.arange(len(origin), dtype=np.int64) - first


class Select(beam.DoFn):
    """`LogBatch` of the log → `LogBatch` of selected rows, and counts.

    Args:
        query: The select.
    """

    def __init__(self, query: Query) -> None:
        self._query = query
        self._runner: Runner | None = None

    def setup(self) -> None:
        """Loads the side tables, once a worker."""
        self._runner = Runner(self._query)

    def process(self, batch: LogBatch) -> Iterator[Any]:
        """Runs the select on one batch."""
        if self._runner is None:
            self._runner = Runner(self._query)
        try:
            origin, rows = self._runner.run(batch.rows)
        except InputError as error:
            yield beam.pvalue.TaggedOutput(sources.PROBLEMS, str(error))
            return
        kept = len(np.unique(origin))
        counts = {
            "rows_removed_by_select": batch.rows.num_rows - kept,
            "rows_added_by_select": len(origin) - kept,
        }
        for count in counts.items():
            yield beam.pvalue.TaggedOutput(sources.COUNTS, count)
        if len(origin):
            places = batch.positions[origin]
            whole = LogBatch(batch.file, places, occurrences(origin), rows)
            # A join or UNNEST may have made many rows of few.
            yield from whole.pieces()
