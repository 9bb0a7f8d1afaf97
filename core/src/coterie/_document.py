"""Documents that nobody vouches for: JSON read strictly, and every mistake told with its place."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, is_dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from coterie.errors import Misuse

if TYPE_CHECKING:
    from pydantic import ValidationError

__all__ = ["DocumentKind", "kind_of", "record_to_dict", "said_of"]

MAX_TOLD = 8

_UNKNOWN = frozenset({"extra_forbidden", "unexpected_keyword_argument"})


@dataclass(frozen=True, slots=True)
class DocumentKind:
    """A kind of document, and how its mistakes are told.

    what: as in "the plan". error: what is raised. fields: those that are known, by the name of what they belong to; the
    document's own are under "".
    """

    what: str
    error: type[Misuse]
    fields: Mapping[str, Sequence[str]]

    def load_json(self, text: str | bytes) -> object:
        """The JSON value that `text` holds.

        Raises:
            error: it is not JSON (with line and column), not text, nested too deeply, or says a key twice.
        """
        try:
            return json.loads(text, object_pairs_hook=self._once_each)
        except UnicodeDecodeError as error:
            raise self._refused(f"is not text: {error.reason} at position {error.start}; save it as UTF-8") from error
        except json.JSONDecodeError as error:
            raise self._refused(f"is not JSON at line {error.lineno}, column {error.colno}: {error.msg}") from error
        except RecursionError as error:
            raise self._refused("is nested too deeply; flatten it") from error
        except Misuse:
            raise
        # A number of more digits than Python converts.
        except ValueError as error:
            raise self._refused(f"is not JSON that can be read: {error}") from error

    def mistakes(self, error: ValidationError) -> Misuse:
        """Every mistake that pydantic found, eight at most, unknown fields first.

        A single refusal of coterie's own is returned as it is, with its class.
        """
        details = sorted(error.errors(include_url=False), key=lambda detail: detail["type"] not in _UNKNOWN)
        cause = _cause(details[0])
        if len(details) == 1 and cause is not None:
            return cause
        told = [self._mistake(detail) for detail in details[:MAX_TOLD]]
        more = [f"and {len(details) - MAX_TOLD} more"] if len(details) > MAX_TOLD else []
        return self._refused(f"is wrong {'; '.join([*told, *more])}")

    def _mistake(self, detail: Mapping[str, Any]) -> str:
        place = "/".join(str(step)[:100] for step in detail["loc"]) or "the document"
        cause = _cause(detail)
        if cause is not None:
            return f"at {place}: {cause}"
        return f"at {place}: {self._unknown(detail['loc']) if detail['type'] in _UNKNOWN else said_of(detail)}"

    def _unknown(self, place: Sequence[int | str]) -> str:
        above = [step for step in place[:-1] if isinstance(step, str)]
        known = self.fields.get(above[-1] if above else "", ())
        meant = get_close_matches(str(place[-1])[:100], known, n=1)
        return f"unknown field, did you mean {meant[0]!r}?" if meant else f"unknown field, known are {', '.join(known)}"

    def _once_each(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            names = [name for name, _ in pairs]
            twice = next(name for name in found if names.count(name) > 1)
            raise self._refused(f"says {twice[:200]!r} twice in one object; keep one of them")
        return found

    def _refused(self, why: str) -> Misuse:
        return self.error(f"{self.what} {why}")


def said_of(detail: Mapping[str, Any]) -> str:
    """What pydantic says of one mistake; and what to do where YAML has read a word as something else."""
    given = detail.get("input")
    if detail["type"] in ("string_type", "invalid_key") and isinstance(given, bool):
        words = "yes, on and true" if given else "no, off and false"
        return f"a truth value, where a text should be: YAML reads {words} so; put the word in quotes"
    return str(detail["msg"])


def kind_of(value: object) -> str:
    """What people call such a value."""
    kinds = {list: "a list", tuple: "a list", str: "a text", bool: "a truth value", int: "a number", float: "a number"}
    return kinds.get(type(value)) or f"of the type {type(value).__name__}"


def record_to_dict(record: Any) -> dict[str, Any]:
    """A dataclass as a document, without the fields that have their defaults, so that equals hash equally."""
    found: dict[str, Any] = {}
    for field in fields(record):
        value = _plain(getattr(record, field.name))
        default = field.default if field.default_factory is MISSING else field.default_factory()
        if default is MISSING or value != _plain(default):
            found[field.name] = value
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return record_to_dict(value) if is_dataclass(value) and not isinstance(value, type) else value


def _cause(detail: Mapping[str, Any]) -> Misuse | None:
    cause = detail.get("ctx", {}).get("error")
    return cause if isinstance(cause, Misuse) else None
