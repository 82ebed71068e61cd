"""Finds the layers that only one objective of a model depends on."""

from collections.abc import Sequence

import keras

from tfplugin import layer_tree


def find_towers(
    model: keras.Model, objectives: Sequence[str]
) -> dict[str, list[keras.Variable]]:
    """Returns the weights that one objective's output alone depends on.

    A layer is an objective's own if it lies on a path from the inputs to this
    output and to no other; a layer that holds the towers of several is not
    looked into. A weight that another layer has as well is nobody's own. A last
    layer without weights that takes and returns the logits of all objectives,
    such as one that undoes sampling, is looked past.

    Args:
        model: Functional, with a dict of outputs; or with one output, for one
            objective.
        objectives: Names of outputs.

    Returns:
        Objective to weights, trainable or not, in the order of the layers.
        Empty for a model that is not functional, whose paths nobody knows.

    Raises:
        ValueError: An objective is no output.

    Example:
    >>> inputs = keras.Input((2,))
    >>> shared = keras.layers.Dense(3)(inputs)
    >>> model = keras.Model(inputs, {
    ...     name: keras.layers.Dense(1, name=name)(shared)
    ...     for name in ("click", "buy")
    ... })
    >>> towers = find_towers(model, ["click", "buy"])
    >>> [tuple(variable.shape) for variable in towers["buy"]]
    [(3, 1), (1,)]
    """
    outputs = _outputs(model, objectives)
    if not outputs:
        return {name: [] for name in objectives}
    outputs = _before_last(model, outputs)
    # A model from the same inputs to one output has the layers on the way.
    layers = {
        name: keras.Model(model.inputs, tensor).layers
        for name, tensor in outputs.items()
    }
    holders: dict[int, set[str]] = {}
    for name, found in layers.items():
        for layer in layer_tree.walk(found):
            for variable in layer.weights:
                holders.setdefault(id(variable), set()).add(name)
    towers: dict[str, list[keras.Variable]] = {}
    for name in objectives:
        own = {
            id(variable): variable
            for layer in layers[name]
            for variable in layer.weights
            if holders[id(variable)] == {name}
        }
        towers[name] = list(own.values())
    return towers


def _outputs(
    model: keras.Model, objectives: Sequence[str]
) -> dict[str, keras.KerasTensor]:
    """Name of an output to its tensor; empty if the model is no graph."""
    if not getattr(model, "inputs", None):
        return {}
    if isinstance(model.output, dict):
        outputs = dict(model.output)
    elif len(objectives) == len(model.outputs) == 1:
        outputs = {objectives[0]: model.outputs[0]}
    else:
        outputs = dict(zip(model.output_names, model.outputs, strict=True))
    for name in objectives:
        if name not in outputs:
            raise ValueError(
                "`objectives` must be outputs of the model. Received: "
                f"{name!r}; outputs are {sorted(outputs)}."
            )
    return outputs


def _before_last(
    model: keras.Model, outputs: dict[str, keras.KerasTensor]
) -> dict[str, keras.KerasTensor]:
    """The outputs before a last layer that all of them went through."""
    wanted = {id(tensor) for tensor in outputs.values()}
    for layer in model.layers:
        if layer.weights or len(outputs) < 2:
            continue
        # Both are flat, in the order of the sorted names of a dict.
        given, returned = layer.input, layer.output
        if (
            isinstance(given, list)
            and isinstance(returned, list)
            and len(given) == len(returned)
            and wanted <= {id(tensor) for tensor in returned}
        ):
            before = {
                id(after): tensor
                for tensor, after in zip(given, returned, strict=True)
            }
            return {name: before[id(one)] for name, one in outputs.items()}
    return outputs
