"""Factorization machine and a network over the same embeddings."""

import dataclasses
from collections.abc import Mapping
from collections.abc import Sequence

import keras

from tfplugin import layers
from tfplugin.models import features
from tfplugin.models import networks


def deepfm(
    inputs: Mapping[str, keras.KerasTensor],
    *,
    embeddings: layers.EmbeddingCollection,
    dense_features: Mapping[str, keras.layers.Layer],
    objectives: Sequence[str],
    hidden_units: Sequence[int] = (128, 64),
    tower_units: Sequence[int] = (),
    dropout: float = 0.0,
    interaction_dim: int | None = None,
    name: str = "deepfm",
) -> keras.Model:
    """A factorization machine plus a network over the same embeddings.

        logit = Σ_i w_i + Σ_{i<j} v_i · v_j + network(v_1, ..., v_n)

    where v_i is the vector of feature i and w_i its weight, from a table with
    a column an objective (`TABLE_weight`, zeros at first); a dense feature's
    columns are multiplied by weights and by vectors. Objectives share the
    vectors, so each weighs the k columns of the second sum, 1 at first:

        Σ_{i<j} v_i · v_j = ½ Σ_k [(Σ_i v_ik)² - Σ_i v_ik²]

    Args:
        inputs: Feature to its input; see `ModelContext.inputs`.
        embeddings: Vectors for the id features.
        dense_features: Dense feature to the layer that encodes it.
        objectives: Names of the outputs.
        hidden_units: Units of the network's layers, with ReLU.
        tower_units: Units of each objective's layers above the network.
        dropout: Rate after each layer of the network.
        interaction_dim: Length of the vectors that are multiplied; those of
            another length are projected. None for the longest one's.
        name: The model's name.

    Returns:
        A model from a dict of features to a dict of objectives, each a
        float32 logit of shape `(batch_size, 1)`.

    Raises:
        ValueError: A feature of `dense_features` is not in `inputs`.

    Example:
    >>> user = layers.TableConfig("user", 4, vocabulary_size=10)
    >>> model = deepfm(
    ...     {"user": keras.Input((), dtype="int64", name="user")},
    ...     embeddings=layers.EmbeddingCollection(
    ...         [layers.FeatureConfig("user", user)]
    ...     ),
    ...     dense_features={},
    ...     objectives=["click"],
    ... )
    >>> model.output["click"].shape
    (None, 1)

    Reference: Guo et al., "DeepFM: A Factorization-Machine based Neural
    Network for CTR Prediction", IJCAI 2017, arXiv 1703.04247.
    """
    ids, dense = features.encode(inputs, embeddings, dense_features)
    vectors = features.of_one_length(ids, interaction_dim)
    vectors += [
        keras.layers.Dense(
            vectors[0].shape[1], use_bias=False, name=f"{feature}_vector"
        )(columns)
        for feature, columns in dense.items()
    ]
    linear = _linear(inputs, embeddings, dense, len(objectives))
    products = _pair_products(vectors)
    deep = networks.multilayer(
        features.side_by_side(vectors), hidden_units, "deep", dropout
    )
    logits = {
        objective: keras.layers.Add(dtype="float32", name=objective)(
            [
                linear[:, index : index + 1],
                keras.layers.Dense(
                    1,
                    use_bias=False,
                    kernel_initializer="ones",
                    name=f"{objective}_products",
                )(products),
                keras.layers.Dense(1, name=f"{objective}_deep")(
                    networks.multilayer(deep, tower_units, f"{objective}_tower")
                ),
            ]
        )
        for index, objective in enumerate(objectives)
    }
    return keras.Model(dict(inputs), logits, name=name)


def _linear(
    inputs: Mapping[str, keras.KerasTensor],
    embeddings: layers.EmbeddingCollection,
    dense: Mapping[str, keras.KerasTensor],
    num_objectives: int,
) -> keras.KerasTensor:
    """Sums of the features' own weights, (batch_size, num_objectives)."""
    tables: dict[str, layers.TableConfig] = {}
    for feature in embeddings.features:
        table = feature.table
        tables.setdefault(
            table.name,
            dataclasses.replace(
                table,
                name=f"{table.name}_weight",
                embedding_dim=num_objectives,
                embeddings_initializer="zeros",
                # A column cannot be divided among the parts.
                compose="add",
            ),
        )
    weights = layers.EmbeddingCollection(
        [
            layers.FeatureConfig(feature.name, tables[feature.table.name])
            for feature in embeddings.features
        ],
        name="linear_weights",
    )({feature.name: inputs[feature.name] for feature in embeddings.features})
    terms = list(weights.values())
    terms += [
        keras.layers.Dense(
            num_objectives, use_bias=False, name=f"{feature}_weight"
        )(columns)
        for feature, columns in dense.items()
    ]
    return keras.layers.Add(name="linear_sum")(terms) if terms[1:] else terms[0]


def _pair_products(vectors: Sequence[keras.KerasTensor]) -> keras.KerasTensor:
    """Sum over pairs of v_i ⊙ v_j, (batch_size, length)."""
    stacked = keras.ops.stack(list(vectors), axis=1)
    square_of_sum = keras.ops.square(keras.ops.sum(stacked, axis=1))
    sum_of_squares = keras.ops.sum(keras.ops.square(stacked), axis=1)
    return 0.5 * (square_of_sum - sum_of_squares)
