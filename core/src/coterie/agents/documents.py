"""HTTP and chat agents as a team's YAML file writes them. No refusal repeats a header's value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from decimal import Decimal, InvalidOperation
from typing import Any

from coterie.agents.chat import ChatAgent
from coterie.agents.http import HttpAgent
from coterie.errors import Misuse
from coterie.usage import Price

__all__ = ["chat_from", "http_from"]


def http_from(value: object, where: str) -> HttpAgent:
    """`http:` is the address alone, or a mapping of `HttpAgent`'s fields.

    Raises:
        Misuse: an unknown or missing field, or one that cannot work.
    """
    given = {"url": value} if isinstance(value, str) else value
    return HttpAgent(**_checked(given, HttpAgent, ("url",), f"{where}: http"))


def chat_from(value: object, where: str) -> ChatAgent:
    """`chat:` is a mapping of `ChatAgent`'s fields; `price` one of `input_micros` and `output_micros`.

    Raises:
        Misuse: an unknown or missing field, or one that cannot work.
    """
    given = _checked(value, ChatAgent, ("base_url", "model"), f"{where}: chat")
    if given.get("price") is not None:
        price = _checked(given["price"], Price, ("input_micros", "output_micros"), f"{where}: price")
        given["price"] = Price(**{name: _exact(number, where) for name, number in price.items()})
    return ChatAgent(**given)


def _checked(value: object, kind: Any, needed: tuple[str, ...], where: str) -> dict[str, Any]:
    known = {each.name for each in fields(kind) if each.init}
    if not isinstance(value, Mapping):
        raise Misuse(f"{where} is no mapping; give {', '.join(needed)}")
    unknown = sorted(str(name) for name in value.keys() - known)
    missing = [name for name in needed if name not in value]
    if unknown or missing:
        culprit = f"has the unknown field {unknown[0]!r}" if unknown else f"lacks {missing[0]!r}"
        raise Misuse(f"{where} {culprit}; fields: {', '.join(sorted(known))}")
    for name in ("headers", "headers_env", "settings"):
        if not isinstance(value.get(name, {}), Mapping):
            raise Misuse(f"{where}: {name} is no mapping; write one name and value a line")
    return dict(value)


def _exact(number: Any, where: str) -> Any:
    """A text becomes a Decimal, since YAML's own fractions are not exact; `Price` refuses what is neither."""
    if not isinstance(number, str):
        return number
    try:
        return Decimal(number)
    except InvalidOperation:
        raise Misuse(f"{where}: the price {number!r} is no number; give micros for a million tokens") from None
