"""A dataset folder as tf.data pipelines and id frequencies."""

from tfplugin.data.dataset import Dataset
from tfplugin.data.dataset import open_dataset
from tfplugin.data.id_frequencies import IdFrequencies
from tfplugin.data.keyed_batches import keyed_batches
from tfplugin.data.model_columns import select_for_model
from tfplugin.data.parsing import feature_spec
from tfplugin.data.parsing import parse_features
from tfplugin.data.parsing import parse_packed
from tfplugin.data.parsing import parse_training
from tfplugin.data.sampled_rows import is_positive

__all__ = [
    "Dataset",
    "IdFrequencies",
    "feature_spec",
    "is_positive",
    "keyed_batches",
    "open_dataset",
    "parse_features",
    "parse_packed",
    "parse_training",
    "select_for_model",
]
