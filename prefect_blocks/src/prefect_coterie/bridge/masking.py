"""Hide what its name says is a secret, in events that leave for where others read them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from coterie import JsonValue

__all__ = ["HIDDEN", "masked"]

HIDDEN = "***"

# `tokens` are counted, a `token` is kept secret.
_SECRET = re.compile(
    r"(?:^|[-_.])(?:password|passwd|passphrase|secret|secrets|token|credential|credentials|authorization|cookie)$"
    r"|(?:api|access|private|signing|secret)[-_]?keys?$|password$",
    re.IGNORECASE,
)
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


def masked(value: JsonValue) -> JsonValue:
    """The same value, with `HIDDEN` for whatever stands under a name such as `password`, `api_key` or `accessToken`."""
    if isinstance(value, dict):
        return {
            name: HIDDEN if _is_secret(name) and inner is not None else masked(inner) for name, inner in value.items()
        }
    if isinstance(value, list):
        return [masked(inner) for inner in value]
    return value


def _is_secret(name: str) -> bool:
    return _SECRET.search(_CAMEL.sub("_", name)) is not None
