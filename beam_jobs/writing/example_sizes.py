"""How many bytes rows take as tf.train.Examples, without encoding them."""

from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from beam_jobs import conversions
from beam_jobs.batches import Int64s
from beam_jobs.writing import examples

#: The values from which on a varint takes 2, 3, ... 10 bytes.
_VARINT_BOUNDS = np.array([1 << 7 * k for k in range(1, 10)], np.uint64)
#: Tags and lengths around a feature's name and its values, about.
_FEATURE_BYTES = 10
#: Around an Example: the frame of a TFRecord, and the outer message.
_RECORD_BYTES = 20


def row_bytes(
    rows: pa.RecordBatch, kind: Literal["examples", "packed"]
) -> Int64s:
    """Bytes of each row before compression, within a few percent.

    They depend on the row alone, so that sums of them are the same however
    rows were batched.

    Args:
        rows: As in `examples.encode`.
        kind: The dataset's format: in a packed record, names and frames are
            shared by so many rows that they are left out.

    Returns:
        int64 `(rows,)`.

    Example:
    >>> import pyarrow as pa
    >>> rows = pa.RecordBatch.from_pydict({"a": [7, None, 300]})
    >>> row_bytes(rows, "examples").tolist(), row_bytes(rows, "packed").tolist()
    ([32, 20, 33], [1, 10, 2])
    """
    packed = kind == "packed"
    sizes = np.full(rows.num_rows, 0 if packed else _RECORD_BYTES, np.int64)
    for name, column in zip(rows.schema.names, rows.columns, strict=True):
        if conversions.is_list(column.type):
            lengths = examples.list_lengths(column)
            ends = np.cumsum(_value_bytes(column.flatten()), dtype=np.int64)
            ends = np.concatenate([[0], ends])
            sizes += np.diff(ends[examples.list_offsets(lengths)])
            present = lengths > 0
            if packed:
                sizes += 1  # the list's length
        else:
            present = column.is_valid().to_numpy(zero_copy_only=False)
            sizes += np.where(
                present, _value_bytes(column), _missing_bytes(column, packed)
            )
        if not packed:
            sizes[present] += len(name.encode()) + _FEATURE_BYTES
    return sizes


def _value_bytes(values: pa.Array) -> Int64s:
    if pa.types.is_integer(values.type):
        integers = values.fill_null(0).to_numpy().view(np.uint64)
        return np.searchsorted(_VARINT_BOUNDS, integers, side="right") + 1
    if pa.types.is_floating(values.type):
        return np.full(len(values), 4, np.int64)
    lengths = pc.binary_length(values).fill_null(0).to_numpy()
    return np.asarray(lengths, np.int64) + 2


def _missing_bytes(column: pa.Array, packed: bool) -> int:
    if not packed:
        return 0
    if pa.types.is_integer(column.type):
        return 10
    return 4 if pa.types.is_floating(column.type) else 2
