"""PredictionService: what each of its methods answers."""

from collections.abc import Mapping

import grpc
import numpy as np
from tensorflow_serving.apis import classification_pb2
from tensorflow_serving.apis import get_model_metadata_pb2
from tensorflow_serving.apis import inference_pb2
from tensorflow_serving.apis import input_pb2
from tensorflow_serving.apis import model_pb2
from tensorflow_serving.apis import predict_pb2
from tensorflow_serving.apis import regression_pb2

from serving import calls as calls_lib
from serving import classification
from serving import model_manager
from serving import request_error
from serving import signature as signature_lib
from serving import tensor_protos

_SIGNATURE_DEF = "signature_def"


class PredictionService:
    """Predict, Classify, Regress, MultiInference and GetModelMetadata.

    A method is a coroutine from the request to the response, whatever the
    protocol; it raises `RequestError` with the code and, nearly, the words of
    TensorFlow Serving, and names every input at fault.

    Args:
        calls: Runs the requests.
    """

    def __init__(self, calls: calls_lib.Calls) -> None:
        self._calls = calls

    async def Predict(
        self, request: predict_pb2.PredictRequest, call: calls_lib.Call
    ) -> predict_pb2.PredictResponse:
        """Runs a signature on tensors.

        Args:
            request: The model, the signature, one tensor for every input, and
                optionally the outputs to return.
            call: The request's record.

        Returns:
            The outputs, and the model, version and signature they come from.
        """
        spec = _model_spec(request)
        self._calls.enter(call, spec)
        prediction = await self._calls.run(
            call,
            spec,
            spec.signature_name,
            tensor_protos.to_arrays(request.inputs),
            request.output_filter,
        )
        response = predict_pb2.PredictResponse()
        _fill_spec(response.model_spec, prediction)
        for name, array in prediction.outputs.items():
            tensor_protos.fill_proto(response.outputs[name], array)
        return response

    async def Classify(
        self,
        request: classification_pb2.ClassificationRequest,
        call: calls_lib.Call,
    ) -> classification_pb2.ClassificationResponse:
        """Runs a Classify signature on Examples.

        Args:
            request: The model, the signature and the Examples.
            call: The request's record.

        Returns:
            Labels and scores by Example.
        """
        prediction, rows = await self._infer(
            _model_spec(request), request.input, classification.CLASSIFY, call
        )
        response = classification_pb2.ClassificationResponse()
        _fill_spec(response.model_spec, prediction)
        response.result.CopyFrom(
            classification.to_classifications(prediction.outputs, rows)
        )
        return response

    async def Regress(
        self, request: regression_pb2.RegressionRequest, call: calls_lib.Call
    ) -> regression_pb2.RegressionResponse:
        """Runs a Regress signature on Examples.

        Args:
            request: The model, the signature and the Examples.
            call: The request's record.

        Returns:
            A value by Example.
        """
        prediction, rows = await self._infer(
            _model_spec(request), request.input, classification.REGRESS, call
        )
        response = regression_pb2.RegressionResponse()
        _fill_spec(response.model_spec, prediction)
        response.result.CopyFrom(
            classification.to_regressions(prediction.outputs, rows)
        )
        return response

    async def MultiInference(
        self,
        request: inference_pb2.MultiInferenceRequest,
        call: calls_lib.Call,
    ) -> inference_pb2.MultiInferenceResponse:
        """Runs several signatures of one model on the same Examples.

        Args:
            request: The tasks, each a signature and its method, and the
                Examples.
            call: The request's record.

        Returns:
            A result a task, in their order.
        """
        _check_tasks(request.tasks)
        response = inference_pb2.MultiInferenceResponse()
        for task in request.tasks:
            method_name = task.method_name
            prediction, rows = await self._infer(
                task.model_spec, request.input, method_name, call
            )
            result = response.results.add()
            _fill_spec(result.model_spec, prediction)
            outputs = prediction.outputs
            if method_name == classification.CLASSIFY:
                result.classification_result.CopyFrom(
                    classification.to_classifications(outputs, rows)
                )
            else:
                result.regression_result.CopyFrom(
                    classification.to_regressions(outputs, rows)
                )
        return response

    async def GetModelMetadata(
        self,
        request: get_model_metadata_pb2.GetModelMetadataRequest,
        call: calls_lib.Call,
    ) -> get_model_metadata_pb2.GetModelMetadataResponse:
        """Returns the signatures of a model.

        Args:
            request: The model, and `"signature_def"` as the metadata field.
            call: The request's record.

        Returns:
            A `SignatureDefMap`, packed, under `"signature_def"`.
        """
        spec = _model_spec(request)
        if not request.metadata_field:
            raise request_error.RequestError.invalid(
                "GetModelMetadataRequest must specify at least one "
                "metadata_field"
            )
        for field in request.metadata_field:
            if field != _SIGNATURE_DEF:
                raise request_error.RequestError.invalid(
                    f"Metadata field {field} is not supported"
                )
        self._calls.enter(call, spec)
        response = get_model_metadata_pb2.GetModelMetadataResponse()
        signatures = get_model_metadata_pb2.SignatureDefMap()
        with self._calls.manager.lease(spec) as servable:
            for name, signature_def in servable.signature_defs.items():
                signatures.signature_def[name].CopyFrom(signature_def)
            response.model_spec.name = servable.name
            response.model_spec.version.value = servable.version
            call.version = servable.version
        response.metadata[_SIGNATURE_DEF].Pack(signatures)
        return response

    async def _infer(
        self,
        spec: model_pb2.ModelSpec,
        request_input: input_pb2.Input,
        method_name: str,
        call: calls_lib.Call,
    ) -> tuple[model_manager.Prediction, int]:
        self._calls.enter(call, spec)
        name = spec.signature_name or signature_lib.SERVING_DEFAULT
        with self._calls.manager.lease(spec) as servable:
            servable.signature(name)
            classification.check_signature(
                servable.signature_defs[name], method_name
            )
            examples = classification.serialized_examples(request_input)
            inputs: Mapping[str, np.ndarray] = {classification.INPUTS: examples}
            prediction = await self._calls.run(call, spec, name, inputs)
        return prediction, len(examples)


def _model_spec(request: predict_pb2.PredictRequest) -> model_pb2.ModelSpec:
    if not request.HasField("model_spec"):
        raise request_error.RequestError.invalid("Missing ModelSpec")
    return request.model_spec


def _fill_spec(
    spec: model_pb2.ModelSpec, prediction: model_manager.Prediction
) -> None:
    spec.name = prediction.name
    spec.version.value = prediction.version
    spec.signature_name = prediction.signature


def _check_tasks(tasks: list[inference_pb2.InferenceTask]) -> None:
    if not tasks:
        raise request_error.RequestError.invalid(
            "Inference request has no task"
        )
    seen = set()
    for task in tasks:
        spec = task.model_spec
        if spec.name != tasks[0].model_spec.name:
            raise request_error.RequestError.invalid(
                "All ModelSpecs in a MultiInferenceRequest must access the "
                "same model name."
            )
        if spec.signature_name in seen:
            raise request_error.RequestError.invalid(
                f"Duplicate evaluation of signature: {spec.signature_name}"
            )
        seen.add(spec.signature_name)
        if task.method_name not in (
            classification.CLASSIFY,
            classification.REGRESS,
        ):
            raise request_error.RequestError(
                grpc.StatusCode.UNIMPLEMENTED,
                f"Unsupported signature method_name: {task.method_name}",
            )
