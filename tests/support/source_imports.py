"""Which of our modules imports what, read from the sources."""

import ast
import dataclasses
import pathlib

CHECKOUT = pathlib.Path(__file__).resolve().parents[2]
PACKAGES = ("beam_jobs", "serving", "tfplugin")


@dataclasses.dataclass(frozen=True)
class Import:
    """One import statement's target, wherever in the file it stands."""

    source: str
    target: str
    line: int
    for_annotations: bool

    @property
    def ours(self):
        return self.target.split(".")[0] in PACKAGES


def paths():
    """Module name to file, of every module that we ship."""
    found = {}
    for package in PACKAGES:
        for path in sorted((CHECKOUT / package).rglob("*.py")):
            parts = path.relative_to(CHECKOUT).with_suffix("").parts
            if parts[-1] == "__init__":
                parts = parts[:-1]
            found[".".join(parts)] = path
    return found


def read():
    """Every import of every module, inside functions too."""
    modules = paths()
    return [
        found
        for name, path in modules.items()
        for found in _imports(name, path.read_text("utf-8"), modules)
    ]


def _imports(name, source, modules):
    tree = ast.parse(source)
    annotations = _annotation_nodes(tree)
    for node in ast.walk(tree):
        for target in _targets(node, modules):
            yield Import(name, target, node.lineno, node in annotations)


def _annotation_nodes(tree):
    return {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If)
        and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")
        for inner in ast.walk(node)
    }


def _targets(node, modules):
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if not isinstance(node, ast.ImportFrom):
        return []
    if node.level:
        return ["." * node.level + (node.module or "")]
    if node.module.split(".")[0] not in PACKAGES:
        return [f"{node.module}.{alias.name}" for alias in node.names]
    # `from package import name` is of a module, or of the package's own.
    full = [f"{node.module}.{alias.name}" for alias in node.names]
    return [name if name in modules else node.module for name in full]


def cycles(edges):
    """Groups of nodes that reach each other (Tarjan, 1972), largest first.

    Args:
        edges: Node to the nodes it leads to.
    """
    order, low, stack, found = {}, {}, [], []

    def visit(node):
        order[node] = low[node] = len(order)
        stack.append(node)
        for following in sorted(edges.get(node, ())):
            if following not in order:
                visit(following)
                low[node] = min(low[node], low[following])
            elif following in stack:
                low[node] = min(low[node], order[following])
        if low[node] == order[node]:
            cut = stack.index(node)
            group = stack[cut:]
            del stack[cut:]
            if len(group) > 1:
                found.append(sorted(group))

    for node in sorted(edges):
        if node not in order:
            visit(node)
    return sorted(found, key=lambda group: (-len(group), group))
