"""Requests that are stored with a model, as TensorFlow Serving's logs."""

import dataclasses
import math
from collections.abc import Iterator
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf
from google.protobuf import message
from tensorflow_serving.apis import prediction_log_pb2

from serving import replay_process
from tfplugin import errors

_MAX_TENSOR_BYTES = 1 << 30
# TensorFlow's string scalar occupies 24 bytes, however short the string.
_STRING_BYTES = 24


@dataclasses.dataclass(frozen=True)
class LoggedRequest:
    """One record of a file of `PredictionLog`s.

    Args:
        request: What is asked.
        expected: What was answered; empty without a response.
    """

    request: replay_process.Request
    expected: Mapping[str, np.ndarray]


def read(
    path: str, inputs: Mapping[str, str], limit: int
) -> list[LoggedRequest | str]:
    """Reads a TFRecord of `PredictionLog`s.

    Args:
        path: The file; any path that TensorFlow reads.
        inputs: Classify and Regress signatures to the name of their input.
        limit: How many records are read at most.

    Returns:
        A request a record, or its kind if that is none a signature answers:
        `multi_inference_log`, `session_run_log`.

    Raises:
        InputError: A record is damaged. The message says which.

    Example:
    >>> import tempfile
    >>> path = tempfile.mkdtemp() + "/requests"
    >>> log = prediction_log_pb2.PredictionLog()
    >>> asked, answered = log.regress_log.request, log.regress_log.response
    >>> _ = asked.input.example_list.examples.add()
    >>> _ = answered.result.regressions.add(value=0.5)
    >>> asked.model_spec.signature_name = "regress_buy"
    >>> with tf.io.TFRecordWriter(path) as writer:
    ...     writer.write(log.SerializeToString())
    >>> (found,) = read(path, {"regress_buy": "inputs"}, limit=10)
    >>> found.request.inputs["inputs"].numpy(), found.expected["outputs"]
    (array([b''], dtype=object), array([0.5], dtype=float32))
    """
    found: list[LoggedRequest | str] = []
    records = tf.data.TFRecordDataset(path).take(limit).as_numpy_iterator()
    while True:
        try:
            record = next(records, None)
            if record is None:
                return found
            found.append(_parse(record, inputs))
        except (tf.errors.OpError, message.DecodeError, ValueError) as error:
            (line, *_) = str(error).splitlines() or [type(error).__name__]
            raise errors.InputError(
                "A file of requests must be whole. Received: record "
                f"{len(found)} of {path!r}: {line}. Export the model again."
            ) from error


def _parse(record: bytes, inputs: Mapping[str, str]) -> LoggedRequest | str:
    log = prediction_log_pb2.PredictionLog.FromString(record)
    kind = log.WhichOneof("log_type")
    if kind == "predict_log":
        request, response = log.predict_log.request, log.predict_log.response
        signature = request.model_spec.signature_name or "serving_default"
        given = {k: _tensor(k, v) for k, v in request.inputs.items()}
        expected = {
            k: _tensor(k, v).numpy() for k, v in response.outputs.items()
        }
    elif kind in ("classify_log", "regress_log"):
        one = getattr(log, kind)
        signature = one.request.model_spec.signature_name or "serving_default"
        given = {
            inputs.get(signature, "inputs"): tf.constant(
                list(_examples(one.request.input)), tf.string
            )
        }
        if kind == "classify_log":
            expected = _classifications(one.response.result.classifications)
        else:
            values = [v.value for v in one.response.result.regressions]
            expected = {"outputs": np.array(values, np.float32)}
            expected = expected if values else {}
    else:
        return kind or "empty log"
    request_ = replay_process.Request(signature, given)
    return LoggedRequest(request_, expected)


def _classifications(rows: Any) -> dict[str, np.ndarray]:
    if not rows:
        return {}
    classes = [[c.label.encode() for c in row.classes] for row in rows]
    scores = [[c.score for c in row.classes] for row in rows]
    return {
        "classes": np.array(classes, object),
        "scores": np.array(scores, np.float32),
    }


def _examples(request_input: Any) -> Iterator[bytes]:
    """Serialized Examples, with those of the context merged into each."""
    if request_input.WhichOneof("kind") != "example_list_with_context":
        for example in request_input.example_list.examples:
            yield example.SerializeToString()
        return
    both = request_input.example_list_with_context
    for example in both.examples:
        merged = tf.train.Example()
        merged.CopyFrom(both.context)
        merged.MergeFrom(example)
        yield merged.SerializeToString()


def _tensor(name: str, proto: Any) -> tf.Tensor:
    """Decodes a tensor, unless a few bytes claim to be a gigantic one."""
    dtype = tf.as_dtype(proto.dtype)
    sizes = [dim.size for dim in proto.tensor_shape.dim]
    itemsize = _STRING_BYTES if dtype == tf.string else dtype.size or 1
    if (
        proto.tensor_shape.unknown_rank
        or min(sizes, default=0) < 0
        or math.prod(sizes) * itemsize > _MAX_TENSOR_BYTES
    ):
        raise ValueError(f"`{name}` has shape {sizes}")
    return tf.io.parse_tensor(proto.SerializeToString(), dtype)
