"""Whether a layer hands on a slice for each occurrence of an id in a list."""

from collections.abc import Iterable

import keras


def ask(variables: Iterable[keras.Variable]) -> None:
    """Asks the layers of tables for a slice an occurrence.

    A layer that reduces lists of ids would sum the slices of one row by itself,
    which costs less, and reads this flag in each step that is traced.

    Args:
        variables: Tables.

    Example:
    >>> table = keras.Variable([[0.0]])
    >>> ask([table])
    >>> table.counts_occurrences
    True
    """
    for variable in variables:
        variable.counts_occurrences = True


def refuse_summed(variables: Iterable[keras.Variable]) -> None:
    """Refuses a step whose optimizer asked after the layers had answered.

    Args:
        variables: What an optimizer was built with in this very step.

    Raises:
        ValueError: A layer summed what was to be counted.

    Example:
    >>> refuse_summed([keras.Variable([[0.0]])])
    """
    for variable in variables:
        if getattr(variable, "counts_occurrences", False) and getattr(
            variable, "sums_occurrences", False
        ):
            raise ValueError(
                "An optimizer that counts occurrences of ids in a batch must "
                "be built before the first step: built within it, it is too "
                "late to ask the layer for each one. Received: a step on "
                f"{variable.path}, whose layer has summed them. Build the "
                "model, `compile` it (again) and call "
                "`optimizer.build(model.trainable_variables)`."
            )
