"""Finds the id mappings of a model and prepares them for a SavedModel."""

from collections.abc import Iterator
from contextlib import ExitStack
from contextlib import contextmanager
from typing import Any

import keras

from tfplugin import layer_tree
from tfplugin.layers import id_mapping


def find_id_mappings(
    model: keras.layers.Layer,
) -> list[id_mapping.IdMapping]:
    """Returns the id mappings inside a model or layer, each once.

    Args:
        model: A Keras model or layer, nested to any depth.

    Returns:
        The mappings, in the order in which they are found.

    Example:
    >>> from tfplugin import layers
    >>> mapping = layers.HashMapping(10)
    >>> layer = layers.Embedding(embedding_dim=2, id_mapping=mapping)
    >>> find_id_mappings(layer) == [mapping]
    True
    """
    return [
        layer
        for layer in layer_tree.walk(model)
        if isinstance(layer, id_mapping.IdMapping)
    ]


@contextmanager
def exporting(model: keras.layers.Layer) -> Iterator[list[Any]]:
    """Yields what a SavedModel of a model must track besides its variables.

    Vocabularies become assets of the SavedModel, any byte of a key exact.

    Args:
        model: A Keras model or layer.

    Yields:
        A list for an attribute of the `tf.Module` that is saved; call
        `tf.saved_model.save` inside the `with`.

    Example:
    >>> import tensorflow as tf
    >>> from tfplugin import layers
    >>> mapping = layers.VocabularyMapping([7])
    >>> model = layers.Embedding(embedding_dim=2, id_mapping=mapping)
    >>> with exporting(model) as trackables:
    ...     module = tf.Module()
    ...     module.tables = trackables
    >>> len(trackables)
    2
    """
    with ExitStack() as stack:
        trackables: list[Any] = []
        for mapping in find_id_mappings(model):
            trackables += stack.enter_context(mapping.exporting())
        yield trackables
