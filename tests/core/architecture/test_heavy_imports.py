"""What is slow to import, or brought by an extra, is imported where it is used, not when a module is loaded."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from fnmatch import fnmatchcase

import pytest

from tests.core.architecture.sources import (
    CORE,
    SCHEDULERS,
    all_imports,
    fake,
    full_name,
    is_of,
    modules_under,
    report,
    target_module,
    unit,
)

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


def reached(start: str, loads: Mapping[str, set[str]]) -> set[str]:
    seen, pending = {start}, [start]
    while pending:
        fresh = loads.get(pending.pop(), set()) - seen
        seen |= fresh
        pending += fresh
    return seen


# The repository.


def test_heavy_packages_are_imported_where_they_are_used():
    problems = heavy_imports(modules_under(CORE))

    assert not problems, report(problems)


def test_importing_coterie_loads_no_scheduler_client_or_driver():
    watched = sorted(SCHEDULERS | HEAVY.keys() - {"coverage"})  # this process may be measured
    program = f"import sys, coterie; print(*[name for name in {watched!r} if name in sys.modules])"

    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)

    assert loaded.stdout.split() == []


# The checker itself.


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
