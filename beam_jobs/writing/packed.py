"""Columns → tf.train.Examples of many rows each, column by column."""

from collections.abc import Collection

import numpy as np
import pyarrow as pa

from beam_jobs import conversions
from beam_jobs.writing import examples
from tfplugin import schema


def encode(
    rows: pa.RecordBatch, rows_per_record: int, *, labels: Collection[str]
) -> list[bytes]:
    """Serializes rows, `rows_per_record` a record, the last one fewer.

    A scalar column is a feature with one value a row, missing ones as the
    parser gives them: -2^63, `''`, NaN, and -1 for a label. A list column is
    a feature with the values of all rows, and a feature NAME_length with
    one length a row. Reading such a record costs what its values cost, not
    what its rows do.

    Args:
        rows: Scalars and lists of int64, float32 and strings, no nulls inside
            lists.
        rows_per_record: Rows of a record, positive.
        labels: Columns that are labels.

    Returns:
        Serialized Examples; none of no rows.

    Raises:
        ValueError: A list holds a null, or a column is called NAME_length
            beside a list NAME.

    Example:
    >>> import pyarrow as pa
    >>> from tfx_bsl.coders import example_coder
    >>> rows = pa.RecordBatch.from_pydict(
    ...     {"id": [7, None, 8], "tags": [[1, 2], [], [3]]}
    ... )
    >>> decode = example_coder.ExamplesToRecordBatchDecoder().DecodeBatch
    >>> decoded = decode(encode(rows, 2, labels=())).to_pydict()
    >>> decoded["id"]
    [[7, -9223372036854775808], [8]]
    >>> decoded["tags"], decoded["tags_length"]
    ([[1, 2], [3]], [[2, 0], [1]])
    """
    count = rows.num_rows
    if not count:
        return []
    clash = clashing_names(rows.schema)
    if clash:
        raise ValueError(
            f"No column may be called as the lengths of a list. Received: "
            f"{clash}. Rename it."
        )
    bounds = np.append(
        np.arange(0, count, rows_per_record, dtype=np.int64), count
    )
    lists: dict[str, pa.LargeListArray] = {}
    for name, column in zip(rows.schema.names, rows.columns, strict=True):
        if not conversions.is_list(column.type):
            lists[name] = _records(_filled(column, name in labels), bounds)
            continue
        lengths = examples.list_lengths(column)
        offsets = examples.list_offsets(lengths)
        lists[name] = _records(column.flatten(), offsets[bounds])
        lists[name + schema.LENGTHS_SUFFIX] = _records(
            pa.array(lengths), bounds
        )
    return examples.encode_lists(lists)


def clashing_names(columns: pa.Schema) -> list[str]:
    """Columns whose names a packed record needs for the lengths of lists.

    Example:
    >>> import pyarrow as pa
    >>> lists = pa.list_(pa.int64())
    >>> clashing_names(pa.schema({"a": lists, "a_length": pa.int64()}))
    ['a_length']
    """
    lengths = {
        column.name + schema.LENGTHS_SUFFIX
        for column in columns
        if conversions.is_list(column.type)
    }
    return sorted(lengths.intersection(columns.names))


def _records(
    values: pa.Array, bounds: np.ndarray[tuple[int], np.dtype[np.int64]]
) -> pa.LargeListArray:
    return pa.LargeListArray.from_arrays(
        pa.array(bounds), examples.encodable(values)
    )


def _filled(column: pa.Array, is_label: bool) -> pa.Array:
    missing: int | float | str = schema.MISSING_INT64
    if pa.types.is_floating(column.type):
        missing = schema.MISSING_LABEL if is_label else float("nan")
    elif not pa.types.is_integer(column.type):
        missing = schema.MISSING_STRING
    return column.fill_null(pa.scalar(missing, column.type))
