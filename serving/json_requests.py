"""Tensors as REST receives them: from JSON.

The rules are TensorFlow Serving's (its `util/json_tensor.cc`): strict JSON
and, beyond it, the literal NaN, by which a request says that a number is
missing. Infinity, which nothing means, is refused.
"""

import json
import math
from collections.abc import Iterator
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from serving import json_values
from serving import request_error

# NumPy makes no array of more axes.
_MAX_RANK = 64
# Binary digits of a floating-point type: integers up to 2^digits are exact.
_FLOAT_DIGITS = {
    tf.float64: 53,
    tf.float32: 24,
    tf.float16: 11,
    tf.bfloat16: 8,
}


def parse_object(body: bytes) -> dict[str, Any]:
    """Parses a body as a JSON object in which NaN may stand.

    Args:
        body: The body, UTF-8.

    Raises:
        RequestError: `INVALID_ARGUMENT` for anything else, or if
            `signature_name` is there and no string.

    Example:
    >>> parse_object(b'{"signature_name": "s"}')
    {'signature_name': 's'}
    """
    try:
        document = json.loads(body, parse_constant=_parse_constant)
    # A ValueError is also what bad UTF-8 and endless integers raise.
    except (ValueError, RecursionError) as error:
        raise request_error.RequestError.invalid(
            f"JSON Parse error: {error}"
        ) from error
    if not isinstance(document, dict):
        raise request_error.RequestError.invalid("JSON Value: Is not object")
    name = document.get("signature_name", "")
    if not isinstance(name, str) or not name.isprintable():
        raise request_error.RequestError.invalid(
            "'signature_name' key must be a string value."
        )
    return document


def parse_request(body: bytes) -> dict[str, Any]:
    """Parses the body of a predict request.

    Args:
        body: The body, UTF-8.

    Returns:
        The JSON object, which has either `"instances"` or `"inputs"`.

    Raises:
        RequestError: `INVALID_ARGUMENT` for anything else.

    Example:
    >>> parse_request(b'{"instances": [1, 2]}')
    {'instances': [1, 2]}
    """
    document = parse_object(body)
    forms = {"instances", "inputs"} & set(document)
    if not forms:
        raise request_error.RequestError.invalid(
            "Missing 'inputs' or 'instances' key"
        )
    if len(forms) > 1:
        raise request_error.RequestError.invalid(
            "Not formatted correctly expecting only one of 'inputs' or "
            "'instances' keys to exist"
        )
    return document


def arrays_from_rows(
    instances: Any, specs: Mapping[str, tf.TensorSpec]
) -> dict[str, np.ndarray]:
    """Reads the row form: one JSON value or object for every example.

    Args:
        instances: A list, not empty; each item is an object with every input,
            or, if there is one input only, its plain value.
        specs: The signature's inputs by name.

    Returns:
        One array for every input, of batch size `len(instances)`.

    Raises:
        RequestError: `INVALID_ARGUMENT`; names the instance and the input.

    Example:
    >>> specs = {"age": tf.TensorSpec([None], tf.int64)}
    >>> arrays_from_rows([{"age": 18}, {"age": 65}], specs)["age"]
    array([18, 65])
    """
    if not isinstance(instances, list):
        raise request_error.RequestError.invalid(
            "Expecting 'instances' to be a list/array"
        )
    if not instances:
        raise request_error.RequestError.invalid(
            "No values in 'instances' array"
        )
    if json_values.is_object(instances[0]):
        columns = _columns_of_objects(instances, specs)
    else:
        columns = _column_of_values(instances, specs)
    return {
        name: _to_array(name, columns[name], spec)
        for name, spec in specs.items()
    }


def arrays_from_columns(
    inputs: Any, specs: Mapping[str, tf.TensorSpec]
) -> dict[str, np.ndarray]:
    """Reads the column form: one JSON value for every input.

    Args:
        inputs: An object with every input, or, if there is one input only,
            its plain value. `[]` is an empty batch of any rank.
        specs: The signature's inputs by name.

    Returns:
        One array for every input; strings as objects of type bytes.

    Raises:
        RequestError: `INVALID_ARGUMENT`; names the input.

    Example:
    >>> specs = {"name": tf.TensorSpec([None], tf.string)}
    >>> arrays_from_columns([{"b64": "YQ=="}, "b"], specs)["name"]
    array([b'a', b'b'], dtype=object)
    """
    if not json_values.is_object(inputs):
        if len(specs) != 1:
            raise request_error.RequestError.invalid(
                "inputs is a plain value/list, but expecting an object as "
                f"multiple input tensors required: {_names(specs)}"
            )
        inputs = {next(iter(specs)): inputs}
    for name in specs:
        if name not in inputs:
            raise request_error.RequestError.invalid(
                f"Missing named input: {name} in 'inputs' object."
            )
    for name in inputs:
        if name not in specs:
            raise request_error.RequestError.invalid(
                f"JSON object: does not have named input: {name}. "
                f"The signature takes: {_names(specs)}."
            )
    return {
        name: _to_array(name, inputs[name], spec)
        for name, spec in specs.items()
    }


def _parse_constant(constant: str) -> float:
    if constant == "NaN":
        return math.nan
    raise ValueError(f"{constant} is not a JSON number")


def _names(names: Mapping[str, Any]) -> str:
    return ",".join(sorted(names))


def _columns_of_objects(
    instances: list[Any], specs: Mapping[str, tf.TensorSpec]
) -> dict[str, list[Any]]:
    columns: dict[str, list[Any]] = {name: [] for name in specs}
    for index, instance in enumerate(instances):
        if not json_values.is_object(instance):
            raise request_error.RequestError.invalid(
                f"Expecting object but got value/list at item {index} of "
                "input list"
            )
        if set(instance) != set(specs):
            raise request_error.RequestError.invalid(
                f"Failed to process element: {index} of 'instances' list. "
                f"Keys must be equal to: {_names(specs)}. "
                f"Received: {_names(instance)}."
            )
        for name, value in instance.items():
            columns[name].append(value)
    return columns


def _column_of_values(
    instances: list[Any], specs: Mapping[str, tf.TensorSpec]
) -> dict[str, list[Any]]:
    if len(specs) != 1:
        raise request_error.RequestError.invalid(
            "instances is a plain list, but expecting list of objects as "
            f"multiple input tensors required: {_names(specs)}"
        )
    for index, instance in enumerate(instances):
        if json_values.is_object(instance):
            raise request_error.RequestError.invalid(
                f"Expecting value/list but got object at item {index} of "
                "input list"
            )
    return {next(iter(specs)): instances}


def _to_array(name: str, value: Any, spec: tf.TensorSpec) -> np.ndarray:
    shape = _shape(value)
    if shape == [0] and (spec.shape.rank or 0) > 1:
        # JSON cannot say that the rows of an empty batch are lists.
        shape = [0] + [size or 0 for size in spec.shape[1:]]
    _check_rank(name, len(shape), spec)
    try:
        leaves = list(_leaves(value, _shape(value)))
        flat = _plain(leaves, spec.dtype)
        if flat is None:
            flat = np.empty(len(leaves), spec.dtype.as_numpy_dtype)
            for index, leaf in enumerate(leaves):
                flat[index] = _scalar(leaf, spec.dtype)
    except ValueError as error:
        raise request_error.RequestError.invalid(
            f"Input `{name}`: {error}"
        ) from error
    return flat.reshape(shape)


def _plain(leaves: list[Any], dtype: tf.DType) -> np.ndarray | None:
    """Reads all at once what needs no look at each; None for anything else."""
    types = set(map(type, leaves))
    if dtype == tf.int64 and types == {int}:
        try:
            return np.array(leaves, np.int64)
        except OverflowError:
            return None
    if dtype == tf.float32 and types == {float}:
        array = np.array(leaves, np.float64)
        # False for NaN as well, which is a missing number.
        if (np.abs(array) > tf.float32.max).any():
            return None
        return array.astype(np.float32)
    return None


def _check_rank(name: str, rank: int, spec: tf.TensorSpec) -> None:
    # Before a tensor is made: deep lists have none, and reading them recurses.
    if spec.shape.rank is None:
        if rank <= _MAX_RANK:
            return
        expected = f"at most {_MAX_RANK} axes"
    else:
        if rank == spec.shape.rank:
            return
        sizes = [-1 if size is None else size for size in spec.shape]
        shape = ",".join(map(str, sizes))
        expected = f"shape [{shape}] (-1: any size)"
    raise request_error.RequestError.invalid(
        f"Input `{name}` must have {expected}. "
        f"Received: lists nested {rank} deep."
    )


def _shape(value: Any) -> list[int]:
    """Reads the shape off the first item of every level."""
    shape = []
    while isinstance(value, list):
        shape.append(len(value))
        if not value:
            break
        value = value[0]
    return shape


def _leaves(value: Any, shape: list[int]) -> Iterator[Any]:
    if not shape:
        if isinstance(value, list):
            raise ValueError("a list is nested deeper than the first value.")
        yield value
        return
    if not isinstance(value, list):
        raise ValueError(f"expecting a list of size {shape[0]}, got a value.")
    if len(value) != shape[0]:
        raise ValueError(
            f"expecting tensor size: {shape[0]} but got: {len(value)}. "
            "Lists of one input must be padded to one length."
        )
    for item in value:
        yield from _leaves(item, shape[1:])


def _scalar(value: Any, dtype: tf.DType) -> Any:
    if dtype == tf.string:
        return json_values.to_bytes(value)
    if dtype.is_bool and isinstance(value, bool):
        return value
    # To Python, True is an integer.
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if dtype.is_integer and number and isinstance(value, int):
        if dtype.min <= value <= dtype.max:
            return value
        raise ValueError(f"{value} is out of the range of {dtype.name}.")
    if dtype in _FLOAT_DIGITS and number:
        return _floating(value, dtype)
    raise ValueError(
        f"JSON {json_values.json_type(value)} is not of expected type: "
        f"{dtype.name}"
    )


def _floating(value: int | float, dtype: tf.DType) -> float:
    # Integers beyond 2^digits are rounded, which for an id is another id.
    too_long = (
        isinstance(value, int) and abs(value) >= 1 << _FLOAT_DIGITS[dtype]
    )
    # As Python floats: NumPy's would warn of the values that are refused here.
    low, high = float(dtype.min), float(dtype.max)
    if too_long or value < low or value > high:
        raise ValueError(
            f"cannot convert JSON value: {value} to {dtype.name} without "
            "loss of precision."
        )
    return float(value)
