"""Reads the site as far as its tests need it: what a page leads to and loads, and what can be looked up."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

__all__ = ["WebPage", "inventory", "loaded_by_styles", "web_pages"]

# What a browser fetches by itself, and the attribute that says from where.
_LOADING = {"script": "src", "img": "src", "iframe": "src", "source": "src", "link": "href", "object": "data"}
_IN_STYLES = re.compile(r"""(?:url\(\s*['"]?|@import\s+['"])(?P<target>[^'")\s]+)""")


@dataclass(slots=True)
class WebPage:
    """One page of the site: its anchors, where its links lead, and what it loads, as written."""

    path: Path
    anchors: set[str] = field(default_factory=set)
    links: list[str] = field(default_factory=list)
    loaded: list[str] = field(default_factory=list)

    def broken(self, pages: dict[Path, WebPage]) -> Iterator[str]:
        """The links within the site that lead nowhere."""
        for link in self.links:
            name, _, anchor = unquote(link).partition("#")
            path = (self.path.parent / name).resolve() if name else self.path
            page = pages.get(path)
            if not path.is_file() or (anchor and page is not None and anchor not in page.anchors):
                yield link


class _Reader(HTMLParser):
    def __init__(self, page: WebPage) -> None:
        super().__init__()
        self.page = page

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.page.anchors |= {value for key in ("id", "name") if (value := given.get(key))}
        target = given.get(_LOADING.get(tag, ""))
        if target:
            self.page.loaded.append(target)
        elif tag == "a" and (link := given.get("href")) and not re.match(r"[a-z]+:", link):
            self.page.links.append(link)

    handle_startendtag = handle_starttag


def web_pages(site: Path) -> dict[Path, WebPage]:
    """Every page, by its path."""
    pages = {}
    for path in sorted(site.rglob("*.html")):
        page = pages[path] = WebPage(path)
        _Reader(page).feed(path.read_text("utf-8"))
    return pages


def loaded_by_styles(site: Path) -> list[str]:
    """What style sheets load."""
    return [
        found["target"]
        for path in site.rglob("*.css")
        for found in _IN_STYLES.finditer(re.sub(r"/\*.*?\*/", "", path.read_text("utf-8"), flags=re.DOTALL))
    ]


def inventory(site: Path) -> set[str]:
    """The names of Python that the site explains, as another site would look them up."""
    header, _, packed = (site / "objects.inv").read_bytes().partition(b"compressed using zlib.\n")
    assert header.startswith(b"# Sphinx inventory version 2"), header
    lines = zlib.decompress(packed).decode().splitlines()
    return {line.split(" py:", 1)[0] for line in lines if " py:" in line}
