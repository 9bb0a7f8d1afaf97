"""Which module of a tree imports which, read from the source: nothing is imported here."""

from __future__ import annotations

import ast
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath

__all__ = ["Cycle", "Dependencies", "Edge", "find_cycles", "reachable", "read_dependencies"]

_ROOTS = ("", "src", "lib", "python")


@dataclass(frozen=True, slots=True, order=True)
class Edge:
    """An import: the imported file, the line, and whether it happens when the importing module loads."""

    target: str
    line: int
    eager: bool


@dataclass(frozen=True, slots=True, order=True)
class Cycle:
    """Modules that need each other to load.

    members: all of the group. path: the shortest cycle through the first member, which begins and ends it.
    line: of the import that the path begins with.
    """

    members: tuple[str, ...]
    path: tuple[str, ...]
    line: int


@dataclass(frozen=True, slots=True)
class Dependencies:
    """The imports of each file within the tree, by path."""

    edges: Mapping[str, tuple[Edge, ...]]

    def eager(self) -> dict[str, dict[str, int]]:
        """For each file, the files that it imports while it loads, with the first line that does."""
        graph: dict[str, dict[str, int]] = {}
        for path, edges in self.edges.items():
            lines: dict[str, int] = {}
            for edge in edges:
                if edge.eager and edge.target != path:
                    lines[edge.target] = min(edge.line, lines.get(edge.target, edge.line))
            graph[path] = dict(sorted(lines.items()))
        return graph


def read_dependencies(trees: Mapping[str, ast.Module]) -> Dependencies:
    """Resolve the imports between the files of a tree, as far as their text alone tells.

    Packages are found by `__init__.py`; names also resolve from the root of the tree and from `src`.
    """
    names = _Names(frozenset(trees))
    edges = {path: tuple(sorted(_edges(path, tree, names))) for path, tree in sorted(trees.items())}
    return Dependencies(edges)


def find_cycles(dependencies: Dependencies) -> list[Cycle]:
    """Groups of modules that import each other while they load, sorted; one cycle for each group."""
    graph = dependencies.eager()
    cycles = []
    for group in _components(graph):
        if len(group) > 1:
            path = _shortest_cycle(graph, group)
            cycles.append(Cycle(tuple(group), tuple(path), graph[path[0]][path[1]]))
    return sorted(cycles)


def reachable(dependencies: Dependencies, starts: Iterable[str]) -> set[str]:
    """The files that are loaded, at once or ever, when the starting ones are; packages on the way included."""
    seen, pending = set[str](), list(starts)
    while pending:
        path = pending.pop()
        if path in seen or path not in dependencies.edges:
            continue
        seen.add(path)
        pending.extend(edge.target for edge in dependencies.edges[path])
        pending.extend(str(parent / "__init__.py") for parent in PurePosixPath(path).parents)
    return seen


@dataclass(slots=True)
class _Names:
    """Files by the module names that they can be imported under."""

    paths: frozenset[str]
    by_name: dict[str, set[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for path in sorted(self.paths):
            for name in self._names_of(path):
                self.by_name.setdefault(name, set()).add(path)

    def absolute(self, name: str, importer: str) -> str | None:
        """The file of a module, or None if it is not in the tree; of several, the one nearest to the importer."""
        found = self.by_name.get(name)
        # A script beside others may be called `types`, but whoever imports that means Python's.
        if not found or name.partition(".")[0] in sys.stdlib_module_names:
            return None
        return min(found, key=lambda path: (-_shared(path, importer), path))

    def within(self, folder: PurePosixPath, name: str) -> str | None:
        """The file of a module below a package's folder; the empty name is the package itself."""
        base = folder.joinpath(*name.split(".")) if name else folder
        module, package = f"{base}.py", str(base / "__init__.py")
        return package if package in self.paths else module if name and module in self.paths else None

    def _names_of(self, path: str) -> set[str]:
        pure = PurePosixPath(path)
        root = pure.parent
        while str(root / "__init__.py") in self.paths and root != root.parent:
            root = root.parent
        roots = {root, *(PurePosixPath(name) for name in _ROOTS if pure.is_relative_to(name))}
        relative = (pure.relative_to(root).with_suffix("") for root in roots)
        names = (".".join(part.parts).removesuffix("__init__").rstrip(".") for part in relative)
        return {name for name in names if name}


def _edges(path: str, tree: ast.Module, names: _Names) -> Iterator[Edge]:
    for node, eager in _imports(tree):
        if isinstance(node, ast.Import):
            targets = [_deepest(alias.name, path, names) for alias in node.names]
        else:
            targets = [_from(node, alias.name, path, names) for alias in node.names]
        yield from (Edge(target, node.lineno, eager) for target in set(targets) if target is not None)


def _imports(tree: ast.Module) -> Iterator[tuple[ast.Import | ast.ImportFrom, bool]]:
    """Every import, with whether loading the module executes it."""
    pending: deque[tuple[ast.AST, bool]] = deque([(tree, True)])
    while pending:
        node, eager = pending.popleft()
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node, eager
        if isinstance(node, ast.If) and _never_on_import(node.test):
            pending.extend((child, False) for child in node.body)
            pending.extend((child, eager) for child in node.orelse)
            continue
        inner = eager and not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        pending.extend((child, inner) for child in ast.iter_child_nodes(node) if not isinstance(child, ast.expr))


def _never_on_import(test: ast.expr) -> bool:
    """Whether what follows is for type checkers, or for the module as a program."""
    if isinstance(test, ast.Compare):
        return isinstance(test.left, ast.Name) and test.left.id == "__name__"
    name = test.attr if isinstance(test, ast.Attribute) else test.id if isinstance(test, ast.Name) else ""
    return name == "TYPE_CHECKING"


def _deepest(name: str, importer: str, names: _Names) -> str | None:
    parts = name.split(".")
    prefixes = (".".join(parts[:end]) for end in range(len(parts), 0, -1))
    return next((found for prefix in prefixes if (found := names.absolute(prefix, importer))), None)


def _from(node: ast.ImportFrom, imported: str, importer: str, names: _Names) -> str | None:
    if node.level == 0:
        base = node.module or ""
        return names.absolute(f"{base}.{imported}", importer) or names.absolute(base, importer)
    parents = PurePosixPath(importer).parents
    if node.level > len(parents):
        return None
    folder = parents[node.level - 1]
    inner = f"{node.module}.{imported}" if node.module else imported
    return names.within(folder, inner) or names.within(folder, node.module or "")


def _shared(one: str, other: str) -> int:
    pairs = zip(one.split("/"), other.split("/"), strict=False)
    return next((number for number, (a, b) in enumerate(pairs) if a != b), 0)


def _components(graph: Mapping[str, Mapping[str, int]]) -> list[list[str]]:
    """Strongly connected components, each sorted. Source: Tarjan (SIAM J. Comput. 1972), without recursion."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    on_stack: set[str] = set()
    components = []
    for root in graph:
        work = [(root, iter(graph[root]))] if root not in index else []
        while work:
            node, targets = work[-1]
            if node not in index:
                index[node] = low[node] = len(index)
                stack.append(node)
                on_stack.add(node)
            for target in targets:
                if target not in index and target in graph:
                    work.append((target, iter(graph[target])))
                    break
                if target in on_stack:
                    low[node] = min(low[node], index[target])
            else:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[node])
                if low[node] == index[node]:
                    components.append(sorted(_pop_to(node, stack)))
                    on_stack.difference_update(components[-1])
    return components


def _pop_to(node: str, stack: list[str]) -> list[str]:
    popped = [stack.pop()]
    while popped[-1] != node:
        popped.append(stack.pop())
    return popped


def _shortest_cycle(graph: Mapping[str, Mapping[str, int]], group: list[str]) -> list[str]:
    start, members = group[0], set(group)
    came_from: dict[str, str] = {}
    pending = deque([start])
    while pending:
        node = pending.popleft()
        for target in graph[node]:
            if target == start:
                path = [start, node]
                while path[-1] != start:
                    path.append(came_from[path[-1]])
                return path[::-1] if node != start else [start, start]
            if target in members and target not in came_from:
                came_from[target] = node
                pending.append(target)
    raise AssertionError("a component of several modules has a cycle through each of them")
