"""Where content lies: names made of its hash, and nothing else.

Content of the digest `ab…` lies at `<namespace>/sha256/ab/ab…`; or, compressed, at the same name with `.zst` behind it.
References name the first of the two, whichever is there: what content is called does not depend on how it is kept.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from coterie.errors import ForbiddenLocation, Misuse
from coterie.ref import Ref

__all__ = ["COMPRESSED", "PLAIN", "Layout"]

PLAIN = ""
COMPRESSED = ".zst"
_NAME = re.compile(r"([0-9a-f]{2})/(\1[0-9a-f]{62})(\.zst)?\Z")


@dataclass(frozen=True, slots=True)
class Layout:
    """The names of one namespace below one root."""

    root: str
    namespace: str

    @property
    def folder(self) -> str:
        """What all objects of the namespace lie below."""
        return f"{self.namespace}/sha256"

    def ref(self, sha256: str, size_bytes: int, media_type: str) -> Ref:
        """The reference to content of this hash."""
        return Ref(f"{self.root}/{self.name(sha256)}", sha256, size_bytes, media_type)

    def name(self, sha256: str, form: str = PLAIN) -> str:
        """What the object is called that holds this content in that form."""
        return f"{self.namespace}/sha256/{sha256[:2]}/{sha256}{form}"

    def digest_of(self, name: str) -> str | None:
        """Which content an object holds by its name; None if it is none of ours."""
        found = _NAME.match(name.removeprefix(f"{self.folder}/"))
        return found[2] if found else None

    def check(self, ref: Ref) -> None:
        """Return if a reference that carries no content points into this namespace.

        Raises:
            ForbiddenLocation: it points elsewhere.
        """
        # The only place that this store gives to the content; any other could lead out of the root.
        if ref.uri != f"{self.root}/{self.name(ref.sha256)}":
            raise ForbiddenLocation(
                f"{ref.uri[:200]!r} is not an object of the artifact store {self.root!r}, namespace "
                f"{self.namespace!r}; use the store (and namespace) that wrote it"
            )

    def recall(self, data: Mapping[str, Any]) -> Ref:
        """The reference behind what `Ref.portable` or `Ref.serialize` gave.

        Raises:
            Misuse: it is neither.
        """
        if "uri" in data:
            return Ref.deserialize(data)
        try:
            return self.ref(data["sha256"], data["size_bytes"], data["media_type"])
        except KeyError as error:
            raise Misuse(f"not a reference: {error!r} in {str(data)[:200]!r}; pass what `portable` gave") from error
