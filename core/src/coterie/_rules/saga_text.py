"""The texts that a saga keeps in its run's journal, and what becomes of them when a person asks for the run again.

    saga                    that the run is undone, and how that ended; from then on it does not go forward
    saga/began/<task>       the task began: written before it does, so that a process that dies in it is found out
    saga/letter/<task>      what the saga left as it is, for a person to look at
    saga/hand/<task>        a person has seen to it

How a compensation ended is recorded as of any task, under its own name (`Task.undo_id`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple

from coterie._rules.journal import RUN, Place
from coterie._rules.journal_text import FORMAT, Claim, Record, dumped, parsed
from coterie._rules.saga import SagaOutcome, Why
from coterie._rules.written import Changed
from coterie.ids import TaskId

__all__ = [
    "MARKER",
    "Demand",
    "Marker",
    "Unit",
    "began_path",
    "begin_anew",
    "begin_undoing",
    "hand_path",
    "letter_path",
    "settle",
    "standing",
    "wanted",
]

MARKER = "saga"
# What is to be done with a run that is undone, wholly or in part: go on undoing it; or run it anew, as nothing of it is
# left to undo and a person asks for it.
Wanted = Literal["undo", "anew"]


def began_path(task_id: TaskId) -> str:
    """Where it is noted that a task began."""
    return f"saga/began/{task_id}"


def letter_path(task_id: TaskId) -> str:
    """Where it is told what is left of a task."""
    return f"saga/letter/{task_id}"


def hand_path(task_id: TaskId) -> str:
    """Where it is noted that a person has undone a task."""
    return f"saga/hand/{task_id}"


class Demand(NamedTuple):
    """Who asks for a run; see `coterie.journal.Intent`."""

    engine_run: str
    number: int
    force: str | None
    goes_on: bool


@dataclass(frozen=True, slots=True)
class Marker:
    """That a run is undone. outcome: how that ended; None while it goes on. left: so many letters of it are open.

    given: whose demands the run had met when it failed, or its outcome answers, by the engine's run: the number of the
    last. forced: the names of those that have names. A later one, such as came while the run was undone, is open.
    """

    why: Why
    outcome: SagaOutcome | None = None
    forced: tuple[str, ...] = ()
    given: Mapping[str, int] = field(default_factory=dict)
    left: int = 0

    def text(self) -> str:
        """What is stored."""
        document: dict[str, Any] = {"v": FORMAT, "why": self.why}
        more = {"outcome": self.outcome, "f": list(self.forced), "g": self.given, "left": self.left}
        return dumped(document | {name: value for name, value in more.items() if value})

    def closed(self, outcome: SagaOutcome, demand: Demand, *, left: int = 0) -> Marker:
        """That it is over, and who was told."""
        return replace(self, outcome=outcome, given={demand.engine_run: demand.number, **self.given}, left=left)

    @staticmethod
    def read(text: str | None) -> Marker | None:
        """The marker behind a text; None where there is none."""
        if text is None:
            return None
        found = parsed(text, MARKER)
        forced, given = tuple(found.get("f", ())), found.get("g", {})
        return Marker(found["why"], found.get("outcome"), forced, given, found.get("left", 0))


class Unit(NamedTuple):
    """A task of the plan: where it and its items are, where its compensation is, where its saga's notes are."""

    own: tuple[Place, ...]
    undo: Place
    task_id: TaskId


def standing(texts: Mapping[str, str | None], place: Place) -> Record | None:
    """The record of a unit of work, if it still holds: nobody has had the work begun anew since."""
    text = texts.get(place.record)
    if text is None:
        return None
    record = Record.read(text, place.record)
    return None if Claim.read(texts.get(place.claim), place.claim).epoch > record.epoch else record


def wanted(marker: Marker, demand: Demand) -> Wanted:
    """What somebody who asks for a run wants of it that is undone, or being undone.

    A scheduler's retry, a lost worker and another engine want to know how it ended. A person wants it to go on: first
    until nothing is left to undo; then anew. Only by force it begins anew although something stands.
    """
    if marker.outcome is None:
        return "undo"
    forced = demand.force is not None and demand.force not in marker.forced
    again = demand.number > marker.given.get(demand.engine_run, demand.number)
    asked = (demand.goes_on or again) and marker.outcome == "compensated"
    return "anew" if forced or asked else "undo"


def begin_undoing(texts: Mapping[str, str | None], why: Why, demand: Demand) -> Changed[Marker]:
    """Keep that the run is undone, why, and for whom it had been run, whoever said so first."""
    known = Marker.read(texts[MARKER])
    if known is not None:
        return Changed({}, known)
    forced = (demand.force,) if demand.force is not None else ()
    begun = Marker(why, None, forced, {demand.engine_run: demand.number})
    return Changed({MARKER: begun.text()}, begun)


def settle(texts: Mapping[str, str | None], task_id: TaskId, by_hand: str) -> Changed[str | None]:
    """Keep that a person has undone a step that a letter is about.

    What is kept of that from now on: by_hand; or what somebody said before; None: there is no letter, and never was.
    """
    letter, hand = letter_path(task_id), hand_path(task_id)
    if texts[letter] is None:
        return Changed({}, texts[hand])
    writes: dict[str, str | None] = {hand: by_hand, letter: None}
    marker = Marker.read(texts[MARKER])
    if marker is not None:
        writes[MARKER] = replace(marker, left=max(0, marker.left - 1)).text()
    return Changed(writes, by_hand)


def begin_anew(texts: Mapping[str, str | None], units: Iterable[Unit], demand: Demand) -> Changed[bool]:
    """Let the run go forward again, if that is wanted; whether it may.

    What was undone is done anew, in a new epoch and with new idempotency keys, and can be undone again. What was not is
    kept.
    """
    marker = Marker.read(texts[MARKER])
    if marker is None:
        return Changed({}, result=True)
    if wanted(marker, demand) == "undo":
        return Changed({}, result=False)
    writes: dict[str, str | None] = {MARKER: None}
    for unit in units:
        undone = standing(texts, unit.undo)
        if (undone is not None and undone.succeeded) or texts.get(hand_path(unit.task_id)) is not None:
            for place in unit.own:
                writes |= _afresh(texts, place)
        if texts.get(unit.undo.claim) is not None or texts.get(unit.undo.record) is not None:
            writes |= _afresh(texts, unit.undo)
        for path in (began_path, letter_path, hand_path):
            if texts.get(path(unit.task_id)) is not None:
                writes[path(unit.task_id)] = None
    return Changed(writes, result=True)


def _afresh(texts: Mapping[str, str | None], place: Place) -> dict[str, str | None]:
    """Begin a new epoch of a unit of work, also where nobody has recorded the old one."""
    held, whole = (Claim.read(texts.get(path), path) for path in (place.claim, RUN.claim))
    text = texts.get(place.record)
    recorded = Record.read(text, place.record).epoch if text is not None else 0
    # Whoever had the whole run may have begun it there, in the run's epoch.
    last = max(held.epoch, whole.epoch, recorded)
    return {place.claim: Claim(held.token + 1, last + 1).text(), place.pulse: None}
