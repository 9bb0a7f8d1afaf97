"""The source of all modules of a distribution, and what each of them imports."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.util import resolve_name
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[3]
CORE = REPOSITORY / "core" / "src"
ADAPTERS = [REPOSITORY / "airflow_provider" / "src", REPOSITORY / "prefect_blocks" / "src"]

# The schedulers stand above the core: it knows neither, not even inside a function.
SCHEDULERS = {"airflow", "prefect", "airflow_provider_coterie", "prefect_coterie"}


@dataclass(frozen=True, slots=True)
class Import:
    """`importer` imports `name` from the module `target` in `line`; `deferred`: not when it is loaded."""

    importer: str
    target: str
    name: str | None
    line: int
    deferred: bool

    def __str__(self) -> str:
        what = f"{self.target}.{self.name}" if self.name else self.target
        return f"{self.importer}:{self.line} imports {what!r}"


def imports_of(module: str, source: str, *, is_package: bool = False) -> Iterator[Import]:
    """Every import in the source, wherever it stands."""
    package = module if is_package else module.rpartition(".")[0]

    def visit(node: ast.AST, *, deferred: bool) -> Iterator[Import]:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(module, alias.name, None, node.lineno, deferred)
        elif isinstance(node, ast.ImportFrom):
            target = resolve_name("." * node.level + (node.module or ""), package)
            for alias in node.names:
                yield Import(module, target, alias.name, node.lineno, deferred)
        inner = deferred or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        if isinstance(node, ast.If) and ast.unparse(node.test) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}:
            inner = True
        for child in ast.iter_child_nodes(node):
            yield from visit(child, deferred=inner)

    yield from visit(ast.parse(source), deferred=False)


def modules_under(root: Path) -> dict[str, tuple[str, bool]]:
    """Dotted name -> (source, whether it is a package)."""
    found = {}
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        is_package = parts[-1] == "__init__"
        found[".".join(parts[:-1] if is_package else parts)] = (path.read_text("utf-8"), is_package)
    assert found, f"there is no module below {root}"  # else every check would pass
    return found


def all_imports(modules: Mapping[str, tuple[str, bool]]) -> list[Import]:
    return [
        found
        for name, (source, is_package) in modules.items()
        for found in imports_of(name, source, is_package=is_package)
    ]


def unit(module: str) -> str:
    """`coterie.stores.blobs` belongs to the table's `stores`; `coterie` itself is the front door, ''."""
    return module.removeprefix("coterie").lstrip(".").partition(".")[0]


def target_module(found: Import, known: Iterable[str]) -> str:
    """`from coterie import errors` means that module, `from coterie import Task` the front door."""
    deeper = f"{found.target}.{found.name}"
    return deeper if found.name and deeper in set(known) else found.target


def full_name(found: Import) -> str:
    return f"{found.target}.{found.name}" if found.name else found.target


def is_of(module: str, packages: Iterable[str]) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages)


def report(problems: list[str]) -> str:
    return "\n".join(["", *problems])


def fake(**sources: str) -> dict[str, tuple[str, bool]]:
    """Modules of an imagined core: `_rules__pool` is `coterie._rules.pool`."""
    return {f"coterie.{name.replace('__', '.')}": (source, False) for name, source in sources.items()}
