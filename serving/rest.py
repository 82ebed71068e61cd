"""REST, under /v1/models."""

import asyncio
import json
import logging
import re
import urllib.parse
from collections.abc import Awaitable
from collections.abc import Callable
from concurrent import futures
from typing import Any

import grpc
from aiohttp import web
from google.protobuf import json_format
from google.protobuf import message
from tensorflow_serving.apis import get_model_metadata_pb2
from tensorflow_serving.apis import model_pb2

from serving import json_requests
from serving import json_responses
from serving import prediction_service
from serving import request_error
from serving import servable_manager

# TensorFlow Serving's own expressions, case-insensitive as they are there.
_MODEL = r"/v1/models/([^/:]+)(?:/versions/(\d+)|/labels/([^/:]+))?"
_PREDICT = re.compile(_MODEL + r":(classify|regress|predict)", re.I | re.A)
_STATUS = re.compile(_MODEL + r"(/metadata)?", re.I | re.A)

_MAX_INT64 = 2**63 - 1

# TensorFlow Serving's mapping from canonical codes to HTTP.
_HTTP_STATUS = {
    grpc.StatusCode.CANCELLED: 499,
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.DEADLINE_EXCEEDED: 504,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.ALREADY_EXISTS: 409,
    grpc.StatusCode.PERMISSION_DENIED: 403,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.FAILED_PRECONDITION: 400,
    grpc.StatusCode.ABORTED: 409,
    grpc.StatusCode.OUT_OF_RANGE: 400,
    grpc.StatusCode.UNIMPLEMENTED: 501,
    grpc.StatusCode.UNAVAILABLE: 503,
    grpc.StatusCode.UNAUTHENTICATED: 401,
}

_logger = logging.getLogger(__name__)


class RestApi:
    """Predict, model status and model metadata over HTTP.

    Every answer is JSON; an error is `{"error": "..."}` with the HTTP status
    TensorFlow Serving gives it. Models run in a pool of threads, so that a
    slow one does not hold up a question for the status.

    Args:
        manager: What is loaded.
        max_request_bytes: The longest body taken; a longer one is answered
            with 413.
        num_threads: Predictions that may run at the same time.

    Example:
    >>> class Nothing:
    ...     name, version = "ctr", 1
    >>> api = RestApi(servable_manager.ServableManager(Nothing()))
    >>> status = api.get("/v1/models/ctr")["model_version_status"][0]
    >>> status["version"], status["state"]
    ('1', 'AVAILABLE')
    """

    def __init__(
        self,
        manager: servable_manager.ServableManager,
        max_request_bytes: int = 1 << 27,
        num_threads: int = 8,
    ) -> None:
        self._manager = manager
        self._max_request_bytes = max_request_bytes
        self._threads = futures.ThreadPoolExecutor(
            num_threads, thread_name_prefix="rest"
        )

    def application(self) -> web.Application:
        """Returns the aiohttp application, to be run in any event loop."""
        application = web.Application(
            client_max_size=self._max_request_bytes,
            middlewares=[_answer_errors_in_json],
        )
        application.router.add_route("*", "/{path:.*}", self._handle)
        return application

    def close(self) -> None:
        """Starts no prediction any more; what runs may end by itself."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def get(self, path: str) -> dict[str, Any]:
        """Answers a GET: a model's status or its metadata.

        Args:
            path: `/v1/models/NAME[/versions/V][/metadata]`, as sent.

        Returns:
            The JSON object to answer.

        Raises:
            RequestError: `INVALID_ARGUMENT` for another path, `NOT_FOUND` for
                a model or a version that is not loaded.
        """
        match = _STATUS.fullmatch(path)
        if not match:
            raise _malformed("GET", path)
        spec = _model_spec(*match.group(1, 2, 3))
        if match.group(4):
            return self._metadata(spec)
        return _to_json(self._manager.status(spec))

    def post(self, path: str, body: bytes) -> dict[str, Any]:
        """Answers a POST: a prediction.

        Args:
            path: `/v1/models/NAME[/versions/V]:predict`, as sent.
            body: The row form (`instances`) or the column form (`inputs`).

        Returns:
            The JSON object to answer: `predictions` or `outputs`.

        Raises:
            RequestError: `INVALID_ARGUMENT` for another path or a malformed
                body, `UNIMPLEMENTED` for `:classify` and `:regress`,
                `NOT_FOUND` for a model or a version that is not loaded.
        """
        match = _PREDICT.fullmatch(path)
        if not match:
            raise _malformed("POST", path)
        method = match.group(4).lower()
        if method != "predict":
            raise request_error.RequestError(
                grpc.StatusCode.UNIMPLEMENTED,
                f"Method {method} is not implemented. Use predict.",
            )
        spec = _model_spec(*match.group(1, 2, 3))
        document = json_requests.parse_request(body)
        return self._predict(spec, document)

    def _predict(
        self, spec: model_pb2.ModelSpec, document: dict[str, Any]
    ) -> dict[str, Any]:
        servable = self._manager.get(spec)
        signature = servable.signature(document.get("signature_name", ""))
        if "instances" in document:
            inputs = json_requests.tensors_from_rows(
                document["instances"], signature.inputs
            )
            outputs = servable.run(signature.name, inputs)
            return json_responses.rows_from_arrays(outputs)
        inputs = json_requests.tensors_from_columns(
            document["inputs"], signature.inputs
        )
        outputs = servable.run(signature.name, inputs)
        return json_responses.columns_from_arrays(outputs)

    def _metadata(self, spec: model_pb2.ModelSpec) -> dict[str, Any]:
        request = get_model_metadata_pb2.GetModelMetadataRequest(
            model_spec=spec, metadata_field=["signature_def"]
        )
        response = prediction_service.get_model_metadata(self._manager, request)
        signatures = get_model_metadata_pb2.SignatureDefMap()
        response.metadata["signature_def"].Unpack(signatures)
        return {
            "model_spec": _to_json(response.model_spec),
            "metadata": {"signature_def": _to_json(signatures)},
        }

    async def _handle(self, request: web.Request) -> web.Response:
        path = request.rel_url.raw_path
        if not path.lower().startswith("/v1/"):
            raise request_error.RequestError(
                grpc.StatusCode.NOT_FOUND,
                f"Not found: {path}. The API is under /v1/models.",
            )
        if request.method == "GET":
            answer = self.get(path)
        elif request.method == "POST":
            body = await request.read()
            answer = await asyncio.get_running_loop().run_in_executor(
                self._threads, self.post, path, body
            )
        else:
            raise _malformed(request.method, path)
        return web.json_response(answer)


@web.middleware
async def _answer_errors_in_json(
    request: web.Request,
    handler: Callable[[web.Request], Awaitable[web.StreamResponse]],
) -> web.StreamResponse:
    try:
        return await handler(request)
    except request_error.RequestError as error:
        status, text = _HTTP_STATUS.get(error.code, 500), error.message
    except web.HTTPException as error:
        # aiohttp's own refusals, such as a body over the limit.
        status, text = error.status, error.text or error.reason
    except web.RequestPayloadError:
        status, text = 400, "The body does not decode as its headers say."
    except Exception:
        # The client gets an answer, whatever fails; the log gets the cause.
        _logger.exception("A REST request failed")
        status, text = 500, "Internal error; see the server's log."
    _logger.debug("Refused a REST request: %d", status)
    return web.json_response({"error": text}, status=status)


def _malformed(method: str, path: str) -> request_error.RequestError:
    return request_error.RequestError.invalid(
        f"Malformed request: {method} {path}"
    )


def _model_spec(
    name: str, version: str | None, label: str | None
) -> model_pb2.ModelSpec:
    spec = model_pb2.ModelSpec(name=urllib.parse.unquote(name))
    if label:
        spec.version_label = urllib.parse.unquote(label)
    if version:
        # No int64 has more than 19 digits.
        if len(version) > 19 or int(version) > _MAX_INT64:
            raise request_error.RequestError.invalid(
                f"Failed to convert version: {version} to numeric."
            )
        spec.version.value = int(version)
    return spec


def _to_json(proto: message.Message) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(
        json_format.MessageToJson(
            proto,
            always_print_fields_with_no_presence=True,
            preserving_proto_field_name=True,
        )
    )
    return document
