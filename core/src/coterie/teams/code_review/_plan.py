"""The plan: one snapshot, six reviews of it side by side, one report of whatever succeeded."""

from __future__ import annotations

from coterie._json import JsonValue
from coterie.plan import Plan
from coterie.task import ForEach, Task
from coterie.teams.code_review.location import read_source

__all__ = ["plan"]

_REVIEWS = ("lint", "security", "measure", "structure", "tests", "docs")
_MODULE_TIMEOUT_S = 120.0


def plan(
    source: str = ".",
    *,
    revision: str | None = None,
    run_tests: bool = False,
    repository_config: bool = False,
) -> Plan:
    """A review of `source`, a folder or git URL, at `revision`; all four are parameters of the run.

    run_tests: execute the reviewed project's tests, with the rights of the worker.
    repository_config: lint by the repository's own ruff configuration.

    No module's failure fails a task that goes through the modules one by one: the report names it instead.

    Raises:
        UnsupportedURL, CredentialsInURL: of an address. A folder is looked for when the plan runs, where it runs.
    """
    if "://" in source or "::" in source:
        read_source(source)
    params: dict[str, JsonValue] = {
        "source": source,
        "revision": revision,
        "run_tests": run_tests,
        "repository_config": repository_config,
    }
    return Plan("code-review", [_snapshot(), *_reviews(), _report()], params=params)


def _snapshot() -> Task:
    taken: dict[str, JsonValue] = {"source": _param("source"), "revision": _param("revision")}
    return Task("snapshot", "snapshotter", input=taken, timeout_s=1200.0)


def _reviews() -> list[Task]:
    own_rules: dict[str, JsonValue] = {"repository_config": _param("repository_config")}
    after = ("snapshot",)
    return [
        Task("lint", "linter", input=own_rules, depends_on=after, timeout_s=600.0, priority=1),
        Task("security", "security", depends_on=after, foreach=_modules(), timeout_s=_MODULE_TIMEOUT_S),
        Task(
            "measure",
            "analyzer",
            input={"scope": "file"},
            depends_on=after,
            foreach=_modules(),
            timeout_s=_MODULE_TIMEOUT_S,
        ),
        Task("structure", "analyzer", input={"scope": "tree"}, depends_on=after, timeout_s=900.0, priority=1),
        Task("tests", "tester", input={"run_tests": _param("run_tests")}, depends_on=after, timeout_s=1200.0),
        Task("docs", "documenter", depends_on=after, timeout_s=600.0),
    ]


def _report() -> Task:
    return Task("report", "reporter", depends_on=("snapshot", *_REVIEWS), trigger_rule="all_done", timeout_s=600.0)


def _modules() -> ForEach:
    """Once for each Python module of the snapshot, known by its path; any number of them may fail."""
    return ForEach(task="snapshot", pointer="/python_files", key="/path", tolerate_failures=1.0)


def _param(name: str) -> JsonValue:
    return {"$param": name}
