"""`Ref`: what travels between tasks instead of a payload."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from coterie._json import JsonValue
from coterie.errors import CorruptArtifact, Misuse

__all__ = ["INLINE_BYTES", "JSON_MEDIA_TYPE", "Ref"]

JSON_MEDIA_TYPE = "application/json"
# As base64, with the other fields and a scheduler's own envelope, this many bytes still fit 1 KiB.
INLINE_BYTES = 400
MAX_URI_BYTES = 700
MAX_MEDIA_TYPE_CHARS = 80
_INLINE = "data:"
_DIGEST = re.compile(r"[0-9a-f]{64}\Z")


@dataclass(frozen=True, slots=True)
class Ref:
    """A verified pointer to content: where it lies, its SHA-256 (hex), its size in bytes, its media type.

    Serialised it takes at most 1 KiB, with a scheduler's envelope around it. Content of up to 400 bytes travels
    in the reference itself, as a `data:` URI (RFC 2397).
    """

    # The class path and this number are Airflow's wire format: never move the class.
    __version__: ClassVar[int] = 1

    uri: str
    sha256: str
    size_bytes: int
    media_type: str = JSON_MEDIA_TYPE

    def __post_init__(self) -> None:
        if not (isinstance(self.uri, str) and isinstance(self.sha256, str) and isinstance(self.media_type, str)):
            raise Misuse(f"not a reference: {self.uri!r:.200}, {self.sha256!r:.200}; its fields are strings")
        if type(self.size_bytes) is not int or self.size_bytes < 0:
            raise Misuse(f"a reference's size_bytes is {self.size_bytes!r:.200}; give a whole number >= 0")
        if not _DIGEST.match(self.sha256):
            raise Misuse(f"a reference's sha256 is {self.sha256[:200]!r}; give 64 lower-case hexadecimal digits")
        if _json_bytes(self.media_type) > MAX_MEDIA_TYPE_CHARS or not self.media_type.isascii():
            raise Misuse(
                f"a reference's media type is {self.media_type[:200]!r}; "
                f"give at most {MAX_MEDIA_TYPE_CHARS} ASCII letters"
            )
        size = _json_bytes(self.uri)
        if size > MAX_URI_BYTES:
            raise Misuse(
                f"the reference's URI takes {size} bytes as JSON, at most {MAX_URI_BYTES} fit; "
                "use a shorter artifact store URL"
            )

    @property
    def is_inline(self) -> bool:
        """Whether the content travels in the reference itself."""
        return self.uri.startswith(_INLINE)

    @classmethod
    def inline(cls, content: bytes, media_type: str = JSON_MEDIA_TYPE) -> Ref:
        """A reference that carries `content`, at most 400 bytes."""
        if len(content) > INLINE_BYTES:
            raise Misuse(f"{len(content)} bytes do not fit a reference (at most {INLINE_BYTES}); store them")
        uri = f"{_INLINE}{media_type};base64,{base64.b64encode(content).decode()}"
        return cls(uri, hashlib.sha256(content).hexdigest(), len(content), media_type)

    def inline_bytes(self) -> bytes:
        """The content of an inline reference, verified.

        Raises:
            CorruptArtifact: the content is not what the hash says, or not base64.
        """
        try:
            content = base64.b64decode(self.uri.partition(",")[2], validate=True)
        except ValueError as error:
            raise CorruptArtifact(f"the inline reference {self.sha256!r} is not base64; run its task again") from error
        verify(self, hashlib.sha256(content).hexdigest(), len(content))
        return content

    def load(self) -> JsonValue:
        """The JSON value that this points at, read and verified, blocking.

        Uses the artifact store of the surrounding run, else the one that `COTERIE_ARTIFACTS` names.

        Raises:
            MissingArtifact, CorruptArtifact, ForbiddenLocation, Unavailable.
        """
        from coterie.sync import load_ref

        return load_ref(self)

    def serialize(self) -> dict[str, Any]:
        """The JSON form; `deserialize` reads it back."""
        return {
            "uri": self.uri,
            "sha256": self.sha256,
            "size_bytes": self.size_bytes,
            "media_type": self.media_type,
        }

    def portable(self) -> dict[str, Any]:
        """The JSON form without the place: equal for equal content in every store.

        An agent whose output refers to what it stored returns this, so that its output is the same on every
        engine; `ArtifactStore.recall` reads it back.
        """
        data = self.serialize()
        if not self.is_inline:
            del data["uri"]
        return data

    @staticmethod
    def deserialize(data: Mapping[str, Any], version: int = 1) -> Ref:
        """Read the form that `serialize` writes.

        Raises:
            Misuse: the data are of a newer version, or not a reference.
        """
        if version > Ref.__version__:
            raise Misuse(f"the reference has version {version}, this coterie reads {Ref.__version__}; upgrade it")
        try:
            return Ref(data["uri"], data["sha256"], data["size_bytes"], data["media_type"])
        except (KeyError, TypeError) as error:
            raise Misuse(f"not a reference: {error!r} in {str(data)[:200]!r}; pass what `serialize` wrote") from error


def _json_bytes(text: str) -> int:
    """How long a text is as JSON, where a control character or a letter outside ASCII takes six bytes or more."""
    plain = text.isascii() and text.isprintable() and not ('"' in text or "\\" in text)
    return len(text) if plain else len(json.dumps(text))


def parsed(ref: Ref, content: bytes) -> JsonValue:
    """The JSON value that `ref` pointed at.

    Raises:
        CorruptArtifact: the content is not JSON.
    """
    try:
        value: JsonValue = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise CorruptArtifact(f"{ref.uri[:200]!r} is not JSON: {error}; read it with read_bytes") from error
    return value


def verify(ref: Ref, sha256: str, size_bytes: int) -> None:
    """Compare what was read with what `ref` promises.

    Raises:
        CorruptArtifact: they differ.
    """
    if sha256 != ref.sha256 or size_bytes != ref.size_bytes:
        where = "inline content" if ref.is_inline else repr(ref.uri)
        raise CorruptArtifact(
            f"{where} has {size_bytes} bytes with SHA-256 {sha256}, expected {ref.size_bytes} bytes with "
            f"{ref.sha256}; delete the object and run the task that wrote it again"
        )
