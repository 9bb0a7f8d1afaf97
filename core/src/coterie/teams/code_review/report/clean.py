"""Make JSON and text fit for a document that is the same bytes everywhere.

RFC 8785 knows IEEE doubles and valid Unicode only, so this is the place where everything else is refused
or replaced, before anything is merged.
"""

from __future__ import annotations

import math
import re

from coterie._json import JsonValue

__all__ = ["PLACES", "Malformed", "clean", "scrub", "settle", "visible"]

PLACES = 4
_REASON_CHARS = 500
_DEPTH = 32
_EXACT = 2**53 - 1

_SURROGATE = re.compile("[\ud800-\udfff]")
_ADDRESS = re.compile(r"\b0x[0-9a-fA-F]{6,}\b")
# An absolute path of two or more parts, not inside a URL or a relative path.
_ABSOLUTE = re.compile(r"(?<![\w./:~-])/(?:[^\s/'\":,;()<>]+/)+([^\s/'\":,;()<>]*)")
_FILE_URL = re.compile(r"\bfile:/[^\s'\"<>]*")
# Control characters, and the invisible ones that reorder text (Boucher and Anderson, "Trojan Source", 2021).
_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]")


class Malformed(ValueError):
    """An agent's output breaks the agreed shape; the message names the place and what lies there."""


def clean(text: str) -> str:
    """`text` as valid Unicode: a lone surrogate (a file name that is no UTF-8) becomes U+FFFD."""
    return _SURROGATE.sub("\ufffd", text)


def visible(text: str) -> str:
    r"""`text` for people: control and reordering characters are written out as `\uXXXX`."""
    return _UNSEEN.sub(lambda match: f"\\u{ord(match[0]):04x}", clean(text))


def scrub(reason: str) -> str:
    """A failure's reason without what differs between machines; cut after 500 characters.

    Gone are absolute paths (their last part stays), memory addresses and line breaks.
    """
    text = " ".join(clean(reason).split())
    text = _ABSOLUTE.sub(r"…/\1", _FILE_URL.sub("file:…", _ADDRESS.sub("0x…", text)))
    return text if len(text) <= _REASON_CHARS else f"{text[: _REASON_CHARS - 1]}…"


def settle(value: object, where: str, depth: int = 0) -> JsonValue:
    """A copy of `value` that RFC 8785 can say: floats rounded to 4 places, text made valid Unicode.

    Raises:
        Malformed: `value` holds NaN, an infinity, an integer beyond 2**53 - 1, a non-string key, or is
            nested deeper than 32.
    """
    if depth > _DEPTH:
        raise Malformed(f"{where} is nested deeper than {_DEPTH}")
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, int | float):
        return _number(value, where)
    if isinstance(value, list | tuple):
        return [settle(item, f"{where}/{number}", depth + 1) for number, item in enumerate(value)]
    if isinstance(value, dict):
        return {_key(key, where): settle(item, f"{where}/{key}", depth + 1) for key, item in value.items()}
    raise Malformed(f"{where} is a {type(value).__name__}, not JSON")


def _number(value: float, where: str) -> int | float:
    if not math.isfinite(value):
        raise Malformed(f"{where} is {value!r}, which JSON cannot say")
    settled = round(value, PLACES) if isinstance(value, float) else value
    if abs(settled) > _EXACT:
        raise Malformed(f"{where} is {value!r}, beyond what a JSON number holds exactly")
    return int(settled) if settled == int(settled) else settled


def _key(key: object, where: str) -> str:
    if not isinstance(key, str):
        raise Malformed(f"{where} has the key {key!r}, which is not a string")
    return clean(key)
