"""NumPy arrays from and to `TensorProto`, without TensorFlow's functions."""

import math
from typing import Any

import numpy as np

from serving import client_specs
from serving import prediction_error

_FIELDS = {
    "DT_FLOAT": "float_val",
    "DT_DOUBLE": "double_val",
    "DT_HALF": "half_val",
    "DT_BFLOAT16": "half_val",
    "DT_INT8": "int_val",
    "DT_INT16": "int_val",
    "DT_INT32": "int_val",
    "DT_INT64": "int64_val",
    "DT_UINT8": "int_val",
    "DT_UINT16": "int_val",
    "DT_UINT32": "uint32_val",
    "DT_UINT64": "uint64_val",
    "DT_BOOL": "bool_val",
    "DT_STRING": "string_val",
}
_WIRE_NAMES = {ours: wire for wire, (ours, _) in client_specs.DTYPES.items()}


def fill(proto: Any, array: np.ndarray, dtype: str) -> None:
    """Writes an array into an empty `TensorProto`.

    Numbers are written as raw bytes, which takes a copy and no loop.

    Args:
        proto: The message to fill.
        array: Of the dtype that `client_specs` has for `dtype`.
        dtype: TensorFlow's name, as in `"int64"`.

    Example:
    >>> from tensorflow_serving.apis import predict_pb2
    >>> proto = predict_pb2.PredictRequest().inputs["ids"]
    >>> fill(proto, np.array([7, 9]), "int64")
    >>> to_array(proto)
    array([7, 9])
    """
    wire = _WIRE_NAMES[dtype]
    enum = proto.DESCRIPTOR.fields_by_name["dtype"].enum_type
    proto.dtype = enum.values_by_name[wire].number
    # Also where there is no axis: a scalar's shape is present and empty.
    proto.tensor_shape.SetInParent()
    for size in array.shape:
        proto.tensor_shape.dim.add().size = size
    if dtype == "string":
        proto.string_val.extend(array.ravel().tolist())
    elif dtype == "bfloat16":
        proto.half_val.extend(_to_bfloat16(array).tolist())
    else:
        proto.tensor_content = np.ascontiguousarray(array).tobytes()


def to_array(proto: Any) -> np.ndarray:
    """Reads a `TensorProto` in either of its forms.

    Args:
        proto: A tensor of a response.

    Returns:
        The values; strings as objects of bytes, bfloat16 as float32.

    Raises:
        PredictionError: `INTERNAL` for a dtype or a size that cannot be.

    Example:
    >>> from tensorflow_serving.apis import predict_pb2
    >>> proto = predict_pb2.PredictResponse().outputs["click"]
    >>> proto.dtype = 1
    >>> proto.tensor_shape.dim.add().size = 2
    >>> proto.float_val.extend([0.25, 0.5])
    >>> to_array(proto)
    array([0.25, 0.5 ], dtype=float32)
    """
    enum = proto.DESCRIPTOR.fields_by_name["dtype"].enum_type
    known = enum.values_by_number.get(proto.dtype)
    wire = known.name if known else str(proto.dtype)
    if wire not in _FIELDS:
        raise prediction_error.PredictionError(
            "INTERNAL", f"The answer holds a tensor of dtype {wire}."
        )
    shape = tuple(dim.size for dim in proto.tensor_shape.dim)
    flat = _values(proto, wire)
    count = math.prod(shape)
    if 0 < len(flat) < count and not proto.tensor_content:
        # As TensorFlow has it, the last value fills the rest.
        flat = np.concatenate([flat, np.repeat(flat[-1:], count - len(flat))])
    if len(flat) != count:
        raise prediction_error.PredictionError(
            "INTERNAL",
            f"The answer holds {len(flat)} values for a shape of {shape}.",
        )
    return flat.reshape(shape)


def _values(proto: Any, wire: str) -> np.ndarray:
    kind = np.dtype(client_specs.DTYPES[wire][1])
    if wire == "DT_STRING":
        flat = np.empty(len(proto.string_val), object)
        flat[:] = list(proto.string_val)
        return flat
    half = wire in ("DT_HALF", "DT_BFLOAT16")
    raw = np.dtype(np.uint16) if half else kind
    if proto.tensor_content:
        if len(proto.tensor_content) % raw.itemsize:
            raise prediction_error.PredictionError(
                "INTERNAL", "The answer holds a part of a value."
            )
        flat = np.frombuffer(proto.tensor_content, raw).copy()
    else:
        flat = np.array(getattr(proto, _FIELDS[wire]), raw)
    if wire == "DT_HALF":
        return flat.view(np.float16)
    if wire == "DT_BFLOAT16":
        # The upper half of a float32.
        return (flat.astype(np.uint32) << 16).view(np.float32)
    return flat


def _to_bfloat16(array: np.ndarray) -> np.ndarray:
    bits = np.ascontiguousarray(array, np.float32).view(np.uint32).ravel()
    # To the nearest, ties to even; a NaN keeps a bit of its payload.
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
    nan = np.isnan(array).ravel()
    return np.where(nan, (bits >> 16) | 0x40, rounded).astype(np.uint16)
