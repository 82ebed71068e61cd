"""Finds the models there are: modules with a function of their own name."""

import importlib
import inspect
import pkgutil
from collections.abc import Callable

import keras

ModelFunction = Callable[..., keras.Model]


def find(kind: str) -> ModelFunction | None:
    """The function of a kind of model.

    Args:
        kind: The name of a module of this package.

    Returns:
        The module's public function of the same name; None if there is no such
        module, or it has no such function.

    Example:
    >>> find("shared_bottom").__name__
    'shared_bottom'
    >>> find("catalog") is None
    True
    """
    if kind not in _modules():
        return None
    module = importlib.import_module(f"tfplugin.models.{kind}")
    function = getattr(module, kind, None)
    return function if inspect.isfunction(function) else None


def kinds() -> dict[str, str]:
    """What `model.kind` may be.

    Returns:
        Kind to the first line of its function's docstring, sorted by kind.

    Example:
    >>> kinds()["shared_bottom"]
    'Embeddings → shared bottom → a tower and a logit an objective.'
    """
    found = {kind: find(kind) for kind in _modules()}
    return {
        kind: (inspect.getdoc(function) or "").partition("\n")[0]
        for kind, function in sorted(found.items())
        if function is not None
    }


def _modules() -> list[str]:
    package = importlib.import_module("tfplugin.models")
    return [module.name for module in pkgutil.iter_modules(package.__path__)]
