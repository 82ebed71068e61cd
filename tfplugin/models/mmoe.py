"""Multi-gate mixture of experts."""

from collections.abc import Mapping
from collections.abc import Sequence

import keras

from tfplugin import layers
from tfplugin.models import features
from tfplugin.models import mixtures
from tfplugin.models import networks


def mmoe(
    inputs: Mapping[str, keras.KerasTensor],
    *,
    embeddings: layers.EmbeddingCollection,
    dense_features: Mapping[str, keras.layers.Layer],
    objectives: Sequence[str],
    hidden_units: Sequence[int] = (128, 64),
    tower_units: Sequence[int] = (),
    dropout: float = 0.0,
    num_experts: int = 4,
    name: str = "mmoe",
) -> keras.Model:
    """Experts that all objectives share, mixed for each by a gate of its own.

        f_o(x) = Σ_e softmax(W_o x)_e expert_e(x)

    x being all features side by side; the tower of objective o reads f_o.

    Args:
        inputs: Feature to its input; see `ModelContext.inputs`.
        embeddings: Vectors for the id features.
        dense_features: Dense feature to the layer that encodes it.
        objectives: Names of the outputs.
        hidden_units: Units of each expert's layers, with ReLU; at least one.
        tower_units: Units of each tower's layers.
        dropout: Rate after each layer of an expert.
        num_experts: At least 1.
        name: The model's name.

    Returns:
        A model from a dict of features to a dict of objectives, each a
        float32 logit of shape `(batch_size, 1)`.

    Raises:
        ValueError: A feature of `dense_features` is not in `inputs`, or there
            are no experts or no layers in them.

    Example:
    >>> user = layers.TableConfig("user", 4, vocabulary_size=10)
    >>> model = mmoe(
    ...     {"user": keras.Input((), dtype="int64", name="user")},
    ...     embeddings=layers.EmbeddingCollection(
    ...         [layers.FeatureConfig("user", user)]
    ...     ),
    ...     dense_features={},
    ...     objectives=["click", "buy"],
    ...     num_experts=3,
    ... )
    >>> sorted(model.output)
    ['buy', 'click']

    Reference: Ma et al., "Modeling Task Relationships in Multi-task Learning
    with Multi-gate Mixture-of-Experts", KDD 2018.
    """
    mixtures.check(hidden_units, num_experts=num_experts)
    ids, dense = features.encode(inputs, embeddings, dense_features)
    vector = features.side_by_side([*ids.values(), *dense.values()])
    experts = mixtures.experts(
        vector, num_experts, hidden_units, "expert", dropout
    )
    mixed = {
        objective: mixtures.mix(vector, experts, f"{objective}_gate")
        for objective in objectives
    }
    logits = networks.logits(mixed, tower_units)
    return keras.Model(dict(inputs), logits, name=name)
