"""From a request's `ModelSpec` to a version that answers it."""

from collections.abc import Iterable
from collections.abc import Mapping

import grpc
from tensorflow_serving.apis import get_model_status_pb2
from tensorflow_serving.apis import model_pb2

from serving import model_version
from serving import request_error
from serving import served_model


class Routes:
    """Which version answers which request, at one moment.

    Never changed, but replaced as a whole, so that requests need no lock.

    Args:
        models: All models of the configuration.

    Example:
    >>> Routes([]).find(model_pb2.ModelSpec(name="ctr"))
    Traceback (most recent call last):
    ...
    serving.request_error.RequestError: Servable not found for request: \
Latest(ctr)
    """

    def __init__(self, models: Iterable[served_model.ServedModel]) -> None:
        self._models = {model.name: model for model in models}
        self._labels: dict[str, Mapping[str, int]] = {}
        self._numbers: dict[str, dict[int, model_version.Version]] = {}
        self._latest: dict[str, model_version.Version] = {}
        # The models of the configuration, sorted.
        self.names: list[str] = []
        for name, model in self._models.items():
            if model.config is not None:
                self._labels[name] = model.labels.assigned
            available = model.available()
            self._numbers[name] = {v.number: v for v in available}
            if available:
                self._latest[name] = available[0]
        self.names = sorted(self._labels)

    def is_available(self, name: str | None = None) -> bool:
        """Returns whether a model answers requests.

        Args:
            name: The model; None for every one of the configuration, of
                which there must be one.
        """
        if name is not None:
            return name in self._latest and name in self._labels
        return bool(self.names) and all(
            model in self._latest for model in self.names
        )

    def find(self, spec: model_pb2.ModelSpec) -> model_version.Version:
        """Returns the version a request asks for.

        Args:
            spec: The model, and optionally the version's number or label.

        Raises:
            RequestError: `INVALID_ARGUMENT` without a name or with a label
                that is not assigned, `NOT_FOUND` for a model or a version
                that is not available.
        """
        number = self._number(spec)
        if number is None:
            version = self._latest.get(spec.name)
        else:
            version = self._numbers.get(spec.name, {}).get(number)
        if version is None:
            raise self._not_found(spec)
        return version

    def status(
        self, spec: model_pb2.ModelSpec
    ) -> get_model_status_pb2.GetModelStatusResponse:
        """Returns the state of a model's versions, or of the one given.

        Args:
            spec: The model, and optionally the version's number or label.

        Raises:
            RequestError: `INVALID_ARGUMENT` as for `find`, `NOT_FOUND` for
                what there has not been.
        """
        number = self._number(spec)
        model = self._models.get(spec.name)
        known = list(model.versions.values()) if model is not None else []
        found = [v for v in known if number is None or v.number == number]
        if not found:
            what = f"version {number}" if number is not None else "any versions"
            raise request_error.RequestError(
                grpc.StatusCode.NOT_FOUND,
                f"Could not find {what} of model {spec.name}",
            )
        response = get_model_status_pb2.GetModelStatusResponse()
        for version in sorted(found, key=lambda v: -v.number):
            response.model_version_status.add(
                version=version.number,
                state=version.state,
                # An empty status stands for OK; set, so that clients see it.
                status={
                    "error_code": version.error_code,
                    "error_message": version.error_message,
                },
            )
        return response

    def missing(self) -> dict[str, str]:
        """Returns why models of the configuration answer no requests."""
        found = {}
        for name in self.names:
            if name in self._latest:
                continue
            reasons = [
                f"version {version.number}: {version.error_message}"
                for version in self._models[name].versions.values()
                if version.error_message
            ]
            found[name] = "; ".join(reasons) or self._models[name].why_nothing()
        return found

    def _number(self, spec: model_pb2.ModelSpec) -> int | None:
        if not spec.name:
            raise request_error.RequestError.invalid(
                "ModelSpec has no name specified."
            )
        if spec.HasField("version"):
            return spec.version.value
        if not spec.version_label:
            return None
        number = self._labels.get(spec.name, {}).get(spec.version_label)
        if number is None:
            raise request_error.RequestError.invalid(
                f"Unrecognized servable version label: {spec.version_label}"
            )
        return number

    def _not_found(
        self, spec: model_pb2.ModelSpec
    ) -> request_error.RequestError:
        number = self._number(spec)
        asked = f"Latest({spec.name})"
        if number is not None:
            asked = f"Specific({spec.name}, {number})"
        return request_error.RequestError(
            grpc.StatusCode.NOT_FOUND,
            f"Servable not found for request: {asked}",
        )
