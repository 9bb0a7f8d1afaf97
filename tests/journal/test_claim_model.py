"""Every course that a unit of work can take between its claims and its records, searched to the end.

Each case has a few actors and a few demands; a state is visited once. The invariants are in `claim_checks`.
"""

from __future__ import annotations

import random
import sys
from collections import deque
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from coterie._rules import journal as rule
from coterie._rules.journal import RUN, Asked, Verdict
from coterie._rules.journal_text import Claim, Record
from coterie._rules.written import Changed
from tests.journal.claim_state import PLACE, Cast, Course
from tests.journal.claim_world import World

SMALL = {
    "a clear, seen or not": Cast(clears=1),
    "a clear that replays": Cast(clears=1, on_clear="replay"),
    "two clears": Cast(workers=1, clears=2),
    "two engines": Cast(workers=1, engines=2, clears=1, fails=False),
    "two engines that fail": Cast(workers=1, engines=2, clears=1, notes=False),
    "one name of force": Cast(clears=0, forces=("x",)),
    "two names of force": Cast(workers=1, clears=0, forces=("x", "y")),
    "force, and a clear": Cast(workers=1, clears=1, forces=("x",)),
    "forgotten": Cast(clears=0, forgets=2),
    "forgotten, and a clear": Cast(workers=1, clears=1, forgets=1),
    "another version": Cast(clears=1, versions=("a", "b"), fails=False),
    "processes of a while ago": Cast(clears=1, late=True, fails=False),
    "the dead are known": Cast(clears=1, told=True),
    "a person goes on": Cast(clears=0, goes_on=True),
    "a worker and a whole run": Cast(workers=1, wholes=1, clears=0),
    "writes that come late": Cast(clears=1, delayed=True, notes=False),
    "writes that come late, and a whole run": Cast(workers=1, wholes=1, clears=0, delayed=True),
    "a worker and a whole run, by force": Cast(workers=1, wholes=1, clears=0, forces=("x",), fails=False, notes=False),
    "whole runs": Cast(workers=0, wholes=2, clears=0, forces=("x",), fails=False),
    "a whole run, a clear": Cast(workers=1, wholes=1, clears=1, fails=False),
    "a whole run, forgotten": Cast(workers=1, wholes=1, clears=0, forgets=1),
}  # fmt: skip
LARGE = {
    "three workers": Cast(workers=3, clears=1),
    "two engines, clears": Cast(engines=2, clears=1, fails=False),
    "two engines, clears, failures": Cast(engines=2, clears=1),
    "two clears": Cast(clears=2, late=True),
    "two names of force": Cast(clears=0, forces=("x", "y")),
    "force by two names, clears": Cast(clears=1, forces=("x", "y")),
    "two workers and a whole run": Cast(wholes=1, clears=1, fails=False, notes=False),
    "a worker and two whole runs": Cast(workers=1, wholes=2, clears=0, fails=False, notes=False),
    "a worker and a whole run, a clear, by force": Cast(workers=1, wholes=1, clears=1, forces=("x",), fails=False),
    "versions of two engines": Cast(engines=2, clears=0, versions=("a", "b"), fails=False, notes=False),
    "versions, forgotten, a clear": Cast(workers=1, clears=1, versions=("a", "b"), forgets=1, forces=("x",)),
}  # fmt: skip
EVERYTHING = Cast(
    workers=3, wholes=2, engines=2, clears=3, forces=("x", "y", "z"), forgets=2, versions=("a", "b", "a"), late=True,
    goes_on=True,
)  # fmt: skip


def explore(cast: Cast) -> tuple[int, int]:
    """Visit every state, breadth first; how many there are, and how many steps between them."""
    world = World(cast)
    came: dict[Any, tuple[Any, Course] | None] = {world.abstract(world.start): None}
    pending, steps = deque([world.start]), 0
    while pending:
        model = pending.popleft()
        origin = world.abstract(model)
        try:
            world.check_live(model)
            for course, after in world.successors(model):
                steps += 1
                found = world.abstract(after)
                if found not in came:
                    came[found] = (origin, course)
                    pending.append(after)
        except AssertionError as wrong:
            raise AssertionError(f"{wrong}\nin {model}\nreached by {_way(came, origin)}") from wrong
    return len(came), steps


def _way(came: dict[Any, tuple[Any, Course] | None], origin: Any) -> str:
    courses = []
    while (step := came[origin]) is not None:
        origin, course = step
        courses.append(str(course))
    return "\n  ".join(["", *reversed(courses)])


def told(what: str) -> None:
    # Seen with -s.
    sys.stdout.write(f"\n{what}\n")


@pytest.mark.parametrize("name", list(SMALL))
def test_no_course_of_a_unit_of_work_breaks_or_wedges_it(name: str):
    states, steps = explore(SMALL[name])

    told(f"{name}: {states} states, {steps} steps")
    assert states > 50


@pytest.mark.full
@pytest.mark.parametrize("name", list(LARGE))
def test_no_long_course_of_a_unit_of_work_breaks_or_wedges_it(name: str):
    states, steps = explore(LARGE[name])

    told(f"{name}: {states} states, {steps} steps")


def test_no_walk_with_all_that_can_happen_breaks_or_wedges_a_unit_of_work():
    seed, world = random.randrange(10**6), World(EVERYTHING)
    told(f"seed {seed}")
    chance = random.Random(seed)

    for _ in range(20):
        model, way = world.start, []
        try:
            for _ in range(60):
                world.check_live(model)
                course, model = chance.choice(list(world.successors(model)))
                way.append(course)
        except AssertionError as wrong:
            walked = "\n  ".join(map(str, way))
            raise AssertionError(f"{wrong}\nseed {seed}, in {model}\nreached by\n  {walked}") from wrong


# The model itself


def _forgets_force(record: Record | None, known: Claim, asked: Asked) -> tuple[str, ...]:
    return () if asked.force is None else (asked.force,)


def _believes_late_word(texts: Mapping[str, str | None], place: Any, engine: str, demand: int) -> Changed[bool]:
    text = texts[PLACE.record]
    if text is None or not (record := Record.read(text, "")).succeeded:
        return Changed({}, result=False)
    return Changed({PLACE.record: replace(record, seen={**record.seen, engine: demand}).text()}, result=True)


def _lets_the_run_live(texts: Mapping[str, str | None], now: int, place: Any, asked: Asked) -> Changed[Any]:
    changed = _claim(texts, now, place, asked)
    return changed._replace(texts={path: text for path, text in changed.texts.items() if path != RUN.claim})


def _does_again(record: Record | None, known: Claim, asked: Asked) -> Verdict:
    verdict = _judge(record, known, asked)
    return verdict if verdict.why is not None else Verdict(verdict.epoch, "changed")


_claim, _judge = rule.claim, rule.judge
WRONG = [
    ("forced_after", _forgets_force, "one name of force", "honoured a second time"),
    ("note_seen", _believes_late_word, "a clear, seen or not", "honoured a second time"),
    ("claim", _lets_the_run_live, "a worker and a whole run", "finished work is done again"),
    ("judge", _does_again, "a clear that replays", "finished work is granted"),
    ("given_after", lambda record, known, asked: {asked.engine_run: asked.demand}, "two engines that fail", "clear"),
    ("known_claim", lambda record, held, whole: held, "a worker and a whole run", "taken for the first"),
    ("_is_held", lambda held, pulse, now, asked: False, "whole runs", "somebody else holds it"),
    ("_is_held", lambda held, pulse, now, asked: held.owner not in ("", asked.owner), "two clears", "Busy"),
]


@pytest.mark.parametrize(("name", "wrong", "case", "found"), WRONG, ids=lambda one: one if isinstance(one, str) else "")
def test_a_rule_that_is_wrong_is_found_out(
    monkeypatch: pytest.MonkeyPatch, name: str, wrong: Any, case: str, found: str
):
    monkeypatch.setattr(rule, name, wrong)

    with pytest.raises(AssertionError, match=found):
        explore(SMALL[case])
