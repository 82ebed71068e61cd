"""Finds embedding tables that can be drawn anew, and those that cannot."""

from typing import Any

import keras

from tfplugin import layer_tree


def find_resettable(item: Any) -> list[keras.Layer]:
    """Returns the layers with a table and a `reset_embeddings` method.

    Layers are found wherever they hang: in nested models, in layers, in lists
    and dicts of them. A table that several layers share is found once, at the
    first of them.

    Args:
        item: A model or layer, or a list of them. A layer that is not built
            yet has no table and is not found.

    Returns:
        The layers, in an order that depends on how the model was built only.

    Example:
    >>> from tfplugin import layers
    >>> layer = layers.Embedding(5, 2)
    >>> model = keras.Sequential([keras.Input((), dtype="int64"), layer])
    >>> find_resettable(model) == [layer]
    True
    """
    by_table: dict[int, keras.Layer] = {}
    for layer in layer_tree.walk(item):
        table = getattr(layer, "embeddings", None)
        resettable = callable(getattr(layer, "reset_embeddings", None))
        if resettable and isinstance(table, keras.Variable):
            by_table.setdefault(id(table), layer)
    return list(by_table.values())


def find_fixed(item: Any) -> list[keras.Layer]:
    """Returns the layers with a table that no layer can draw anew.

    A table is what `tfplugin.optimizers.split` takes for one: a Keras variable
    `embeddings` of a `keras.layers.Embedding` or of a layer with an attribute
    `num_special_rows`.

    Args:
        item: A model or layer, or a list of them; see `find_resettable`.

    Returns:
        The layers, in an order that depends on how the model was built only.

    Example:
    >>> layer = keras.layers.Embedding(3, 2)
    >>> model = keras.Sequential([keras.Input((1,)), layer])
    >>> find_fixed(model) == [layer]
    True
    """
    resettable = {id(layer.embeddings) for layer in find_resettable(item)}
    fixed: dict[int, keras.Layer] = {}
    for layer in layer_tree.walk(item):
        table = getattr(layer, "embeddings", None)
        is_embedding = isinstance(layer, keras.layers.Embedding)
        if (
            isinstance(table, keras.Variable)
            and (is_embedding or hasattr(layer, "num_special_rows"))
            and id(table) not in resettable
        ):
            fixed.setdefault(id(table), layer)
    return list(fixed.values())
