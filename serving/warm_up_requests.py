"""The requests a model brings along to be warmed up with."""

import functools
from collections.abc import Callable
from collections.abc import Iterator

import grpc
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from serving import background
from serving import classification
from serving import request_error
from serving import servable as servable_lib
from serving import tensor_protos

FILE = "assets.extra/tf_serving_warmup_requests"
MAX_RECORDS = 1000
_FOREGROUND = background.Foreground()


def replay(
    servable: servable_lib.Servable,
    path: str,
    ground: background.Ground = _FOREGROUND,
) -> int:
    """Runs the warm-up requests of a version, if it brings any.

    The first requests of a graph are slow, since TensorFlow optimizes it then.
    As in TensorFlow Serving a version whose warm-up file is damaged, too long
    or does not suit the model is not served: such a file says that something
    went wrong when the version was written.

    Args:
        servable: The version.
        path: The version's folder.
        ground: Where they are run.

    Returns:
        The number of requests run, at most 1,000.

    Raises:
        RequestError: `DATA_LOSS` for a damaged file, `INVALID_ARGUMENT` for a
            record that is no `PredictionLog` or more than 1,000,
            `UNIMPLEMENTED` for another kind of request, or whatever a request
            is answered with.

    Example:
    >>> class Nothing:
    ...     name, version = "ctr", 1
    >>> replay(Nothing(), "/no/such/folder")
    0
    """
    file = f"{path}/{FILE}"
    if not tf.io.gfile.exists(file):
        return 0
    count = 0
    for record in _records(file):
        count += 1
        if count > MAX_RECORDS:
            raise request_error.RequestError.invalid(
                f"Number of warmup records exceeds the maximum ({MAX_RECORDS})"
                f" at {file}"
            )
        ground.run(_to_run(servable, _parse(record, file)))
    return count


def _records(file: str) -> Iterator[bytes]:
    # TensorFlow's reader checks the sums of length and content, so that a
    # damaged length is noticed before it is believed.
    try:
        yield from tf.data.TFRecordDataset(file).as_numpy_iterator()
    except tf.errors.OpError as error:
        raise request_error.RequestError.from_tensorflow(error) from error


def _parse(record: bytes, file: str) -> prediction_log_pb2.PredictionLog:
    log = prediction_log_pb2.PredictionLog()
    try:
        log.ParseFromString(record)
    # protobuf's DecodeError derives from Exception alone.
    except Exception as error:
        raise request_error.RequestError.invalid(
            f"Failed to parse a warmup record from {file}"
        ) from error
    return log


def _to_run(
    servable: servable_lib.Servable, log: prediction_log_pb2.PredictionLog
) -> Callable[[], object]:
    kind = log.WhichOneof("log_type")
    if kind == "predict_log":
        request = log.predict_log.request
        return functools.partial(
            servable.run,
            request.model_spec.signature_name,
            tensor_protos.to_arrays(request.inputs),
            request.output_filter,
        )
    if kind in ("classify_log", "regress_log"):
        request = getattr(log, kind).request
        signature = servable.signature(request.model_spec.signature_name)
        if len(signature.inputs) != 1:
            raise request_error.RequestError.invalid(
                f"Signature `{signature.name}` must have one input for "
                "Examples to be warmed up with them."
            )
        name = next(iter(signature.inputs))
        examples = classification.serialized_examples(request.input)
        return functools.partial(servable.run, signature.name, {name: examples})
    raise request_error.RequestError(
        grpc.StatusCode.UNIMPLEMENTED,
        f"Unsupported log_type for warmup: {kind}",
    )
