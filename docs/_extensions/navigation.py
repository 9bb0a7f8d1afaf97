"""The order of the pages. It stands here, so that the pages themselves stay plain Markdown.

Below a page come others, in the order given; `*` in a name takes those of its folder that are placed nowhere else. A
page that is in no place fails the build. The guides stand in groups, named as on their own page.
"""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatch
from typing import Any

from bs4 import BeautifulSoup, Tag
from sphinx.application import Sphinx

__all__ = ["PAGES_OUTSIDE", "setup"]

# Beside docs/, what its pages lead to.
PAGES_OUTSIDE = ["CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "benchmarks/README.md", "deploy/**/README.md"]

GUIDES = {
    "Plans and agents": """
        run-a-plan-from-yaml fan-out-with-foreach write-a-command-agent call-agents-over-http test-your-agents
        decompose-an-objective ask-a-person run-a-state-machine undo-a-failed-run use-s3-for-artifacts review-code
    """,
    "On a scheduler": "run-on-airflow run-on-prefect start-the-servers",
    "Shared by a fleet": "share-agents-across-the-fleet join-from-existing-code run-remote-workers",
    "Events": """
        send-and-receive-events coordinate-through-events react-to-events-on-airflow react-to-events-on-prefect
    """,
    "Operation": """
        watch-the-team-at-work find-out-where-the-time-went send-traces-to-a-backend find-what-is-wrong *
        runbooks/README
    """,
}
_GROUPED = "docs/how-to/README"
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
    _GROUPED: " ".join(GUIDES.values()),
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
    # After the theme has made its tree.
    app.connect("html-page-context", _group, priority=900)
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


def _group(app: Sphinx, page: str, template: str, context: dict[str, Any], _: object) -> None:
    """Name the groups of guides in the theme's tree of pages."""
    del template
    builder = app.builder
    tree = BeautifulSoup(context.get("furo_navigation_tree") or "", "html.parser")
    above = builder.get_relative_uri(page, _GROUPED) or "#"
    link = tree.find("a", href="#" if page == _GROUPED else above)
    listed = link.find_next_sibling("ul") if isinstance(link, Tag) else None
    if not isinstance(listed, Tag):
        return
    rows = dict(zip(_below(_GROUPED, app.project.docnames), listed.find_all("li", recursive=False), strict=True))
    for name, pages in GUIDES.items():
        head = tree.new_tag("li", attrs={"class": "navigation-group"})
        head.string = name
        rows[f"{_GROUPED.rpartition('/')[0]}/{pages.split()[0]}"].insert_before(head)
    context["furo_navigation_tree"] = str(tree)
