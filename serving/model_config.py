"""The models to serve: TensorFlow Serving's own configuration."""

import os
from collections.abc import Mapping

import tensorflow as tf
from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

from tfplugin import errors

_PLATFORM = "tensorflow"


def read(
    path: str | os.PathLike[str],
) -> model_server_config_pb2.ModelServerConfig:
    """Reads the file that TF Serving's `--model_config_file` names.

    Args:
        path: A `ModelServerConfig` message in text form.

    Raises:
        errors.InputError: If the file cannot be read or is no configuration
            this server can follow.

    Example:
    >>> import tempfile
    >>> with tempfile.NamedTemporaryFile("w", suffix=".config") as file:
    ...     _ = file.write('''model_config_list { config {
    ...         name: "ctr" base_path: "/models/ctr"
    ...         model_platform: "tensorflow" } }''')
    ...     file.flush()
    ...     list(by_name(read(file.name)))
    ['ctr']
    """
    path = os.fspath(path)
    config = model_server_config_pb2.ModelServerConfig()
    try:
        with tf.io.gfile.GFile(path, "r") as file:
            text_format.Parse(file.read(), config)
    except (tf.errors.OpError, UnicodeDecodeError) as error:
        raise errors.InputError(
            "The model configuration must be a readable text file. "
            f"Received: {path!r} ({type(error).__name__})."
        ) from error
    except text_format.ParseError as error:
        raise errors.InputError(
            "The model configuration must be a `ModelServerConfig` message "
            f"in text form. Received: {path!r}, "
            f"{str(error).rstrip('.')}."
        ) from error
    by_name(config)
    return config


def of_one_model(
    name: str, base_path: str | os.PathLike[str]
) -> model_server_config_pb2.ModelServerConfig:
    """Returns the configuration of one model, its latest version served.

    Args:
        name: The name clients ask for.
        base_path: The folder of its versions.

    Example:
    >>> list(by_name(of_one_model("ctr", "models/ctr")))
    ['ctr']
    """
    config = model_server_config_pb2.ModelServerConfig()
    config.model_config_list.config.add(
        name=name, base_path=os.fspath(base_path), model_platform=_PLATFORM
    )
    return config


def by_name(
    config: model_server_config_pb2.ModelServerConfig,
) -> Mapping[str, model_server_config_pb2.ModelConfig]:
    """Checks a configuration.

    Args:
        config: A list of models; an empty one serves none.

    Returns:
        Each model's part by its name.

    Raises:
        errors.InputError: For a name that is empty, given twice, or holds
            '/' or ':'; a model without a folder; a platform that is not
            TensorFlow; a custom configuration.

    Example:
    >>> by_name(of_one_model("a/b", "models/ctr"))
    Traceback (most recent call last):
    ...
    tfplugin.errors.InputError: A model's name must be given, without '/' \
and ':'. Received: name='a/b'.
    """
    if config.WhichOneof("config") == "custom_model_config":
        raise errors.InputError(
            "The model configuration must be a `model_config_list`. "
            "Received: `custom_model_config`."
        )
    models: dict[str, model_server_config_pb2.ModelConfig] = {}
    for model in config.model_config_list.config:
        if not model.name or set(model.name) & set("/:"):
            raise errors.InputError(
                "A model's name must be given, without '/' and ':'. "
                f"Received: name={model.name!r}."
            )
        if model.name in models:
            raise errors.InputError(
                "A model may be listed once. "
                f"Received: name={model.name!r} twice."
            )
        _check_model(model)
        models[model.name] = model
    return models


def _check_model(model: model_server_config_pb2.ModelConfig) -> None:
    if not model.base_path:
        raise errors.InputError(
            "A model must have a `base_path`. "
            f"Received: none for {model.name!r}."
        )
    # An empty platform is taken for TensorFlow's, as `model_type` was before.
    if model.model_platform not in ("", _PLATFORM):
        raise errors.InputError(
            f"`model_platform` must be {_PLATFORM!r}. Received: "
            f"model_platform={model.model_platform!r} for {model.name!r}."
        )
    for label in model.version_labels:
        if not label:
            raise errors.InputError(
                "A version's label must not be empty. "
                f"Received: label='' for {model.name!r}."
            )
