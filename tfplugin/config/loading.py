"""YAML file and overrides → `ExperimentConfig`; errors of one line."""

import difflib
import glob
import importlib.util
import pathlib
import types
import typing
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
from typing import Any

import pydantic
import yaml

from tfplugin.config import former_keys
from tfplugin.config.experiment import ExperimentConfig
from tfplugin.errors import InputError

_PACKAGE = "package://"


def load(
    path: str | pathlib.Path, overrides: Iterable[str] = ()
) -> ExperimentConfig:
    """Reads a configuration.

    Args:
        path: A YAML file. Relative paths in it are relative to its folder.
        overrides: `a.b=value` each, the value in YAML; relative paths in
            them are relative to the current folder.

    Returns:
        The resolved configuration, every path in it absolute.

    Raises:
        InputError: The file is absent or not YAML, a key is unknown, or a
            value has the wrong type. One line that names the key.

    Example:
    >>> import tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp(), "mine.yaml")
    >>> _ = path.write_text('''
    ... name: mine
    ... source: {format: csv, files: log.csv}
    ... features: {item: {type: id, dtype: int64}}
    ... labels: [click]
    ... split: {by: hash, columns: [item]}
    ... ''')
    >>> experiment = load(path, ["training.epochs=5"])
    >>> experiment.training.epochs, list(experiment.labels)
    (5, ['click'])
    """
    path = pathlib.Path(path)
    raw = _read_yaml(path)
    # Overrides may replace paths, so none is resolved before.
    _set_base(raw, path.resolve().parent)
    for override in overrides:
        _apply_override(raw, override)
    _set_base(raw, pathlib.Path.cwd())
    _resolve_paths(raw)
    former_keys.translate(raw)
    try:
        return ExperimentConfig.model_validate(raw)
    except pydantic.ValidationError as error:
        raise InputError(f"{path}: {_first_problem(error)}") from error


def dump(config: ExperimentConfig) -> str:
    """The resolved configuration as YAML that `load` reads back."""
    return yaml.safe_dump(
        config.model_dump(mode="json", exclude_none=True, exclude_unset=True),
        sort_keys=False,
        allow_unicode=True,
    )


def with_changes(
    config: ExperimentConfig, changes: Mapping[str, Any]
) -> ExperimentConfig:
    """A configuration with some keys changed.

    Args:
        config: Stays as it is.
        changes: Dotted key to its value, as in `{"training.epochs": 5}`; a
            section is replaced whole.

    Raises:
        InputError: A key is unknown, or a value does not fit.

    Example:
    >>> with_changes(experiment, {"training.batch_size": 64})  # doctest: +SKIP
    """
    raw = config.model_dump(mode="json", exclude_none=True, exclude_unset=True)
    for key, value in changes.items():
        _set_key(raw, key, value)
    try:
        return ExperimentConfig.model_validate(raw)
    except pydantic.ValidationError as error:
        raise InputError(_first_problem(error)) from error


def resolve_path(path: str, base: pathlib.Path) -> str:
    """An absolute path or glob for `path`.

    Args:
        path: Absolute, relative to `base`, a URL with a scheme, or
            `package://NAME/PATH` for a file of an installed package.
        base: An absolute folder; what looks like a glob in it is none.

    Raises:
        InputError: The package is not installed.
    """
    if path.startswith(_PACKAGE):
        package, _, inside = path.removeprefix(_PACKAGE).partition("/")
        return _inside(_find_package(package, path), inside)
    if "://" in path:
        return path
    return _inside(str(base), path)


def _inside(folder: str, path: str) -> str:
    return str(pathlib.Path(glob.escape(folder), path))


def _find_package(package: str, path: str) -> str:
    """The folder of an installed package."""
    absent = InputError(
        "A package:// path must name an installed package. Received: "
        f"{path}. Run `pip install {package.partition('.')[0]}`."
    )
    try:
        spec = importlib.util.find_spec(package)
    except (ImportError, ValueError) as error:
        raise absent from error
    if spec is None or not spec.submodule_search_locations:
        raise absent
    return str(spec.submodule_search_locations[0])


class _Loader(yaml.SafeLoader):
    """YAML, but a key may stand once: PyYAML would take the last one."""

    def construct_mapping(
        self, node: yaml.MappingNode, deep: bool = False
    ) -> dict[Any, Any]:
        """Builds a mapping.

        Raises:
            yaml.constructor.ConstructorError: A key stands twice.
        """
        seen = set()
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                continue
            if key_node.value in seen and key_node.tag != _MERGE:
                raise yaml.constructor.ConstructorError(
                    problem=f"the key `{key_node.value}` stands twice",
                    problem_mark=key_node.start_mark,
                )
            seen.add(key_node.value)
        return super().construct_mapping(node, deep)


_MERGE = "tag:yaml.org,2002:merge"


def _read_yaml(path: pathlib.Path) -> dict[str, Any]:
    try:
        raw = yaml.load(path.read_text("utf-8"), _Loader)  # a SafeLoader
    except FileNotFoundError as error:
        raise InputError(
            f"The configuration must exist. Received: {path}. See configs/."
        ) from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(
            f"{path} must be a YAML file. Received: {_reason(error)}."
        ) from error
    if not isinstance(raw, dict):
        found = "nothing" if raw is None else f"a {type(raw).__name__}"
        raise InputError(
            f"{path} must hold keys and values. Received: {found}. "
            "See configs/ for examples."
        )
    return raw


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    mark = getattr(error, "problem_mark", None)
    if isinstance(error, yaml.MarkedYAMLError) and mark is not None:
        # Its text quotes the lines, which in one line nobody can read.
        return (
            f"line {mark.line + 1}, column {mark.column + 1}, {error.problem}"
        )
    return " ".join(str(error).split())


class _Relative(typing.NamedTuple):
    """A path and the folder it is relative to."""

    path: str
    base: pathlib.Path


def _set_base(raw: dict[str, Any], base: pathlib.Path) -> None:
    """Marks the paths that have no base yet, in place."""
    _change_files(
        raw, lambda file: _Relative(file, base) if type(file) is str else file
    )


def _resolve_paths(raw: dict[str, Any]) -> None:
    """Makes the marked paths absolute, in place."""
    _change_files(
        raw,
        lambda file: (
            resolve_path(*file) if isinstance(file, _Relative) else file
        ),
    )


def _change_files(raw: dict[str, Any], change: Callable[[Any], Any]) -> None:
    """Changes `files` of the source, its side tables and joins, in place."""
    source = raw.get("source")
    if not isinstance(source, dict):
        return
    holders = [source]
    for key in ("side_tables", "joins"):
        tables = source.get(key)
        if isinstance(tables, dict):
            holders += [t for t in tables.values() if isinstance(t, dict)]
    for holder in holders:
        files = holder.get("files")
        if isinstance(files, str):
            files = [files]
        if isinstance(files, list):
            holder["files"] = [change(file) for file in files]


def _apply_override(raw: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise InputError(
            "--set takes KEY=VALUE, as in training.epochs=5. Received: "
            f"{override!r}."
        )
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InputError(
            f"The value of --set {key} must be YAML. Received: {text!r}."
        ) from error
    _set_key(raw, key, value)


def _set_key(raw: dict[str, Any], key: str, value: Any) -> None:
    *parents, last = key.split(".")
    section = raw
    for parent in parents:
        # A key without options in YAML (`coupon:`) reads as None.
        if section.get(parent) is None:
            section[parent] = {}
        section = section[parent]
        if not isinstance(section, dict):
            raise InputError(
                f"{key}: `{parent}` is a value, not a section, so it "
                f"has no key `{last}`."
            )
    section[last] = value


def _first_problem(error: pydantic.ValidationError) -> str:
    problems = error.errors()
    # An unknown key is the likeliest cause of what else is said to be wrong.
    problems.sort(key=lambda problem: problem["type"] != "extra_forbidden")
    problem = problems[0]
    location = list(problem["loc"])
    for parents in _TAGGED:
        if tuple(location[: len(parents)]) == parents:
            # Behind the name, a discriminator's value that pydantic adds.
            del location[len(parents) + 1 : len(parents) + 2]
    where = ".".join(str(part) for part in location)
    if problem["type"] == "extra_forbidden":
        return _unknown_key(location, where)
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] in ("union_tag_invalid", "union_tag_not_found"):
        return _wrong_tag(where, problem["input"], problem["ctx"])
    if problem["type"] == "missing":
        return f"{where}: this key is required and was not given."
    if problem["type"] == "value_error":
        return f"{where}: {message}." if where else f"{message}."
    if problem["type"] in ("model_type", "model_attributes_type"):
        message = "Input should be a section of keys and values"
    return f"{where}: {message}. Received: {problem['input']!r}."


#: Mappings whose values are told apart by a key of theirs.
_TAGGED = (("features",), ("source", "joins"))


def _wrong_tag(where: str, section: dict[str, Any], about: Any) -> str:
    key = about["discriminator"].strip("'")
    if key not in section:
        return f"{where}.{key}: this key is required and was not given."
    return (
        f"{where}.{key}: Input should be one of {about['expected_tags']}. "
        f"Received: {section[key]!r}."
    )


def _unknown_key(location: list[int | str], where: str) -> str:
    *parents, key = location
    known = _known_keys(ExperimentConfig, parents)
    nearest = difflib.get_close_matches(str(key), known, n=1, cutoff=0.5)
    hint = f" Did you mean `{nearest[0]}`?" if nearest else ""
    return f"{where}: unknown key.{hint} Known keys: {', '.join(known)}."


def _known_keys(section: Any, location: list[int | str]) -> list[str]:
    """Names of the fields that stand at `location` below `section`."""
    candidates = _sections(section)
    for part in location:
        following: list[type[pydantic.BaseModel] | _Mapping] = []
        for candidate in candidates:
            if isinstance(candidate, _Mapping):
                following += _sections(candidate.value)
            elif part in candidate.model_fields:
                field = candidate.model_fields[str(part)]
                following += _sections(field.annotation)
        candidates = following
    return sorted(
        {
            name
            for candidate in candidates
            if not isinstance(candidate, _Mapping)
            for name in candidate.model_fields
        }
    )


class _Mapping(typing.NamedTuple):
    """A dict[str, value] on the way to a known key."""

    value: Any


def _sections(
    annotation: Any,
) -> list[type[pydantic.BaseModel] | _Mapping]:
    """The section classes and mappings inside a type annotation."""
    if isinstance(annotation, type) and issubclass(
        annotation, pydantic.BaseModel
    ):
        return [annotation]
    origin = typing.get_origin(annotation)
    arguments = typing.get_args(annotation)
    if origin is dict:
        return [_Mapping(arguments[1])]
    if origin is typing.Annotated:
        return _sections(arguments[0])
    if origin in (typing.Union, types.UnionType):
        return [found for part in arguments for found in _sections(part)]
    return []
