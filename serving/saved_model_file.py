"""What `saved_model.pb` says, without loading the model."""

from typing import Any

import tensorflow as tf
from google.protobuf import descriptor_pool
from google.protobuf import message
from google.protobuf import message_factory

from tfplugin import errors

#: The file whose presence says that a version is complete.
NAME = "saved_model.pb"
_SERVE_TAG = "serve"


def read_meta_graph(path: str) -> Any:
    """The `MetaGraphDef` that a server runs.

    Args:
        path: A version's folder; any path that TensorFlow reads.

    Raises:
        InputError: There is no such file, it is damaged, or has no meta graph
            for serving.

    Example:
    >>> import tempfile
    >>> read_meta_graph(tempfile.mkdtemp())
    Traceback (most recent call last):
    ...
    tfplugin.errors.InputError: A version's folder must hold saved_model.pb. \
Received: ...
    """
    file = f"{path.rstrip('/')}/{NAME}"
    try:
        with tf.io.gfile.GFile(file, "rb") as opened:
            content = opened.read()
    except (tf.errors.NotFoundError, tf.errors.FailedPreconditionError) as why:
        raise errors.InputError(
            f"A version's folder must hold {NAME}. Received: {path!r}. "
            "Name the folder of one version, as in model/1."
        ) from why
    except (OSError, tf.errors.OpError) as why:
        raise errors.InputError(
            f"{NAME} must be readable. Received: {file!r} "
            f"({type(why).__name__}). Change its permissions."
        ) from why
    # Registered once TensorFlow is imported; the class has no public name.
    described = descriptor_pool.Default().FindMessageTypeByName(
        "tensorflow.SavedModel"
    )
    saved_model = message_factory.GetMessageClass(described)()
    try:
        saved_model.ParseFromString(content)
    except message.DecodeError as why:
        raise errors.InputError(
            f"{NAME} must be whole. Received: {file!r}, which does not parse. "
            "Export the model again."
        ) from why
    for meta_graph in saved_model.meta_graphs:
        if _SERVE_TAG in meta_graph.meta_info_def.tags:
            return meta_graph
    raise errors.InputError(
        f"{NAME} must have a meta graph tagged {_SERVE_TAG!r}. Received: "
        f"{file!r}, which has none. Export the model again."
    )
