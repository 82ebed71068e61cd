"""Which columns of a dataset a model takes and gives."""

from collections.abc import Mapping
from typing import Any

from tfplugin import schema as schema_lib
from tfplugin.errors import InputError


def select_for_model(
    schema: schema_lib.Schema, model: Any
) -> schema_lib.Schema:
    """The part of a dataset's schema that a model uses.

    Args:
        schema: The dataset's schema.
        model: A Keras model from a dict of features to a dict of logits, each
            of shape `(batch_size, 1)` or `(batch_size,)`, by label.

    Returns:
        The schema with the model's features and labels only.

    Raises:
        InputError: The model's inputs or outputs are no dict, name what the
            dataset lacks, or an output has another shape.
    """
    inputs = _names(model, "input")
    outputs = _names(model, "output")
    for name, tensor in outputs.items():
        if tuple(tensor.shape) not in ((None,), (None, 1)):
            raise InputError(
                "An output of a model must be a logit of shape (batch_size, "
                f"1). Received: `{name}` of shape {tuple(tensor.shape)}."
            )
    return schema.select(features=inputs, labels=outputs)


def _names(model: Any, side: str) -> Mapping[str, Any]:
    tensors = getattr(model, side, None)
    if not isinstance(tensors, Mapping):
        raise InputError(
            f"A model's {side}s must be a dict by the dataset's names. "
            f"Received: {type(tensors).__name__}. Build it as keras.Model("
            "{feature: input, ...}, {label: logit, ...})."
        )
    return tensors
