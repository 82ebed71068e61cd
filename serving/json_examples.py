"""Examples as REST receives them, and labels and values as it returns them.

The rules are TensorFlow Serving's (its `util/json_tensor.cc`): whole numbers
make an int64 list, decimals a float list, text and `{"b64": ...}` a bytes
list, and a feature is of one kind.
"""

from collections.abc import Mapping
from typing import Any

import tensorflow as tf
from tensorflow_serving.apis import classification_pb2
from tensorflow_serving.apis import input_pb2
from tensorflow_serving.apis import regression_pb2

from serving import json_values
from serving import request_error

_MAX_INT64 = 2**63
_MAX_FLOAT32 = float(tf.float32.max)


def parse_examples(document: Mapping[str, Any]) -> input_pb2.Input:
    """Reads the body of a classify or regress request.

    Args:
        document: The JSON object: `examples`, a list of objects of features,
            and optionally `context`, an object of features that all share.

    Returns:
        The Examples as gRPC carries them.

    Raises:
        RequestError: `INVALID_ARGUMENT`; names the feature.

    Example:
    >>> found = parse_examples({"examples": [{"age": 18, "price": 0.5}]})
    >>> feature = found.example_list.examples[0].features.feature
    >>> list(feature["age"].int64_list.value)
    [18]
    """
    examples = document.get("examples")
    if not isinstance(examples, list) or not examples:
        raise request_error.RequestError.invalid(
            "When method is classify or regress, key 'examples' is expected "
            "and must be a non-empty list of objects."
        )
    result = input_pb2.Input()
    if "context" in document:
        with_context = result.example_list_with_context
        _fill(with_context.context, document["context"], "'context'")
        target = with_context.examples
    else:
        target = result.example_list.examples
    for index, example in enumerate(examples):
        _fill(target.add(), example, f"item {index} of 'examples'")
    return result


def classifications_to_json(
    result: classification_pb2.ClassificationResult,
) -> dict[str, Any]:
    """Writes the answer to classify.

    Args:
        result: Labels and scores by Example.

    Returns:
        `{"results": [[[label, score], ...], ...]}`.

    Example:
    >>> result = classification_pb2.ClassificationResult()
    >>> label = result.classifications.add().classes.add(label="1", score=0.5)
    >>> classifications_to_json(result)
    {'results': [[['1', 0.5]]]}
    """
    return {
        "results": [
            [[item.label, _number(item.score)] for item in row.classes]
            for row in result.classifications
        ]
    }


def regressions_to_json(
    result: regression_pb2.RegressionResult,
) -> dict[str, Any]:
    """Writes the answer to regress.

    Args:
        result: A value by Example.

    Returns:
        `{"results": [value, ...]}`.

    Example:
    >>> result = regression_pb2.RegressionResult()
    >>> result.regressions.add().value = 0.5
    >>> regressions_to_json(result)
    {'results': [0.5]}
    """
    return {"results": [_number(row.value) for row in result.regressions]}


def _fill(example: tf.train.Example, features: Any, where: str) -> None:
    if not json_values.is_object(features):
        raise request_error.RequestError.invalid(
            f"Expecting an object of features as {where}."
        )
    for name, value in features.items():
        values = value if isinstance(value, list) else [value]
        try:
            _add(example.features.feature[_text(name)], values)
        except ValueError as error:
            raise request_error.RequestError.invalid(
                f"Feature `{name!s}` in {where}: {error}".encode(
                    errors="replace"
                ).decode()
            ) from error


def _add(feature: tf.train.Feature, values: list[Any]) -> None:
    types = set(map(type, values))
    if types == {int}:
        if not all(-_MAX_INT64 <= value < _MAX_INT64 for value in values):
            raise ValueError("a whole number is out of the range of int64.")
        feature.int64_list.value.extend(values)
    elif types == {float}:
        # NaN, which is a missing number, is neither below nor above.
        if any(abs(value) > _MAX_FLOAT32 for value in values):
            raise ValueError("a number is out of the range of float32.")
        feature.float_list.value.extend(values)
    elif types and types <= {str, dict}:
        strings = [json_values.to_bytes(value) for value in values]
        feature.bytes_list.value.extend(strings)
    elif types:
        names = sorted({json_values.json_type(value) for value in values})
        raise ValueError(
            "values must be all whole numbers, all decimals, or all strings. "
            f"Received: {', '.join(names[:3])}."
        )


def _text(name: str) -> str:
    # A feature's name is UTF-8 to protobuf.
    json_values.to_bytes(name)
    return name


def _number(value: float) -> float:
    # Float32 in the message: its shortest digits, not those of the double.
    return float(str(tf.float32.as_numpy_dtype(value)))
