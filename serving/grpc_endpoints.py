"""Services as gRPC takes them: from bytes to bytes."""

from collections.abc import Awaitable
from collections.abc import Callable
from typing import Any

import grpc
from tensorflow_serving.apis import classification_pb2
from tensorflow_serving.apis import get_model_metadata_pb2
from tensorflow_serving.apis import get_model_status_pb2
from tensorflow_serving.apis import inference_pb2
from tensorflow_serving.apis import model_management_pb2
from tensorflow_serving.apis import predict_pb2
from tensorflow_serving.apis import regression_pb2

from serving import calls as calls_lib
from serving import request_error

PREDICTION_SERVICE = "tensorflow.serving.PredictionService"
MODEL_SERVICE = "tensorflow.serving.ModelService"

# What each method takes. The generated modules of the services, which would
# tell, do not load beside the protobuf that TensorFlow needs.
_METHODS: dict[str, dict[str, Any]] = {
    PREDICTION_SERVICE: {
        "Predict": predict_pb2.PredictRequest,
        "Classify": classification_pb2.ClassificationRequest,
        "Regress": regression_pb2.RegressionRequest,
        "MultiInference": inference_pb2.MultiInferenceRequest,
        "GetModelMetadata": get_model_metadata_pb2.GetModelMetadataRequest,
    },
    MODEL_SERVICE: {
        "GetModelStatus": get_model_status_pb2.GetModelStatusRequest,
        "HandleReloadConfigRequest": model_management_pb2.ReloadConfigRequest,
    },
}

# gRPC sends messages as metadata, of which clients take 8 KiB in all.
_MAX_MESSAGE_BYTES = 2048


def handler(
    service: str, servicer: object, calls: calls_lib.Calls
) -> grpc.GenericRpcHandler:
    """Makes the handler of a service.

    Messages are parsed here and not by gRPC, whose answer to one that does
    not parse is INTERNAL, and which parses long ones in its event loop.

    Args:
        service: The service's full name.
        servicer: Has a coroutine for each of its methods, from the request
            and its `Call` to the response.
        calls: Runs the requests.

    Returns:
        What `grpc.aio.Server.add_generic_rpc_handlers` takes.
    """
    methods = {
        name: grpc.unary_unary_rpc_method_handler(
            _endpoint(name, message_class, getattr(servicer, name), calls)
        )
        for name, message_class in _METHODS[service].items()
    }
    return grpc.method_handlers_generic_handler(service, methods)


def _endpoint(
    name: str,
    message_class: Any,
    function: Callable[[Any, calls_lib.Call], Awaitable[Any]],
    calls: calls_lib.Calls,
) -> Callable[[bytes, Any], Awaitable[bytes]]:
    def parse(body: bytes) -> Any:
        try:
            return message_class.FromString(body)
        # protobuf's DecodeError derives from Exception alone.
        except Exception as error:
            raise request_error.RequestError.invalid(
                f"The message is no {message_class.DESCRIPTOR.name}: it does "
                "not parse."
            ) from error

    async def endpoint(body: bytes, context: Any) -> bytes:
        async def answer(call: calls_lib.Call) -> bytes:
            request = await calls.read(parse, body)
            response = await function(request, call)
            serialized: bytes = response.SerializeToString()
            return serialized

        try:
            return await calls.answer(
                name, "GRPC", answer, context.time_remaining()
            )
        except request_error.RequestError as error:
            await context.abort(error.code, _details(error.message))
            raise

    return endpoint


def _details(message: str) -> str:
    encoded = message.encode(errors="replace")
    if len(encoded) <= _MAX_MESSAGE_BYTES:
        return encoded.decode()
    return encoded[:_MAX_MESSAGE_BYTES].decode(errors="ignore") + " ..."
