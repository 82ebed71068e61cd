"""Finds embedding tables that can be drawn anew, and those that cannot."""

from collections.abc import Sequence
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


def choose(
    model: keras.Model, layers: Sequence[keras.Layer] | None
) -> list[tuple[int, Any]]:
    """Returns the trained tables to act on.

    Args:
        model: Its tables are numbered in the order of `find_resettable`.
        layers: Layers or models with the tables; None for all of the model.

    Returns:
        Each a table's number among the model's and its layer; tables that
        are not among `model.trainable_variables` are left out.

    Raises:
        ValueError: There is no table, or one of `layers` is not in the model.

    Example:
    >>> from tfplugin import layers
    >>> layer = layers.Embedding(5, 2)
    >>> model = keras.Sequential([keras.Input((), dtype="int64"), layer])
    >>> choose(model, None) == [(0, layer)]
    True
    """
    places = {
        id(layer.embeddings): (position, layer)
        for position, layer in enumerate(find_resettable(model))
    }
    if layers is None:
        chosen = list(places)
    else:
        found = find_resettable(list(layers))
        chosen = [id(layer.embeddings) for layer in found]
        for layer in found:
            if id(layer.embeddings) not in places:
                raise ValueError(
                    "`layers` must be layers of the model that is trained. "
                    f"Received: a table of layer {layer.name!r}, which model "
                    f"{model.name!r} does not have."
                )
    if not chosen:
        raise ValueError(
            "What draws tables anew found no table: no built layer has a "
            "variable `embeddings` and a method `reset_embeddings`. "
            f"Received: model={model.name!r}, layers={layers}. Use "
            "`tfplugin.layers.Embedding`, and build a subclassed model before "
            "resuming it."
        )
    trained = {id(v) for v in model.trainable_variables}
    return [places[key] for key in chosen if key in trained]


def require_methods(
    optimizer: Any, who: str, methods: Sequence[str], reason: str
) -> None:
    """Refuses an optimizer that lacks methods on single tables.

    Args:
        optimizer: A model's; of one with an attribute `tables`, such as
            `optimizers.split` returns, that is asked too.
        who: The callback that needs them.
        methods: Their names.
        reason: What would go wrong without.

    Raises:
        ValueError: A method is missing.

    Example:
    >>> from tfplugin import optimizers
    >>> require_methods(optimizers.SparseSGD(1.0), "It", ["reset_state"], "")
    """
    # A SplitOptimizer has the methods whatever its tables' optimizer has.
    for needed in (optimizer, getattr(optimizer, "tables", optimizer)):
        for method in methods:
            if not callable(getattr(needed, method, None)):
                raise ValueError(
                    f"{who} needs an optimizer with a method "
                    f"`{method}(variable)`, {reason}. Received: "
                    f"optimizer={type(needed).__name__}. Compile with "
                    "`tfplugin.optimizers.split(model, tables=..., rest=...)` "
                    "and a sparse optimizer such as "
                    "`tfplugin.optimizers.RowwiseAdagrad` for `tables`."
                )


def refuse_fixed(model: keras.Model, who: str) -> None:
    """Refuses a model with a trained table that no layer can draw anew.

    Args:
        model: Built.
        who: The callback that would draw it.

    Raises:
        ValueError: There is one.

    Example:
    >>> refuse_fixed(keras.Sequential([keras.layers.Dense(1)]), "It")
    """
    trained = {id(v) for v in model.trainable_variables}
    for layer in find_fixed(model):
        if id(layer.embeddings) in trained:
            raise ValueError(
                f"{who} can draw tables anew only of layers with a method "
                "`reset_embeddings(seed)`. Received: layer "
                f"{layer.name!r} ({type(layer).__name__}). Use "
                "`tfplugin.layers.Embedding`, or name the layers to reset "
                "in `layers`."
            )


def find_tables(item: Any) -> list[keras.Layer]:
    """Returns the layers with a table, whether it can be drawn anew or not.

    Args:
        item: A model or layer, or a list of them; see `find_resettable`.

    Example:
    >>> layer = keras.layers.Embedding(3, 2)
    >>> model = keras.Sequential([keras.Input((1,)), layer])
    >>> find_tables(model) == [layer]
    True
    """
    return find_resettable(item) + find_fixed(item)
