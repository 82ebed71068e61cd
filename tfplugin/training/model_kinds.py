"""Finds the model that a configuration names, and checks its options."""

import difflib
import inspect
import typing
from collections.abc import Iterable
from typing import Any

import pydantic

from tfplugin import config as config_lib
from tfplugin import models
from tfplugin.errors import InputError

#: What every model is called with.
_CALLING_FORM = ("inputs", "embeddings", "dense_features", "objectives", "name")
#: Keys of `model` that are handed to models which take them.
_COMMON = ("hidden_units", "tower_units", "dropout")


def resolve(
    settings: config_lib.ModelConfig,
) -> tuple[models.ModelFunction, dict[str, Any]]:
    """The function of `model.kind`, and what it is called with besides.

    Args:
        settings: The section `model`.

    Returns:
        The function, and its options by name.

    Raises:
        InputError: There is no such model, it takes no such options, or they
            are of another type.

    Example:
    >>> function, options = resolve(
    ...     config_lib.ModelConfig(kind="mmoe", options={"num_experts": 3})
    ... )
    >>> function.__name__, options
    ('mmoe', {'num_experts': 3})
    """
    function = models.find(settings.kind)
    if function is None:
        kinds = models.kinds()
        raise InputError(
            "model.kind must be a model of tfplugin. Received: "
            f"{settings.kind!r}; there are {', '.join(kinds)}."
            + _nearest(settings.kind, kinds)
        )
    types = typing.get_type_hints(function)
    own = [
        name
        for name in inspect.signature(function).parameters
        if name not in (*_CALLING_FORM, *_COMMON)
    ]
    given = sorted(settings.model_fields_set & set(_COMMON))
    refused = [key for key in given if key not in types]
    if refused:
        raise InputError(
            f"model.kind={settings.kind} takes no `{refused[0]}`. Received: "
            f"model.{refused[0]}={getattr(settings, refused[0])}. Leave it out."
        )
    options = {key: getattr(settings, key) for key in given}
    for key, value in settings.options.items():
        if key not in own:
            raise InputError(_unknown_option(settings.kind, key, own))
        options[key] = _checked(key, value, types[key])
    return function, options


def _unknown_option(kind: str, key: str, own: list[str]) -> str:
    if key in _COMMON:
        return (
            f"model.options holds what only {kind} takes. Received: {key!r}. "
            f"Set model.{key}."
        )
    takes = ", ".join(own) if own else "none"
    return (
        f"model.options must be options of model.kind={kind}, which takes "
        f"{takes}. Received: {key!r}." + _nearest(key, own)
    )


def _checked(key: str, value: Any, wanted: Any) -> Any:
    try:
        return pydantic.TypeAdapter(wanted).validate_python(value)
    except pydantic.ValidationError as error:
        reason = error.errors()[0]["msg"]
        raise InputError(
            f"model.options.{key}: {reason}. Received: {value!r}."
        ) from error


def _nearest(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(known), 1)
    return f" Did you mean `{near[0]}`?" if near else ""
