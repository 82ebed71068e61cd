"""A development server that speaks TensorFlow Serving's protocols."""

from serving.server import ModelServer

__all__ = ["ModelServer"]
