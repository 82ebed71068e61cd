"""Finds the embedding tables of a model by object, never by name."""

from collections.abc import Iterator
from typing import Any

import keras


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
    for layer in _walk(model, set()):
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


def _walk(item: Any, seen: set[int]) -> Iterator[keras.Layer]:
    # Keras names no public list of a layer's layers, but they are all among its
    # attributes, by themselves or in containers.
    if id(item) in seen:
        return
    if isinstance(item, keras.Layer):
        seen.add(id(item))
        yield item
        for value in list(vars(item).values()):
            yield from _walk(value, seen)
    elif isinstance(item, dict):
        seen.add(id(item))
        for value in list(item.values()):
            yield from _walk(value, seen)
    elif isinstance(item, (list, tuple, set)):
        seen.add(id(item))
        for value in list(item):
            yield from _walk(value, seen)
