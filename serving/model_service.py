"""ModelService: what each of its methods answers."""

import threading

import grpc
from tensorflow_serving.apis import get_model_status_pb2
from tensorflow_serving.apis import model_management_pb2

from serving import calls as calls_lib
from serving import reload_roots
from serving import request_error
from tfplugin import errors


class ModelService:
    """GetModelStatus and HandleReloadConfigRequest.

    A method is a coroutine from the request to the response, as in
    `PredictionService`.

    Args:
        calls: Runs the requests.
        allowed: Which folders a reload may name.
    """

    def __init__(
        self, calls: calls_lib.Calls, allowed: reload_roots.ReloadRoots
    ) -> None:
        self._calls = calls
        self._reloading = threading.Lock()
        self._allowed = allowed

    async def GetModelStatus(
        self,
        request: get_model_status_pb2.GetModelStatusRequest,
        call: calls_lib.Call,
    ) -> get_model_status_pb2.GetModelStatusResponse:
        """Returns the state of a model's versions.

        Args:
            request: The model, and optionally one version or label.
            call: The request's record.
        """
        if not request.HasField("model_spec"):
            raise request_error.RequestError.invalid("Missing ModelSpec")
        self._calls.enter(call, request.model_spec)
        return self._calls.manager.status(request.model_spec)

    async def HandleReloadConfigRequest(
        self,
        request: model_management_pb2.ReloadConfigRequest,
        call: calls_lib.Call,
    ) -> model_management_pb2.ReloadConfigResponse:
        """Replaces the configuration of what is served.

        Args:
            request: All models to serve from now on; one that it leaves out
                is unloaded. Their folders must be allowed.
            call: The request's record.

        Returns:
            An empty status, which is OK, once all is as configured.
        """
        if request.config.WhichOneof("config") != "model_config_list":
            raise request_error.RequestError.invalid(
                "ReloadConfigRequest must hold a model_config_list."
            )

        def apply() -> None:
            # Those that wait would keep threads from requests.
            if not self._reloading.acquire(blocking=False):
                raise request_error.RequestError(
                    grpc.StatusCode.UNAVAILABLE,
                    "Another reload is going on. Try again when it has ended.",
                )
            try:
                self._allowed.check(request.config)
                self._calls.manager.apply(request.config)
            finally:
                self._reloading.release()

        try:
            # Beside the loop, since models are loaded before it returns.
            await self._calls.run_in_thread(apply)
        except errors.InputError as error:
            raise request_error.RequestError.invalid(str(error)) from error
        response = model_management_pb2.ReloadConfigResponse()
        response.status.SetInParent()
        return response
