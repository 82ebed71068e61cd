"""Streaming metrics of one objective, right where positives are rare."""

from tfplugin.metrics.auc import AUC
from tfplugin.metrics.calibration import Calibration
from tfplugin.metrics.normalized_entropy import NormalizedEntropy
from tfplugin.metrics.objective_metrics import objective_metrics
from tfplugin.metrics.pr_auc import PRAUC

__all__ = [
    "AUC",
    "Calibration",
    "NormalizedEntropy",
    "PRAUC",
    "objective_metrics",
]
