"""Experts, and the gates that mix them."""

from collections.abc import Sequence

import keras

from tfplugin.models import networks


def check(hidden_units: Sequence[int], **numbers: int) -> None:
    """Refuses experts without layers, and numbers below one.

    Args:
        hidden_units: Units of each expert's layers.
        **numbers: Arguments that must be at least 1, by name.

    Raises:
        ValueError: One of them is less.

    Example:
    >>> check((8,), num_experts=2)
    """
    if not hidden_units:
        raise ValueError(
            "`hidden_units` must name a layer of the experts at least. "
            f"Received: hidden_units={tuple(hidden_units)}"
        )
    for name, number in numbers.items():
        if number < 1:
            raise ValueError(
                f"`{name}` must be at least 1. Received: {name}={number}"
            )


def experts(
    vector: keras.KerasTensor,
    number: int,
    units: Sequence[int],
    name: str,
    dropout: float,
) -> list[keras.KerasTensor]:
    """Networks that all read one vector.

    Args:
        vector: Shape `(batch_size, length)`.
        number: How many.
        units: Of each one's layers, which are called `NAME_EXPERT_LAYER`.
        name: See `units`.
        dropout: Rate after each layer.

    Returns:
        Each `(batch_size, units[-1])`.

    Example:
    >>> [e.shape for e in experts(keras.Input((5,)), 2, (3,), "expert", 0.0)]
    [(None, 3), (None, 3)]
    """
    return [
        networks.multilayer(vector, units, f"{name}_{index}", dropout)
        for index in range(number)
    ]


def mix(
    vector: keras.KerasTensor,
    mixed: Sequence[keras.KerasTensor],
    name: str,
) -> keras.KerasTensor:
    """The mean of experts, weighted by softmax(W vector).

    Args:
        vector: What the gate reads, `(batch_size, length)`.
        mixed: The experts, each `(batch_size, width)`.
        name: Of the gate's layer, which has W.

    Returns:
        Shape `(batch_size, width)`.

    Example:
    >>> both = [keras.Input((3,)), keras.Input((3,))]
    >>> mix(keras.Input((5,)), both, "gate").shape
    (None, 3)
    """
    gate = keras.layers.Dense(
        len(mixed), activation="softmax", use_bias=False, name=name
    )(vector)
    stacked = keras.ops.stack(list(mixed), axis=1)
    return keras.ops.sum(keras.ops.expand_dims(gate, 2) * stacked, axis=1)
