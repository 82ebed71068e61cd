"""TensorFlow Serving's monitoring configuration."""

import os
import pathlib

from google.protobuf import descriptor_pb2
from google.protobuf import descriptor_pool
from google.protobuf import message_factory
from google.protobuf import text_format

from tfplugin import errors

METRICS_PATH = "/monitoring/prometheus/metrics"

# As in TensorFlow Serving's config/monitoring_config.proto, which its Python
# package lacks.
_FILE = descriptor_pb2.FileDescriptorProto(
    name="tfplugin/serving/monitoring_config.proto",
    package="tfplugin.serving",
    syntax="proto3",
)
_TYPES = descriptor_pb2.FieldDescriptorProto
_prometheus = _FILE.message_type.add(name="PrometheusConfig")
_prometheus.field.add(
    name="enable",
    number=1,
    type=_TYPES.TYPE_BOOL,
    label=_TYPES.LABEL_OPTIONAL,
)
_prometheus.field.add(
    name="path",
    number=2,
    type=_TYPES.TYPE_STRING,
    label=_TYPES.LABEL_OPTIONAL,
)
_FILE.message_type.add(name="MonitoringConfig").field.add(
    name="prometheus_config",
    number=1,
    type=_TYPES.TYPE_MESSAGE,
    type_name=".tfplugin.serving.PrometheusConfig",
    label=_TYPES.LABEL_OPTIONAL,
)
_pool = descriptor_pool.DescriptorPool()
_pool.Add(_FILE)
_MonitoringConfig = message_factory.GetMessageClass(
    _pool.FindMessageTypeByName("tfplugin.serving.MonitoringConfig")
)


def read(path: str | os.PathLike[str]) -> str | None:
    """Reads the file that TF Serving's `--monitoring_config_file` names.

    Args:
        path: A `MonitoringConfig` message in text form.

    Returns:
        The path of metrics, or None if there are to be none.

    Raises:
        errors.InputError: If the file cannot be read or is none such.

    Example:
    >>> import tempfile
    >>> with tempfile.NamedTemporaryFile("w", suffix=".config") as file:
    ...     _ = file.write("prometheus_config { enable: true path: '/m' }")
    ...     file.flush()
    ...     read(file.name)
    '/m'
    """
    try:
        text = pathlib.Path(path).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise errors.InputError(
            "The monitoring configuration must be a readable text file. "
            f"Received: {os.fspath(path)!r} ({type(error).__name__})."
        ) from error
    return metrics_path(text)


def metrics_path(text: str) -> str | None:
    """Reads where metrics are to be found.

    Args:
        text: A `MonitoringConfig` message in text form.

    Returns:
        The path, or None if there are to be no metrics.

    Raises:
        errors.InputError: If it is none, or the path does not begin with '/'.

    Example:
    >>> metrics_path("prometheus_config { enable: true }")
    '/monitoring/prometheus/metrics'
    >>> metrics_path("") is None
    True
    """
    try:
        config = text_format.Parse(text, _MonitoringConfig())
    except text_format.ParseError as error:
        raise errors.InputError(
            "The monitoring configuration must be a MonitoringConfig as a "
            f"text proto. Received: {str(error).rstrip('.')}."
        ) from error
    prometheus = config.prometheus_config
    if not prometheus.enable:
        return None
    path: str = prometheus.path or METRICS_PATH
    if not path.startswith("/"):
        raise errors.InputError(
            f"The path of metrics must start with '/'. Received: path={path!r}."
        )
    return path
