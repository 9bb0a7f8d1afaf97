"""Show a person what agents and strangers wrote: bounded, and nothing in it acts on their screen."""

from __future__ import annotations

import json
import re

from coterie._json import JsonValue

__all__ = ["LOADED_BYTES", "beginning", "fenced", "harmless", "written"]

# What is larger is not loaded to show its beginning.
LOADED_BYTES = 256 * 2**10

# Controls, halves of characters, and what turns the direction of text: no output may draw on a terminal.
_UNSHOWN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_FENCES = re.compile("`+")
# For the words that say that something was cut off.
_ROOM_BYTES = 40


def written(value: JsonValue) -> str:
    """A text as it is, anything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False)


def harmless(text: str) -> str:
    """A text without what does not show."""
    return _UNSHOWN.sub("\ufffd", text)


def beginning(text: str, most_bytes: int) -> str:
    """As much of a text as UTF-8 has room for, without what does not show; of a longer one it says so."""
    shown = harmless(text[: most_bytes + 1])
    content = shown.encode()
    if len(content) <= most_bytes and len(text) <= most_bytes:
        return shown
    cut = content[: max(0, most_bytes - _ROOM_BYTES)].decode(errors="ignore")
    return f"{cut}\n… ({len(text):,} characters in all)"


def fenced(value: JsonValue, *, most_bytes: int = 8192) -> str:
    """A value as Markdown shows it word for word: the `beginning`, in a fence that nothing in it closes."""
    shown = beginning(written(value), most_bytes)
    longest = max((len(ticks) for ticks in _FENCES.findall(shown)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{'text' if isinstance(value, str) else 'json'}\n{shown}\n{fence}"
