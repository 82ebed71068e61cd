"""Tensors as gRPC carries them: from and to `TensorProto`."""

import math
from collections.abc import Mapping
from typing import Any
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from serving import request_error

# A proto of a few bytes may claim any shape, and repeats its last value to
# fill it: this bounds what one request may unpack to.
_MAX_REQUEST_BYTES = 1 << 28
# TensorFlow's string scalar occupies 24 bytes, however short the string.
_STRING_BYTES = 24
# NumPy makes no array of more axes.
_MAX_RANK = 64

# The field that holds a dtype's values, and how NumPy reads what is in it.
_FIELDS: dict[tf.DType, tuple[str, Any]] = {
    tf.float32: ("float_val", np.float32),
    tf.float64: ("double_val", np.float64),
    tf.int8: ("int_val", np.int32),
    tf.int16: ("int_val", np.int32),
    tf.int32: ("int_val", np.int32),
    tf.uint8: ("int_val", np.int32),
    tf.uint16: ("int_val", np.int32),
    tf.uint32: ("uint32_val", np.uint32),
    tf.int64: ("int64_val", np.int64),
    tf.uint64: ("uint64_val", np.uint64),
    tf.bool: ("bool_val", np.bool_),
    tf.string: ("string_val", object),
    # Sixteen bits, in fields of 32.
    tf.float16: ("half_val", np.int32),
    tf.bfloat16: ("half_val", np.int32),
}
_HALVES = (tf.float16, tf.bfloat16)


class _Kind(NamedTuple):
    """What decoding needs of a dtype, looked up once: DTypes compare slowly."""

    dtype: np.dtype[Any]
    itemsize: int
    field: str
    field_dtype: Any
    is_string: bool
    is_half: bool


def _kind(dtype: tf.DType) -> _Kind:
    numpy_dtype = np.dtype(dtype.as_numpy_dtype)
    return _Kind(
        numpy_dtype,
        _itemsize(numpy_dtype),
        *_FIELDS[dtype],
        is_string=dtype == tf.string,
        is_half=dtype in _HALVES,
    )


def _itemsize(dtype: np.dtype[Any]) -> int:
    return _STRING_BYTES if dtype.hasobject else dtype.itemsize


_KINDS = {dtype.as_datatype_enum: _kind(dtype) for dtype in _FIELDS}
_ENUMS = {kind.dtype: enum for enum, kind in _KINDS.items()}


def to_arrays(inputs: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Decodes all tensors of a request.

    Args:
        inputs: The tensors as received, by input name.

    Returns:
        An array by name; strings as objects of type bytes. Arrays may be
        read-only, since they may share the memory of the message.

    Raises:
        RequestError: `INVALID_ARGUMENT` for an unknown dtype, a shape that is
            not full, values that do not agree with it, or more than 256 MiB
            of values in all. The message names the input.

    Example:
    >>> to_arrays({"age": tf.make_tensor_proto([18, 65])})
    {'age': array([18, 65], dtype=int32)}
    """
    arrays = {}
    budget = _MAX_REQUEST_BYTES
    for name, proto in inputs.items():
        array = to_array(name, proto, budget)
        budget -= array.size * _itemsize(array.dtype)
        arrays[name] = array
    return arrays


def to_array(
    name: str, proto: Any, max_bytes: int = _MAX_REQUEST_BYTES
) -> np.ndarray:
    """Decodes a tensor by TensorFlow's rules, without an operation.

    As in TensorFlow, fewer values than the shape holds are continued by the
    last one, and none at all means zeros. Beyond TensorFlow, values that
    would be ignored are refused: those over the shape, and those in the
    field of another dtype.

    Args:
        name: The input's name, for messages.
        proto: The tensor as received.
        max_bytes: How much it may unpack to.

    Returns:
        The values, in the proto's shape.

    Raises:
        RequestError: `INVALID_ARGUMENT`; names the input.

    Example:
    >>> proto = tf.make_tensor_proto([[1.0]])
    >>> proto.tensor_shape.dim[0].size = 3
    >>> to_array("price", proto).tolist()
    [[1.0], [1.0], [1.0]]
    """
    shape = _shape(name, proto)
    kind = _KINDS.get(proto.dtype)
    content = proto.tensor_content
    if kind is None or (content and kind.is_string):
        return _decode_rare(name, proto, shape, max_bytes)
    count = shape[0] if len(shape) == 1 else math.prod(shape)
    if count * kind.itemsize > max_bytes:
        raise _too_many(name, shape, max_bytes)
    if content:
        return _from_content(name, content, kind.dtype, shape, count)
    values = getattr(proto, kind.field)
    received = len(values)
    if received > count:
        raise _mismatch(name, shape, f"{received} values in {kind.field}")
    if not received and count:
        _refuse_other_fields(name, proto, kind.field)
    array: np.ndarray
    if kind.is_string:
        # As a list, which is read faster than the field.
        array = np.array(values[:], object)
        if received < count:
            array = _filled(array, count, b"")
    else:
        array = np.array(values[:], kind.field_dtype)
        if kind.is_half:
            array = array.astype(np.uint16).view(kind.dtype)
        elif kind.field_dtype is np.int32:
            array = array.astype(kind.dtype, copy=False)
        if received < count:
            array = _filled(array, count, 0)
    return array if len(shape) == 1 else array.reshape(shape)


def fill_proto(proto: Any, array: np.ndarray) -> None:
    """Writes an output the way TensorFlow Serving does by default.

    `tf.make_tensor_proto` would pack numbers into `tensor_content`; clients
    of TensorFlow Serving read them from the typed fields (`float_val`, ...).

    Args:
        proto: The empty message to fill.
        array: The output's values; strings as objects of type bytes.

    Example:
    >>> proto = tf.make_tensor_proto(0.0)
    >>> proto.Clear()
    >>> fill_proto(proto, np.array([[0.5], [2.0]], np.float32))
    >>> list(proto.float_val)
    [0.5, 2.0]
    """
    enum = _ENUMS.get(array.dtype)
    if enum is None:
        proto.CopyFrom(tf.make_tensor_proto(array))
        return
    proto.dtype = enum
    # Set even for a scalar, whose shape has no dimension.
    shape = proto.tensor_shape
    shape.SetInParent()
    for size in array.shape:
        shape.dim.add().size = size
    kind = _KINDS[enum]
    values = array.ravel()
    if kind.is_half:
        values = values.view(np.uint16)
    getattr(proto, kind.field).extend(values.tolist())


def _shape(name: str, proto: Any) -> tuple[int, ...]:
    message = proto.tensor_shape
    shape = tuple([dim.size for dim in message.dim])
    if message.unknown_rank or (shape and min(shape) < 0):
        raise request_error.RequestError.invalid(
            f"Input `{name}` must have a full shape. "
            f"Received: shape={list(shape[:8])}."
        )
    if len(shape) > _MAX_RANK:
        raise request_error.RequestError.invalid(
            f"Input `{name}` must have at most {_MAX_RANK} axes. "
            f"Received: {len(shape)} axes."
        )
    if shape and max(shape) > _MAX_REQUEST_BYTES:
        # An empty tensor may have one such axis, which no array may.
        raise _too_many(name, shape, _MAX_REQUEST_BYTES)
    return shape


def _from_content(
    name: str,
    content: bytes,
    dtype: np.dtype[Any],
    shape: tuple[int, ...],
    count: int,
) -> np.ndarray:
    if len(content) != count * dtype.itemsize:
        raise _mismatch(name, shape, f"{len(content)} bytes of content")
    if dtype == np.bool_:
        # Any other byte than 0 and 1 is no bool to NumPy.
        return (np.frombuffer(content, np.uint8) != 0).reshape(shape)
    return np.frombuffer(content, dtype).reshape(shape)


def _filled(array: np.ndarray, count: int, default: Any) -> np.ndarray:
    last = array[-1] if len(array) else default
    return np.concatenate(
        [array, np.full(count - len(array), last, array.dtype)]
    )


def _refuse_other_fields(name: str, proto: Any, field: str) -> None:
    for descriptor, _ in proto.ListFields():
        if descriptor.name.endswith("_val"):
            raise request_error.RequestError.invalid(
                f"Input `{name}`, by its dtype, must have its values in "
                f"{field}. Received: values in {descriptor.name}."
            )


def _decode_rare(
    name: str, proto: Any, shape: tuple[int, ...], max_bytes: int
) -> np.ndarray:
    """Complex and quantized numbers, and strings packed into one."""
    try:
        dtype = tf.as_dtype(proto.dtype)
    except TypeError as error:
        raise request_error.RequestError.invalid(
            f"Input `{name}` must have a dtype TensorFlow knows. "
            f"Received: dtype={proto.dtype}."
        ) from error
    if math.prod(shape) * _STRING_BYTES > max_bytes:
        raise _too_many(name, shape, max_bytes)
    try:
        array: np.ndarray = tf.io.parse_tensor(
            proto.SerializeToString(), dtype
        ).numpy()
    # A dtype without values (a resource, a variant) has no array.
    except (tf.errors.OpError, NotImplementedError, ValueError) as error:
        raise request_error.RequestError.invalid(
            f"tensor parsing error: {name}"
        ) from error
    # A scalar string comes without its array.
    return np.asarray(array, object if dtype == tf.string else None)


def _too_many(
    name: str, shape: tuple[int, ...], max_bytes: int
) -> request_error.RequestError:
    return request_error.RequestError.invalid(
        f"Input `{name}` must hold at most {max_bytes} bytes. "
        f"Received: shape={list(shape)}."
    )


def _mismatch(
    name: str, shape: tuple[int, ...], received: str
) -> request_error.RequestError:
    return request_error.RequestError.invalid(
        f"tensor parsing error: {name}. Its values must fill its shape "
        f"{list(shape)}. Received: {received}."
    )
