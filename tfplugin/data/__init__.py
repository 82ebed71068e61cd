"""A dataset folder as tf.data pipelines and id frequencies."""

from tfplugin.data.dataset import Dataset
from tfplugin.data.dataset import open_dataset
from tfplugin.data.id_frequencies import IdFrequencies
from tfplugin.data.model_columns import select_for_model
from tfplugin.data.parsing import feature_spec
from tfplugin.data.parsing import parse_features
from tfplugin.data.parsing import parse_packed
from tfplugin.data.parsing import parse_training

__all__ = [
    "Dataset",
    "IdFrequencies",
    "feature_spec",
    "open_dataset",
    "parse_features",
    "parse_packed",
    "parse_training",
    "select_for_model",
]
