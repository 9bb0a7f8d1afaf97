"""Say who may have sent an event: HMAC-SHA256 (RFC 2104) over its content and its place."""

from __future__ import annotations

import hashlib
import hmac
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from coterie._json import canonical_bytes
from coterie.bus.envelope import SIGNATURE
from coterie.errors import Misuse, PolicyError, UntrustedEvent

__all__ = ["Signing"]

VARIABLE = "COTERIE_SIGNING_KEYS"

_ID = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")
_SIGNED = re.compile(r"v1\.([A-Za-z0-9_-]{1,64})\.([0-9]{1,17})\.([0-9a-f]{64})\Z")
_LEAST_BYTES = 16
_LONGEST_S = 30 * 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Signing:
    """The keys that events are signed with, and that are believed.

    keys: secrets of at least 16 bytes by id. Several are believed during a change of keys.
    signs_with: the id of the one that is used for what is sent; by default the first.
    max_age_s: how long after it was signed an event may arrive in its topic: an old one that somebody appends once
        more is refused, and within this time the topic knows it by its id (let `Retention.dedup_s` be no shorter).

    The namespace and the topic are signed too: what is copied elsewhere is refused there.

    Raises:
        PolicyError: there is no key, or none of that id; an id or secret cannot be one.
    """

    keys: Mapping[str, str | bytes] = field(repr=False)
    signs_with: str = ""
    max_age_s: float = 300.0

    def __post_init__(self) -> None:
        if not self.keys:
            raise PolicyError("signing needs a key; give keys={'id': secret}")
        for name, secret in self.keys.items():
            _check(name, secret)
        keys = {name: secret.encode() if isinstance(secret, str) else secret for name, secret in self.keys.items()}
        object.__setattr__(self, "keys", keys)
        object.__setattr__(self, "signs_with", self.signs_with or next(iter(keys)))
        if self.signs_with not in keys:
            raise PolicyError(f"signing has signs_with {self.signs_with!r}, and the keys {sorted(keys)}; name one")
        if not 1.0 <= self.max_age_s <= _LONGEST_S:
            raise PolicyError(f"signing has max_age_s {self.max_age_s!r}; give 1 to {_LONGEST_S:.0f} seconds")

    @classmethod
    def from_environment(cls) -> Signing | None:
        """As `COTERIE_SIGNING_KEYS` says: `id:secret,...`, of which the first signs; None where it says nothing.

        Raises:
            PolicyError: it says something else. No message shows what.
        """
        text = os.environ.get(VARIABLE, "").strip()
        if not text:
            return None
        pairs = [part.strip().partition(":") for part in text.split(",")]
        if any(not colon for _, colon, _ in pairs):
            raise PolicyError(f"{VARIABLE} is not 'id:secret,...'; write each key as its id, a colon, its secret")
        keys = {name: secret for name, _, secret in pairs}
        if len(keys) < len(pairs):
            raise PolicyError(f"{VARIABLE} names a key twice; give each an id of its own")
        return cls(keys=keys)

    def sign(self, document: Mapping[str, Any], *, namespace: str, topic: str, now_s: float) -> str:
        """The signature of an event's document, at this time."""
        at = str(round(now_s * 1000))
        return f"v1.{self.signs_with}.{at}.{self._digest(self.signs_with, at, document, namespace, topic)}"

    def verify(self, document: Mapping[str, Any], *, namespace: str, topic: str, arrived_s: float) -> None:
        """See that a document was signed for this topic by who has a key, not long before it arrived there.

        Raises:
            UntrustedEvent: says why not.
        """
        signature = document.get(SIGNATURE)
        if signature is None:
            raise UntrustedEvent("an event is not signed; give its sender one of the keys (Signing)")
        found = _SIGNED.match(signature) if isinstance(signature, str) else None
        if found is None or found[1] not in self.keys:
            raise UntrustedEvent(
                f"an event is signed with {found[1] if found else 'something'!r}, which is none of the keys "
                f"{sorted(self.keys)}; give both sides the same (Signing)"
            )
        if not hmac.compare_digest(found[3], self._digest(found[1], found[2], document, namespace, topic)):
            raise UntrustedEvent(
                f"an event's signature with the key {found[1]!r} is wrong: it was changed, sent to another topic, or "
                "signed with another secret; look at it with 'coterie dlq show'"
            )
        late_s = arrived_s - int(found[2]) / 1000
        if abs(late_s) > self.max_age_s:
            raise UntrustedEvent(
                f"an event arrived {late_s:.0f} s after it was signed, which may be {self.max_age_s:.0f} at most: "
                "somebody has sent an old one again, or clocks differ"
            )

    def _digest(self, key: str, at: str, document: Mapping[str, Any], namespace: str, topic: str) -> str:
        content = {name: value for name, value in document.items() if name != SIGNATURE}
        try:
            signed = canonical_bytes([namespace, topic, key, at, content])
        except (Misuse, UnicodeEncodeError):
            raise UntrustedEvent("an event's content cannot be signed: it is no JSON; send CloudEvents 1.0") from None
        secret = self.keys[key]
        return hmac.new(secret if isinstance(secret, bytes) else secret.encode(), signed, hashlib.sha256).hexdigest()


def _check(name: str, secret: object) -> None:
    if not isinstance(name, str) or not _ID.match(name):
        raise PolicyError("signing has a key whose id is none; use 1 to 64 letters, digits, '_' or '-'")
    if not isinstance(secret, (str, bytes)) or len(secret) < _LEAST_BYTES:
        raise PolicyError(f"the secret of the signing key {name!r} is too short; give at least {_LEAST_BYTES} bytes")
