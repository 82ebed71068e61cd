"""Joined logs, opened and checked before anything runs."""

import dataclasses
import difflib
from collections.abc import Collection
from collections.abc import Mapping
from collections.abc import Sequence

import pyarrow as pa

from beam_jobs import conversions
from beam_jobs.joining import join_keys
from beam_jobs.joining import join_times
from beam_jobs.reading import sources
from beam_jobs.roles import role_values
from tfplugin import config
from tfplugin.errors import InputError

#: Type of an events join's label.
LABEL_TYPE = pa.int64()


@dataclasses.dataclass(frozen=True)
class OpenedJoin:
    """A joined log whose files were looked at.

    Args:
        name: Its name in the configuration.
        config: How rows meet.
        log: The joined log.
        key_types: Types in which the keys are compared, in the order of
            `config.keys`.
        columns: Its columns that rows of the log get; of an events join
            none.
        log_bytes: Bytes of the files of the log and of all logs joined up
            to this one.
    """

    name: str
    config: config.LookupJoin | config.EventsJoin
    log: sources.Log
    key_types: tuple[pa.DataType, ...]
    columns: tuple[str, ...]
    log_bytes: int

    @property
    def fields(self) -> list[pa.Field]:
        """The columns that the join adds."""
        if isinstance(self.config, config.EventsJoin):
            return [pa.field(self.config.label, LABEL_TYPE)]
        return [
            pa.field(
                name,
                conversions.plain_type(self.log.schema.field(name).type),
            )
            for name in self.columns
        ]


def needed_columns(joins: Mapping[str, config.JoinConfig]) -> list[str]:
    """Columns that joins read of the log, or of joins before them.

    Example:
    >>> from tfplugin import config
    >>> needed_columns(
    ...     {
    ...         "users": config.LookupJoin(
    ...             kind="lookup", format="csv", files="u.csv", keys="user"
    ...         )
    ...     }
    ... )
    ['user']
    """
    names: list[str] = []
    for join in joins.values():
        names += join.keys
        if isinstance(join, config.EventsJoin):
            names.append(join.log_time)
    return list(dict.fromkeys(names))


def open_joins(
    source: config.SourceConfig,
    log: sources.Log,
    types: Mapping[str, pa.DataType],
    wanted: Collection[str] | None = None,
) -> tuple[OpenedJoin, ...]:
    """Opens the logs that a log is joined with.

    Args:
        source: The configuration.
        log: The log, opened with the columns that `needed_columns` names.
        types: Types of columns by the roles that they have.
        wanted: Columns that are used after the joins; None for all.

    Raises:
        InputError: A file is absent, empty or damaged, a column is absent or
            there already, keys can never be equal, or a time is none.
    """
    opened: list[OpenedJoin] = []
    taken = set(log.names)
    size = sum(file.size for file in log.files)
    if wanted is not None:
        wanted = {*wanted, *needed_columns(source.joins)}
    for name, join in source.joins.items():
        schema = joined_schema(log.schema, opened)
        found = _open(f"source.joins.{name}", join, schema, types, wanted)
        size += sum(file.size for file in found.files)
        one = OpenedJoin(
            name,
            join,
            found,
            _key_types(f"source.joins.{name}", join, schema, found.schema),
            _columns(join, found.schema),
            size,
        )
        _check_new(f"source.joins.{name}", one, taken)
        taken.update(field.name for field in one.fields)
        opened.append(one)
    return tuple(opened)


def joined_schema(schema: pa.Schema, joins: Sequence[OpenedJoin]) -> pa.Schema:
    """Columns of the log after the joins.

    Args:
        schema: Its columns before them.
        joins: The joins.
    """
    for join in joins:
        for field in join.fields:
            schema = schema.append(field)
    return schema


def _open(
    key: str,
    join: config.JoinConfig,
    schema: pa.Schema,
    types: Mapping[str, pa.DataType],
    wanted: Collection[str] | None,
) -> sources.Log:
    needed = list(join.keys.values())
    if isinstance(join, config.EventsJoin):
        _check_present(f"{key}.log_time", [join.log_time], schema.names)
        _check_time(f"{key}.log_time", schema.field(join.log_time))
        needed.append(join.time)
        columns: list[str] | None = needed
    elif join.columns is not None:
        needed += join.columns
        columns = [*join.keys.values(), *join.columns]
        if wanted is not None:
            columns = [
                n for n in columns if n in {*wanted, *join.keys.values()}
            ]
    else:
        columns = None if wanted is None else [*needed, *sorted(wanted)]
    _check_present(f"{key}.keys", list(join.keys), schema.names)
    # A joined CSV's 007 is a string where the log's is.
    kinds = dict(types)
    for ours, theirs in join.keys.items():
        kind = join_keys.key_type(schema.field(ours).type, pa.null())
        if kind in (pa.int64(), pa.string()):
            kinds[theirs] = kind
    found = sources.open_log(
        join, key=f"{key}.files", columns=columns, types=kinds
    )
    _check_present(key, needed, found.names)
    if isinstance(join, config.EventsJoin):
        _check_time(f"{key}.time", found.schema.field(join.time))
    return found


def _columns(join: config.JoinConfig, schema: pa.Schema) -> tuple[str, ...]:
    if isinstance(join, config.EventsJoin):
        return ()
    if join.columns is not None:
        return tuple(name for name in join.columns if name in schema.names)
    keys = set(join.keys.values())
    return tuple(name for name in schema.names if name not in keys)


def _check_present(
    key: str, wanted: Sequence[str], names: Sequence[str]
) -> None:
    for name in wanted:
        if name not in names:
            near = difflib.get_close_matches(name, names, 1, 0.5)
            hint = f" Did you mean `{near[0]}`?" if near else ""
            raise InputError(
                f"`{key}` must name columns that there are. Received: "
                f"`{name}`.{hint} Columns: {', '.join(names)}."
            )


def _check_time(key: str, field: pa.Field) -> None:
    try:
        join_times.check(field.type)
    except role_values.WrongType as error:
        raise InputError(
            f"`{key}` must be a column of moments: timestamps, dates, or "
            f"seconds since 1970. Received: `{field.name}` of type "
            f"{field.type}."
        ) from error


def _key_types(
    key: str, join: config.JoinConfig, ours: pa.Schema, theirs: pa.Schema
) -> tuple[pa.DataType, ...]:
    kinds = []
    for name, other in join.keys.items():
        left, right = ours.field(name).type, theirs.field(other).type
        kind = join_keys.key_type(left, right)
        if kind is None:
            raise InputError(
                f"`{key}.keys` must name columns whose values can be equal: "
                "integers, strings, or one type of moments, booleans or "
                f"decimals. Received: `{name}` of type {left} in the log, and "
                f"`{other}` of type {right}. Declare the type of a CSV "
                "column by `csv.types`, or cast one."
            )
        kinds.append(kind)
    return tuple(kinds)


def _check_new(key: str, join: OpenedJoin, taken: Collection[str]) -> None:
    for field in join.fields:
        if field.name in taken:
            where = "columns"
            if isinstance(join.config, config.EventsJoin):
                where = "label"
            raise InputError(
                f"`{key}` must add new columns. Received: `{field.name}`, "
                "which the log, or a join before, has already. Leave it out "
                f"of or rename it in `{key}.{where}`."
            )
