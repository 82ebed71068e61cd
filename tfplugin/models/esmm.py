"""Entire space multi-task model: a chain of conditional probabilities."""

from collections.abc import Mapping
from collections.abc import Sequence

import keras

from tfplugin import layers
from tfplugin.models import features
from tfplugin.models import networks


def esmm(
    inputs: Mapping[str, keras.KerasTensor],
    *,
    embeddings: layers.EmbeddingCollection,
    dense_features: Mapping[str, keras.layers.Layer],
    objectives: Sequence[str],
    hidden_units: Sequence[int] = (128, 64),
    dropout: float = 0.0,
    funnel: Sequence[str] | None = None,
    name: str = "esmm",
) -> keras.Model:
    """A network an objective; a later one's probability is a product.

    Where each step of a funnel needs the one before, as a purchase a click, a
    network learns the step's conditional probability in the space of all
    impressions:

        p_1 = σ(z_1),   p_k = p_{k-1} σ(z_k)

    z_k being the output of objective k's network. Losses are of p_k, never of
    σ(z_k), which only rows with the step before could teach. Embeddings are
    all that is shared. Labels of later steps are 0, not missing, where an
    earlier step did not happen.

    Args:
        inputs: Feature to its input; see `ModelContext.inputs`.
        embeddings: Vectors for the id features.
        dense_features: Dense feature to the layer that encodes it.
        objectives: Names of the outputs.
        hidden_units: Units of each network's layers, with ReLU.
        dropout: Rate after each layer.
        funnel: Two or more objectives, each a step that needs the one before;
            one that is not among them has a probability of its own. None: all
            objectives, in their order.
        name: The model's name.

    Returns:
        A model from a dict of features to a dict of objectives, each the
        float32 logit of p_k, of shape `(batch_size, 1)`.

    Raises:
        ValueError: A feature of `dense_features` is not in `inputs`, or
            `funnel` names an objective twice, none that there is or fewer
            than two.

    Example:
    >>> user = layers.TableConfig("user", 4, vocabulary_size=10)
    >>> model = esmm(
    ...     {"user": keras.Input((), dtype="int64", name="user")},
    ...     embeddings=layers.EmbeddingCollection(
    ...         [layers.FeatureConfig("user", user)]
    ...     ),
    ...     dense_features={},
    ...     objectives=["buy", "click"],
    ...     funnel=["click", "buy"],
    ... )
    >>> list(model.output)
    ['buy', 'click']

    Reference: Ma et al., "Entire Space Multi-Task Model: An Effective Approach
    for Estimating Post-Click Conversion Rate", SIGIR 2018, arXiv 1804.07931.
    """
    steps = _steps(funnel, objectives)
    ids, dense = features.encode(inputs, embeddings, dense_features)
    vector = features.side_by_side([*ids.values(), *dense.values()])
    conditional = {
        objective: keras.layers.Dense(
            1, dtype="float32", name=f"{objective}_step"
        )(
            networks.multilayer(
                vector, hidden_units, f"{objective}_tower", dropout
            )
        )
        for objective in objectives
    }
    products = dict(conditional)
    for before, step in zip(steps, steps[1:], strict=False):
        products[step] = _logit_of_product(products[before], conditional[step])
    logits = {
        # Keras calls an output by its layer.
        objective: keras.layers.Identity(dtype="float32", name=objective)(
            products[objective]
        )
        for objective in objectives
    }
    return keras.Model(dict(inputs), logits, name=name)


def _steps(
    funnel: Sequence[str] | None, objectives: Sequence[str]
) -> tuple[str, ...]:
    if funnel is None:
        return tuple(objectives)
    steps = tuple(funnel)
    received = (
        f"Received: funnel={', '.join(map(repr, steps)) or 'none'}; objectives "
        f"are {', '.join(objectives)}."
    )
    if not set(steps) <= set(objectives) or len(set(steps)) < len(steps):
        raise ValueError(
            f"`funnel` must name objectives, each once. {received}"
        )
    if len(steps) < 2:
        raise ValueError(
            "`funnel` must have two steps or more, or no probability is a "
            f"product. {received} Leave it out for all objectives in turn."
        )
    return steps


def _logit_of_product(
    a: keras.KerasTensor, b: keras.KerasTensor
) -> keras.KerasTensor:
    """The logit of σ(a) σ(b), from the odds against it.

    They are (1 + e^-a)(1 + e^-b) - 1 = e^-a + e^-b + e^-(a+b), whose logarithm
    neither overflows nor cancels; 1 - σ(a) σ(b) would lose all digits.
    """
    terms = keras.ops.concatenate([-a, -b, -(a + b)], axis=1)
    return -keras.ops.logsumexp(terms, axis=1, keepdims=True)
