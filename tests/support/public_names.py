"""The public names of every room, and how they are called."""

import ast
import dataclasses
import importlib
import inspect
import textwrap
import types
import typing

from tests.support import source_imports

#: Rooms of one file: what is public has no underscore in front.
MODULES = (
    "tfplugin.artifacts",
    "tfplugin.errors",
    "tfplugin.layer_tree",
    "tfplugin.schema",
    "beam_jobs.preprocess",
)


def rooms():
    """Rooms whose `__init__` names what is public."""
    found = ["serving"]
    for name, path in source_imports.paths().items():
        parent = name.rpartition(".")[0]
        if path.name == "__init__.py" and parent == "tfplugin":
            found.append(name)
    return sorted(found)


def objects():
    """Full public name to object, sorted."""
    found = {}
    for room in rooms():
        module = importlib.import_module(room)
        for name in module.__all__:
            found[f"{room}.{name}"] = getattr(module, name)
    for name in MODULES:
        module = importlib.import_module(name)
        for key, value in vars(module).items():
            if key.startswith("_") or isinstance(
                value, types.ModuleType | typing.TypeVar
            ):
                continue
            # What was imported belongs to where it was defined.
            defined = getattr(value, "__module__", name) == name
            if defined or (key.isupper() and not inspect.isclass(value)):
                found[f"{name}.{key}"] = value
    return dict(sorted(found.items()))


def lines():
    """One line a public name, with its parameters as the source has them.

    What a class inherits from a public one is listed there only.
    """
    public = objects()
    classes = {value for value in public.values() if inspect.isclass(value)}
    found = []
    for name, value in public.items():
        if inspect.isclass(value):
            found += _class_lines(name, value, classes)
        elif inspect.isroutine(value):
            found.append(name + _parameters(value))
        elif isinstance(value, int | float | str | tuple):
            found.append(f"{name} = {value!r}")
        else:
            found.append(name)
    return found


def _class_lines(name, value, public):
    bases = [base for base in value.__mro__ if _is_ours(base)]
    found = [name + _constructor(value, bases)]
    own = {}
    for base in reversed(bases):
        if base is value or base not in public:
            own |= vars(base)
    for key, member in sorted(own.items()):
        if key.startswith("_"):
            continue
        function = getattr(member, "__func__", member)
        if isinstance(member, property):
            found.append(f"{name}.{key}: property")
        elif inspect.isfunction(function):
            found.append(f"{name}.{key}{_parameters(function)}")
    return found


def _constructor(value, bases):
    is_record = dataclasses.is_dataclass(value) or any(
        hasattr(value, fields) for fields in ("model_fields", "_fields")
    )
    if is_record:
        return f"({', '.join(_fields(bases))})"
    for base in bases:
        if "__init__" in vars(base):
            return _parameters(base.__init__).removesuffix(" -> None")
    return "()"


def _is_ours(item):
    return item.__module__.split(".")[0] in source_imports.PACKAGES


def _fields(bases):
    """Fields of a dataclass or a record, in order, as they are written."""
    found = {}
    for base in reversed(bases):
        (tree,) = ast.parse(textwrap.dedent(inspect.getsource(base))).body
        for node in tree.body:
            if (
                isinstance(node, ast.AnnAssign)
                and isinstance(node.target, ast.Name)
                and not node.target.id.startswith("_")
            ):
                found[node.target.id] = " ".join(ast.unparse(node).split())
    return found.values()


def _parameters(function):
    """The parameters as written, `self` left out."""
    function = inspect.unwrap(function)
    source = textwrap.dedent(inspect.getsource(function))
    (tree,) = ast.parse(source).body
    arguments = tree.args
    if arguments.args and arguments.args[0].arg in ("self", "cls"):
        del arguments.args[0]
    result = f" -> {ast.unparse(tree.returns)}" if tree.returns else ""
    return f"({ast.unparse(arguments)}){result}"
