"""Tensors as REST returns them: to JSON.

The rules are TensorFlow Serving's (its `util/json_tensor.cc`): NaN, Infinity
and -Infinity are written as such, though they are no JSON.
"""

import base64
from collections.abc import Mapping
from typing import Any

import grpc
import numpy as np

from serving import request_error

# An output of this name holds bytes, not text (a convention of TensorFlow
# Serving, which has no other way to tell).
_BYTES_SUFFIX = "_bytes"


def rows_from_arrays(outputs: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Writes the answer to the row form.

    Args:
        outputs: Arrays by name, all of one batch size.

    Returns:
        `{"predictions": [...]}`: plain values if there is one output, else
        objects.

    Raises:
        RequestError: `INVALID_ARGUMENT` if outputs have no batch dimension or
            different ones, `INTERNAL` for text that is no UTF-8.

    Example:
    >>> rows_from_arrays({"score": np.array([[0.2], [0.5]], np.float32)})
    {'predictions': [[0.2], [0.5]]}
    """
    batch_size = None
    for name, array in outputs.items():
        if not array.ndim:
            raise request_error.RequestError.invalid(
                f"Tensor name: {name} has no shape information. "
                "Ask in the column form ('inputs')."
            )
        if batch_size not in (None, array.shape[0]):
            raise request_error.RequestError.invalid(
                f"Tensor name: {name} has inconsistent batch size: "
                f"{array.shape[0]} expecting: {batch_size}. "
                "Ask in the column form ('inputs')."
            )
        batch_size = array.shape[0]
    columns = {name: _to_json(name, array) for name, array in outputs.items()}
    if len(columns) == 1:
        return {"predictions": next(iter(columns.values()))}
    rows = zip(*columns.values(), strict=True)
    return {"predictions": [dict(zip(columns, r, strict=True)) for r in rows]}


def columns_from_arrays(outputs: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Writes the answer to the column form.

    Args:
        outputs: Arrays by name.

    Returns:
        `{"outputs": ...}`: the plain value if there is one output, else an
        object.

    Raises:
        RequestError: `INTERNAL` for text that is no UTF-8.

    Example:
    >>> columns_from_arrays({"a": np.array([1]), "b": np.array([True])})
    {'outputs': {'a': [1], 'b': [True]}}
    """
    columns = {name: _to_json(name, array) for name, array in outputs.items()}
    if len(columns) == 1:
        return {"outputs": next(iter(columns.values()))}
    return {"outputs": columns}


def _to_json(name: str, array: np.ndarray) -> Any:
    if array.dtype == object:
        return _strings_to_json(name, array)
    if not np.issubdtype(array.dtype, np.number) and array.dtype != bool:
        # bfloat16 and its like are no NumPy numbers.
        array = array.astype(np.float32)
    if np.issubdtype(array.dtype, np.floating):
        # Through text, so that 0.2 as a float32 is 0.2 in JSON and not
        # 0.20000000298023224.
        array = array.astype(np.str_).astype(np.float64)
    return array.tolist()


def _strings_to_json(name: str, array: np.ndarray) -> Any:
    def convert(value: Any) -> Any:
        if isinstance(value, list):
            return [convert(item) for item in value]
        if name.endswith(_BYTES_SUFFIX):
            return {"b64": base64.b64encode(value).decode()}
        return value.decode()

    try:
        return convert(array.tolist())
    except UnicodeDecodeError as error:
        raise request_error.RequestError(
            grpc.StatusCode.INTERNAL,
            f"Output `{name}` is not UTF-8, which JSON cannot express. An "
            f"output named *{_BYTES_SUFFIX} is sent as base64.",
        ) from error
