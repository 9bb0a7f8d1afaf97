"""Reads Markdown as far as the tests of the documents need it: code blocks, headings, links, tables."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["REPOSITORY", "Block", "Page", "pages"]

REPOSITORY = Path(__file__).resolve().parents[2]

_FENCE = re.compile(r"^(?P<indent> *)(?P<marks>`{3,}|~{3,})(?P<language>[^\s`]*)")
_MARK = re.compile(r"<!--\s*(?P<key>[a-z ]+?)(?::\s*(?P<value>.*?))?\s*-->")
_LINK = re.compile(r"(?<!!)\[[^\]\n]*\]\((?P<target>[^()\s]+)\)|!\[[^\]\n]*\]\((?P<image>[^()\s]+)\)")
# A first line that is, or ends with, a comment naming a file.
_NAMED = re.compile(r"(?:^|\s)# (?P<name>[\w./-]+\.(?:py|yaml|yml))$")


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block. `marks` are the comments right before it, `<!-- key: value -->`; `line` that of its fence."""

    page: str
    line: int
    language: str
    text: str
    marks: Mapping[str, str] = field(default_factory=dict)

    @property
    def place(self) -> str:
        """Where it stands."""
        return f"{self.page}:{self.line}"

    @property
    def file_name(self) -> str | None:
        """The file that the reader saves it as, if it says so."""
        found = _NAMED.search(self.text.partition("\n")[0])
        return self.marks.get("file") or (found["name"] if found else None)


@dataclass(frozen=True, slots=True)
class Page:
    """One document. `name` is its path in the repository."""

    name: str
    text: str

    @property
    def path(self) -> Path:
        """The file."""
        return REPOSITORY / self.name

    def blocks(self) -> Iterator[Block]:
        """The code blocks, in order.

        Raises:
            ValueError: one is not closed.
        """
        lines = self.text.splitlines()
        marks: dict[str, str] = {}
        number = 0
        while number < len(lines):
            fence = _FENCE.match(lines[number])
            if fence is None:
                marks = {**marks, **_marks(lines[number])} if _is_quiet(lines[number]) else {}
                number += 1
                continue
            start, end = number + 1, _end(lines, number + 1, fence["marks"])
            if end is None:
                raise ValueError(f"{self.name}:{start}: the block is not closed")
            body = [line.removeprefix(fence["indent"]) for line in lines[start:end]]
            yield Block(self.name, start, fence["language"], "\n".join(body), marks)
            marks, number = {}, end + 1

    def prose(self) -> str:
        """The text without the blocks."""
        kept = self.text.splitlines()
        for block in self.blocks():
            length = block.text.count("\n") + 3
            kept[block.line - 1 : block.line - 1 + length] = [""] * length
        return "\n".join(kept)

    def anchors(self) -> set[str]:
        """What a link may name after `#`: each heading as code hosts write it."""
        seen: dict[str, int] = {}
        found = set()
        for heading in re.findall(r"^#{1,6} +(.+?) *#*$", self.prose(), re.MULTILINE):
            plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "").lower()
            slug = re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")
            count = seen.get(slug, 0)
            seen[slug] = count + 1
            found.add(f"{slug}-{count}" if count else slug)
        return found

    def links(self) -> list[str]:
        """The targets of links and images."""
        return [found["target"] or found["image"] for found in _LINK.finditer(self.prose())]

    def tables(self) -> Iterator[list[list[str]]]:
        """The tables as rows of cells, the heading first."""
        rows: list[list[str]] = []
        for line in [*self.prose().splitlines(), ""]:
            if line.startswith("|"):
                rows.append([cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip().strip("|"))])
            elif rows:
                yield [rows[0], *rows[2:]]
                rows = []


def pages() -> list[Page]:
    """Every document that people read."""
    own = [*REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/**/*.md")]
    packages = [REPOSITORY / folder / "README.md" for folder in ("core", "airflow_provider", "prefect_blocks")]
    return [
        Page(path.relative_to(REPOSITORY).as_posix(), path.read_text("utf-8"))
        for path in sorted([*own, *packages, REPOSITORY / "benchmarks/README.md"])
    ]


def _marks(line: str) -> dict[str, str]:
    return {found["key"]: found["value"] or "" for found in _MARK.finditer(line)}


def _is_quiet(line: str) -> bool:
    """Whether marks before this line still belong to the block after it."""
    return not _MARK.sub("", line).strip()


def _end(lines: list[str], start: int, marks: str) -> int | None:
    return next((i for i in range(start, len(lines)) if lines[i].strip() == marks), None)
