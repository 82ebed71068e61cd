"""Deep and cross network, version 2."""

from collections.abc import Mapping
from collections.abc import Sequence
from typing import Literal

import keras
import keras_rs

from tfplugin import layers
from tfplugin.models import features
from tfplugin.models import networks


def dcn(
    inputs: Mapping[str, keras.KerasTensor],
    *,
    embeddings: layers.EmbeddingCollection,
    dense_features: Mapping[str, keras.layers.Layer],
    objectives: Sequence[str],
    hidden_units: Sequence[int] = (128, 64),
    tower_units: Sequence[int] = (),
    dropout: float = 0.0,
    structure: Literal["parallel", "stacked"] = "parallel",
    num_crosses: int = 2,
    projection_dim: int | None = None,
    name: str = "dcn",
) -> keras.Model:
    """Crosses of all features with each other, beside or below a network.

    Each cross raises the degree by one, x_0 being all features side by side:

        x_{k+1} = x_0 ⊙ (W_k x_k + b_k) + x_k

    Args:
        inputs: Feature to its input; see `ModelContext.inputs`.
        embeddings: Vectors for the id features.
        dense_features: Dense feature to the layer that encodes it.
        objectives: Names of the outputs.
        hidden_units: Units of the network's layers, with ReLU.
        tower_units: Units of each objective's layers above both.
        dropout: Rate after each layer of the network.
        structure: `"parallel"`, the network beside the crosses, or
            `"stacked"`, above them.
        num_crosses: How many, at least 1.
        projection_dim: Rank of W_k = U_k V_k; None for full matrices.
        name: The model's name.

    Returns:
        A model from a dict of features to a dict of objectives, each a
        float32 logit of shape `(batch_size, 1)`.

    Raises:
        ValueError: A feature of `dense_features` is not in `inputs`, or
            `structure`, `num_crosses` or `projection_dim` is none of these.

    Example:
    >>> user = layers.TableConfig("user", 4, vocabulary_size=10)
    >>> model = dcn(
    ...     {"user": keras.Input((), dtype="int64", name="user")},
    ...     embeddings=layers.EmbeddingCollection(
    ...         [layers.FeatureConfig("user", user)]
    ...     ),
    ...     dense_features={},
    ...     objectives=["click"],
    ...     projection_dim=2,
    ... )
    >>> model.output["click"].shape
    (None, 1)

    Reference: Wang et al., "DCN V2: Improved Deep & Cross Network and
    Practical Lessons for Web-scale Learning to Rank Systems", WWW 2021,
    arXiv 2008.13535.
    """
    if structure not in ("parallel", "stacked"):
        raise ValueError(
            "`structure` must be 'parallel' or 'stacked'. "
            f"Received: structure={structure!r}"
        )
    if num_crosses < 1 or (projection_dim is not None and projection_dim < 1):
        raise ValueError(
            "`num_crosses` and `projection_dim` must be at least 1. Received: "
            f"num_crosses={num_crosses}, projection_dim={projection_dim}"
        )
    ids, dense = features.encode(inputs, embeddings, dense_features)
    first = features.side_by_side([*ids.values(), *dense.values()])
    crossed = first
    for index in range(num_crosses):
        crossed = keras_rs.layers.FeatureCross(
            projection_dim, name=f"cross_{index}"
        )(first, crossed)
    below = crossed if structure == "stacked" else first
    deep = networks.multilayer(below, hidden_units, "deep", dropout)
    if structure == "parallel":
        deep = features.side_by_side([crossed, deep], "crosses_and_deep")
    logits = networks.logits(dict.fromkeys(objectives, deep), tower_units)
    return keras.Model(dict(inputs), logits, name=name)
