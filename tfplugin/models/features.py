"""Inputs of a model → a vector of each feature."""

from collections.abc import Mapping
from collections.abc import Sequence

import keras

from tfplugin import layers


def encode(
    inputs: Mapping[str, keras.KerasTensor],
    embeddings: layers.EmbeddingCollection,
    dense_features: Mapping[str, keras.layers.Layer],
) -> tuple[dict[str, keras.KerasTensor], dict[str, keras.KerasTensor]]:
    """Looks ids up and encodes dense features.

    Args:
        inputs: Feature to its input; see `ModelContext.inputs`.
        embeddings: Vectors for the id features.
        dense_features: Dense feature to the layer that encodes it.

    Returns:
        Vectors `(batch_size, embedding_dim)` of the id features and columns
        `(batch_size, number of columns)` of the dense ones, by name; ids in
        the order of `inputs`.

    Raises:
        ValueError: A feature of `dense_features` is not in `inputs`.

    Example:
    >>> user = layers.TableConfig("user", 4, vocabulary_size=10)
    >>> ids, dense = encode(
    ...     {"user": keras.Input((), dtype="int64"), "age": keras.Input(())},
    ...     layers.EmbeddingCollection([layers.FeatureConfig("user", user)]),
    ...     {"age": layers.DenseFeature(mean=40.0)},
    ... )
    >>> ids["user"].shape, dense["age"].shape
    ((None, 4), (None, 2))
    """
    absent = sorted(set(dense_features) - set(inputs))
    if absent:
        raise ValueError(
            "`dense_features` must name inputs. "
            f"Received: {absent}; inputs are {sorted(inputs)}."
        )
    vectors = embeddings(
        {feature.name: inputs[feature.name] for feature in embeddings.features}
    )
    return (
        {name: vectors[name] for name in inputs if name in vectors},
        {name: layer(inputs[name]) for name, layer in dense_features.items()},
    )


def side_by_side(
    vectors: Sequence[keras.KerasTensor], name: str = "features"
) -> keras.KerasTensor:
    """One vector of several, one after the other.

    Args:
        vectors: Each `(batch_size, length)`; at least one.
        name: Of the layer.

    Returns:
        Shape `(batch_size, sum of lengths)`.

    Example:
    >>> side_by_side([keras.Input((2,)), keras.Input((3,))]).shape
    (None, 5)
    """
    if len(vectors) == 1:
        return vectors[0]
    return keras.layers.Concatenate(name=name)(list(vectors))


def of_one_length(
    vectors: Mapping[str, keras.KerasTensor], length: int | None
) -> list[keras.KerasTensor]:
    """Makes vectors equally long, so that they can be multiplied.

    Those of another length are projected, as in "Mixed Dimension Embeddings"
    (Ginart et al., 2019).

    Args:
        vectors: Feature to `(batch_size, its length)`.
        length: What all get; None for the longest one's.

    Returns:
        Each `(batch_size, length)`, in order.

    Example:
    >>> vectors = {"user": keras.Input((4,)), "ad": keras.Input((2,))}
    >>> [vector.shape for vector in of_one_length(vectors, None)]
    [(None, 4), (None, 4)]
    """
    if length is None:
        length = max(vector.shape[1] for vector in vectors.values())
    return [
        vector
        if vector.shape[1] == length
        else keras.layers.Dense(
            length, use_bias=False, name=f"{name}_projection"
        )(vector)
        for name, vector in vectors.items()
    ]
