"""Who may import whom: the layers of the core, read from the source of every module.

An import points to a lower layer, or stays inside its own group. Groups of one layer are siblings and do not
know each other. Imports inside functions and under `TYPE_CHECKING` count too; only what
`UPWARD_ON_PURPOSE` names is excused, and that only inside a function.
"""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from tests.core.architecture.sources import CORE, all_imports, fake, is_of, modules_under, report, target_module, unit

TABLE = "LAYERS in tests/core/architecture/test_layers.py"

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
            "_secrets",
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
            "telemetry",
            "timeline",
            "trail",
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


def place(module: str) -> tuple[int, str] | None:
    """(layer, group) of a module of the core; None if the table does not have it."""
    for layer, groups in enumerate(LAYERS):
        for group, units in groups.items():
            if unit(module) in units:
                return layer, group
    return None


def broken_layers(modules: Mapping[str, tuple[str, bool]]) -> list[str]:
    """One sentence for each import that leaves its layer the wrong way."""
    problems = [f"{name} is in no layer: add {unit(name)!r} to {TABLE}" for name in modules if place(name) is None]
    for found in all_imports(modules):
        target = target_module(found, modules)
        here, there = place(found.importer), place(target)
        excused = found.deferred and (unit(found.importer), unit(target)) in UPWARD_ON_PURPOSE
        if not is_of(target, ["coterie"]) or here is None or excused:
            continue
        if there is None:
            problems.append(f"{found}, which is in no layer: add it to {TABLE}")
        elif there[0] > here[0] or (there[0] == here[0] and there[1] != here[1]):
            relation = "its sibling" if there[0] == here[0] else "above it"
            problems.append(f"{found}: {here[1]!r} may not know {there[1]!r}, {relation}")
    return problems


# The repository.


def test_every_module_imports_only_what_lies_below_it():
    problems = broken_layers(modules_under(CORE))

    assert not problems, report(problems)


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
