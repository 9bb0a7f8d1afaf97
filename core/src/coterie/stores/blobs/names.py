"""What objects may be called: names that no backend reads as a way out of its root."""

from __future__ import annotations

import re

from coterie.errors import ForbiddenLocation

__all__ = ["PARTIAL", "check_blob_name"]

# Ends the name of a file that is still being written.
PARTIAL = ".partial"
# No `%`, which some decode, no `\`, which some read as `/`, and no dot in front: neither `..` nor hidden files.
_PART = r"[A-Za-z0-9_=@+-][A-Za-z0-9._=@+-]{0,254}"
_NAME = re.compile(rf"{_PART}(?:/{_PART})*\Z")
_MAX_CHARS = 900


def check_blob_name(name: str) -> str:
    """Return `name` if it may name an object, or a folder of them.

    Raises:
        ForbiddenLocation: it may not.
    """
    if len(name) > _MAX_CHARS or not _NAME.match(name) or name.endswith(PARTIAL):
        raise ForbiddenLocation(
            f"{name[:200]!r} is no name of an object; use parts of letters, digits and '._=@+-' with '/' between them, "
            "none of which begins with a dot"
        )
    return name
