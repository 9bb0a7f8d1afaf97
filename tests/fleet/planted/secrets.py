"""Values that nobody may see, in every form in which they could come out; and who has seen them all the same."""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Mapping
from urllib.parse import quote, quote_plus

__all__ = ["ARTIFACTS", "BEARER", "COMMANDS", "KEY", "PASSWORD", "SECRETS", "STORE", "TOKEN", "forms_of", "leaks"]

STORE = "cellar/d00r+key:7"
TOKEN = "tok3n+in=a-url"
KEY = "sk-live-51planted0123456789ab"
ARTIFACTS = "artif4ct-w0rd"
BEARER = "bearer.Zq81kd02-planted"
# These two have no shape: the one is known by the command that was given it, the other by the environment.
COMMANDS = "correct-horse-battery-staple"
PASSWORD = "plain winter word"

SECRETS: Mapping[str, str] = {
    "the password in the store's URL": STORE,
    "the token in an agent's endpoint URL": TOKEN,
    "the API key in a task's input": KEY,
    "the password in the artifact store's URL": ARTIFACTS,
    "the bearer in an agent's error": BEARER,
    "the secret in a command's environment": COMMANDS,
    "the secret in the environment of all": PASSWORD,
}


def forms_of(secret: str) -> set[str]:
    """As it is, escaped as in URLs, JSON and HTML, and within whatever was encoded as base64 or hexadecimal."""
    plain = {
        secret,
        quote(secret, safe=""),
        quote_plus(secret),
        quote(quote(secret, safe=""), safe=""),
        json.dumps(secret)[1:-1],
        html.escape(secret),
        secret.encode().hex(),
    }
    return plain | {coded for before in range(3) for coded in _within_base64(secret.encode(), before)}


def _within_base64(secret: bytes, before: int) -> set[str]:
    """What does not depend on the bytes around it, where so many (modulo 3) come before."""
    padded = bytes(before) + secret
    first, last = -(-8 * before // 6), 8 * len(padded) // 6
    return {encode(padded).decode()[first:last] for encode in (base64.b64encode, base64.urlsafe_b64encode)}


def leaks(places: Mapping[str, str]) -> list[str]:
    """Where which of them came out, with what stands around it."""
    found = []
    for place, text in places.items():
        for what, secret in SECRETS.items():
            for form in forms_of(secret):
                at = text.find(form)
                if at >= 0:
                    found.append(f"{what}, in {place}: …{text[max(0, at - 80) : at + len(form) + 40]}…")
    return found
