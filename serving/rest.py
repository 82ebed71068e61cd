"""REST, under /v1/models."""

import functools
import json
import logging
import re
import urllib.parse
from collections.abc import Callable
from typing import Any

import grpc
import numpy as np
from aiohttp import web
from google.protobuf import json_format
from google.protobuf import message
from tensorflow_serving.apis import classification_pb2
from tensorflow_serving.apis import get_model_metadata_pb2
from tensorflow_serving.apis import get_model_status_pb2
from tensorflow_serving.apis import model_pb2
from tensorflow_serving.apis import regression_pb2

from serving import calls as calls_lib
from serving import json_examples
from serving import json_requests
from serving import json_responses
from serving import model_service
from serving import prediction_service
from serving import request_error
from serving import signature as signature_lib

# TensorFlow Serving's own expressions, case-insensitive as they are there.
_MODEL = r"/v1/models/([^/:]+)(?:/versions/(\d+)|/labels/([^/:]+))?"
_PREDICT = re.compile(_MODEL + r":(classify|regress|predict)", re.I | re.A)
_STATUS = re.compile(_MODEL + r"(/metadata)?", re.I | re.A)

_MAX_INT64 = 2**63 - 1
# Answers of more values than this are written in a thread.
_MAX_VALUES_IN_LOOP = 1 << 12

_logger = logging.getLogger(__name__)


class RestApi:
    """Answers requests by their path: JSON in, JSON out.

    Args:
        calls: Runs the requests.
        predictions: Answers what gRPC can be asked as well.
        models: As `predictions`.
    """

    def __init__(
        self,
        calls: calls_lib.Calls,
        predictions: prediction_service.PredictionService,
        models: model_service.ModelService,
    ) -> None:
        self._calls = calls
        self._predictions = predictions
        self._models = models

    async def get(self, path: str) -> dict[str, Any]:
        """Answers a GET: a model's status or its metadata.

        Args:
            path: `/v1/models/NAME[/versions/V|/labels/L][/metadata]`, as
                sent.

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
            return await self._calls.answer(
                "GetModelMetadata",
                "REST",
                functools.partial(self._metadata, spec),
            )
        return await self._calls.answer(
            "GetModelStatus", "REST", functools.partial(self._status, spec)
        )

    async def post(self, path: str, body: bytes) -> dict[str, Any]:
        """Answers a POST: a prediction.

        Args:
            path: `/v1/models/NAME[/versions/V|/labels/L]:METHOD`, as sent,
                where METHOD is predict, classify or regress.
            body: For predict the row form (`instances`) or the column form
                (`inputs`), else `examples` and optionally `context`.

        Returns:
            The JSON object to answer.

        Raises:
            RequestError: `INVALID_ARGUMENT` for another path or a malformed
                body, `NOT_FOUND` for a model or a version that is not loaded.
        """
        match = _PREDICT.fullmatch(path)
        if not match:
            raise _malformed("POST", path)
        spec = _model_spec(*match.group(1, 2, 3))
        method = match.group(4).lower()
        answers = {
            "predict": self._predict,
            "classify": self._classify,
            "regress": self._regress,
        }
        return await self._calls.answer(
            method.capitalize(),
            "REST",
            functools.partial(answers[method], spec, body),
        )

    async def _predict(
        self, spec: model_pb2.ModelSpec, body: bytes, call: calls_lib.Call
    ) -> dict[str, Any]:
        self._calls.enter(call, spec)
        with self._calls.manager.lease(spec) as servable:
            read = functools.partial(_read_inputs, servable.signature)
            name, inputs, by_rows = await self._calls.read(read, body)
            prediction = await self._calls.run(call, spec, name, inputs)
        write: Callable[[dict[str, np.ndarray]], dict[str, Any]]
        write = json_responses.columns_from_arrays
        if by_rows:
            write = json_responses.rows_from_arrays
        outputs = prediction.outputs
        if sum(a.size for a in outputs.values()) > _MAX_VALUES_IN_LOOP:
            return await self._calls.run_in_thread(lambda: write(outputs))
        return write(outputs)

    async def _classify(
        self, spec: model_pb2.ModelSpec, body: bytes, call: calls_lib.Call
    ) -> dict[str, Any]:
        document = await self._calls.read(json_requests.parse_object, body)
        spec.signature_name = document.get("signature_name", "")
        request = classification_pb2.ClassificationRequest(
            model_spec=spec, input=json_examples.parse_examples(document)
        )
        response = await self._predictions.Classify(request, call)
        return json_examples.classifications_to_json(response.result)

    async def _regress(
        self, spec: model_pb2.ModelSpec, body: bytes, call: calls_lib.Call
    ) -> dict[str, Any]:
        document = await self._calls.read(json_requests.parse_object, body)
        spec.signature_name = document.get("signature_name", "")
        request = regression_pb2.RegressionRequest(
            model_spec=spec, input=json_examples.parse_examples(document)
        )
        response = await self._predictions.Regress(request, call)
        return json_examples.regressions_to_json(response.result)

    async def _status(
        self, spec: model_pb2.ModelSpec, call: calls_lib.Call
    ) -> dict[str, Any]:
        request = get_model_status_pb2.GetModelStatusRequest(model_spec=spec)
        return _to_json(await self._models.GetModelStatus(request, call))

    async def _metadata(
        self, spec: model_pb2.ModelSpec, call: calls_lib.Call
    ) -> dict[str, Any]:
        request = get_model_metadata_pb2.GetModelMetadataRequest(
            model_spec=spec, metadata_field=["signature_def"]
        )
        response = await self._predictions.GetModelMetadata(request, call)
        signatures = get_model_metadata_pb2.SignatureDefMap()
        response.metadata["signature_def"].Unpack(signatures)
        return {
            "model_spec": _to_json(response.model_spec),
            "metadata": {"signature_def": _to_json(signatures)},
        }

    async def handle(self, request: web.Request) -> web.Response:
        """Answers a request of aiohttp.

        Args:
            request: Any method and path.
        """
        path = request.rel_url.raw_path
        if not path.lower().startswith("/v1/"):
            raise request_error.RequestError(
                grpc.StatusCode.NOT_FOUND,
                f"Not found: {path}. The API is under /v1/models.",
            )
        if request.method == "GET":
            answer = await self.get(path)
        elif request.method == "POST":
            answer = await self.post(path, await request.read())
        else:
            raise _malformed(request.method, path)
        return web.json_response(answer)


def _read_inputs(
    find_signature: Callable[[str], signature_lib.Signature], body: bytes
) -> tuple[str, dict[str, np.ndarray], bool]:
    document = json_requests.parse_request(body)
    signature = find_signature(document.get("signature_name", ""))
    if "instances" in document:
        inputs = json_requests.arrays_from_rows(
            document["instances"], signature.inputs
        )
        return signature.name, inputs, True
    inputs = json_requests.arrays_from_columns(
        document["inputs"], signature.inputs
    )
    return signature.name, inputs, False


def _malformed(method: str, path: str) -> request_error.RequestError:
    return request_error.RequestError.invalid(
        f"Malformed request: {method} {path}"
    )


def _model_spec(
    name: str, version: str | None, label: str | None
) -> model_pb2.ModelSpec:
    # What is no UTF-8 becomes a name that no model has.
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
