"""What a person does and sees on the page of a timeline."""

from __future__ import annotations

from typing import Any

from tests.support.chromium import Tab

__all__ = ["box_of", "click", "rows", "search", "spans", "text", "with_ancestors"]


def rows(tab: Tab) -> int:
    """How many rows there are, seen or not."""
    return int(tab.run("document.getElementById('rows').getAttribute('aria-rowcount')"))


def click(tab: Tab, identity: str) -> None:
    tab.run(f"document.getElementById('{identity}').click()")
    tab.settle()


def text(tab: Tab, selector: str) -> str:
    return str(tab.run(f"document.querySelector('{selector}').textContent"))


def box_of(tab: Tab, identity: str) -> tuple[float, float, float]:
    """Where in the window an element begins, and how wide it is."""
    box = f"document.getElementById('{identity}').getBoundingClientRect()"
    x, y, width = tab.run(f"(({{x, y, width}}) => [x, y, width])({box})")
    return x, y, width


def search(tab: Tab, line: str) -> None:
    tab.run("document.getElementById('search').select()")
    tab.write(line)


def spans(document: dict[str, Any], **wanted: str) -> list[dict[str, Any]]:
    return [each for each in document["spans"] if all(each[name] == value for name, value in wanted.items())]


def with_ancestors(document: dict[str, Any], found: list[dict[str, Any]]) -> set[str]:
    """The ids of the spans and of all that they lie in."""
    parents = {span["id"]: span["parent"] for span in document["spans"]}
    wanted: set[str] = set()
    for span in found:
        identity = span["id"]
        while identity is not None and identity not in wanted:
            wanted.add(identity)
            identity = parents[identity]
    return wanted
