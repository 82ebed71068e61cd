"""A server that speaks TensorFlow Serving's protocols."""

from serving.client import Client
from serving.client_columns import ColumnError
from serving.client_specs import ClientSignature
from serving.client_specs import ClientTensorSpec
from serving.client_specs import ClientTls
from serving.client_specs import VersionStatus
from serving.prediction_error import PredictionError
from serving.server import ModelServer
from serving.server import Server
from serving.server_options import Limits
from serving.server_options import ServerOptions
from serving.server_options import Tls

__all__ = [
    "Client",
    "ClientSignature",
    "ClientTensorSpec",
    "ClientTls",
    "ColumnError",
    "Limits",
    "ModelServer",
    "PredictionError",
    "Server",
    "ServerOptions",
    "Tls",
    "VersionStatus",
]
