"""Classify and Regress: Examples in, labels with scores or values out.

The rules are TensorFlow Serving's (its `classifier.cc`, `regressor.cc` and
`util.cc`): a signature takes one input, `inputs`, of serialized Examples, and
returns `classes` and `scores`, or `outputs`.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from tensorflow_serving.apis import classification_pb2
from tensorflow_serving.apis import input_pb2
from tensorflow_serving.apis import regression_pb2

from serving import request_error

INPUTS = "inputs"
CLASSIFY = "tensorflow/serving/classify"
REGRESS = "tensorflow/serving/regress"

_CLASSES = "classes"
_SCORES = "scores"
_OUTPUTS = "outputs"
_KINDS = {CLASSIFY: "classification", REGRESS: "regression"}
_EXPECTED = {CLASSIFY: {_CLASSES, _SCORES}, REGRESS: {_OUTPUTS}}


def serialized_examples(request_input: input_pb2.Input) -> np.ndarray:
    """Serializes the Examples of a request, each with the shared context.

    Bytes of the context and of an Example in a row are, to protobuf, one
    message: of a feature in both, the Example's own counts.

    Args:
        request_input: The Examples, with a context or without.

    Returns:
        An array of bytes, one an Example.

    Raises:
        RequestError: `INVALID_ARGUMENT` if there are none.

    Example:
    >>> request_input = input_pb2.Input()
    >>> _ = request_input.example_list.examples.add()
    >>> serialized_examples(request_input)
    array([b''], dtype=object)
    """
    context = b""
    if request_input.WhichOneof("kind") == "example_list_with_context":
        with_context = request_input.example_list_with_context
        context = with_context.context.SerializeToString()
        examples = with_context.examples
    else:
        examples = request_input.example_list.examples
    if not examples:
        raise request_error.RequestError.invalid("Input is empty.")
    array = np.empty(len(examples), object)
    array[:] = [context + example.SerializeToString() for example in examples]
    return array


def check_signature(signature_def: Any, method_name: str) -> None:
    """Refuses a signature that is not for this method.

    Args:
        signature_def: The `SignatureDef` as stored in the SavedModel.
        method_name: `CLASSIFY` or `REGRESS`.

    Raises:
        RequestError: `INVALID_ARGUMENT` for another method's signature, or
            one whose inputs or outputs are not those of the method.

    Example:
    >>> import tensorflow as tf
    >>> graph = tf.compat.v1.MetaGraphDef()
    >>> stored = graph.signature_def["serving_default"]
    >>> stored.method_name = "tensorflow/serving/predict"
    >>> check_signature(stored, REGRESS)
    Traceback (most recent call last):
    ...
    serving.request_error.RequestError: Expected regression signature \
method_name to be tensorflow/serving/regress. Was: tensorflow/serving/predict
    """
    kind = _KINDS[method_name]
    if signature_def.method_name != method_name:
        raise request_error.RequestError.invalid(
            f"Expected {kind} signature method_name to be {method_name}. "
            f"Was: {signature_def.method_name}"
        )
    if set(signature_def.inputs) != {INPUTS}:
        raise request_error.RequestError.invalid(
            f"Expected one input Tensor, named {INPUTS}, of the {kind} "
            f"signature. Was: {','.join(sorted(signature_def.inputs))}"
        )
    expected = _EXPECTED[method_name]
    received = set(signature_def.outputs)
    if not received or not received <= expected:
        raise request_error.RequestError.invalid(
            f"Expected {kind} signature outputs to be of "
            f"{','.join(sorted(expected))}. "
            f"Was: {','.join(sorted(received))}"
        )


def to_classifications(
    outputs: Mapping[str, np.ndarray], num_examples: int
) -> classification_pb2.ClassificationResult:
    """Writes the outputs of a Classify signature.

    Args:
        outputs: `classes` (bytes) and `scores`, both of shape
            `(num_examples, num_classes)`; one of them may be absent.
        num_examples: How many Examples were sent.

    Returns:
        For each Example its labels with their scores.

    Raises:
        RequestError: `INVALID_ARGUMENT` for another shape.

    Example:
    >>> result = to_classifications(
    ...     {
    ...         "classes": np.array([[b"0", b"1"]], object),
    ...         "scores": np.array([[0.75, 0.25]], np.float32),
    ...     },
    ...     1,
    ... )
    >>> [(c.label, c.score) for c in result.classifications[0].classes]
    [('0', 0.75), ('1', 0.25)]
    """
    shapes = {array.shape for array in outputs.values()}
    shape = next(iter(shapes))
    if len(shapes) > 1 or len(shape) != 2 or shape[0] != num_examples:
        raise request_error.RequestError.invalid(
            f"Expected outputs of shape [{num_examples}, classes]. "
            f"Was: {sorted(shapes)}"
        )
    labels = outputs[_CLASSES].tolist() if _CLASSES in outputs else None
    scores = outputs[_SCORES].tolist() if _SCORES in outputs else None
    result = classification_pb2.ClassificationResult()
    for row in range(num_examples):
        classifications = result.classifications.add()
        for column in range(shape[1]):
            item = classifications.classes.add()
            if labels is not None:
                item.label = _label(labels[row][column])
            if scores is not None:
                item.score = scores[row][column]
    return result


def to_regressions(
    outputs: Mapping[str, np.ndarray], num_examples: int
) -> regression_pb2.RegressionResult:
    """Writes the output of a Regress signature.

    Args:
        outputs: `outputs`, of shape `(num_examples,)` or
            `(num_examples, 1)`.
        num_examples: How many Examples were sent.

    Returns:
        A value an Example.

    Raises:
        RequestError: `INVALID_ARGUMENT` for another shape.

    Example:
    >>> result = to_regressions({"outputs": np.array([[0.5], [2.0]])}, 2)
    >>> [regression.value for regression in result.regressions]
    [0.5, 2.0]
    """
    values = outputs[_OUTPUTS]
    if values.shape not in ((num_examples,), (num_examples, 1)):
        raise request_error.RequestError.invalid(
            "Expected output Tensor shape to be either [batch_size] or "
            f"[batch_size, 1] but got {list(values.shape)}"
        )
    result = regression_pb2.RegressionResult()
    for value in values.ravel().tolist():
        result.regressions.add().value = value
    return result


def _label(label: bytes) -> str:
    # A label is text in the protocol; what is none must not end the call.
    return label.decode(errors="replace")
