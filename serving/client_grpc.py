"""What a client asks over gRPC. TensorFlow Serving's protos load TensorFlow."""

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any
from typing import NoReturn
from typing import TypeVar

import grpc
import numpy as np
from tensorflow_serving.apis import classification_pb2
from tensorflow_serving.apis import get_model_metadata_pb2
from tensorflow_serving.apis import get_model_status_pb2
from tensorflow_serving.apis import model_service_pb2_grpc
from tensorflow_serving.apis import predict_pb2
from tensorflow_serving.apis import prediction_service_pb2_grpc
from tensorflow_serving.apis import regression_pb2

from serving import client_examples
from serving import client_specs
from serving import client_tensors
from serving import client_tls
from serving import prediction_error

#: Of the channel: messages as long as the server takes, a broken connection
#: tried again soon, and requests spread over all addresses of a name, since a
#: connection to one of several replicas would stay with it for ever.
CHANNEL_OPTIONS = (
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2000),
    ("grpc.lb_policy_name", "round_robin"),
)
_SIGNATURE_DEF = "signature_def"

_Answer = TypeVar("_Answer")


class GrpcTransport:
    """One channel to a server, and the requests of one model.

    Args:
        target: As in `"127.0.0.1:8500"`.
        model: The model's name.
        version: Its version, or None.
        label: The label of a version, or None.
        tls: Certificates, for an encrypted channel; None for plain text.

    Example:
    >>> transport = GrpcTransport("127.0.0.1:1", "ctr", None, None, None)
    >>> transport.status(0.2)
    Traceback (most recent call last):
    ...
    serving.prediction_error.PredictionError: UNAVAILABLE: ...
    >>> transport.close()
    """

    def __init__(
        self,
        target: str,
        model: str,
        version: int | None,
        label: str | None,
        tls: client_specs.ClientTls | None,
    ) -> None:
        self._model = model
        self._version = version
        self._label = label
        if tls is None:
            self._channel = grpc.insecure_channel(target, CHANNEL_OPTIONS)
        else:
            self._channel = grpc.secure_channel(
                target, credentials(tls), CHANNEL_OPTIONS
            )
        self._predictions = prediction_service_pb2_grpc.PredictionServiceStub(
            self._channel
        )
        self._models = model_service_pb2_grpc.ModelServiceStub(self._channel)

    def predict(
        self,
        signature_name: str,
        signature: client_specs.ClientSignature,
        inputs: Mapping[str, np.ndarray],
        outputs: Sequence[str],
        seconds: float,
    ) -> dict[str, np.ndarray]:
        """Asks Predict."""
        request = self.predict_request(
            signature_name, signature, inputs, outputs
        )
        response = _call(self._predictions.Predict, request, seconds)
        return {
            name: client_tensors.to_array(proto)
            for name, proto in sorted(response.outputs.items())
        }

    def predict_request(
        self,
        signature_name: str,
        signature: client_specs.ClientSignature,
        inputs: Mapping[str, np.ndarray],
        outputs: Sequence[str] = (),
    ) -> Any:
        """The request that `predict` sends."""
        request = predict_pb2.PredictRequest()
        self._name(request.model_spec, signature_name)
        for name, array in inputs.items():
            client_tensors.fill(
                request.inputs[name], array, signature.inputs[name].dtype
            )
        request.output_filter.extend(outputs)
        return request

    def classify(
        self, signature_name: str, examples: Sequence[Any], seconds: float
    ) -> list[list[tuple[str, float]]]:
        """Asks Classify: for each example, label and score of each class."""
        request = classification_pb2.ClassificationRequest()
        self._name(request.model_spec, signature_name)
        client_examples.fill(request.input.example_list, examples)
        response = _call(self._predictions.Classify, request, seconds)
        return [
            [(one.label, one.score) for one in row.classes]
            for row in response.result.classifications
        ]

    def regress(
        self, signature_name: str, examples: Sequence[Any], seconds: float
    ) -> list[float]:
        """Asks Regress: a value an example."""
        request = regression_pb2.RegressionRequest()
        self._name(request.model_spec, signature_name)
        client_examples.fill(request.input.example_list, examples)
        response = _call(self._predictions.Regress, request, seconds)
        return [row.value for row in response.result.regressions]

    def metadata(
        self, seconds: float
    ) -> dict[str, client_specs.ClientSignature]:
        """Asks GetModelMetadata for the signatures."""
        request = get_model_metadata_pb2.GetModelMetadataRequest()
        self._name(request.model_spec, "")
        request.metadata_field.append(_SIGNATURE_DEF)
        response = _call(self._predictions.GetModelMetadata, request, seconds)
        signatures = get_model_metadata_pb2.SignatureDefMap()
        if not response.metadata[_SIGNATURE_DEF].Unpack(signatures):
            raise prediction_error.PredictionError(
                "INTERNAL", "The metadata is no map of signatures."
            )
        return {
            name: client_specs.ClientSignature(
                _specs(found.inputs), _specs(found.outputs), found.method_name
            )
            # A map on the wire has no order, and another one each time.
            for name, found in sorted(signatures.signature_def.items())
        }

    def status(self, seconds: float) -> list[client_specs.VersionStatus]:
        """Asks GetModelStatus."""
        request = get_model_status_pb2.GetModelStatusRequest()
        self._name(request.model_spec, "")
        response = _call(self._models.GetModelStatus, request, seconds)
        return [
            client_specs.VersionStatus(
                one.version,
                _enum_name(one, "state"),
                _enum_name(one.status, "error_code"),
                one.status.error_message,
            )
            for one in response.model_version_status
        ]

    def close(self) -> None:
        """Closes the channel."""
        self._channel.close()

    def _name(self, spec: Any, signature_name: str) -> None:
        spec.name = self._model
        spec.signature_name = signature_name
        if self._version is not None:
            spec.version.value = self._version
        if self._label is not None:
            spec.version_label = self._label


def credentials(tls: client_specs.ClientTls) -> grpc.ChannelCredentials:
    """Reads certificate files for a channel.

    Args:
        tls: Their paths.

    Raises:
        OSError: If one cannot be read or is no PEM.

    Example:
    >>> type(credentials(client_specs.ClientTls())).__name__
    'ChannelCredentials'
    """
    # gRPC itself would tell of a wrong file as of a server that is not there.
    client_tls.context(tls)

    def read(path: str | None) -> bytes | None:
        if path is None:
            return None
        with open(path, "rb") as file:
            return file.read()

    return grpc.ssl_channel_credentials(
        read(tls.root_certificates), read(tls.key), read(tls.certificate)
    )


def _call(
    method: Callable[..., _Answer], request: Any, seconds: float
) -> _Answer:
    try:
        return method(request, timeout=seconds)
    except grpc.RpcError as error:
        _raise(error)


def _raise(error: Any) -> NoReturn:
    # What a stub raises is the call itself, which has code and details.
    raise prediction_error.PredictionError(
        error.code().name, error.details() or ""
    ) from error


def _specs(
    infos: Mapping[str, Any],
) -> dict[str, client_specs.ClientTensorSpec]:
    return {
        name: client_specs.tensor_spec(
            _enum_name(info, "dtype"),
            [dim.size for dim in info.tensor_shape.dim],
            info.tensor_shape.unknown_rank,
        )
        for name, info in sorted(infos.items())
    }


def _enum_name(message: Any, field: str) -> str:
    enum = message.DESCRIPTOR.fields_by_name[field].enum_type
    number = getattr(message, field)
    known = enum.values_by_number.get(number)
    return known.name if known else str(number)
