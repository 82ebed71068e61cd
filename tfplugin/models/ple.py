"""Progressive layered extraction."""

from collections.abc import Mapping
from collections.abc import Sequence

import keras

from tfplugin import layers
from tfplugin.models import features
from tfplugin.models import mixtures
from tfplugin.models import networks

_SHARED = "shared"


def ple(
    inputs: Mapping[str, keras.KerasTensor],
    *,
    embeddings: layers.EmbeddingCollection,
    dense_features: Mapping[str, keras.layers.Layer],
    objectives: Sequence[str],
    hidden_units: Sequence[int] = (128, 64),
    tower_units: Sequence[int] = (),
    dropout: float = 0.0,
    num_levels: int = 2,
    shared_experts: int = 2,
    own_experts: int = 1,
    name: str = "ple",
) -> keras.Model:
    """Levels of experts, some shared and some an objective's own.

    On each level (CGC, customized gate control) objective o has a state x_o,
    and all share a state x_s; all are the features side by side on the first:

        x_o ← mix of o's own and the shared experts, by softmax(W_o x_o)
        x_s ← mix of all experts of the level, by softmax(W_s x_s)

    Own experts read x_o and shared ones x_s. The last level has no x_s; one
    level alone is the paper's CGC model.

    Args:
        inputs: Feature to its input; see `ModelContext.inputs`.
        embeddings: Vectors for the id features.
        dense_features: Dense feature to the layer that encodes it.
        objectives: Names of the outputs; none is called `shared`.
        hidden_units: Units of each expert's layers, on each level.
        tower_units: Units of each tower's layers.
        dropout: Rate after each layer of an expert.
        num_levels: At least 1.
        shared_experts: A level, at least 1.
        own_experts: An objective and level, at least 1.
        name: The model's name.

    Returns:
        A model from a dict of features to a dict of objectives, each a
        float32 logit of shape `(batch_size, 1)`.

    Raises:
        ValueError: A feature of `dense_features` is not in `inputs`, a number
            is below 1, there are no layers, or an objective is `shared`.

    Example:
    >>> user = layers.TableConfig("user", 4, vocabulary_size=10)
    >>> model = ple(
    ...     {"user": keras.Input((), dtype="int64", name="user")},
    ...     embeddings=layers.EmbeddingCollection(
    ...         [layers.FeatureConfig("user", user)]
    ...     ),
    ...     dense_features={},
    ...     objectives=["click", "buy"],
    ... )
    >>> sorted(model.output)
    ['buy', 'click']

    Reference: Tang et al., "Progressive Layered Extraction (PLE): A Novel
    Multi-Task Learning (MTL) Model for Personalized Recommendations", RecSys
    2020.
    """
    mixtures.check(
        hidden_units,
        num_levels=num_levels,
        shared_experts=shared_experts,
        own_experts=own_experts,
    )
    if _SHARED in objectives:
        raise ValueError(
            "No objective may be called `shared`, as the shared experts are. "
            f"Received: objectives={list(objectives)}. Rename the label."
        )
    ids, dense = features.encode(inputs, embeddings, dense_features)
    vector = features.side_by_side([*ids.values(), *dense.values()])
    states = dict.fromkeys((*objectives, _SHARED), vector)
    for level in range(num_levels):
        experts = {
            owner: mixtures.experts(
                state,
                shared_experts if owner == _SHARED else own_experts,
                hidden_units,
                f"{owner}_expert_{level}",
                dropout,
            )
            for owner, state in states.items()
        }
        states = _mix(states, experts, level, last=level == num_levels - 1)
    logits = networks.logits(states, tower_units)
    return keras.Model(dict(inputs), logits, name=name)


def _mix(
    states: Mapping[str, keras.KerasTensor],
    experts: Mapping[str, list[keras.KerasTensor]],
    level: int,
    *,
    last: bool,
) -> dict[str, keras.KerasTensor]:
    """The states above a level."""
    mixed = {}
    for owner, state in states.items():
        if owner != _SHARED:
            read = experts[owner] + experts[_SHARED]
        elif last:
            continue
        else:
            read = [
                expert for several in experts.values() for expert in several
            ]
        mixed[owner] = mixtures.mix(state, read, f"{owner}_gate_{level}")
    return mixed
