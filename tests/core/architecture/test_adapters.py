"""Where the core ends: it knows no scheduler, and the adapters use of it what it promises."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.core.architecture.sources import (
    ADAPTERS,
    CORE,
    SCHEDULERS,
    all_imports,
    fake,
    full_name,
    is_of,
    modules_under,
    report,
)


def known_schedulers(modules: Mapping[str, tuple[str, bool]]) -> list[str]:
    return [
        f"{found}: the core knows no scheduler; move this into the adapter"
        for found in all_imports(modules)
        if is_of(found.target, SCHEDULERS)
    ]


def others_imported(modules: Mapping[str, tuple[str, bool]]) -> list[str]:
    """One sentence for each import by which an adapter knows the other one, or its scheduler."""
    own = next(iter(modules)).partition(".")[0]
    others = {"airflow", "airflow_provider_coterie"} if own == "prefect_coterie" else {"prefect", "prefect_coterie"}
    return [
        f"{found}: adapters meet in the core alone; their schedulers share no environment"
        for found in all_imports(modules)
        if is_of(found.target, others)
    ]


def private_imports(modules: Mapping[str, tuple[str, bool]]) -> list[str]:
    """One sentence for each private name of the core that a module outside it imports."""
    return [
        f"{found}: adapters use public names of the core alone; export it, or do without"
        for found in all_imports(modules)
        if is_of(found.target, ["coterie"]) and any(part.startswith("_") for part in full_name(found).split("."))
    ]


# The repository.


def test_the_core_knows_no_scheduler():
    problems = known_schedulers(modules_under(CORE))

    assert not problems, report(problems)


@pytest.mark.parametrize("source", ADAPTERS, ids=lambda path: path.parent.name)
def test_adapters_use_public_names_of_the_core(source: Path):
    problems = private_imports(modules_under(source))

    assert not problems, report(problems)


@pytest.mark.parametrize("source", ADAPTERS, ids=lambda path: path.parent.name)
def test_neither_adapter_knows_the_other(source: Path):
    problems = others_imported(modules_under(source))

    assert not problems, report(problems)


# The checker itself.


def test_a_scheduler_in_the_core_is_caught_inside_a_function_too():
    (problem,) = known_schedulers(fake(context="def current():\n    from airflow.sdk import get_current_context"))

    assert "coterie.context:2 imports 'airflow.sdk.get_current_context'" in problem


@pytest.mark.parametrize(
    "source", ["from coterie._json import JsonValue", "from coterie import _rules", "import coterie._json"]
)
def test_a_private_import_by_an_adapter_is_caught(source: str):
    (problem,) = private_imports({"airflow_provider_coterie.hooks": (source, False)})

    assert "airflow_provider_coterie.hooks:1" in problem


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("prefect_coterie.flows", "def run():\n    import airflow_provider_coterie.hook"),
        ("airflow_provider_coterie.hook", "from prefect import flow"),
    ],
)
def test_an_adapter_that_knows_the_other_is_caught(module: str, source: str):
    (problem,) = others_imported({module: (source, False)})

    assert f"{module}:" in problem
