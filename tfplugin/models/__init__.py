"""Keras models in their functional form, and what they are built from."""

from tfplugin.models.context import ModelContext
from tfplugin.models.shared_bottom import shared_bottom

__all__ = ["ModelContext", "shared_bottom"]
