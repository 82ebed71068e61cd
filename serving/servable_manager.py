"""Finds the servable a request asks for."""

import grpc
from tensorflow_serving.apis import get_model_status_pb2
from tensorflow_serving.apis import model_pb2

from serving import request_error
from serving import servable as servable_lib


class ServableManager:
    """Holds what is loaded, and turns a `ModelSpec` into a `Servable`.

    It is the only thing the services share: whoever replaces the servable
    does so here, and requests that run keep the one they were given.

    Args:
        servable: The loaded version of the one model served.

    Example:
    >>> class Loaded:
    ...     name, version = "ctr", 3
    >>> manager = ServableManager(Loaded())
    >>> manager.get(model_pb2.ModelSpec(name="ctr")).version
    3
    >>> manager.get(model_pb2.ModelSpec(name="cvr"))
    Traceback (most recent call last):
    ...
    serving.request_error.RequestError: Servable not found for request: \
Latest(cvr)
    """

    def __init__(self, servable: servable_lib.Servable) -> None:
        self._servable = servable

    def get(self, spec: model_pb2.ModelSpec) -> servable_lib.Servable:
        """Returns the servable of a model, and of a version if one is given.

        Args:
            spec: The model's name, and optionally the version's number.

        Raises:
            RequestError: `INVALID_ARGUMENT` without a name or with a label
                (labels are not assigned here), `NOT_FOUND` for a model or a
                version that is not loaded.
        """
        servable = self._servable
        _check_spec(spec)
        has_version = spec.HasField("version")
        if spec.name != servable.name or (
            has_version and spec.version.value != servable.version
        ):
            asked = (
                f"Specific({spec.name}, {spec.version.value})"
                if has_version
                else f"Latest({spec.name})"
            )
            raise request_error.RequestError(
                grpc.StatusCode.NOT_FOUND,
                f"Servable not found for request: {asked}",
            )
        return servable

    def status(
        self, spec: model_pb2.ModelSpec
    ) -> get_model_status_pb2.GetModelStatusResponse:
        """Returns the state of a model's versions, or of the one given.

        Args:
            spec: The model's name, and optionally the version's number.

        Raises:
            RequestError: As for `get`.
        """
        servable = self._servable
        _check_spec(spec)
        if spec.name != servable.name:
            raise request_error.RequestError(
                grpc.StatusCode.NOT_FOUND,
                f"Could not find any versions of model {spec.name}",
            )
        if spec.HasField("version") and spec.version.value != servable.version:
            raise request_error.RequestError(
                grpc.StatusCode.NOT_FOUND,
                f"Could not find version {spec.version.value} of model "
                f"{spec.name}",
            )
        response = get_model_status_pb2.GetModelStatusResponse()
        response.model_version_status.add(
            version=servable.version,
            state=get_model_status_pb2.ModelVersionStatus.AVAILABLE,
            # An empty status stands for OK; set, so that clients see it.
            status={},
        )
        return response


def _check_spec(spec: model_pb2.ModelSpec) -> None:
    if not spec.name:
        raise request_error.RequestError.invalid(
            "ModelSpec has no name specified."
        )
    if spec.version_label:
        raise request_error.RequestError.invalid(
            f"Unrecognized servable version label: {spec.version_label}"
        )
