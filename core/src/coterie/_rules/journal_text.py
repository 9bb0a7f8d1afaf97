"""The texts that a journal keeps of a run: who works on what, and how work ended. Written and read here alone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple, cast

from coterie._json import JsonValue
from coterie._rules.lap import Lap, laps_of, laps_text
from coterie.errors import StateFormatError

__all__ = ["FINGERPRINT_DIGITS", "FORMAT", "LOCAL", "Claim", "Record", "dumped", "parsed"]

# Of the texts that this version writes; it reads this one and the one before.
FORMAT = 1
# The run of an engine of this process: who did it, where nobody else is named.
LOCAL = "local"
# So much of a fingerprint is kept, in hexadecimal digits.
FINGERPRINT_DIGITS = 32
dumped = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


def parsed(text: str, what: str) -> dict[str, Any]:
    """The object that a text of the journal holds.

    Raises:
        StateFormatError: it is none, or a newer coterie wrote it.
    """
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise StateFormatError(
            f"the journal's text {what!r} is not JSON: {error}; look at it before it is used"
        ) from error
    version = document.get("v") if isinstance(document, dict) else None
    if not isinstance(version, int):
        raise StateFormatError(
            f"the journal's text {what!r} is none of ours: {text[:100]!r}; is the namespace ours alone?"
        )
    if version > FORMAT:
        raise StateFormatError(
            f"the journal's text {what!r} has format {version}, this coterie reads up to {FORMAT}; "
            "update coterie here as the rest of the fleet was"
        )
    return cast("dict[str, Any]", document)


_NOTHING: Mapping[str, int] = MappingProxyType({})


class Claim(NamedTuple):
    """The right to perform a unit of work, or to run a whole plan, until another is granted.

    token: grows with each grant. epoch: how often people have asked for it to be done anew. owner: who holds it; empty
    where nobody does. forced: the names of all demands that are met once it is done; given: the last demands of
    engines' runs that are.
    """

    token: int = 0
    epoch: int = 0
    owner: str = ""
    forced: tuple[str, ...] = ()
    given: Mapping[str, int] = _NOTHING

    def text(self) -> str:
        """The same for as long as it is held: records are guarded by it."""
        document: dict[str, JsonValue] = {"v": FORMAT, "t": self.token, "e": self.epoch, "o": self.owner}
        if self.forced:
            document["f"] = list(self.forced)
        if self.given:
            document["g"] = dict(self.given)
        return dumped(document)

    @staticmethod
    def read(text: str | None, what: str) -> Claim:
        """The claim behind a text; one that nobody ever held where there is none."""
        if text is None:
            return Claim()
        found = parsed(text, what)
        try:
            return Claim(found["t"], found["e"], found["o"], tuple(found.get("f", ())), found.get("g", {}))
        except (KeyError, TypeError) as error:
            raise _damaged(what, error) from error


@dataclass(frozen=True, slots=True)
class Record:
    """How a unit of work ended.

    result: as `TaskResult.to_dict` gives it. usage: what it cost. by: the run of an engine that performed it. at:
    seconds since the epoch.
    given: to which engines' runs it was handed, and the number that their person's last demand had by then. seen: which
    of them are known to have taken its success. forced: the names of all demands that it met.
    laps: what it went through, as far as anything is worth telling; more: how many further ones were not kept.
    """

    epoch: int
    fingerprint: str
    result: Mapping[str, Any]
    by: str
    at: float = 0.0
    usage: Mapping[str, int] = field(default_factory=dict)
    given: Mapping[str, int] = field(default_factory=dict)
    seen: Mapping[str, int] = field(default_factory=dict)
    forced: tuple[str, ...] = ()
    laps: tuple[Lap, ...] = ()
    more: int = 0

    @property
    def succeeded(self) -> bool:
        """Whether the work was done."""
        return bool(self.result["state"] == "succeeded")

    def text(self) -> str:
        """What is stored."""
        document: dict[str, Any] = {
            "v": FORMAT,
            "e": self.epoch,
            "fp": self.fingerprint,
            "at": round(self.at, 3),
            "r": self.result,
        }
        if self.by != LOCAL:
            document["by"] = self.by
        laps = laps_text(self.laps, self.more) if self.laps else None
        more = {"u": self.usage, "g": self.given, "s": self.seen, "f": self.forced, "tl": laps}
        return dumped(document | {name: value for name, value in more.items() if value})

    @staticmethod
    def read(text: str, what: str) -> Record:
        """The record behind a text."""
        found = parsed(text, what)
        try:
            assert found["r"]["state"]
            return Record(
                found["e"],
                found["fp"],
                found["r"],
                found.get("by", LOCAL),
                found["at"],
                found.get("u", {}),
                found.get("g", {}),
                found.get("s", {}),
                tuple(found.get("f", ())),
                *laps_of(found.get("tl")),
            )
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise _damaged(what, error) from error


def _damaged(what: str, error: Exception) -> StateFormatError:
    return StateFormatError(f"the journal's text {what!r} is not whole: {error!r}; look at it before it is used")
