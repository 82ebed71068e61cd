"""Which states in a `.keras` or `.weights.h5` file are of frozen tables.

Keras loads an optimizer's variables by their number and refuses a file with
more or fewer. But a model loaded with a frozen layer builds its optimizer
without that layer's variables, so the file must say which ones those are.
"""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from tfplugin.optimizers import table_state

_KEPT = "kept"


def save_kept(
    states: table_state.TableStates,
    variables: Sequence[keras.Variable],
    store: Any,
) -> None:
    """Adds the places of variables that no frozen table owns, if any is.

    Args:
        states: Of the optimizer that is saved.
        variables: All variables of the optimizer, in their order.
        store: Keras's store of arrays, which has an array for each of them.

    Example:
    >>> store = {"0": np.zeros(()), "1": np.zeros(())}
    >>> save_kept(table_state.TableStates(), [], store)
    >>> sorted(store)
    ['0', '1']
    """
    frozen = {
        id(kept)
        for index, variable in enumerate(states.variables)
        if not variable.trainable
        for kept in states.by_index[index].variables()
    }
    if frozen:
        store[_KEPT] = np.array(
            [k for k, v in enumerate(variables) if id(v) not in frozen],
            np.int64,
        )


class _Selection:
    """Some arrays of a store, renumbered; each is read when asked for."""

    def __init__(self, store: Any, places: Sequence[int]) -> None:
        self._store = store
        self._places = {str(k): str(place) for k, place in enumerate(places)}

    def keys(self) -> list[str]:
        return list(self._places)

    def __getitem__(self, key: str) -> np.ndarray:
        return self._store[self._places[key]]


def select(store: Any, num_variables: int) -> Any:
    """Returns the arrays that an optimizer can load.

    Args:
        store: What Keras hands to `load_own_variables`.
        num_variables: How many variables the optimizer has.

    Returns:
        The arrays without those of frozen tables if that fits the optimizer,
        else all arrays.

    Example:
    >>> store = {"0": 5.0, "1": 6.0, "2": 7.0, "kept": np.array([0, 2])}
    >>> select(store, 2)["1"], select(store, 3)["1"]
    (7.0, 6.0)
    """
    if _KEPT not in store.keys():
        return store
    kept = np.asarray(store[_KEPT]).tolist()
    if len(kept) == num_variables:
        return _Selection(store, kept)
    return _Selection(store, range(len(store.keys()) - 1))
