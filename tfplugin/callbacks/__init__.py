"""Callbacks that steer and watch training over many epochs."""

from tfplugin.callbacks.embedding_reset import EmbeddingReset
from tfplugin.callbacks.export_best_epoch import EpochNotExportedError
from tfplugin.callbacks.export_best_epoch import ExportBestEpoch
from tfplugin.callbacks.freeze_tables import FreezeTables
from tfplugin.callbacks.gated_loss import GatedLoss
from tfplugin.callbacks.objective_early_stopping import ObjectiveEarlyStopping
from tfplugin.callbacks.objective_monitor import ObjectiveMonitor
from tfplugin.callbacks.table_sets import TableSets

__all__ = [
    "EmbeddingReset",
    "EpochNotExportedError",
    "ExportBestEpoch",
    "FreezeTables",
    "GatedLoss",
    "ObjectiveEarlyStopping",
    "ObjectiveMonitor",
    "TableSets",
]
