"""Which folders a reload over the network may name."""

import os
import re
from collections.abc import Iterable

from tensorflow_serving.config import model_server_config_pb2

from serving import model_config
from tfplugin import errors

# As TensorFlow takes a path apart.
_REMOTE = re.compile(r"([a-zA-Z][0-9a-zA-Z.]*)://(.*)", re.DOTALL)


class ReloadRoots:
    """Refuses configurations that name other folders than they may.

    Whoever reaches the gRPC port may ask for another configuration, and a
    SavedModel is a program. So models may come from the folders of the
    configuration that the server was started with, and from below folders
    that were allowed then.

    Links on this machine are followed before paths are compared. A path with
    `..` is taken only as the starting configuration has it, since TensorFlow
    drops `..` before it follows links.

    Args:
        config: The configuration the server is started with.
        roots: Folders below which, and in which, models may lie; paths of
            this machine or URLs such as `gs://bucket/models`.

    Raises:
        errors.InputError: For a root that names no folder.

    Example:
    >>> allowed = ReloadRoots(
    ...     model_config.of_one_model("ctr", "/models/ctr"), ["gs://ads/ctr"])
    >>> allowed.check(model_config.of_one_model("new", "gs://ads/ctr/new"))
    >>> allowed.check(model_config.of_one_model("new", "gs://ads/ctr_new"))
    Traceback (most recent call last):
    ...
    tfplugin.errors.InputError: A reload may only name the folders of models \
that the server was started with, and those below --reload-root. Received: \
base_path='gs://ads/ctr_new' for 'new'. Start the server with --reload-root \
and a folder above it, without '..'.
    """

    def __init__(
        self,
        config: model_server_config_pb2.ModelServerConfig,
        roots: Iterable[str] = (),
    ) -> None:
        self._paths = {
            part.base_path for part in config.model_config_list.config
        }
        self._roots = tuple(roots)
        for root in self._roots:
            if _place(root) is None:
                raise errors.InputError(
                    "A root of reloads must be a folder or a URL of one. "
                    f"Received: {root!r}."
                )

    def check(self, config: model_server_config_pb2.ModelServerConfig) -> None:
        """Refuses a configuration with a folder that is not allowed.

        Args:
            config: What is asked for.

        Raises:
            errors.InputError: If a model's folder is not allowed, or the
                configuration cannot be followed.
        """
        for name, part in model_config.by_name(config).items():
            if not self._allows(part.base_path):
                raise errors.InputError(
                    "A reload may only name the folders of models that the "
                    "server was started with, and those below --reload-root. "
                    f"Received: base_path={part.base_path!r} for {name!r}. "
                    "Start the server with --reload-root and a folder above "
                    "it, without '..'."
                )

    def _allows(self, path: str) -> bool:
        if path in self._paths:
            return True
        place = _place(path)
        if place is None or ".." in path.split("/"):
            return False
        # Links may have changed since the start, so all are followed now.
        plain = (known for known in self._paths if ".." not in known.split("/"))
        if any(place == _place(known) for known in plain):
            return True
        return any(
            root is not None and place[: len(root)] == root
            for root in map(_place, self._roots)
        )


def _place(path: str) -> tuple[str, ...] | None:
    """The scheme and the folders on the way; None for no folder at all."""
    remote = _REMOTE.fullmatch(path)
    if remote is None:
        return _local(path)
    scheme, rest = remote.groups()
    if scheme == "file":
        # A host may come first, which TensorFlow ignores.
        return _local("/" + rest.partition("/")[2])
    parts = rest.rstrip("/").split("/")
    return (scheme, *parts) if parts[0] else None


def _local(path: str) -> tuple[str, ...] | None:
    if not path or "\0" in path:
        return None
    real = os.path.realpath(path).strip("/")
    return ("", *real.split("/")) if real else ("",)
