"""Keras layers: raw id to row to vector, and dense features."""

from tfplugin.layers.code_block_mapping import CodeBlockMapping
from tfplugin.layers.composed_embedding import ComposedEmbedding
from tfplugin.layers.dense_feature import DenseFeature
from tfplugin.layers.embedding import Embedding
from tfplugin.layers.embedding_collection import EmbeddingCollection
from tfplugin.layers.exporting import exporting
from tfplugin.layers.exporting import find_id_mappings
from tfplugin.layers.hash_mapping import HashMapping
from tfplugin.layers.id_mapping import IdMapping
from tfplugin.layers.pretrained import Coverage
from tfplugin.layers.pretrained import load_embeddings
from tfplugin.layers.table_config import FeatureConfig
from tfplugin.layers.table_config import TableConfig
from tfplugin.layers.vocabulary_mapping import VocabularyMapping

__all__ = [
    "CodeBlockMapping",
    "ComposedEmbedding",
    "Coverage",
    "DenseFeature",
    "Embedding",
    "EmbeddingCollection",
    "FeatureConfig",
    "HashMapping",
    "IdMapping",
    "TableConfig",
    "VocabularyMapping",
    "exporting",
    "find_id_mappings",
    "load_embeddings",
]
