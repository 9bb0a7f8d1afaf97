"""One unit of work, and all who would do it: what is stored, what each holds, what people and engines know.

A state of the model is what is stored (of the unit, and of the run around it), the clock, and what each actor holds.
Beside the texts the model keeps what the rule cannot see: whose demands there were, and which of them were honoured.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from coterie._rules.journal import RUN, Asked, OnClear, Place
from coterie._rules.journal_text import Claim, Record
from coterie._rules.timeline import SECOND
from coterie._rules.written import Guard

__all__ = [
    "EPOCH",
    "LEASE",
    "PATHS",
    "PLACE",
    "TICK",
    "Cast",
    "Course",
    "Engine",
    "Hand",
    "Model",
    "demand_of",
    "record_of",
]

PLACE = Place("claim/t", "pulse/t", "task/t")
EPOCH = 1_795_774_000 * SECOND
TICK, LEASE = SECOND, 2 * SECOND
PATHS = (*PLACE, *RUN)


@dataclass(frozen=True)
class Cast:
    """Who there is, and how often what happens.

    workers claim the unit alone; wholes claim the run around it, read once what there is, and write under the run's
    claim. engines: runs of engines, each with a person who may clear it `clears` times. forces: names of demands.
    versions: of the agents, one after another, for each engine. late: whether processes ask with the demand of a while
    ago. delayed: whether what was written last may arrive after it was given up. told: whether the dead are known to be
    dead, so that nobody waits for their leases.
    """

    workers: int = 2
    wholes: int = 0
    engines: int = 1
    clears: int = 1
    forces: tuple[str, ...] = ()
    forgets: int = 0
    versions: tuple[str, ...] = ("a",)
    fails: bool = True
    notes: bool = True
    late: bool = False
    delayed: bool = False
    told: bool = False
    goes_on: bool = False
    on_clear: OnClear = "run"


class Hand(NamedTuple):
    """What an actor holds: the right to do the unit. Of a whole: also that it has the run, and what it read of it.

    late: it has given the unit up, while what it wrote last is still under way to the store.
    """

    asked: Asked
    guard: Guard | None = None
    epoch: int = 0
    why: str = ""
    forced: tuple[str, ...] = ()
    given: tuple[tuple[str, int], ...] = ()
    run: Guard | None = None
    run_claim: Claim | None = None
    read: tuple[tuple[str, str], ...] | None = None
    late: bool = False


class Engine(NamedTuple):
    """demand: how often its person has cleared it. version: of its agents.

    took: the epoch and demand of a success that it took for one, and that the journal was not told of yet; -1: none.
    answered: the highest demand of its person that was met, or for which it was told how the work ended.
    """

    demand: int = 0
    version: int = 0
    took: tuple[int, int] = (-1, -1)
    answered: int = -1


class Model(NamedTuple):
    """texts: all that is stored, by `PATHS`. honoured: the demands for which the unit was begun anew, or gone on with.

    begun: the engines' demands for which it was granted since the last record. worked: the highest epoch in which
    anybody has begun it; -1: nobody has. floor: that, when it was last forgotten. holder, run_holder: who was granted
    the unit, and the run, last; None: nobody, or it was forgotten, or taken, since.
    """

    texts: tuple[str | None, ...]
    now: int
    hands: tuple[Hand | None, ...]
    engines: tuple[Engine, ...]
    honoured: frozenset[Any]
    begun: frozenset[tuple[int, int]]
    worked: int
    floor: int
    holder: str | None
    run_holder: str | None
    forgets: int
    owners: int


class Course(NamedTuple):
    """One step of the model, in words."""

    what: str
    who: int = -1
    more: Any = None


def demand_of(why: str, asked: Asked) -> Any:
    """The person's demand behind a reason; None where there need be none."""
    if why == "forced":
        return ("force", asked.force)
    if why == "cleared":
        return ("clear", asked.engine_run, asked.demand)
    if why == "goes_on" and not asked.goes_on:
        return ("again", asked.engine_run, asked.demand)
    return None


def record_of(model: Model) -> Record | None:
    text = model.texts[2]
    return None if text is None else Record.read(text, PLACE.record)
