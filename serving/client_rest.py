"""What a client asks over REST. Needs no TensorFlow."""

import base64
import json
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any
from urllib import parse

import numpy as np
import urllib3

from serving import client_examples
from serving import client_specs
from serving import client_tls
from serving import prediction_error

_CONNECTIONS = 64
_CODES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    405: "UNIMPLEMENTED",
    408: "DEADLINE_EXCEEDED",
    409: "ALREADY_EXISTS",
    412: "FAILED_PRECONDITION",
    413: "RESOURCE_EXHAUSTED",
    416: "OUT_OF_RANGE",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}


class RestTransport:
    """A pool of connections to a server, and the requests of one model.

    Args:
        url: As in `"http://127.0.0.1:8501"`.
        model: The model's name.
        version: Its version, or None.
        label: The label of a version, or None.
        tls: Certificates of https; None for the system's.

    Example:
    >>> transport = RestTransport("http://127.0.0.1:1", "m", 3, None, None)
    >>> transport.path
    '/v1/models/m/versions/3'
    >>> transport.status(5.0)
    Traceback (most recent call last):
    ...
    serving.prediction_error.PredictionError: UNAVAILABLE: ...
    """

    def __init__(
        self,
        url: str,
        model: str,
        version: int | None,
        label: str | None,
        tls: client_specs.ClientTls | None,
    ) -> None:
        self._url = url.rstrip("/")
        self.path = f"/v1/models/{parse.quote(model, safe='')}"
        if version is not None:
            self.path += f"/versions/{version}"
        if label is not None:
            self.path += f"/labels/{parse.quote(label, safe='')}"
        context = None
        if url.startswith("https:"):
            context = client_tls.context(tls or client_specs.ClientTls())
        self._pool = urllib3.PoolManager(
            maxsize=_CONNECTIONS, ssl_context=context
        )

    def predict(
        self,
        signature_name: str,
        signature: client_specs.ClientSignature,
        inputs: Mapping[str, np.ndarray],
        outputs: Sequence[str],
        seconds: float,
    ) -> dict[str, np.ndarray]:
        """Asks :predict in the column form; REST filters no outputs."""
        body = self.predict_body(signature_name, inputs)
        answer = self._ask("POST", ":predict", seconds, body)
        found = answer.get("outputs")
        names = list(signature.outputs)
        if len(names) == 1:
            # One output stands there without its name.
            found = {names[0]: found}
        if not isinstance(found, dict):
            raise _malformed("outputs")
        return {
            name: _array(value, signature.outputs.get(name))
            for name, value in sorted(found.items())
            if not outputs or name in outputs
        }

    def predict_body(
        self, signature_name: str, inputs: Mapping[str, np.ndarray]
    ) -> bytes:
        """The body that `predict` sends."""
        return _dump(
            {
                "signature_name": signature_name,
                "inputs": {k: _to_json(v) for k, v in inputs.items()},
            }
        )

    def classify(
        self, signature_name: str, examples: Sequence[Any], seconds: float
    ) -> list[list[tuple[str, float]]]:
        """Asks :classify: for each example, label and score of each class."""
        rows = self._results(":classify", signature_name, examples, seconds)
        return [
            [(_label(label), float(score)) for label, score in row]
            for row in rows
        ]

    def regress(
        self, signature_name: str, examples: Sequence[Any], seconds: float
    ) -> list[float]:
        """Asks :regress: a value an example."""
        rows = self._results(":regress", signature_name, examples, seconds)
        return [float(value) for value in rows]

    def metadata(
        self, seconds: float
    ) -> dict[str, client_specs.ClientSignature]:
        """Asks for the metadata: the signatures."""
        answer = self._ask("GET", "/metadata", seconds)
        try:
            found = answer["metadata"]["signature_def"]["signature_def"]
            return {
                name: client_specs.ClientSignature(
                    _specs(one.get("inputs", {})),
                    _specs(one.get("outputs", {})),
                    one.get("method_name", ""),
                )
                # A map on TensorFlow Serving's wire has no order.
                for name, one in sorted(found.items())
            }
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise _malformed("metadata") from error

    def status(self, seconds: float) -> list[client_specs.VersionStatus]:
        """Asks for the status of the model's versions."""
        answer = self._ask("GET", "", seconds)
        try:
            return [
                client_specs.VersionStatus(
                    int(one["version"]),
                    one["state"],
                    one["status"].get("error_code", "OK"),
                    one["status"].get("error_message", ""),
                )
                for one in answer["model_version_status"]
            ]
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise _malformed("model_version_status") from error

    def close(self) -> None:
        """Closes the connections."""
        self._pool.clear()

    def _results(
        self,
        verb: str,
        signature_name: str,
        examples: Sequence[Any],
        seconds: float,
    ) -> list[Any]:
        body = _dump(
            {
                "signature_name": signature_name,
                "examples": client_examples.to_json(examples),
            }
        )
        found = self._ask("POST", verb, seconds, body).get("results")
        if not isinstance(found, list):
            raise _malformed("results")
        return found

    def _ask(
        self,
        method: str,
        suffix: str,
        seconds: float,
        body: bytes | None = None,
    ) -> dict[str, Any]:
        try:
            response = self._pool.request(
                method,
                f"{self._url}{self.path}{suffix}",
                body=body,
                headers={"Content-Type": "application/json"} if body else None,
                timeout=urllib3.Timeout(total=seconds),
                retries=False,
                redirect=False,
            )
        except urllib3.exceptions.HTTPError as error:
            # To urllib3 a refused connection is a time-out as well.
            refused = isinstance(error, urllib3.exceptions.NewConnectionError)
            late = isinstance(error, urllib3.exceptions.TimeoutError)
            if late and not refused:
                raise prediction_error.PredictionError(
                    "DEADLINE_EXCEEDED", f"No answer in {seconds:.3g} s."
                ) from error
            # An HTTP/2 server, such as gRPC's, answers with binary frames.
            said = str(error) if str(error).isprintable() else ""
            if "BadStatusLine" in said:
                said = "What listens there does not speak HTTP/1, as REST does."
            raise prediction_error.PredictionError(
                "UNAVAILABLE", f"{self._url}: {said or type(error).__name__}"
            ) from error
        return _read(response.status, response.data)


def _read(status: int, data: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(data)
    except (UnicodeDecodeError, ValueError):
        answer = None
    if status == 200 and isinstance(answer, dict):
        return answer
    said = answer.get("error") if isinstance(answer, dict) else None
    if said is None:
        said = f"HTTP status {status}: {data[:200].decode(errors='replace')}"
    code = _CODES.get(status, "INTERNAL" if status == 200 else "UNKNOWN")
    raise prediction_error.PredictionError(code, str(said))


def _malformed(part: str) -> prediction_error.PredictionError:
    return prediction_error.PredictionError(
        "INTERNAL", f"The answer has no `{part}` as TensorFlow Serving's has."
    )


def _dump(document: Mapping[str, Any]) -> bytes:
    # NaN, a missing value, is written as such: TensorFlow Serving reads it.
    return json.dumps(document, separators=(",", ":")).encode()


def _to_json(array: np.ndarray) -> Any:
    if array.dtype != object:
        return array.tolist()
    made = np.empty(array.shape, object)
    made.ravel()[:] = [_text(value) for value in array.ravel()]
    return made.tolist()


def _text(value: bytes) -> Any:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return {"b64": base64.b64encode(value).decode()}


def _array(
    value: Any, spec: client_specs.ClientTensorSpec | None
) -> np.ndarray:
    if spec is None:
        raise _malformed("outputs")
    try:
        if value == [] and spec.shape:
            # JSON cannot say that the rows of an empty batch have axes.
            return np.empty([0, *(n or 0 for n in spec.shape[1:])]).astype(
                spec.numpy_dtype
            )
        if spec.dtype != "string":
            return np.array(value, spec.numpy_dtype)
        strings = np.array(value, object)
        made = np.empty(strings.shape, object)
        made.ravel()[:] = [_bytes(one) for one in strings.ravel()]
        return made
    except (TypeError, ValueError, OverflowError) as error:
        raise _malformed("outputs") from error


def _bytes(value: Any) -> bytes:
    if isinstance(value, str):
        return value.encode()
    return base64.b64decode(value["b64"])


def _label(label: Any) -> str:
    return label if isinstance(label, str) else _bytes(label).decode()


def _specs(
    infos: Mapping[str, Any],
) -> dict[str, client_specs.ClientTensorSpec]:
    found = {}
    for name, info in sorted(infos.items()):
        shape = info.get("tensor_shape", {})
        found[name] = client_specs.tensor_spec(
            info["dtype"],
            [int(dim["size"]) for dim in shape.get("dim", [])],
            bool(shape.get("unknown_rank", False)),
        )
    return found
