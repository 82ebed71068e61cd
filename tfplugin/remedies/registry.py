"""Finds the remedies there are, and reads them from a configuration."""

import difflib
import functools
import importlib
import inspect
import pkgutil
from collections.abc import Iterable
from collections.abc import Mapping
from typing import Any

import pydantic

from tfplugin.remedies import base

_ROOM = "tfplugin.remedies"
#: Modules of the room that are no remedy.
_NOT_REMEDIES = ("base", "registry", "table_choice")


@functools.cache
def known() -> dict[str, type[base.Remedy]]:
    """Name to class of every remedy, sorted by name.

    Every module of `tfplugin.remedies` is one; a folder appended to
    `tfplugin.remedies.__path__` before the first call adds its own.

    Raises:
        TypeError: A module has not exactly one class for a remedy.

    Example:
    >>> "embedding_reset" in known()
    True
    """
    found = {}
    room = importlib.import_module(_ROOM)
    for module in pkgutil.iter_modules(room.__path__):
        if module.name in _NOT_REMEDIES:
            continue
        path = f"{_ROOM}.{module.name}"
        classes = [
            member
            for _, member in inspect.getmembers(
                importlib.import_module(path), inspect.isclass
            )
            if issubclass(member, base.Remedy) and member.__module__ == path
        ]
        if len(classes) != 1:
            raise TypeError(
                "A module of tfplugin.remedies must have one subclass of "
                f"Remedy. Received: {path} with {len(classes)}."
            )
        found[module.name] = classes[0]
    return dict(sorted(found.items()))


def parse(sections: Mapping[str, Any]) -> dict[str, base.Remedy]:
    """Makes remedies from a section of a configuration.

    Args:
        sections: Name to a mapping of its keys, or to a remedy; `true` for
            its defaults, `false` or None for a remedy that is off.

    Returns:
        Name to remedy, of those that are on, sorted by name.

    Raises:
        ValueError: A name is unknown, a key is wrong, or two remedies do not
            go together. One line, without a full stop.

    Example:
    >>> parse({"embedding_reset": True, "table_sets": False})
    {'embedding_reset': EmbeddingReset(...)}
    """
    parsed = {}
    for name, section in sorted(sections.items(), key=lambda one: str(one[0])):
        if name not in known():
            raise ValueError(
                f"`{name}` is no remedy; "
                f"{_nearest(name, known(), 'remedies are')}"
            )
        if section is None or section is False:
            continue
        parsed[name] = _parse_one(name, section)
    check_together(parsed)
    return parsed


def check_together(remedies: Mapping[str, base.Remedy]) -> None:
    """Refuses remedies that do not go together.

    It is enough that one of the two names the other.

    Args:
        remedies: Name to remedy.

    Raises:
        ValueError: Two of them exclude each other; the reason is named.

    Example:
    >>> check_together(parse({"embedding_reset": True}))
    """
    for name, remedy in remedies.items():
        for other, found in remedies.items():
            reason = remedy.excludes(other, found)
            if reason is not None:
                raise ValueError(
                    f"`{name}` and `{other}` do not go together: {reason}"
                )


def _parse_one(name: str, section: Any) -> base.Remedy:
    kind = known()[name]
    if isinstance(section, base.Remedy):
        if type(section) is not kind:
            raise ValueError(f"`{name}` is no {type(section).__name__}")
        return section
    if section is not True and not isinstance(section, dict):
        raise ValueError(
            f"`{name}` takes true, false or keys and values; received "
            f"{section!r}"
        )
    try:
        return kind.model_validate({} if section is True else section)
    except pydantic.ValidationError as error:
        raise ValueError(_first_problem(name, kind, error)) from error


def _first_problem(
    name: str, kind: type[base.Remedy], error: pydantic.ValidationError
) -> str:
    problem = error.errors()[0]
    where = ".".join(str(part) for part in (name, *problem["loc"]))
    if problem["type"] == "extra_forbidden":
        fields = kind.model_fields
        keys = _nearest(problem["loc"][0], sorted(fields), "its keys are")
        return f"`{where}` is no key; {keys}"
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "value_error":
        return f"`{where}`: {message}"
    return f"`{where}`: {message}; received {problem['input']!r}"


def _nearest(name: Any, names: Iterable[str], these_are: str) -> str:
    """What may have been meant, and what there is."""
    near = difflib.get_close_matches(str(name), list(names), 1)
    if near:
        these_are = f"did you mean `{near[0]}`? {these_are.capitalize()}"
    return f"{these_are} {', '.join(names)}"
