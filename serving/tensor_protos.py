"""Tensors as gRPC carries them: from and to `TensorProto`."""

import math
from typing import Any

import numpy as np
import tensorflow as tf

from serving import request_error

# A proto of a few bytes may claim any shape, and repeats its last value to
# fill it.
_MAX_TENSOR_BYTES = 1 << 30
# TensorFlow's string scalar occupies 24 bytes, however short the string.
_STRING_BYTES = 24

_FIELDS = {
    tf.float32: "float_val",
    tf.float64: "double_val",
    tf.int8: "int_val",
    tf.int16: "int_val",
    tf.int32: "int_val",
    tf.uint8: "int_val",
    tf.uint16: "int_val",
    tf.uint32: "uint32_val",
    tf.int64: "int64_val",
    tf.uint64: "uint64_val",
    tf.bool: "bool_val",
    tf.string: "string_val",
    tf.float16: "half_val",
    tf.bfloat16: "half_val",
}


def spec_of(name: str, proto: Any) -> tf.TensorSpec:
    """Reads the dtype and the shape of a tensor, and nothing else of it.

    Args:
        name: The input's name, for messages.
        proto: The tensor as received.

    Returns:
        The dtype and the full shape.

    Raises:
        RequestError: `INVALID_ARGUMENT` for an unknown dtype, a shape that
            is not full, or more than 1 GiB of values.

    Example:
    >>> spec_of("age", tf.make_tensor_proto([[1, 2]]))
    TensorSpec(shape=(1, 2), dtype=tf.int32, name=None)
    """
    try:
        dtype = tf.as_dtype(proto.dtype)
    except TypeError as error:
        raise request_error.RequestError.invalid(
            f"Input `{name}` must have a dtype TensorFlow knows. "
            f"Received: dtype={proto.dtype}."
        ) from error
    sizes = [dim.size for dim in proto.tensor_shape.dim]
    if proto.tensor_shape.unknown_rank or any(size < 0 for size in sizes):
        raise request_error.RequestError.invalid(
            f"Input `{name}` must have a full shape. Received: shape={sizes}."
        )
    itemsize = _STRING_BYTES if dtype == tf.string else dtype.size or 1
    if math.prod(sizes) * itemsize > _MAX_TENSOR_BYTES:
        raise request_error.RequestError.invalid(
            f"Input `{name}` must hold at most {_MAX_TENSOR_BYTES} bytes. "
            f"Received: shape={sizes}."
        )
    return tf.TensorSpec(sizes, dtype)


def to_tensor(name: str, proto: Any) -> tf.Tensor:
    """Decodes a tensor with TensorFlow's own C++ decoder.

    Args:
        name: The input's name, for messages.
        proto: The tensor as received; check its `spec_of` first.

    Returns:
        The tensor.

    Raises:
        RequestError: `INVALID_ARGUMENT` if values and shape do not agree.

    Example:
    >>> to_tensor("age", tf.make_tensor_proto([18, 65])).numpy()
    array([18, 65], dtype=int32)
    """
    try:
        return tf.io.parse_tensor(
            proto.SerializeToString(), tf.as_dtype(proto.dtype)
        )
    except tf.errors.InvalidArgumentError as error:
        raise request_error.RequestError.invalid(
            f"tensor parsing error: {name}"
        ) from error


def fill_proto(proto: Any, dtype: tf.DType, array: np.ndarray) -> None:
    """Writes an output the way TensorFlow Serving does by default.

    `tf.make_tensor_proto` would pack numbers into `tensor_content`; clients
    of TensorFlow Serving read them from the typed fields (`float_val`, ...).

    Args:
        proto: The empty message to fill.
        dtype: The output's dtype.
        array: The output's values.

    Example:
    >>> proto = tf.make_tensor_proto(0.0)
    >>> proto.Clear()
    >>> fill_proto(proto, tf.float32, np.array([[0.5], [2.0]], np.float32))
    >>> list(proto.float_val)
    [0.5, 2.0]
    """
    if dtype not in _FIELDS:
        proto.CopyFrom(tf.make_tensor_proto(array, dtype))
        return
    proto.dtype = dtype.as_datatype_enum
    proto.tensor_shape.CopyFrom(tf.TensorShape(array.shape).as_proto())
    values = array.ravel()
    if dtype in (tf.float16, tf.bfloat16):
        values = values.view(np.uint16)
    getattr(proto, _FIELDS[dtype]).extend(values.tolist())
