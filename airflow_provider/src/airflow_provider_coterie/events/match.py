"""Which events are meant: by what lies in them, as a document says it that travels between processes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from coterie.errors import PolicyError

__all__ = ["Matching", "pointed"]

_NOTHING = object()


class Matching:
    """Conditions on a CloudEvent, all of which must hold.

    where: values by place: the name of a field of the event's data, or a JSON pointer (RFC 6901) into the whole event:
    `{"status": "ready", "/subject": "orders/7", "/data/lines/0/sku": "A-1"}`. Where nothing lies, nothing is equal.

    Raises:
        PolicyError: a place is none.
    """

    def __init__(self, where: Mapping[str, Any]) -> None:
        self._parts: list[tuple[list[str], Any]] = []
        for place, value in where.items():
            if not isinstance(place, str) or not place:
                raise PolicyError(
                    f"where names {place!r}; give a field of the data, or a JSON pointer such as '/subject'"
                )
            pointer = place if place.startswith("/") else "/data/" + place.replace("~", "~0").replace("/", "~1")
            self._parts.append(([_unescaped(part) for part in pointer.split("/")[1:]], value))

    def __call__(self, event: Mapping[str, Any]) -> bool:
        """Whether a CloudEvent, as a dict, is meant."""
        return all(_same(pointed(event, path), value) for path, value in self._parts)


def pointed(document: Any, path: list[str]) -> Any:
    """What lies there; an object that is equal to nothing else where nothing does."""
    for part in path:
        if isinstance(document, Mapping) and part in document:
            document = document[part]
        elif isinstance(document, list) and part.isascii() and part.isdigit() and int(part) < len(document):
            document = document[int(part)]
        else:
            return _NOTHING
    return document


def _unescaped(part: str) -> str:
    return part.replace("~1", "/").replace("~0", "~")


def _same(found: Any, wanted: Any) -> bool:
    # In JSON, true is not 1.
    return bool(found == wanted) and isinstance(found, bool) == isinstance(wanted, bool)
