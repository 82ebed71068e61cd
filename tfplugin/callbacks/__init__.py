"""Callbacks that steer and watch training over many epochs."""

from tfplugin.callbacks.embedding_reset import EmbeddingReset
from tfplugin.callbacks.objective_monitor import ObjectiveMonitor

__all__ = ["EmbeddingReset", "ObjectiveMonitor"]
