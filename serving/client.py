"""A client of TensorFlow Serving, over gRPC or REST."""

import threading
import urllib.parse
from collections.abc import Mapping
from collections.abc import Sequence
from types import TracebackType
from typing import Any
from typing import Protocol

import numpy as np

from serving import client_columns
from serving import client_rest
from serving import client_retries
from serving import client_specs
from serving import prediction_error

_SERVING_DEFAULT = "serving_default"


class Transport(Protocol):
    """What a `Client` needs of a protocol; `seconds` limit each request."""

    def predict(
        self,
        signature_name: str,
        signature: client_specs.ClientSignature,
        inputs: Mapping[str, np.ndarray],
        outputs: Sequence[str],
        seconds: float,
    ) -> dict[str, np.ndarray]:
        """Asks Predict."""

    def classify(
        self, signature_name: str, examples: Sequence[Any], seconds: float
    ) -> list[list[tuple[str, float]]]:
        """Asks Classify."""

    def regress(
        self, signature_name: str, examples: Sequence[Any], seconds: float
    ) -> list[float]:
        """Asks Regress."""

    def metadata(
        self, seconds: float
    ) -> dict[str, client_specs.ClientSignature]:
        """Asks for the signatures."""

    def status(self, seconds: float) -> list[client_specs.VersionStatus]:
        """Asks for the versions."""

    def close(self) -> None:
        """Closes the connections."""


class Client:
    """Asks one model of a TensorFlow Serving, or of `tfplugin serve`.

    It knows TensorFlow Serving's documented protocols and nothing of this
    product. Names, dtypes and lists are taken from the model's metadata, which
    is asked for once; `metadata` asks again. Any number of threads may share
    a client.

    Over REST nothing of TensorFlow is loaded; gRPC's messages come from
    TensorFlow Serving's own package, which loads TensorFlow.

    Args:
        url: `grpc://host:port`, `grpcs://host:port` (TLS), or
            `http(s)://host:port`. Behind a name with several addresses, gRPC
            requests go to all of them in turn.
        model: The model's name.
        version: A version; by default the server's choice.
        label: Instead of a version, the label of one, as in `"canary"`.
        signature: The signature that `predict` asks by default.
        timeout_seconds: For one request with all its attempts.
        retries: How often a request is sent again if the server is
            unavailable, after growing and partly random delays.
        tls: Certificate files; by default the system's.

    Raises:
        ValueError: For an address or an argument that cannot be.
        OSError: For a certificate file that cannot be read.

    Example:
    >>> import os, tempfile
    >>> import tensorflow as tf
    >>> import serving
    >>> class Double(tf.Module):
    ...     @tf.function(input_signature=[tf.TensorSpec([None], name="x")])
    ...     def __call__(self, x):
    ...         return {"y": 2.0 * x}
    >>> model, base = Double(), tempfile.mkdtemp()
    >>> tf.saved_model.save(model, os.path.join(base, "1"), model.__call__)
    >>> with serving.ModelServer(base, "double", 0, 0) as server:
    ...     url = f"http://127.0.0.1:{server.rest_port}"
    ...     with Client(url, "double") as client:
    ...         print(client.predict({"x": [1.0, 4.0]}))
    {'y': array([2., 8.], dtype=float32)}
    """

    def __init__(
        self,
        url: str,
        model: str,
        *,
        version: int | None = None,
        label: str | None = None,
        signature: str = _SERVING_DEFAULT,
        timeout_seconds: float = 10.0,
        retries: int = 3,
        tls: client_specs.ClientTls | None = None,
    ) -> None:
        _check(model, version, label, timeout_seconds, retries)
        self._signature = signature
        self._timeout = timeout_seconds
        self._retries = retries
        self._transport = _connect(url, model, version, label, tls)
        self._lock = threading.Lock()
        self._signatures: dict[str, client_specs.ClientSignature] | None = None

    def predict(
        self,
        columns: Mapping[str, Any],
        *,
        signature: str | None = None,
        outputs: Sequence[str] = (),
        timeout_seconds: float | None = None,
    ) -> dict[str, np.ndarray]:
        """Asks for predictions.

        Args:
            columns: By name, arrays or sequences of one value a row; an input
                beside NAME_length takes a list a row, of any length. None
                is a missing value.
            signature: Another signature than the client's.
            outputs: Names to return; all by default.
            timeout_seconds: Another limit than the client's.

        Returns:
            An array an output; strings are objects of bytes.

        Raises:
            ValueError: For columns that the signature does not take, before
                anything is sent; `client_columns.ColumnError` names the
                column and the row.
            PredictionError: If the server refused or did not answer.
        """
        name = signature or self._signature
        found = self.signature(name, timeout_seconds)
        unknown = sorted(set(outputs) - set(found.outputs))
        if unknown:
            raise ValueError(
                f"`outputs` must be of {sorted(found.outputs)}. Received: "
                f"{unknown}."
            )
        inputs = client_columns.encode(columns, found)
        return client_retries.call(
            lambda seconds: self._transport.predict(
                name, found, inputs, outputs, seconds
            ),
            timeout_seconds or self._timeout,
            self._retries,
        )

    def classify(
        self,
        examples: Sequence[Any],
        *,
        signature: str,
        timeout_seconds: float | None = None,
    ) -> dict[str, np.ndarray]:
        """Asks a Classify signature.

        Args:
            examples: Each a serialized tf.train.Example, or a mapping from
                features to values or lists of values.
            signature: As in `"classify_checkout"`.
            timeout_seconds: Another limit than the client's.

        Returns:
            `classes`, bytes `(batch_size, classes)`, and `scores`, float32 of
            that shape.

        Raises:
            ValueError: For examples that are none.
            PredictionError: If the server refused or did not answer.
        """
        rows = client_retries.call(
            lambda seconds: self._transport.classify(
                signature, examples, seconds
            ),
            timeout_seconds or self._timeout,
            self._retries,
        )
        shape = (len(rows), len(rows[0]) if rows else 0)
        flat = [one for row in rows for one in row]
        if len(flat) != shape[0] * shape[1]:
            raise prediction_error.PredictionError(
                "INTERNAL", "The examples of an answer differ in classes."
            )
        classes = np.empty(len(flat), object)
        classes[:] = [label.encode() for label, _ in flat]
        scores = np.array([score for _, score in flat], np.float32)
        return {
            "classes": classes.reshape(shape),
            "scores": scores.reshape(shape),
        }

    def regress(
        self,
        examples: Sequence[Any],
        *,
        signature: str,
        timeout_seconds: float | None = None,
    ) -> np.ndarray:
        """Asks a Regress signature.

        Args:
            examples: As for `classify`.
            signature: As in `"regress_checkout"`.
            timeout_seconds: Another limit than the client's.

        Returns:
            float32 `(batch_size,)`.

        Raises:
            ValueError: For examples that are none.
            PredictionError: If the server refused or did not answer.
        """
        rows = client_retries.call(
            lambda seconds: self._transport.regress(
                signature, examples, seconds
            ),
            timeout_seconds or self._timeout,
            self._retries,
        )
        return np.array(rows, np.float32)

    def status(self) -> list[client_specs.VersionStatus]:
        """Asks for the versions of the model and their states.

        Raises:
            PredictionError: If the server refused or did not answer.
        """
        return client_retries.call(
            self._transport.status, self._timeout, self._retries
        )

    def metadata(
        self, timeout_seconds: float | None = None
    ) -> dict[str, client_specs.ClientSignature]:
        """Asks for the signatures, which later requests then follow.

        Args:
            timeout_seconds: Another limit than the client's.

        Raises:
            PredictionError: If the server refused or did not answer.
        """
        found = client_retries.call(
            self._transport.metadata,
            timeout_seconds or self._timeout,
            self._retries,
        )
        with self._lock:
            self._signatures = found
        return found

    def signature(
        self, name: str | None = None, timeout_seconds: float | None = None
    ) -> client_specs.ClientSignature:
        """What one signature takes and gives.

        Args:
            name: The signature; by default the client's.
            timeout_seconds: Another limit than the client's.

        Raises:
            ValueError: If the model has none of that name.
            PredictionError: If the server refused or did not answer.
        """
        name = name or self._signature
        with self._lock:
            known = self._signatures
        if known is None or name not in known:
            # A newer version may have more.
            known = self.metadata(timeout_seconds)
        if name not in known:
            # Not TensorFlow's own, such as __saved_model_init_op.
            names = sorted(one for one in known if not one.startswith("__"))
            raise ValueError(
                f"`signature` must be one of {names}. Received: "
                f"signature={name!r}."
            )
        return known[name]

    def close(self) -> None:
        """Closes the connections."""
        self._transport.close()

    def __enter__(self) -> "Client":
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def _check(
    model: str,
    version: int | None,
    label: str | None,
    timeout_seconds: float,
    retries: int,
) -> None:
    if not model or set(model) & set("/:?#"):
        raise ValueError(
            "`model` must be a name without '/', ':', '?' and '#'. Received: "
            f"model={model!r}."
        )
    if version is not None and label is not None:
        raise ValueError(
            "Either `version` or `label` says which version. Received: "
            f"version={version}, label={label!r}."
        )
    if not timeout_seconds > 0:
        raise ValueError(
            "`timeout_seconds` must be positive. Received: "
            f"timeout_seconds={timeout_seconds}."
        )
    if retries < 0:
        raise ValueError(
            f"`retries` must not be negative. Received: retries={retries}."
        )


def _connect(
    url: str,
    model: str,
    version: int | None,
    label: str | None,
    tls: client_specs.ClientTls | None,
) -> Transport:
    scheme, address = address_of(url)
    if tls is not None and scheme in ("grpc", "http"):
        raise ValueError(
            f"`tls` needs grpcs:// or https://. Received: url={url!r}."
        )
    if scheme in ("http", "https"):
        return client_rest.RestTransport(url, model, version, label, tls)
    # What is asked over REST alone does without TensorFlow.
    from serving import client_grpc

    if scheme == "grpcs" and tls is None:
        tls = client_specs.ClientTls()
    return client_grpc.GrpcTransport(address, model, version, label, tls)


def address_of(url: str) -> tuple[str, str]:
    """Splits the address of a server.

    Args:
        url: As for `Client`.

    Returns:
        The scheme, and host and port.

    Raises:
        ValueError: For another scheme, or without a port or a host.

    Example:
    >>> address_of("grpc://127.0.0.1:8500")
    ('grpc', '127.0.0.1:8500')
    """
    try:
        parts = urllib.parse.urlsplit(url)
        whole = bool(parts.hostname and parts.port)
    except ValueError:
        whole = False
    if not whole or parts.scheme not in ("grpc", "grpcs", "http", "https"):
        raise ValueError(
            "`url` must be grpc://host:port, grpcs://host:port or "
            f"http(s)://host:port. Received: url={url!r}."
        )
    return parts.scheme, parts.netloc
