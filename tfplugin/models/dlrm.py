"""Deep learning recommendation model: dot products of all pairs."""

from collections.abc import Mapping
from collections.abc import Sequence

import keras
import keras_rs

from tfplugin import layers
from tfplugin.models import features
from tfplugin.models import networks


def dlrm(
    inputs: Mapping[str, keras.KerasTensor],
    *,
    embeddings: layers.EmbeddingCollection,
    dense_features: Mapping[str, keras.layers.Layer],
    objectives: Sequence[str],
    hidden_units: Sequence[int] = (128, 64),
    tower_units: Sequence[int] = (),
    dropout: float = 0.0,
    bottom_units: Sequence[int] = (64,),
    interaction_dim: int | None = None,
    name: str = "dlrm",
) -> keras.Model:
    """Dot products of all pairs of features, then a network above them.

    The dense features together become one vector more, through a network of
    their own (the paper's bottom MLP). With the vectors e_1 ... e_n, the top
    network reads the dense vector and all e_i · e_j, i > j.

    Args:
        inputs: Feature to its input; see `ModelContext.inputs`.
        embeddings: Vectors for the id features.
        dense_features: Dense feature to the layer that encodes it.
        objectives: Names of the outputs.
        hidden_units: Units of the top's layers, with ReLU.
        tower_units: Units of each objective's layers above the top.
        dropout: Rate after each layer of the top.
        bottom_units: Units of the dense features' layers before the last,
            which has `interaction_dim`.
        interaction_dim: Length of the vectors that are multiplied; those of
            another length are projected. None for the longest one's.
        name: The model's name.

    Returns:
        A model from a dict of features to a dict of objectives, each a
        float32 logit of shape `(batch_size, 1)`.

    Raises:
        ValueError: A feature of `dense_features` is not in `inputs`, or there
            is one vector only.

    Example:
    >>> ids = {
    ...     name: keras.Input((), dtype="int64", name=name)
    ...     for name in ("user", "ad")
    ... }
    >>> model = dlrm(
    ...     ids,
    ...     embeddings=layers.EmbeddingCollection([
    ...         layers.FeatureConfig(
    ...             name, layers.TableConfig(name, 4, vocabulary_size=10)
    ...         )
    ...         for name in ids
    ...     ]),
    ...     dense_features={},
    ...     objectives=["click"],
    ... )
    >>> model.output["click"].shape
    (None, 1)

    Reference: Naumov et al., "Deep Learning Recommendation Model for
    Personalization and Recommendation Systems", arXiv 1906.00091.
    """
    ids, dense = features.encode(inputs, embeddings, dense_features)
    vectors = features.of_one_length(ids, interaction_dim)
    beside: list[keras.KerasTensor] = []
    if dense:
        bottom = networks.multilayer(
            features.side_by_side([*dense.values()], "dense_features"),
            (*bottom_units, vectors[0].shape[1]),
            "bottom",
        )
        vectors.append(bottom)
        beside.append(bottom)
    if len(vectors) < 2:
        raise ValueError(
            "There must be two features to multiply, or more. Received: "
            f"inputs={sorted(inputs)}. Use another model."
        )
    products = keras_rs.layers.DotInteraction(name="dot_products")(vectors)
    top = networks.multilayer(
        features.side_by_side([*beside, products]),
        hidden_units,
        "top",
        dropout,
    )
    logits = networks.logits(dict.fromkeys(objectives, top), tower_units)
    return keras.Model(dict(inputs), logits, name=name)
