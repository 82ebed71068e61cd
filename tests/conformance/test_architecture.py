"""Holds the sources against the room table of docs/architecture.md."""

import ast
import collections
import re
import subprocess
import sys

import pytest

from tests.support import source_imports

DOCUMENT = source_imports.CHECKOUT / "docs" / "architecture.md"
EVERYTHING = "everything"
IMPORTS = source_imports.read()

#: Names that are not public, by module. Each has a comment at its import.
NON_PUBLIC: set[tuple[str, str]] = set()
# What has no public equal, each with its reason in a comment and a test.
PRIVATE = {
    ("serving.servable", "self._session._make_callable_from_options"),
}
_NON_PUBLIC = re.compile(
    r"keras\.src\b|tensorflow\.(python|core|compiler)\b|apache_beam\.runners"
    r"\.worker\b|\w+(\.\w+)*\._[a-z]"
)


def _table():
    """Room to the rooms it may import, and the rooms open to all."""
    text = DOCUMENT.read_text("utf-8")
    head = text.index("| room |")
    rows = text[head : text.index("\n\n", head)].splitlines()[2:]
    rooms = {}
    for row in rows:
        first, _, last = (cell.strip() for cell in row.strip("|").split("|"))
        (room,) = re.findall(r"`([\w.]+)`", first)
        names = set(re.findall(r"`([\w.]+)`", last))
        assert names or last in ("nothing", EVERYTHING), row
        rooms[room] = EVERYTHING if last == EVERYTHING else names
    (line,) = re.findall(
        r"Every room may import ([^;.]*(?:\.\w[^;.]*)*);", text
    )
    return rooms, set(re.findall(r"`([\w.]+)`", line))


ROOMS, OPEN_ROOMS = _table()


def _room(module):
    """The longest room name that a module's name starts with."""
    parts = module.split(".")
    for length in (2, 1):
        name = ".".join(parts[:length])
        if name in ROOMS:
            return name
    return None


def test_the_table_has_every_room_and_no_other():
    found = set()
    for module in source_imports.paths():
        parts = module.split(".")
        found.add(".".join(parts[:2]) if parts[0] == "tfplugin" else parts[0])
    assert found == set(ROOMS)
    assert OPEN_ROOMS <= set(ROOMS)
    named = {r for may in ROOMS.values() if may != EVERYTHING for r in may}
    assert named <= set(ROOMS)


@pytest.mark.parametrize("room", sorted(ROOMS))
def test_a_room_imports_what_its_row_allows(room):
    allowed = ROOMS[room]
    wrong = []
    for found in IMPORTS:
        if not found.ours or _room(found.source) != room:
            continue
        target = _room(found.target)
        if target in (room, *OPEN_ROOMS) or allowed == EVERYTHING:
            continue
        if target not in allowed:
            wrong.append(f"{found.source}:{found.line} {found.target}")
    assert not wrong


def test_imports_are_absolute():
    assert not [found for found in IMPORTS if found.target.startswith(".")]


def test_rooms_make_no_cycle():
    edges = collections.defaultdict(set)
    for found in IMPORTS:
        if found.ours and _room(found.source) != _room(found.target):
            edges[_room(found.source)].add(_room(found.target))
    assert not source_imports.cycles(edges)


def test_modules_make_no_cycle():
    # What is imported for annotations only is never imported when run.
    edges = collections.defaultdict(set)
    for found in IMPORTS:
        if found.ours and not found.for_annotations:
            edges[found.source].add(found.target)
    assert not source_imports.cycles(edges)


def test_cycles_are_found():
    edges = {"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a"}}
    assert source_imports.cycles(edges) == [["b", "c"]]


def _loaded_by(*modules):
    program = f"import sys, {', '.join(modules)}; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=source_imports.CHECKOUT,
        capture_output=True,
        text=True,
        check=True,
    )
    return {name.split(".")[0] for name in done.stdout.split()}


def test_light_rooms_load_no_framework():
    loaded = _loaded_by(
        "tfplugin",
        "tfplugin.errors",
        "tfplugin.config",
        "tfplugin.schema",
        "tfplugin.artifacts",
        "tfplugin.report",
        "tfplugin.cli",
    )
    assert "pydantic" in loaded
    assert not loaded & {"tensorflow", "keras", "apache_beam"}


def test_beam_workers_load_no_keras():
    loaded = _loaded_by("beam_jobs.preprocess")
    assert "apache_beam" in loaded
    assert not loaded & {"tensorflow", "keras"}


def _calls(*names):
    """Modules in which a function of one of these names is mentioned."""
    found = set()
    for module, path in source_imports.paths().items():
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            name = getattr(node, "attr", getattr(node, "id", None))
            if isinstance(node, ast.Attribute | ast.Name) and name in names:
                found.add(module)
    return found


def test_there_is_one_parser_of_examples():
    parsers = (
        "parse_example",
        "parse_single_example",
        "parse_sequence_example",
        "parse_single_sequence_example",
        "make_batched_features_dataset",
    )
    assert _calls(*parsers) == {"tfplugin.data.parsing"}


def test_duplicates_are_summed_in_one_place():
    unique = ("unique", "unique_with_counts", "UniqueV2")
    of_tensors = {
        module
        for module in _calls(*unique)
        if not module.startswith(
            ("beam_jobs", "tfplugin.report", "tfplugin.planning")
        )
        # NumPy's, of ids that a user hands in.
        and module
        not in ("tfplugin.layers.pretrained", "tfplugin.layers.vector_source")
    }
    assert of_tensors == {
        "tfplugin.optimizers.indexed_slices",
        "tfplugin.layers.bags",  # one look-up a distinct row
    }


def test_non_public_imports_are_listed_and_explained():
    modules = source_imports.paths()
    found = set()
    for one in IMPORTS:
        if not _NON_PUBLIC.match(one.target):
            continue
        found.add((one.source, one.target))
        lines = modules[one.source].read_text("utf-8").splitlines()
        above = lines[one.line - 2].strip()
        assert above.startswith("#"), f"{one.source}:{one.line}"
    assert found == NON_PUBLIC


def test_no_private_attribute_of_another_object():
    found = set()
    for module, path in source_imports.paths().items():
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if (
                isinstance(node, ast.Attribute)
                and re.match(r"_[a-z]", node.attr)
                and ast.unparse(node.value) not in ("self", "cls", "super()")
            ):
                found.add((module, ast.unparse(node)))
    assert found == PRIVATE


def test_rules_of_size():
    # No file is longer than 400 lines, and none is named after nothing.
    for module, path in source_imports.paths().items():
        assert len(path.read_text("utf-8").splitlines()) <= 400, module
        assert path.stem not in ("utils", "helpers", "common", "misc"), module
