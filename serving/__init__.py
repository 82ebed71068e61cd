"""A server that speaks TensorFlow Serving's protocols, and its client."""

import importlib
from typing import TYPE_CHECKING
from typing import Any

if TYPE_CHECKING:
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

# Imported when first asked for: a client needs no TensorFlow, which takes
# seconds, and a server does.
_MODULES = {
    "Client": "client",
    "ClientSignature": "client_specs",
    "ClientTensorSpec": "client_specs",
    "ClientTls": "client_specs",
    "ColumnError": "client_columns",
    "Limits": "server_options",
    "ModelServer": "server",
    "PredictionError": "prediction_error",
    "Server": "server",
    "ServerOptions": "server_options",
    "Tls": "server_options",
    "VersionStatus": "client_specs",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(importlib.import_module(f"serving.{_MODULES[name]}"), name)
    # Python asks here only for what the module does not have yet.
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
