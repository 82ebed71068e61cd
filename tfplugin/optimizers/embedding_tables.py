"""Finds the embedding tables of a model by object, never by name."""

from collections.abc import Iterator
from collections.abc import Sequence

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
    return list({id(v): v for _, v in layers_and_tables(model)}.values())


def find_named_tables(
    model: keras.Model, names: Sequence[str]
) -> dict[int, str]:
    """Finds the tables of layers by the layers' names, which a user chose.

    Args:
        model: A model; layers not built yet have no table.
        names: Of embedding layers. The tables of an `EmbeddingCollection` have
            the names of their `TableConfig`.

    Returns:
        `id` of the table → name.

    Raises:
        ValueError: If no table has one of the names, several have, or one has
            several.

    Example:
    >>> layer = keras.layers.Embedding(3, 2, name="item")
    >>> model = keras.Sequential([keras.Input((1,)), layer])
    >>> find_named_tables(model, ["item"]) == {id(layer.embeddings): "item"}
    True
    """
    if not names:
        return {}
    by_name: dict[str, set[int]] = {}
    for layer, table in layers_and_tables(model):
        by_name.setdefault(layer.name, set()).add(id(table))
    found: dict[int, str] = {}
    for name in names:
        tables = by_name.get(name, set())
        if len(tables) != 1 or tables & set(found):
            raise ValueError(
                "`overrides` must name embedding layers, each with a table of "
                f"its own. Received: {name!r}, the name of {len(tables)} "
                f"tables. The model has {sorted(by_name)}."
            )
        found[tables.pop()] = name
    return found


def layers_and_tables(
    model: keras.Model,
) -> Iterator[tuple[keras.Layer, keras.Variable]]:
    """Yields each embedding layer with its table; see `find_tables`.

    Args:
        model: A model (or layer); layers not built yet have no table.

    Example:
    >>> layer = keras.layers.Embedding(3, 2)
    >>> model = keras.Sequential([keras.Input((1,)), layer])
    >>> [found is layer for found, _ in layers_and_tables(model)]
    [True]
    """
    for layer in layer_tree.walk(model):
        table = getattr(layer, "embeddings", None)
        is_embedding = isinstance(layer, keras.layers.Embedding)
        if isinstance(table, keras.Variable) and (
            is_embedding or hasattr(layer, "num_special_rows")
        ):
            yield layer, table


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
