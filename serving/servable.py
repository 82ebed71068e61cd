"""One version of a SavedModel in memory, ready to answer."""

import logging
import os
import time
from collections.abc import Iterable
from collections.abc import Mapping
from typing import Any

import grpc
import numpy as np
import tensorflow as tf

# Not a public TensorFlow name: no public function returns the signatures of
# a SavedModel as they are stored, and GetModelMetadata must return just that
# (tests/serving/test_servable.py holds them against the loaded ones).
from tensorflow.core.protobuf import saved_model_pb2

from serving import request_error
from serving import signature as signature_lib
from tfplugin import errors

_SAVED_MODEL = "saved_model.pb"
_SERVE_TAG = "serve"

_logger = logging.getLogger(__name__)


class Servable:
    """One loaded version of a model. Any number of threads may run it.

    `Servable.load` finds the version in a folder; the services hold on to the
    object for as long as a request runs, so that a newer version may take its
    place at any time.

    Args:
        name: The name clients ask for.
        version: The version's number.
        path: The folder that holds `saved_model.pb`.

    Raises:
        errors.InputError: If the SavedModel is unfinished or damaged.

    Example:
    >>> import os, tempfile
    >>> class Double(tf.Module):
    ...     @tf.function(input_signature=[tf.TensorSpec([None], name="x")])
    ...     def __call__(self, x):
    ...         return {"y": 2.0 * x}
    >>> model, base = Double(), tempfile.mkdtemp()
    >>> tf.saved_model.save(model, os.path.join(base, "3"), model.__call__)
    >>> servable = Servable.load(base, "double")
    >>> servable.version
    3
    >>> servable.run("serving_default", {"x": tf.constant([1.0, 4.0])})
    {'y': array([2., 8.], dtype=float32)}
    """

    def __init__(self, name: str, version: int, path: str) -> None:
        self.name = name
        self.version = version
        started = time.monotonic()
        try:
            meta_graph = _read_meta_graph(path)
            self._loaded = tf.saved_model.load(path, tags=[_SERVE_TAG])
        except (OSError, ValueError, RuntimeError, tf.errors.OpError) as error:
            raise errors.InputError(
                "The SavedModel is unfinished or damaged. "
                f"Received: path={path!r} ({type(error).__name__}). "
                "Export the model again."
            ) from error
        self.signature_defs: Mapping[str, Any] = dict(meta_graph.signature_def)
        self._signatures = {
            key: signature_lib.Signature.from_proto(
                key, self.signature_defs[key]
            )
            for key in self._loaded.signatures
        }
        _logger.info(
            "Loaded model %s version %d from %s in %.1f s",
            name,
            version,
            path,
            time.monotonic() - started,
        )

    @classmethod
    def load(
        cls,
        base_path: str | os.PathLike[str],
        name: str,
        version: int | None = None,
    ) -> "Servable":
        """Loads `<base_path>/<version>/saved_model.pb`.

        Args:
            base_path: The folder of a model's versions.
            name: The name clients ask for.
            version: The version to load; by default the highest finished.

        Raises:
            errors.InputError: If there is no such version.
        """
        versions = find_versions(base_path)
        if version is None:
            version = max(versions)
        if version not in versions:
            raise errors.InputError(
                "The version must be one of "
                f"{sorted(versions)}. Received: version={version} of "
                f"{base_path!r}."
            )
        return cls(name, version, versions[version])

    def signature(self, name: str = "") -> signature_lib.Signature:
        """Returns one signature of the model.

        Args:
            name: Its name; '' stands for `serving_default`.

        Raises:
            RequestError: `FAILED_PRECONDITION`, as in TensorFlow Serving, if
                the model has no such signature.
        """
        name = name or signature_lib.SERVING_DEFAULT
        if name not in self._signatures:
            raise request_error.RequestError(
                grpc.StatusCode.FAILED_PRECONDITION,
                f'Serving signature key "{name}" not found. The model has: '
                f"{', '.join(sorted(self._signatures))}.",
            )
        return self._signatures[name]

    def run(
        self,
        signature_name: str,
        inputs: Mapping[str, tf.Tensor],
        output_filter: Iterable[str] = (),
    ) -> dict[str, np.ndarray]:
        """Checks the tensors, runs a signature on them, returns its outputs.

        Args:
            signature_name: The signature; '' stands for `serving_default`.
            inputs: One tensor for every input. A batch of 0 rows is run too:
                a model that takes it returns outputs of 0 rows.
            output_filter: The outputs to return; by default all.

        Returns:
            Output arrays by name, in the order of the filter, else by name.

        Raises:
            RequestError: `INVALID_ARGUMENT` for inputs or outputs that do not
                match the signature, `FAILED_PRECONDITION` for an unknown
                signature, or the code of an error raised inside the model.
        """
        signature = self.signature(signature_name)
        signature.check(
            {
                name: tf.TensorSpec(tensor.shape, tensor.dtype)
                for name, tensor in inputs.items()
            }
        )
        wanted = list(output_filter)
        signature.check_output_filter(wanted)
        try:
            outputs = self._loaded.signatures[signature.name](**inputs)
        except tf.errors.OpError as error:
            raise request_error.RequestError.from_tensorflow(error) from error
        except UnicodeDecodeError as error:
            # TensorFlow's message quotes bytes of an input, which makes its
            # error impossible to construct; the message is in here.
            message = error.object.decode(errors="replace")
            raise request_error.RequestError.invalid(message) from error
        return {
            name: outputs[name].numpy() for name in wanted or sorted(outputs)
        }


def find_versions(base_path: str | os.PathLike[str]) -> dict[int, str]:
    """Lists the finished versions of a model.

    A version is a folder named by a whole number below 2^63 that holds a
    `saved_model.pb`; since that file is written last, a folder without it is
    an export that is still running.

    Args:
        base_path: The folder of a model's versions.

    Returns:
        The folder of each version by its number; at least one.

    Raises:
        errors.InputError: If there is none.

    Example:
    >>> import os, tempfile
    >>> base = tempfile.mkdtemp()
    >>> os.mkdir(os.path.join(base, "12"))
    >>> open(os.path.join(base, "12", "saved_model.pb"), "w").close()
    >>> [number for number in find_versions(base)]
    [12]
    """
    base_path = os.fspath(base_path)
    if not tf.io.gfile.isdir(base_path):
        raise errors.InputError(
            f"The model folder does not exist. Received: {base_path!r}. "
            "Export a model to <folder>/<version> first."
        )
    versions = {}
    for entry in sorted(tf.io.gfile.listdir(base_path)):
        # Remote file systems list folders with a slash at the end.
        name = entry.rstrip("/")
        path = f"{base_path.rstrip('/')}/{name}"
        # Any other number has no place in a request's int64.
        if name.isascii() and name.isdecimal() and int(name) <= tf.int64.max:
            if tf.io.gfile.exists(f"{path}/{_SAVED_MODEL}"):
                versions[int(name)] = path
    if not versions:
        if tf.io.gfile.exists(f"{base_path}/{_SAVED_MODEL}"):
            fix = "This is a version itself: give the folder above it."
        else:
            fix = "Export a model to <folder>/<version> first."
        raise errors.InputError(
            "The model folder must hold <version>/saved_model.pb, where "
            f"<version> is a whole number. Received: {base_path!r}. {fix}"
        )
    return versions


def _read_meta_graph(path: str) -> tf.compat.v1.MetaGraphDef:
    saved_model = saved_model_pb2.SavedModel()
    with tf.io.gfile.GFile(f"{path}/{_SAVED_MODEL}", "rb") as file:
        try:
            saved_model.ParseFromString(file.read())
        # protobuf's DecodeError derives from Exception alone.
        except Exception as error:
            raise ValueError(f"{_SAVED_MODEL} does not parse") from error
    for meta_graph in saved_model.meta_graphs:
        if _SERVE_TAG in meta_graph.meta_info_def.tags:
            return meta_graph
    raise ValueError(f"no meta graph is tagged {_SERVE_TAG!r}")
