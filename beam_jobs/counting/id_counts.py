"""Counts of ids as Arrow tables: their columns; made, merged, cast."""

from collections.abc import Mapping
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from beam_jobs import conversions
from tfplugin import schema as schemas

#: Columns of a table of counts; `LABEL_PREFIX` + name for each label.
ID, COUNT, LABEL_PREFIX = "id", "count", "label_"
FIRST_DAY, LAST_DAY = "first_day", "last_day"

#: First and last day of an id that was never seen at a known moment: the
#: neutral elements of min and max. In files they are null.
NO_FIRST_DAY = int(np.iinfo(np.int32).max)
NO_LAST_DAY = int(np.iinfo(np.int32).min)


class TableKind(NamedTuple):
    """What is counted for the ids of one embedding table.

    Args:
        dtype: Type of its ids.
        labels: Labels whose positives are counted.
        days: Whether first and last days are kept.
    """

    dtype: schemas.IdDtype
    labels: tuple[str, ...]
    days: bool


def kind_of(schema: schemas.Schema, table: str) -> TableKind:
    """What is counted for a table of a dataset."""
    return TableKind(
        schema.table_dtype(table), schema.labels, schema.event_time
    )


def numbers(kind: TableKind) -> list[str]:
    """Names of the columns that are added up."""
    return [COUNT, *(LABEL_PREFIX + label for label in kind.labels)]


def day_names(kind: TableKind) -> list[str]:
    """Names of the columns of days."""
    return [FIRST_DAY, LAST_DAY] if kind.days else []


def schema(kind: TableKind, number: pa.DataType) -> pa.Schema:
    """Columns of a table of counts.

    Args:
        kind: What is counted.
        number: Type of the counts.

    Example:
    >>> import pyarrow as pa
    >>> schema(TableKind("int64", ("buy",), True), pa.int64()).names
    ['id', 'count', 'label_buy', 'first_day', 'last_day']
    """
    ids = pa.int64() if kind.dtype == "int64" else pa.string()
    return pa.schema(
        [
            (ID, ids),
            *((name, number) for name in numbers(kind)),
            *((name, pa.int32()) for name in day_names(kind)),
        ]
    )


def count(
    column: pa.Array,
    positives: Mapping[str, npt.NDArray[np.bool_]],
    days: npt.NDArray[np.int32] | None = None,
) -> pa.Table:
    """Counts the ids of one column.

    Args:
        column: Ids, or lists of ids.
        positives: Label to bool `(rows,)`, whether it is 1.
        days: int32 `(rows,)`, `NO_LAST_DAY` for unknown ones.

    Returns:
        As of `schema`, ids in no particular order; missing ones are left out.

    Example:
    >>> import numpy as np
    >>> import pyarrow as pa
    >>> click = np.array([True, False, True])
    >>> count(pa.array([7, 7, None]), {"click": click}).to_pylist()
    [{'id': 7, 'count': 2, 'label_click': 1}]
    """
    column = conversions.plain(column)
    rows: pa.Array = pa.array(np.arange(len(column)))
    if conversions.is_list(column.type):
        rows, column = pc.list_parent_indices(column), column.flatten()
    keep = _is_id(column)
    ids = column.filter(keep)
    places = rows.filter(keep).to_numpy()
    one = np.ones(len(ids), np.int64)
    columns: dict[str, object] = {ID: ids, COUNT: one}
    for label, hits in positives.items():
        columns[LABEL_PREFIX + label] = hits[places].astype(np.int64)
    if days is not None:
        found = days[places]
        unknown = found == NO_LAST_DAY
        columns[FIRST_DAY] = np.where(unknown, NO_FIRST_DAY, found).astype(
            np.int32
        )
        columns[LAST_DAY] = found
    return merge([pa.table(columns)])


def _is_id(values: pa.Array) -> pa.Array:
    missing: int | str = schemas.MISSING_INT64
    if pa.types.is_string(values.type):
        missing = schemas.MISSING_STRING
    return pc.not_equal(values, missing).fill_null(False)


def merge(tables: Sequence[pa.Table]) -> pa.Table:
    """Adds up the counts of each id; ids in no particular order."""
    table = pa.concat_tables(tables)
    ways = {FIRST_DAY: "min", LAST_DAY: "max"}
    names = [name for name in table.schema.names if name != ID]
    merged = table.group_by(ID, use_threads=False).aggregate(
        [(name, ways.get(name, "sum")) for name in names]
    )
    found = {name: f"{name}_{ways.get(name, 'sum')}" for name in names}
    columns = {name: merged[found[name]] for name in names}
    made = pa.table({ID: merged[ID], **columns})
    return made.cast(table.schema)


def decay(counts: pa.Table, factor: float) -> pa.Table:
    """Counts times a factor, as float64."""
    for index, field in enumerate(counts.schema):
        if field.name == COUNT or field.name.startswith(LABEL_PREFIX):
            floats = pc.multiply(counts[field.name].cast(pa.float64()), factor)
            counts = counts.set_column(index, field.name, floats)
    return counts


def with_dates(counts: pa.Table) -> pa.Table:
    """Days as date32, unknown ones null, as files have them."""
    for name, unknown in ((FIRST_DAY, NO_FIRST_DAY), (LAST_DAY, NO_LAST_DAY)):
        if name in counts.schema.names:
            days = counts[name]
            index = counts.schema.get_field_index(name)
            nothing = pa.scalar(None, pa.int32())
            days = pc.if_else(pc.equal(days, unknown), nothing, days)
            counts = counts.set_column(index, name, days.cast(pa.date32()))
    return counts


def without_dates(counts: pa.Table, kind: TableKind) -> pa.Table:
    """What `with_dates` was given; unknown days where there are no columns."""
    columns = {name: counts[name] for name in (ID, *numbers(kind))}
    unknown = {FIRST_DAY: NO_FIRST_DAY, LAST_DAY: NO_LAST_DAY}
    for name in day_names(kind):
        if name in counts.schema.names:
            days = counts[name].cast(pa.int32()).fill_null(unknown[name])
        else:
            days = pa.array(
                np.full(counts.num_rows, unknown[name], np.int32), pa.int32()
            )
        columns[name] = days
    return pa.table(columns)
