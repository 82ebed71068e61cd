"""Examples for Classify and Regress, over either protocol."""

import base64
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import numpy as np


def fill(example_list: Any, examples: Sequence[Any]) -> None:
    """Writes examples into an `ExampleList`.

    Args:
        example_list: The message to fill.
        examples: Each a serialized tf.train.Example, or a mapping from a
            feature's name to its value or its list of values: integers,
            floats, or strings. None is a missing value: an absent feature.

    Raises:
        ValueError: For what is neither.

    Example:
    >>> from tensorflow_serving.apis import input_pb2
    >>> message = input_pb2.Input().example_list
    >>> fill(message, [{"age": 18, "seen": ["a", "b"], "price": None}])
    >>> message.examples[0].features.feature["seen"].bytes_list.value
    [b'a', b'b']
    """
    for row, example in enumerate(examples):
        message = example_list.examples.add()
        if isinstance(example, bytes):
            try:
                message.ParseFromString(example)
            # protobuf's DecodeError is no ValueError in all of its builds.
            except Exception as error:
                raise ValueError(
                    f"Example {row} must be a serialized tf.train.Example "
                    f"({error})."
                ) from error
            continue
        for name, value in _features(row, example).items():
            feature = message.features.feature[name]
            if isinstance(value[0], bytes):
                feature.bytes_list.value.extend(value)
            elif isinstance(value[0], int):
                feature.int64_list.value.extend(value)
            else:
                feature.float_list.value.extend(value)


def to_json(examples: Sequence[Any]) -> list[dict[str, Any]]:
    """Examples as REST takes them.

    Args:
        examples: Mappings, as for `fill`; or serialized Examples, which loads
            TensorFlow to read them.

    Raises:
        ValueError: As for `fill`.

    Example:
    >>> to_json([{"age": 18, "city": "Bern", "raw": bytes([255])}])
    [{'age': [18], 'city': ['Bern'], 'raw': [{'b64': '/w=='}]}]
    """
    made = []
    for row, example in enumerate(examples):
        if isinstance(example, bytes):
            example = _read(row, example)
        features = _features(row, example)
        made.append(
            {
                name: [_plain(v) for v in value]
                for name, value in features.items()
            }
        )
    return made


def _features(row: int, example: Any) -> dict[str, list[Any]]:
    if not isinstance(example, Mapping):
        raise ValueError(
            "Examples must be bytes or mappings. Received: example "
            f"{row} of type {type(example).__name__}."
        )
    found = {}
    for name, value in example.items():
        if isinstance(value, np.ndarray | np.generic):
            value = value.tolist()
        values = value if isinstance(value, list | tuple) else [value]
        values = [v for v in values if v is not None]
        if values:
            found[name] = [_scalar(row, name, v) for v in values]
    return found


def _scalar(row: int, name: str, value: Any) -> Any:
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, bool) or not isinstance(value, int | float | bytes):
        raise ValueError(
            f"Feature `{name}` of example {row} must hold integers, floats or "
            f"strings. Received: {type(value).__name__}."
        )
    return value


def _read(row: int, serialized: bytes) -> dict[str, Any]:
    from tensorflow_serving.apis import input_pb2

    message = input_pb2.Input().example_list
    fill(message, [serialized])
    return {
        name: list(getattr(feature, feature.WhichOneof("kind")).value)
        for name, feature in message.examples[0].features.feature.items()
        if feature.WhichOneof("kind")
    }


def _plain(value: Any) -> Any:
    if not isinstance(value, bytes):
        return value
    try:
        return value.decode()
    except UnicodeDecodeError:
        return {"b64": base64.b64encode(value).decode()}
