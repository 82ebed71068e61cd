"""Finds the embedding tables of a model by object, never by name."""

import keras

from tfplugin import layer_tree


def find_tables(model: keras.Model) -> list[keras.Variable]:
    """Returns the table of every embedding layer in a model.

    An embedding layer is a `keras.layers.Embedding`, or any layer with a Keras
    variable `embeddings` and an attribute `num_special_rows`. Layers are found
    wherever they hang: in nested models, in layers, in lists and dicts of them.

    Args:
        model: A model (or layer); layers not built yet have no table.

    Returns:
        The tables, each once, also if layers share one.

    Example:
    >>> layer = keras.layers.Embedding(3, 2)
    >>> model = keras.Sequential([keras.Input((1,)), layer])
    >>> find_tables(model)[0] is layer.embeddings
    True
    """
    tables: dict[int, keras.Variable] = {}
    for layer in layer_tree.walk(model):
        table = getattr(layer, "embeddings", None)
        is_embedding = isinstance(layer, keras.layers.Embedding)
        if isinstance(table, keras.Variable) and (
            is_embedding or hasattr(layer, "num_special_rows")
        ):
            tables[id(table)] = table
    return list(tables.values())


def is_in(variable: keras.Variable, tables: list[keras.Variable]) -> bool:
    """Whether a variable is one of the tables, as an object.

    Args:
        variable: Keras variable.
        tables: What `find_tables` returned.

    Returns:
        True for identity; equal values do not count.

    Example:
    >>> table = keras.Variable([0.0])
    >>> is_in(table, [table]), is_in(keras.Variable([0.0]), [table])
    (True, False)
    """
    return any(variable is table for table in tables)
