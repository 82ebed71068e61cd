"""Streaming metrics of one objective, right where positives are rare."""

from tfplugin.metrics.auc import AUC
from tfplugin.metrics.bucket_metrics import BucketMetrics
from tfplugin.metrics.calibration import Calibration
from tfplugin.metrics.grouped_ranking import GroupedRanking
from tfplugin.metrics.id_buckets import BUCKETS
from tfplugin.metrics.id_buckets import IdBuckets
from tfplugin.metrics.id_buckets import bucket_of
from tfplugin.metrics.id_buckets import id_keys
from tfplugin.metrics.id_buckets import rarest_of_rows
from tfplugin.metrics.normalized_entropy import NormalizedEntropy
from tfplugin.metrics.objective_metrics import objective_metrics
from tfplugin.metrics.pr_auc import PRAUC

__all__ = [
    "AUC",
    "BUCKETS",
    "BucketMetrics",
    "Calibration",
    "GroupedRanking",
    "IdBuckets",
    "NormalizedEntropy",
    "PRAUC",
    "bucket_of",
    "id_keys",
    "objective_metrics",
    "rarest_of_rows",
]
