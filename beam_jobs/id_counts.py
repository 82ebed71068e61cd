"""Counts of ids as Arrow tables: made, merged, divided, sorted."""

from collections.abc import Mapping
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from beam_jobs import conversions
from beam_jobs import row_hash
from tfplugin import schema

#: Columns of a table of counts; `LABEL_PREFIX` + name for each label.
ID, COUNT, LABEL_PREFIX = "id", "count", "label_"


def count(
    rows: pa.RecordBatch, features: Sequence[str], labels: Sequence[str]
) -> pa.Table:
    """Counts the ids of one embedding table in a batch.

    Args:
        rows: Columns; features hold ids or lists of ids.
        features: Names of the features that index the table.
        labels: Names of float32 columns of 0, 1 and null.

    Returns:
        `id`; `count`, its occurrences; and `label_NAME`, its occurrences in
        rows where that label is 1. Missing ids are not counted. An id may
        have several rows: `merge` adds them up.

    Example:
    >>> import pyarrow as pa
    >>> batch = pa.RecordBatch.from_pydict(
    ...     {"item": [7, 7, None], "click": pa.array([1.0, 0.0, 1.0])})
    >>> merge([count(batch, ["item"], ["click"])]).to_pylist()
    [{'id': 7, 'count': 2, 'label_click': 1}]
    """
    positive = {
        label: pc.equal(rows.column(label), 1.0).fill_null(False)
        for label in labels
    }
    tables = []
    for feature in features:
        column = rows.column(feature)
        tables.append(_values(column, COUNT, labels))
        for label, mask in positive.items():
            hit = column.filter(mask)
            if len(hit):
                tables.append(_values(hit, LABEL_PREFIX + label, labels))
    return pa.concat_tables(tables)


def _values(column: pa.Array, name: str, labels: Sequence[str]) -> pa.Table:
    """Counts of `column` under `name`; zeros in the other columns."""
    if conversions.is_list(column.type):
        column = column.flatten()
    counted = pc.value_counts(column)
    values, counts = counted.flatten()
    zeros = pa.array(np.zeros(len(values), np.int64))
    names = [COUNT, *(LABEL_PREFIX + label for label in labels)]
    columns = {n: counts if n == name else zeros for n in names}
    table = pa.table({ID: values, **columns})
    return table.filter(_is_id(values))


def _is_id(values: pa.Array) -> pa.Array:
    missing: int | str = schema.MISSING_INT64
    if pa.types.is_string(values.type):
        missing = schema.MISSING_STRING
    return pc.not_equal(values, missing).fill_null(False)


def merge(tables: Sequence[pa.Table]) -> pa.Table:
    """Adds up the counts of each id; ids in no particular order."""
    table = pa.concat_tables(tables)
    names = [name for name in table.schema.names if name != ID]
    merged = table.group_by(ID, use_threads=False).aggregate(
        [(name, "sum") for name in names]
    )
    renamed = {f"{name}_sum": name for name in names}
    merged = merged.rename_columns(
        [renamed.get(name, name) for name in merged.schema.names]
    )
    return merged.select([ID, *names])


def divide(table: pa.Table, num_shards: int) -> Mapping[int, pa.Table]:
    """Divides ids among shards by their hash; empty shards are left out."""
    if not table.num_rows:
        return {}
    values = pa.concat_arrays(table[ID].chunks)
    shards = row_hash.hash_columns([values], 0) % np.uint64(num_shards)
    order = np.argsort(shards, kind="stable")
    bounds = np.searchsorted(shards[order], np.arange(num_shards + 1))
    ordered = table.take(pa.array(order))
    return {
        shard: ordered.slice(bounds[shard], bounds[shard + 1] - bounds[shard])
        for shard in range(num_shards)
        if bounds[shard] < bounds[shard + 1]
    }


def most_frequent_first(table: pa.Table) -> pa.Table:
    """Sorts by falling count, then by rising id."""
    return table.sort_by([(COUNT, "descending"), (ID, "ascending")])


def empty(dtype: schema.IdDtype, labels: Sequence[str]) -> pa.Table:
    """A table of counts without ids."""
    kind = pa.int64() if dtype == "int64" else pa.string()
    names = [COUNT, *(LABEL_PREFIX + label for label in labels)]
    fields = [(ID, kind), *((name, pa.int64()) for name in names)]
    return pa.schema(fields).empty_table()
