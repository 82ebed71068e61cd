"""gRPC: ModelService."""

import grpc
from tensorflow_serving.apis import get_model_status_pb2
from tensorflow_serving.apis import model_service_pb2_grpc

from serving import prediction_service
from serving import request_error
from serving import servable_manager


class ModelService(model_service_pb2_grpc.ModelServiceServicer):
    """GetModelStatus; every other method is UNIMPLEMENTED.

    Args:
        manager: What is loaded.

    Example:
    >>> class Nothing:
    ...     name, version = "ctr", 1
    >>> service = ModelService(servable_manager.ServableManager(Nothing()))
    >>> hasattr(service, "GetModelStatus")
    True
    """

    def __init__(self, manager: servable_manager.ServableManager) -> None:
        self._manager = manager

    def GetModelStatus(
        self,
        request: get_model_status_pb2.GetModelStatusRequest,
        context: grpc.ServicerContext,
    ) -> get_model_status_pb2.GetModelStatusResponse:
        """Answers a GetModelStatus call: which versions are available."""
        try:
            if not request.HasField("model_spec"):
                raise request_error.RequestError.invalid("Missing ModelSpec")
            return self._manager.status(request.model_spec)
        except request_error.RequestError as error:
            prediction_service.abort(context, error)
