"""The order of the pages. It stands here, so that the pages themselves stay plain Markdown.

Below a page come others, in the order given; `*` in a name takes those of its folder that are placed nowhere else. A
page that is in no place fails the build.
"""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatch

from sphinx.application import Sphinx

__all__ = ["PAGES_OUTSIDE", "setup"]

# Beside docs/, what its pages lead to.
PAGES_OUTSIDE = ["CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "benchmarks/README.md", "deploy/**/README.md"]

_GUIDES = """
    run-a-plan-from-yaml fan-out-with-foreach write-a-command-agent call-agents-over-http test-your-agents
    decompose-an-objective ask-a-person undo-a-failed-run use-s3-for-artifacts review-code
    run-on-airflow run-on-prefect start-the-servers
    share-agents-across-the-fleet join-from-existing-code run-remote-workers
    send-and-receive-events coordinate-through-events react-to-events-on-airflow react-to-events-on-prefect
    watch-the-team-at-work find-out-where-the-time-went send-traces-to-a-backend find-what-is-wrong * runbooks/README
"""
_RUNBOOKS = """
    worker-gone breaker-open agent-unhealthy queue-deep success-rate-low workflow-timed-out
    error-rate-high latency-high utilisation-high queue-growing dead-letters *
"""
_REFERENCE = """
    guarantees versions errors
    plan trigger-rules team runs journal state-machine
    policies circuit-breaker resource-pool rate-limits budgets
    events remote-workers
    airflow prefect
    command-line configuration logs metrics telemetry *
"""
_PYTHON = """
    plans teams runs artifacts journal policies shared approvals sagas machines decomposition events workers
    errors telemetry stores testing ready-made-teams * airflow prefect
"""
_EXPLANATION = """
    architecture one-plan-three-engines references local-engine state-stores
    failure-modes scaling security coming-from * decisions/README
"""
_BELOW = {
    "docs/index": "tutorial how-to/README reference/README reference/python/README explanation/README project",
    "docs/tutorial": "tutorial/survive-a-crash tutorial/onto-schedulers tutorial/*",
    "docs/how-to/README": _GUIDES,
    "docs/how-to/runbooks/README": _RUNBOOKS,
    "docs/reference/README": _REFERENCE,
    "docs/reference/python/README": _PYTHON,
    "docs/explanation/README": _EXPLANATION,
    "docs/explanation/decisions/README": "*",
    "docs/project": "/CHANGELOG /CONTRIBUTING /SECURITY /benchmarks/README /deploy/*/README",
}


def setup(app: Sphinx) -> dict[str, bool]:
    """Join the build."""
    app.connect("env-get-outdated", _pages_with_others_below)
    app.connect("source-read", _append)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _pages_with_others_below(*_: object) -> list[str]:
    """They are read anew each time: a page may have been added below them."""
    return list(_BELOW)


def _append(app: Sphinx, page: str, content: list[str]) -> None:
    """Add the pages below, as Sphinx wants to be told."""
    below = _below(page, app.project.docnames)
    if below:
        content[0] += "\n".join(["", "", "```{toctree}", ":hidden:", "", *(f"/{name}" for name in below), "```", ""])


def _below(page: str, known: Iterable[str]) -> list[str]:
    """The pages below, in order; those that are not written yet are left out."""
    found: list[str] = []
    for name in _names(page):
        if "*" in name:
            found += sorted(other for other in known if _is_like(other, name) and other not in _placed())
        elif name in known:
            found.append(name)
    return found


def _names(page: str) -> list[str]:
    folder = page.rpartition("/")[0]
    return [
        name.removeprefix("/") if name.startswith("/") else f"{folder}/{name}" for name in _BELOW.get(page, "").split()
    ]


def _is_like(name: str, pattern: str) -> bool:
    return fnmatch(name, pattern) and name.count("/") == pattern.count("/")


def _placed() -> set[str]:
    """The pages with a place of their own, the first one included."""
    return {*_BELOW, *(name for page in _BELOW for name in _names(page))}
