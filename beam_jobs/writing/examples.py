"""Columns → serialized tf.train.Examples, by tfx_bsl's encoder."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from tfx_bsl.coders import example_coder

from beam_jobs import conversions
from beam_jobs.batches import Int64s


def encode(rows: pa.RecordBatch) -> list[bytes]:
    r"""Serializes rows; a null and an empty list are absent features.

    The order of features inside an Example, and with it the bytes, may differ
    from process to process; what they mean does not.

    Args:
        rows: Scalars and lists of int64, float32 and strings, no nulls inside
            lists.

    Returns:
        A serialized Example a row.

    Raises:
        ValueError: A list holds a null, of which the encoder would make 0.

    Example:
    >>> import pyarrow as pa
    >>> encode(pa.RecordBatch.from_pydict({"a": [7]}))
    [b'\n\x0c\n\n\n\x01a\x12\x05\x1a\x03\n\x01\x07']
    """
    return encode_lists(
        {
            name: _as_lists(column)
            for name, column in zip(
                rows.schema.names, rows.columns, strict=True
            )
        }
    )


def encode_lists(lists: dict[str, pa.LargeListArray]) -> list[bytes]:
    """Serializes features that already are what the encoder takes.

    Args:
        lists: Name to large lists of int64, float32 or large_binary; a null
            list is an absent feature.

    Example:
    >>> import pyarrow as pa
    >>> ones = pa.array([[1], None], pa.large_list(pa.int64()))
    >>> len(encode_lists({"a": ones}))
    2
    """
    batch = pa.RecordBatch.from_arrays(list(lists.values()), list(lists))
    encoder = example_coder.RecordBatchToExamplesEncoder()
    records: list[bytes] = encoder.encode(batch)
    return records


def encodable(values: pa.Array) -> pa.Array:
    """Values inside lists, strings as the bytes that the encoder takes.

    Raises:
        ValueError: There is a null, of which the encoder would make 0.

    Example:
    >>> import pyarrow as pa
    >>> encodable(pa.array(["a"])).type
    DataType(large_binary)
    """
    if values.null_count:
        raise ValueError(
            "Lists must not hold nulls. Received: "
            f"{values.null_count} nulls. Fill them with the missing id."
        )
    if pa.types.is_string(values.type) or pa.types.is_large_string(values.type):
        return values.cast(pa.large_binary())
    return values


def list_offsets(lengths: Int64s) -> Int64s:
    """Where each list begins, and where the last one ends, from 0.

    Example:
    >>> list_offsets(np.array([2, 0, 1])).tolist()
    [0, 2, 2, 3]
    """
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


def list_lengths(column: pa.Array) -> Int64s:
    """int64 `(rows,)`, the length of each list; a null one has 0.

    Example:
    >>> import pyarrow as pa
    >>> list_lengths(pa.array([[4, 5], None, []])).tolist()
    [2, 0, 0]
    """
    lengths = pc.list_value_length(column).fill_null(0)
    return np.asarray(lengths.to_numpy(), np.int64)


def _as_lists(column: pa.Array) -> pa.LargeListArray:
    """The only form the encoder takes; a null list is an absent feature."""
    if conversions.is_list(column.type):
        values, lengths = column.flatten(), list_lengths(column)
    else:
        values = column.drop_null()
        lengths = column.is_valid().to_numpy(zero_copy_only=False)
    return pa.LargeListArray.from_arrays(
        pa.array(list_offsets(lengths)),
        encodable(values),
        mask=pa.array(lengths == 0),
    )
