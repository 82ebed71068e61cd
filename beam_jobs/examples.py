"""Columns → serialized tf.train.Examples, by tfx_bsl's encoder."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from tfx_bsl.coders import example_coder

from beam_jobs import conversions


def encode(rows: pa.RecordBatch) -> pa.Array:
    r"""Serializes rows; a null and an empty list are absent features.

    The order of features inside an Example, and with it the bytes, may differ
    from process to process; what they mean does not.

    Args:
        rows: Scalars and lists of int64, float32 and strings, no nulls inside
            lists.

    Returns:
        Serialized Examples, large_binary `(rows,)`.

    Raises:
        ValueError: A list holds a null, of which the encoder would make 0.

    Example:
    >>> import pyarrow as pa
    >>> encode(pa.RecordBatch.from_pydict({"a": [7]})).to_pylist()
    [b'\n\x0c\n\n\n\x01a\x12\x05\x1a\x03\n\x01\x07']
    """
    lists = pa.RecordBatch.from_arrays(
        [_as_lists(column) for column in rows.columns], rows.schema.names
    )
    encoder = example_coder.RecordBatchToExamplesEncoder()
    return pa.array(encoder.encode(lists), pa.large_binary())


def _as_lists(column: pa.Array) -> pa.Array:
    """The only form the encoder takes; a null list is an absent feature."""
    if conversions.is_list(column.type):
        values = column.flatten()
        if values.null_count:
            raise ValueError(
                "Lists must not hold nulls. Received: "
                f"{values.null_count} nulls. Fill them with the missing id."
            )
        lengths = pc.list_value_length(column).fill_null(0).to_numpy()
    else:
        values = column.drop_null()
        lengths = column.is_valid().to_numpy(zero_copy_only=False)
    if pa.types.is_string(values.type) or pa.types.is_large_string(values.type):
        values = values.cast(pa.large_binary())
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return pa.LargeListArray.from_arrays(
        pa.array(offsets), values, mask=pa.array(lengths == 0)
    )
