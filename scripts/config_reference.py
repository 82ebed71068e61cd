"""Writes docs/configuration.md from the configuration's own classes.

python scripts/config_reference.py
"""

import inspect
import pathlib
import re
import types
import typing
from collections.abc import Iterator
from typing import Any

import pydantic

from tfplugin import remedies
from tfplugin.config.experiment import ExperimentConfig

DOC = pathlib.Path(__file__).parents[1] / "docs" / "configuration.md"
INTRODUCTION = """\
# Configuration

One YAML file describes an experiment; [configs/](../configs/) holds five.
Unknown keys are refused with the nearest known name. On the command line
`--set training.epochs=5` overrides a key, once or more often; the value is
YAML. Paths in the file are relative to its folder, paths in `--set` to the
current one; `package://NAME/PATH` is a file of an installed package. What ran
is stored as `WORK/config.yaml`, every path absolute.

This page is made from the classes of `tfplugin.config` by
`python scripts/config_reference.py`.
"""


def sections(
    section: type[pydantic.BaseModel],
    path: str,
    seen: set[type[pydantic.BaseModel]],
) -> Iterator[tuple[str, type[pydantic.BaseModel]]]:
    """The section and those below it, each once, with its keys' path."""
    if section is remedies.Remedy:
        # One section for each there is; their common base has no keys.
        for name, kind in remedies.known().items():
            yield from sections(kind, path.replace("NAME", name), seen)
        return
    if section in seen:
        return
    seen.add(section)
    yield path, section
    for name, field in section.model_fields.items():
        for inner, suffix in nested(field.annotation, field.metadata):
            below = ".".join(filter(None, (path, name))) + suffix
            if isinstance(inner, type):
                yield from sections(inner, below, seen)


def nested(annotation: Any, _: Any = None) -> Iterator[tuple[Any, str]]:
    """Sections inside a type, and what their path adds to the key's."""
    if isinstance(annotation, type) and issubclass(
        annotation, pydantic.BaseModel
    ):
        fields = annotation.model_fields
        kinds = fields.get("type") or fields.get("kind")
        tags = typing.get_args(kinds.annotation) if kinds else ()
        yield annotation, f" ({' or '.join(tags)})" if tags else ""
        return
    origin = typing.get_origin(annotation)
    arguments = typing.get_args(annotation)
    if origin is dict:
        for inner, suffix in nested(arguments[1]):
            yield inner, ".NAME" + suffix
    elif origin is typing.Annotated:
        yield from nested(arguments[0])
    elif origin in (typing.Union, types.UnionType):
        for argument in arguments:
            yield from nested(argument)


def descriptions(section: type[pydantic.BaseModel]) -> dict[str, str]:
    """Key to its text in the docstring's Args, the bases' included."""
    found = {}
    for kind in reversed(section.__mro__):
        text = inspect.cleandoc(kind.__doc__ or "")
        arguments = text.partition("Args:\n")[2]
        for match in re.finditer(
            r"^ {4}(\w+): (.*?)(?=^ {4}\w|^\S|\Z)", arguments, re.M | re.S
        ):
            found[match[1]] = " ".join(match[2].split())
    return found


def default(field: pydantic.fields.FieldInfo) -> str:
    """How a key's default is written in YAML."""
    if field.is_required():
        return "required"
    value = field.default
    if isinstance(value, pydantic.BaseModel) or value == {}:
        return ""
    if isinstance(value, tuple):
        return f"`[{', '.join(map(str, value))}]`"
    if value is None:
        return "none"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def render() -> str:
    """The page."""
    parts = [INTRODUCTION]
    for path, section in sections(ExperimentConfig, "", set()):
        summary = (inspect.getdoc(section) or "").partition("\n")[0]
        parts.append(f"## {path or 'Top level'}\n\n{summary}\n")
        if not section.model_fields:
            continue
        texts = descriptions(section)
        rows = ["| key | default | meaning |", "|---|---|---|"]
        for name, field in section.model_fields.items():
            meaning = texts[name].replace("|", "\\|")
            rows.append(f"| `{name}` | {default(field)} | {meaning} |")
        parts.append("\n".join(rows) + "\n")
    return "\n".join(parts)


if __name__ == "__main__":
    DOC.write_text(render(), "utf-8")
    print(f"Wrote {DOC}")
