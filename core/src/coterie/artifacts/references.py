"""Find the references in a JSON document while it streams by, without ever holding all of it.

A reference is an object with a member `sha256` of 64 hexadecimal digits, wherever it stands: what `Ref.serialize` and
`Ref.portable` write, and also documents of one's own that name content by its hash. One that carries its content is
looked into. Too much may be found, never too little, if the document is UTF-8.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Found", "found_in", "is_json", "referred"]

# The whole of a reference is at most 1 KiB; a longer string is none of its members.
_MAX_STRING_BYTES = 16 * 2**10
# Python's own parser refuses deeper documents, so nothing can be loaded from them.
_MAX_DEPTH = 5_000
_WANTED = {b'"sha256"': "sha256", b'"size_bytes"': "size_bytes", b'"media_type"': "media_type", b'"uri"': "uri"}
_DIGEST = re.compile(r"[0-9a-f]{64}\Z")
_BEGINNING = re.compile(rb"(?:\xef\xbb\xbf)?[ \t\r\n]*(?:(?P<begun>[\[{])|\Z)")
# A string that the chunk cuts off has no `end`; a number at the very end may go on.
_TOKEN = re.compile(
    rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:(?P<end>")|\\?\Z)|[{}\[\],:]|(?P<number>[-0-9][-+.0-9eE]*+)', re.DOTALL
)
_REST_OF_STRING = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)


@dataclass(frozen=True, slots=True)
class Found:
    """What is known of content that something refers to. follow: whether it may hold references itself."""

    sha256: str
    size_bytes: int | None = None
    follow: bool = False


def is_json(media_type: str) -> bool:
    """Whether content of that type is a JSON document."""
    kind = media_type.partition(";")[0].strip().lower()
    return kind == "application/json" or kind.endswith("+json")


def found_in(chunks: Iterable[bytes]) -> Iterator[Found]:
    """All references in a document; none, and no more read than shows it, if it does not begin like one."""
    scan, begun = _Scan(), False
    for chunk in chunks:
        if not begun:
            beginning = _BEGINNING.match(chunk)
            if beginning is None:
                return
            begun = beginning["begun"] is not None
        yield from scan.feed(chunk)
        if len(scan.levels) > _MAX_DEPTH:
            return


@dataclass(slots=True)
class _Level:
    """An object or list that is open. key: of the member whose value comes next, if it is a wanted one."""

    key: str | None = None
    members: dict[str, Any] = field(default_factory=dict)


class _Scan:
    """Where the parser stands. It accepts more than JSON, which does no harm."""

    def __init__(self) -> None:
        self.levels: list[_Level] = [_Level()]
        self._rest = b""
        self._in_long_string = False
        self._string: bytes | None = None

    def feed(self, chunk: bytes) -> Iterator[Found]:
        """What is found in the next piece of the document."""
        text = self._rest + chunk
        position = 0
        self._rest = b""
        if self._in_long_string:
            ended = _REST_OF_STRING.match(text)
            if ended is None:
                # An escape may be cut in two.
                self._rest = b"\\" if _ends_in_escape(text) else b""
                return
            self._in_long_string = False
            position = ended.end()
        for token in _TOKEN.finditer(text, position):
            if token.end() == len(text) and not token["end"] and (token[0][:1] == b'"' or token["number"]):
                self._cut(token[0])
                return
            yield from self._take(token[0], is_number=token["number"] is not None)

    def _cut(self, token: bytes) -> None:
        if len(token) <= _MAX_STRING_BYTES:
            self._rest = token
            return
        self._in_long_string = token[:1] == b'"'
        self._rest = b"\\" if self._in_long_string and _ends_in_escape(token) else b""
        self._string = None

    def _take(self, token: bytes, *, is_number: bool) -> Iterator[Found]:
        level = self.levels[-1]
        if token == b":":
            level.key = _WANTED.get(self._string or b"")
        elif token == b",":
            level.key = None
        elif token in (b"{", b"["):
            level.key = None
            self.levels.append(_Level())
        elif token in (b"}", b"]"):
            if len(self.levels) > 1:
                self.levels.pop()
            yield from referred(level.members)
        elif level.key is not None:
            if len(token) <= _MAX_STRING_BYTES:
                level.members[level.key] = _value(token)
            level.key = None
        elif not is_number:
            self._string = token


def _ends_in_escape(text: bytes) -> bool:
    return (len(text) - len(text.rstrip(b"\\"))) % 2 == 1


def _value(token: bytes) -> object:
    try:
        value: object = json.loads(token)
    except ValueError:
        return None
    return value


def referred(members: Mapping[str, Any]) -> Iterator[Found]:
    """What an object with these members refers to."""
    sha256 = members.get("sha256")
    if not isinstance(sha256, str) or not _DIGEST.match(sha256):
        return
    size_bytes, media_type, uri = members.get("size_bytes"), members.get("media_type"), members.get("uri")
    follow = isinstance(media_type, str) and is_json(media_type)
    if isinstance(uri, str) and uri.startswith("data:"):
        # The content travels in the reference; it may refer to what does not.
        if follow:
            yield from found_in([_inline_content(uri)])
        return
    known = type(size_bytes) is int and 0 <= size_bytes < 2**63
    yield Found(sha256, size_bytes if known else None, follow=follow)


def _inline_content(uri: str) -> bytes:
    try:
        return base64.b64decode(uri.partition(",")[2])
    except ValueError:
        return b""
