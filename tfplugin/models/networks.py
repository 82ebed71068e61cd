"""The fully connected parts of models."""

from collections.abc import Mapping
from collections.abc import Sequence

import keras


def multilayer(
    vector: keras.KerasTensor,
    units: Sequence[int],
    name: str,
    dropout: float = 0.0,
) -> keras.KerasTensor:
    """Fully connected layers with ReLU, one upon the other.

    Args:
        vector: Shape `(batch_size, length)`.
        units: Of each layer; without any, the vector itself is returned.
        name: The layers are `NAME_0`, `NAME_1` and so on.
        dropout: Rate after each layer.

    Returns:
        Shape `(batch_size, units[-1])`.

    Example:
    >>> multilayer(keras.Input((5,)), (8, 3), "bottom").shape
    (None, 3)
    """
    for index, number in enumerate(units):
        vector = keras.layers.Dense(
            number, activation="relu", name=f"{name}_{index}"
        )(vector)
        if dropout:
            vector = keras.layers.Dropout(
                dropout, name=f"{name}_{index}_dropout"
            )(vector)
    return vector


def logits(
    vectors: Mapping[str, keras.KerasTensor], tower_units: Sequence[int]
) -> dict[str, keras.KerasTensor]:
    """A tower and a logit of each objective.

    Args:
        vectors: Objective to what its tower stands on, `(batch_size, length)`;
            several may stand on one.
        tower_units: Units of each tower's layers, which are called
            `OBJECTIVE_tower_0` and so on; the logit's is `OBJECTIVE`.

    Returns:
        Objective to its float32 logit, `(batch_size, 1)`.

    Example:
    >>> bottom = keras.Input((5,))
    >>> sorted(logits({"click": bottom, "buy": bottom}, (4,)))
    ['buy', 'click']
    """
    found = {}
    for objective, vector in vectors.items():
        tower = multilayer(vector, tower_units, f"{objective}_tower")
        # float32 also under mixed precision: losses and metrics need it.
        found[objective] = keras.layers.Dense(
            1, dtype="float32", name=objective
        )(tower)
    return found
