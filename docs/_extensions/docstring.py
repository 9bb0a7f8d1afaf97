"""Turns a docstring, as it is written here, into Markdown.

Docstrings are Markdown but for two habits. A line `name: text` describes the argument or field of that name, and goes
on in the lines below; and `Raises:` is followed by sentences of the form `ThisError, ThatError: when`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator

__all__ = ["to_markdown"]

_RAISES = "Raises:"
# Errors, then what raises them; up to the next such beginning of a sentence.
_ERROR = re.compile(r"(?:^|(?<=\.)\s)(?P<names>[A-Z]\w*(?:, [A-Z]\w*)*): ")


def to_markdown(text: str, names: Collection[str]) -> str:
    """The docstring as Markdown; `names` are those of the arguments and fields that a line may describe."""
    body, separator, raises = text.partition(f"\n{_RAISES}\n")
    if text.startswith(f"{_RAISES}\n"):
        body, separator, raises = "", _RAISES, text.removeprefix(f"{_RAISES}\n")
    parts = [_described(paragraph, names) for paragraph in re.split(r"\n{2,}", body.strip("\n"))]
    if separator:
        section, after = _section(raises)
        parts += [_raised(section), after]
    return "\n\n".join(part for part in parts if part.strip())


def _described(paragraph: str, names: Collection[str]) -> str:
    """A paragraph; its lines `name: text` as a list."""
    if not names or paragraph.startswith(" "):
        return paragraph
    name = "|".join(sorted(map(re.escape, names), key=len, reverse=True))
    beginning = re.compile(rf"^(?P<names>(?:{name})(?:, (?:{name}))*): ")
    prose: list[str] = []
    items: list[str] = []
    for line in paragraph.splitlines():
        if beginning.match(line):
            items.append(line)
        elif items:
            items[-1] += f" {line.strip()}"
        else:
            prose.append(line)
    listed = [_item(beginning, part) for item in items for part in _split(item, name)]
    return "\n\n".join(part for part in ("\n".join(prose), "\n".join(listed)) if part)


def _split(item: str, name: str) -> list[str]:
    """A line may hold several descriptions, each a sentence or more."""
    return re.split(rf"(?<=\.) (?=(?:{name}): )", item)


def _item(beginning: re.Pattern[str], text: str) -> str:
    found = beginning.match(text)
    assert found is not None
    names = ", ".join(f"`{name}`" for name in found["names"].split(", "))
    return f"- {names}: {text[found.end() :]}"


def _section(text: str) -> tuple[str, str]:
    """The indented lines, as one; and what follows them."""
    lines = text.splitlines()
    end = next((at for at, line in enumerate(lines) if line and not line.startswith(" ")), len(lines))
    return " ".join(line.strip() for line in lines[:end] if line.strip()), "\n".join(lines[end:])


def _raised(text: str) -> str:
    found = list(_ERROR.finditer(text))
    if not found or found[0].start():
        return f"**Raises** {_coded(text)}"
    return "**Raises**\n\n" + "\n".join(_errors(text, found))


def _errors(text: str, found: list[re.Match[str]]) -> Iterator[str]:
    ends = [match.start() for match in found[1:]] + [len(text)]
    for match, end in zip(found, ends, strict=True):
        names = ", ".join(f"`{name}`" for name in match["names"].split(", "))
        yield f"- {names}: {text[match.end() : end].strip()}"


def _coded(text: str) -> str:
    """A bare list of errors, as code."""
    if re.fullmatch(r"[A-Z]\w+(?:, [A-Z]\w+)*\.?", text):
        return re.sub(r"\w+", lambda name: f"`{name[0]}`", text)
    return text
