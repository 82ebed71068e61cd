"""gRPC: PredictionService."""

import logging
from typing import NoReturn

import grpc
from tensorflow_serving.apis import get_model_metadata_pb2
from tensorflow_serving.apis import predict_pb2
from tensorflow_serving.apis import prediction_service_pb2_grpc

from serving import request_error
from serving import servable_manager
from serving import tensor_protos

_SIGNATURE_DEF = "signature_def"

_logger = logging.getLogger(__name__)


def predict(
    manager: servable_manager.ServableManager,
    request: predict_pb2.PredictRequest,
) -> predict_pb2.PredictResponse:
    """Answers a Predict request.

    Args:
        manager: What is loaded.
        request: The model, the signature, one tensor for every input, and
            optionally the outputs to return.

    Returns:
        The outputs, and the model, version and signature they come from.

    Raises:
        RequestError: With the code and, nearly, the words of TensorFlow
            Serving; every input at fault is named.

    Example:
    >>> class Nothing:
    ...     name, version = "ctr", 1
    >>> manager = servable_manager.ServableManager(Nothing())
    >>> predict(manager, predict_pb2.PredictRequest())
    Traceback (most recent call last):
    ...
    serving.request_error.RequestError: Missing ModelSpec
    """
    if not request.HasField("model_spec"):
        raise request_error.RequestError.invalid("Missing ModelSpec")
    servable = manager.get(request.model_spec)
    signature = servable.signature(request.model_spec.signature_name)
    # First all dtypes and shapes: only a tensor the signature takes is
    # decoded.
    signature.check(
        {
            name: tensor_protos.spec_of(name, proto)
            for name, proto in request.inputs.items()
        }
    )
    inputs = {
        name: tensor_protos.to_tensor(name, proto)
        for name, proto in request.inputs.items()
    }
    outputs = servable.run(signature.name, inputs, request.output_filter)
    response = predict_pb2.PredictResponse()
    response.model_spec.name = servable.name
    response.model_spec.version.value = servable.version
    response.model_spec.signature_name = signature.name
    for name, array in outputs.items():
        tensor_protos.fill_proto(
            response.outputs[name], signature.outputs[name].dtype, array
        )
    return response


def get_model_metadata(
    manager: servable_manager.ServableManager,
    request: get_model_metadata_pb2.GetModelMetadataRequest,
) -> get_model_metadata_pb2.GetModelMetadataResponse:
    """Answers a GetModelMetadata request.

    Args:
        manager: What is loaded.
        request: The model, and `"signature_def"` as the metadata field.

    Returns:
        A `SignatureDefMap`, packed, under `"signature_def"`.

    Raises:
        RequestError: `INVALID_ARGUMENT` for another field or none,
            `NOT_FOUND` for a model that is not loaded.

    Example:
    >>> class Nothing:
    ...     name, version, signature_defs = "ctr", 1, {}
    >>> manager = servable_manager.ServableManager(Nothing())
    >>> request = get_model_metadata_pb2.GetModelMetadataRequest()
    >>> request.model_spec.name = "ctr"
    >>> request.metadata_field.append("signature_def")
    >>> get_model_metadata(manager, request).model_spec.version.value
    1
    """
    if not request.HasField("model_spec"):
        raise request_error.RequestError.invalid("Missing ModelSpec")
    if not request.metadata_field:
        raise request_error.RequestError.invalid(
            "GetModelMetadataRequest must specify at least one metadata_field"
        )
    for field in request.metadata_field:
        if field != _SIGNATURE_DEF:
            raise request_error.RequestError.invalid(
                f"Metadata field {field} is not supported"
            )
    servable = manager.get(request.model_spec)
    signatures = get_model_metadata_pb2.SignatureDefMap()
    for name, signature_def in servable.signature_defs.items():
        signatures.signature_def[name].CopyFrom(signature_def)
    response = get_model_metadata_pb2.GetModelMetadataResponse()
    response.model_spec.name = servable.name
    response.model_spec.version.value = servable.version
    response.metadata[_SIGNATURE_DEF].Pack(signatures)
    return response


def abort(
    context: grpc.ServicerContext, error: request_error.RequestError
) -> NoReturn:
    """Ends a call with the error's code and message.

    Args:
        context: The call.
        error: What went wrong.

    Example:
    >>> class Context:
    ...     def abort(self, code, details):
    ...         raise SystemExit(f"{code.name}: {details}")
    >>> abort(Context(), request_error.RequestError.invalid("No `age`."))
    Traceback (most recent call last):
    ...
    SystemExit: INVALID_ARGUMENT: No `age`.
    """
    # The message may quote values of the request: it goes to the client only.
    _logger.debug("Refused a gRPC request: %s", error.code.name)
    context.abort(error.code, error.message)
    raise error


class PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):
    """Predict and GetModelMetadata; every other method is UNIMPLEMENTED.

    Args:
        manager: What is loaded.

    Example:
    >>> class Nothing:
    ...     name, version = "ctr", 1
    >>> manager = servable_manager.ServableManager(Nothing())
    >>> hasattr(PredictionService(manager), "Predict")
    True
    """

    def __init__(self, manager: servable_manager.ServableManager) -> None:
        self._manager = manager

    def Predict(
        self,
        request: predict_pb2.PredictRequest,
        context: grpc.ServicerContext,
    ) -> predict_pb2.PredictResponse:
        """Answers a Predict call; see `predict`."""
        try:
            return predict(self._manager, request)
        except request_error.RequestError as error:
            abort(context, error)

    def GetModelMetadata(
        self,
        request: get_model_metadata_pb2.GetModelMetadataRequest,
        context: grpc.ServicerContext,
    ) -> get_model_metadata_pb2.GetModelMetadataResponse:
        """Answers a GetModelMetadata call; see `get_model_metadata`."""
        try:
            return get_model_metadata(self._manager, request)
        except request_error.RequestError as error:
            abort(context, error)
