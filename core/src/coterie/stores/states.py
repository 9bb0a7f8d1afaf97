"""What every state store checks, alike: keys, channels, times to keep, and states as JSON text."""

from __future__ import annotations

import json
import math
from typing import cast

from coterie._rules.decided import State
from coterie.errors import Misuse, StateFormatError
from coterie.ids import check_name

__all__ = ["check_channel", "check_keep", "check_key", "check_kind", "check_message", "encoded", "from_text", "to_text"]

encoded = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode

_KEY_PARTS = 2


def check_key(key: str) -> str:
    """Return `key` if it is `kind/name`.

    Raises:
        Misuse: it is not, or one of the names holds more than letters, digits, `_` and `-`.
    """
    parts = key.split("/") if isinstance(key, str) else []
    if len(parts) != _KEY_PARTS:
        raise Misuse(f"{key!r} is no key of a state; give 'kind/name', as in 'breaker/linter'")
    for part in parts:
        check_name(part, f"in the key {key!r}, the part")
    return key


def check_kind(kind: str) -> str:
    """Return `kind` if it may be the first part of keys."""
    return check_name(kind, "the kind of keys")


def check_channel(channel: str) -> str:
    """Return `channel` if it is `kind/name` or `kind/name/suffix`.

    Raises:
        Misuse: it is not.
    """
    parts = channel.split("/") if isinstance(channel, str) else []
    if len(parts) not in (_KEY_PARTS, _KEY_PARTS + 1):
        raise Misuse(f"{channel!r} is no channel; give the key that it is about, as in 'breaker/linter'")
    for part in parts:
        check_name(part, f"in the channel {channel!r}, the part")
    return channel


def check_message(message: str) -> str:
    """Return `message` if it is text that can be sent.

    Raises:
        Misuse: it is no text, or holds half of a character.
    """
    try:
        if isinstance(message, str) and message.encode() is not None:
            return message
    except UnicodeEncodeError:
        pass
    raise Misuse(f"a message is text, got {message!r}; send JSON")


def check_keep(keep_s: float | None) -> float | None:
    """Return `keep_s` if it is a time, in seconds, or None.

    Raises:
        Misuse: it is not above 0, or endless.
    """
    if keep_s is not None and not (keep_s > 0 and math.isfinite(keep_s)):
        raise Misuse(f"keep_s={keep_s!r} is no time to keep a state; give seconds > 0, or None to keep it for good")
    return keep_s


def to_text(state: State, key: str) -> str:
    """The JSON text of a state.

    Raises:
        Misuse: it is no object, or holds what JSON cannot say.
    """
    if not isinstance(state, dict):
        raise Misuse(f"the state of {key!r} is a {type(state).__name__}; a decision returns an object, or None")
    try:
        text = encoded(state)
        text.encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise Misuse(f"the state of {key!r} is not JSON: {error}; use integers, texts and objects of them") from error
    return text


def from_text(text: str | bytes, key: str) -> State:
    """The state that `text` holds.

    Raises:
        StateFormatError: it is not a JSON object.
    """
    try:
        state = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise StateFormatError(
            f"the stored state of {key!r} is not JSON: {error}; is the namespace ours alone?"
        ) from error
    if not isinstance(state, dict):
        raise StateFormatError(f"the stored state of {key!r} is no JSON object; is the namespace ours alone?")
    return cast("State", state)
