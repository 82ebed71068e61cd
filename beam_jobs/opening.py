"""What a job reads, looked at and checked before any pipeline runs."""

import dataclasses

import pyarrow as pa

from beam_jobs.joining import join_logs
from beam_jobs.reading import log_files
from beam_jobs.reading import sources
from beam_jobs.roles import columns
from beam_jobs.selecting import select
from beam_jobs.selecting import select_columns
from tfplugin import config
from tfplugin.errors import InputError


@dataclasses.dataclass(frozen=True)
class Inputs:
    """The log, what joins it, and the select over both.

    Args:
        log: The log, with the columns that are used.
        joined: The keyed joins, in order.
        query: The select; None without one.
        schema: Columns after the joins and the select.
    """

    log: sources.Log
    joined: tuple[join_logs.OpenedJoin, ...]
    query: select.Query | None
    schema: pa.Schema

    @property
    def files(self) -> tuple[log_files.LogFile, ...]:
        """Files of the log, then of the joined logs, numbered through."""
        logs = (self.log, *(join.log for join in self.joined))
        found = [file for log in logs for file in log.files]
        return tuple(
            dataclasses.replace(file, index=index)
            for index, file in enumerate(found)
        )


def open_inputs(experiment: config.ExperimentConfig) -> Inputs:
    """Opens the log, the joined logs and the side tables.

    Raises:
        InputError: A file, a column or the select is refused.
    """
    source = experiment.source
    types = columns.column_types(experiment)
    if source.select is None:
        return _open_without_select(experiment, types)
    log = sources.open_log(source, types=types)
    joined = join_logs.open_joins(source, log, types)
    schema = join_logs.joined_schema(log.schema, joined)
    used = select_columns.mentioned(
        select.connect(), source.select, schema.names
    )
    joined = join_logs.open_joins(source, log, types, used)
    wanted = {*used, *join_logs.needed_columns(source.joins)}
    names = [name for name in log.schema.names if name in wanted]
    # Rows are counted by their columns.
    log = log.only(names or log.schema.names[:1])
    schema = join_logs.joined_schema(log.schema, joined)
    try:
        query = select.prepare(source, schema)
    except InputError as error:
        # DuckDB names the operator, not the column whose type it cannot take.
        raise InputError(f"{error}{log.advice_on_empty()}") from error
    return Inputs(log, joined, query, query.schema)


def _open_without_select(
    experiment: config.ExperimentConfig, types: dict[str, pa.DataType]
) -> Inputs:
    source = experiment.source
    roles = columns.log_columns(experiment)
    wanted = roles + join_logs.needed_columns(source.joins)
    log = sources.open_log(source, columns=wanted, types=types)
    joined = join_logs.open_joins(source, log, types, roles)
    schema = join_logs.joined_schema(log.schema, joined)
    columns.check_present(
        experiment, list(dict.fromkeys([*log.names, *schema.names]))
    )
    return Inputs(log, joined, None, schema)
