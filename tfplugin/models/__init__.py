"""Keras models in their functional form, and what they are built from.

A model is a module with a function of its own name, which is its
`model.kind`; nothing else lists it. `kinds` says which there are.
"""

from tfplugin.models.catalog import ModelFunction
from tfplugin.models.catalog import find
from tfplugin.models.catalog import kinds
from tfplugin.models.context import ModelContext
from tfplugin.models.dcn import dcn
from tfplugin.models.deepfm import deepfm
from tfplugin.models.dlrm import dlrm
from tfplugin.models.esmm import esmm
from tfplugin.models.mmoe import mmoe
from tfplugin.models.ple import ple
from tfplugin.models.shared_bottom import shared_bottom

__all__ = [
    "ModelContext",
    "ModelFunction",
    "dcn",
    "deepfm",
    "dlrm",
    "esmm",
    "find",
    "kinds",
    "mmoe",
    "ple",
    "shared_bottom",
]
