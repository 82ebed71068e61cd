"""Walks the layers of a model, however deep they hang."""

from collections.abc import Iterator
from typing import Any

import keras


def walk(item: Any) -> Iterator[keras.Layer]:
    """Yields the layers in a model, in layers, in lists and dicts of them.

    Keras names no public list of a layer's layers, and the checkpoint's view
    (`tf.train.TrackableView`) does not look into dicts; but they are all
    among a layer's attributes.

    Args:
        item: A Keras model or layer, or a list, tuple or dict of them.

    Yields:
        Each layer once, a layer before those inside it, in an order that
        depends on how the model was built only.

    Example:
    >>> inner = keras.layers.Dense(1)
    >>> model = keras.Sequential([keras.Sequential([inner])])
    >>> [layer for layer in walk(model) if layer is inner] == [inner]
    True
    """
    yield from _walk(item, set())


def attributes(layer: keras.Layer) -> list[Any]:
    """What hangs on a layer itself.

    Args:
        layer: A Keras model or layer.

    Returns:
        The values of its attributes, in the order in which they were set.

    Example:
    >>> inner = keras.layers.Dense(1)
    >>> outer = keras.layers.TimeDistributed(inner)
    >>> any(value is inner for value in attributes(outer))
    True
    """
    return list(vars(layer).values())


def _walk(item: Any, seen: set[int]) -> Iterator[keras.Layer]:
    if id(item) in seen:
        return
    if isinstance(item, keras.Layer):
        seen.add(id(item))
        yield item
        children = attributes(item)
    elif isinstance(item, dict):
        seen.add(id(item))
        children = list(item.values())
    # Sets are left out: their order is not repeatable.
    elif isinstance(item, list | tuple):
        seen.add(id(item))
        children = list(item)
    else:
        return
    for child in children:
        yield from _walk(child, seen)
