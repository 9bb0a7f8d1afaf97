"""Who may import whom: the layers of the core, read from the source of every module.

An import points to a lower layer, or stays inside its own group. Groups of one layer are siblings and do not
know each other. Imports inside functions and under `TYPE_CHECKING` count too; only what
`UPWARD_ON_PURPOSE` names is excused, and that only inside a function.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from importlib.util import resolve_name
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
CORE = REPOSITORY / "core" / "src"
ADAPTERS = [REPOSITORY / "airflow_provider" / "src", REPOSITORY / "prefect_blocks" / "src"]

# Lowest first. A row is one layer; a row of several groups holds siblings. A package stands for all within.
LAYERS: list[dict[str, set[str]]] = [
    {"names": {"errors", "ids", "_json"}},
    {"values": {"approval", "state", "task", "usage"}},
    {"rules": {"_rules"}},
    {
        "ports": {
            "_document",
            "_machine_drawing",
            "_machine_format",
            "_plan_format",
            "_threads",
            "_yaml",
            "clock",
            "events",
            "machine",
            "markdown",
            "plan",
            "ports",
            "ref",
            "result",
        }
    },
    {
        "stores": {"stores"},
        "shells": {
            "agent",
            "agents",
            "approvals",
            "artifacts",
            "attempt",
            "breaker",
            "budget",
            "bus",
            "command",
            "conclude",
            "context",
            "decompose",
            "ends",
            "engine",
            "foreach",
            "foreach_parts",
            "items",
            "journal",
            "kept",
            "limiter",
            "machine_run",
            "named",
            "orchestrator",
            "orchestrator_status",
            "pipeline",
            "policies",
            "pool",
            "remote",
            "retry_budget",
            "run",
            "saga",
            "shared_state",
            "shutdown",
            "slots",
            "team",
            "team_file",
            "walk",
            "work",
            "workplace",
        },
    },
    {"runtime": {"runtime"}},
    {"sync": {"sync", "sync_approvals", "sync_breaker", "sync_bus", "sync_machine"}},
    {"joins": {"protect", "model_guard", "durability"}},
    {"front door": {""}},
    {"testing": {"testing"}, "teams": {"teams"}},
    {"command line": {"cli", "__main__"}},
]

# (module, module it calls from inside a function): why it may.
UPWARD_ON_PURPOSE = {
    ("agents", "durability"): "an agent with the capability keeps what it does in the journal of its task",
    ("artifacts", "stores"): "an artifact store made from a URL opens the blobs that the URL names",
    ("bus", "stores"): "a bus that is opened by its URL owns its store",
    ("context", "sync"): "a synchronous agent is given the blocking form of its context",
    ("pipeline", "stores"): "without a store of the fleet's, what must be remembered is kept in memory",
    ("pool", "stores"): "a pool without a store is this process's own, in memory",
    ("ref", "sync"): "`Ref.load()` blocks, for tasks that know nothing of coterie",
}

# All that a rule may use besides lower layers: no I/O, clock, chance, logging or event loop.
PURE = {
    "__future__", "abc", "bisect", "collections", "dataclasses", "enum", "fractions", "functools", "hashlib",
    "heapq", "itertools", "json", "math", "operator", "re", "string", "types", "typing", "typing_extensions",
}  # fmt: skip
IMPURE_BUILTINS = {"open", "print", "input", "exec", "eval", "__import__"}

# The schedulers stand above the core: it knows neither, not even inside a function.
SCHEDULERS = {"airflow", "prefect", "airflow_provider_coterie", "prefect_coterie"}

# Slow to import, or brought by an extra: imported where they are used, never at the top of a module that
# `import coterie`, or the use of one of its names, loads. The pattern says which modules may.
HEAVY: dict[str, str] = {
    "bandit": "coterie.teams.*",
    "coverage": "coterie.teams.*",
    "fsspec": "coterie.stores.*",
    "hiredis": "coterie.stores.*",
    "httpx": "-",
    "openai": "-",
    "opentelemetry.sdk": "-",
    "pydantic_ai": "coterie.model_guard|coterie.durability",
    "pytest": "coterie.testing*",
    "radon": "coterie.teams.*",
    "redis": "coterie.stores.*",
    "rfc8785": "coterie.teams.*",
    "rich": "coterie.cli*",
    "ruff": "coterie.teams.*",
    "s3fs": "coterie.stores.*",
    "typer": "coterie.cli*",
    "upath": "coterie.stores.*",
    "yaml": "-",
    "zstandard": "-",
}


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


def place(module: str) -> tuple[int, str] | None:
    """(layer, group) of a module of the core; None if the table does not have it."""
    for layer, groups in enumerate(LAYERS):
        for group, units in groups.items():
            if unit(module) in units:
                return layer, group
    return None


def target_module(found: Import, known: Iterable[str]) -> str:
    """`from coterie import errors` means that module, `from coterie import Task` the front door."""
    deeper = f"{found.target}.{found.name}"
    return deeper if found.name and deeper in set(known) else found.target


def is_of(module: str, packages: Iterable[str]) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages)


def broken_layers(modules: Mapping[str, tuple[str, bool]]) -> list[str]:
    """One sentence for each import that leaves its layer the wrong way."""
    problems = [
        f"{name} is in no layer: add {unit(name)!r} to LAYERS in tests/core/test_architecture.py"
        for name in modules
        if place(name) is None
    ]
    for found in all_imports(modules):
        target = target_module(found, modules)
        here, there = place(found.importer), place(target)
        excused = found.deferred and (unit(found.importer), unit(target)) in UPWARD_ON_PURPOSE
        if not is_of(target, ["coterie"]) or here is None or excused:
            continue
        if there is None:
            problems.append(f"{found}, which is in no layer: add it to LAYERS in tests/core/test_architecture.py")
        elif there[0] > here[0] or (there[0] == here[0] and there[1] != here[1]):
            relation = "its sibling" if there[0] == here[0] else "above it"
            problems.append(f"{found}: {here[1]!r} may not know {there[1]!r}, {relation}")
    return problems


def impure_rules(modules: Mapping[str, tuple[str, bool]]) -> list[str]:
    """One sentence for each use of the outside by a module of `_rules`."""
    rules = {name: module for name, module in modules.items() if unit(name) == "_rules"}
    problems = [
        f"{found}: a rule decides, without I/O, clock, chance or logging; pass the value in"
        for found in all_imports(rules)
        if not is_of(found.target, ["coterie"]) and found.target.partition(".")[0] not in PURE
    ]
    for name, (source, _) in rules.items():
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.AsyncFunctionDef):
                problems.append(f"{name}:{node.lineno} defines the coroutine {node.name!r}: a rule is synchronous")
            called = node.func.id if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else ""
            if called in IMPURE_BUILTINS and isinstance(node, ast.Call):
                problems.append(f"{name}:{node.lineno} calls {called!r}: a rule touches nothing outside")
    return problems


def known_schedulers(modules: Mapping[str, tuple[str, bool]]) -> list[str]:
    return [
        f"{found}: the core knows no scheduler; move this into the adapter"
        for found in all_imports(modules)
        if is_of(found.target, SCHEDULERS)
    ]


def heavy_imports(modules: Mapping[str, tuple[str, bool]]) -> list[str]:
    """Heavy imports where they do not belong, and those reached by loading any module below the teams."""
    eager = [found for found in all_imports(modules) if not found.deferred]
    heavy = [(found, package) for found in eager for package in HEAVY if is_of(full_name(found), [package])]
    problems = [
        f"{found} when it is loaded: import it in the function that needs it"
        for found, package in heavy
        if not is_home(found.importer, package)
    ]
    loads: dict[str, set[str]] = {name: set() for name in modules}
    for found in eager:
        loads[found.importer].add(target_module(found, modules))
    homes = {found.importer for found, package in heavy if is_home(found.importer, package)}
    for name in modules:
        if unit(name) not in {"stores", "teams", "testing", "cli", "__main__", "model_guard", "durability"}:
            problems += [
                f"{name} loads {home}, which imports a driver: import it in the function that needs it"
                for home in sorted(reached(name, loads) & homes)
            ]
    return problems


def is_home(importer: str, package: str) -> bool:
    """Whether a module may load a heavy package."""
    return any(fnmatchcase(importer, pattern) for pattern in HEAVY[package].split("|"))


def full_name(found: Import) -> str:
    return f"{found.target}.{found.name}" if found.name else found.target


def reached(start: str, loads: Mapping[str, set[str]]) -> set[str]:
    seen, pending = {start}, [start]
    while pending:
        fresh = loads.get(pending.pop(), set()) - seen
        seen |= fresh
        pending += fresh
    return seen


def private_imports(modules: Mapping[str, tuple[str, bool]]) -> list[str]:
    """One sentence for each private name of the core that a module outside it imports."""
    return [
        f"{found}: adapters use public names of the core alone; export it, or do without"
        for found in all_imports(modules)
        if is_of(found.target, ["coterie"]) and any(part.startswith("_") for part in full_name(found).split("."))
    ]


def report(problems: list[str]) -> str:
    return "\n".join(["", *problems])


def fake(**sources: str) -> dict[str, tuple[str, bool]]:
    """Modules of an imagined core: `_rules__pool` is `coterie._rules.pool`."""
    return {f"coterie.{name.replace('__', '.')}": (source, False) for name, source in sources.items()}


# The repository.


def test_every_module_imports_only_what_lies_below_it():
    problems = broken_layers(modules_under(CORE))

    assert not problems, report(problems)


def test_the_rules_are_pure():
    problems = impure_rules(modules_under(CORE))

    assert not problems, report(problems)


def test_the_core_knows_no_scheduler():
    problems = known_schedulers(modules_under(CORE))

    assert not problems, report(problems)


def test_heavy_packages_are_imported_where_they_are_used():
    problems = heavy_imports(modules_under(CORE))

    assert not problems, report(problems)


@pytest.mark.parametrize("source", ADAPTERS, ids=lambda path: path.parent.name)
def test_adapters_use_public_names_of_the_core(source: Path):
    problems = private_imports(modules_under(source))

    assert not problems, report(problems)


def test_importing_coterie_loads_no_scheduler_client_or_driver():
    watched = sorted(SCHEDULERS | HEAVY.keys() - {"coverage"})  # this process may be measured
    program = f"import sys, coterie; print(*[name for name in {watched!r} if name in sys.modules])"

    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)

    assert loaded.stdout.split() == []


def test_every_exception_to_the_layers_is_still_used():
    modules = modules_under(CORE)
    edges = {(unit(found.importer), unit(target_module(found, modules))) for found in all_imports(modules)}

    assert set(UPWARD_ON_PURPOSE) <= edges


# The checker itself.


@pytest.mark.parametrize(
    ("importer", "source"),
    [
        ("ids", "from coterie.task import Task"),
        ("_rules__pool", "from coterie.stores.blobs import FsspecBlobs"),
        ("_rules__pool", "import coterie.orchestrator"),
        ("stores__memory", "from coterie.artifacts import ArtifactStore"),
        ("artifacts", "from coterie.stores import blobs"),
        ("orchestrator", "from coterie import runtime"),
        ("orchestrator", "from coterie import Plan"),
        ("orchestrator", "def run():\n    from coterie.runtime import Runtime"),
        ("orchestrator", "from .runtime import Runtime"),
        ("runtime", "if TYPE_CHECKING:\n    from coterie.cli import main"),
        ("teams__code_review", "from coterie.cli import main"),
    ],
)
def test_an_import_upwards_or_sideways_is_caught(importer: str, source: str):
    problems = broken_layers(fake(**{importer: source, "runtime" if importer != "runtime" else "ids": ""}))

    assert len(problems) == 1
    assert "may not know" in problems[0]
    assert f"coterie.{importer.replace('__', '.')}:" in problems[0]


def test_an_import_downwards_or_within_a_group_passes():
    sources = {
        "_rules__pool": "from coterie.errors import PolicyError\nfrom coterie._rules.backoff import delay_s",
        "orchestrator": "from coterie.engine import run\nfrom coterie.ports import BlobStore",
        "cli__review": "from coterie import Plan\nfrom coterie.teams.code_review import team",
    }

    assert broken_layers(fake(**sources)) == []


def test_a_module_without_a_layer_is_named():
    (problem,) = broken_layers(fake(gadget=""))

    assert "coterie.gadget is in no layer" in problem


@pytest.mark.parametrize(
    "source",
    [
        "import time",
        "import random",
        "from asyncio import sleep",
        "import logging",
        "import os.path",
        "from pathlib import Path",
        "def now():\n    from time import time",
        "import pydantic",
        "async def decide(): ...",
        "def decide(): print('hello')",
        "text = open('policy.yaml').read()",
    ],
)
def test_a_rule_that_reaches_outside_is_caught(source: str):
    (problem,) = impure_rules(fake(_rules__breaker=source))

    assert problem.startswith("coterie._rules.breaker:")


def test_a_scheduler_in_the_core_is_caught_inside_a_function_too():
    (problem,) = known_schedulers(fake(context="def current():\n    from airflow.sdk import get_current_context"))

    assert "coterie.context:2 imports 'airflow.sdk.get_current_context'" in problem


@pytest.mark.parametrize(
    "source", ["import yaml", "from opentelemetry.sdk import trace", "from opentelemetry import sdk"]
)
def test_a_heavy_import_on_loading_is_caught(source: str):
    (problem,) = heavy_imports(fake(plan=source))

    assert problem.startswith("coterie.plan:1 imports")


def test_loading_a_driver_through_its_store_is_caught():
    modules = fake(stores__blobs="import fsspec", artifacts="", runtime="from coterie.stores.blobs import Blobs")

    (problem,) = heavy_imports(modules)

    assert problem.startswith("coterie.runtime loads coterie.stores.blobs")


def test_a_heavy_import_inside_a_function_or_for_types_passes():
    source = "if TYPE_CHECKING:\n    import fsspec\n\ndef load():\n    import yaml\n"

    assert heavy_imports(fake(plan=source, stores__blobs="import fsspec", cli="import typer")) == []


@pytest.mark.parametrize(
    "source", ["from coterie._json import JsonValue", "from coterie import _rules", "import coterie._json"]
)
def test_a_private_import_by_an_adapter_is_caught(source: str):
    (problem,) = private_imports({"airflow_provider_coterie.hooks": (source, False)})

    assert "airflow_provider_coterie.hooks:1" in problem
