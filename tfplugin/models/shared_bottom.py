"""One network below, a tower an objective above."""

from collections.abc import Mapping
from collections.abc import Sequence

import keras

from tfplugin import layers
from tfplugin.models import features
from tfplugin.models import networks


def shared_bottom(
    inputs: Mapping[str, keras.KerasTensor],
    *,
    embeddings: layers.EmbeddingCollection,
    dense_features: Mapping[str, keras.layers.Layer],
    objectives: Sequence[str],
    hidden_units: Sequence[int] = (128, 64),
    tower_units: Sequence[int] = (),
    dropout: float = 0.0,
    name: str = "shared_bottom",
) -> keras.Model:
    """Embeddings → shared bottom → a tower and a logit an objective.

    The hard parameter sharing of Caruana, "Multitask Learning" (1997).

    Args:
        inputs: Feature to its input; see `ModelContext.inputs`.
        embeddings: Vectors for the id features.
        dense_features: Dense feature to the layer that encodes it.
        objectives: Names of the outputs.
        hidden_units: Units of the bottom's layers, with ReLU.
        tower_units: Units of each tower's layers, with ReLU.
        dropout: Rate after each layer of the bottom.
        name: The model's name.

    Returns:
        A model from a dict of features to a dict of objectives, each a
        float32 logit of shape `(batch_size, 1)`.

    Raises:
        ValueError: A feature of `dense_features` is not in `inputs`.

    Example:
    >>> users = layers.TableConfig("user", 4, vocabulary_size=10)
    >>> model = shared_bottom(
    ...     {
    ...         "user": keras.Input((), dtype="int64", name="user"),
    ...         "age": keras.Input((), name="age"),
    ...     },
    ...     embeddings=layers.EmbeddingCollection(
    ...         [layers.FeatureConfig("user", users)]
    ...     ),
    ...     dense_features={"age": layers.DenseFeature(mean=40.0)},
    ...     objectives=["click", "buy"],
    ... )
    >>> {name: logit.shape for name, logit in model.output.items()}
    {'click': (None, 1), 'buy': (None, 1)}
    """
    ids, dense = features.encode(inputs, embeddings, dense_features)
    bottom = networks.multilayer(
        features.side_by_side([*ids.values(), *dense.values()]),
        hidden_units,
        "bottom",
        dropout,
    )
    logits = networks.logits(dict.fromkeys(objectives, bottom), tower_units)
    return keras.Model(dict(inputs), logits, name=name)
