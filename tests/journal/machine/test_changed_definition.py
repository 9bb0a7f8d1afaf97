"""A machine that has begun, and another definition: left alone, or gone on with where that is allowed."""

from __future__ import annotations

import json

import pytest

from coterie._rules import machine_texts as rule
from coterie.machine import StateMachine
from coterie.state import Go, State
from tests.journal.machine.test_rule import REVIEW, WORK, machine
from tests.journal.machine.worlds import World, begun


def test_a_machine_that_began_otherwise_is_left_alone():
    world = begun(REVIEW)
    changed = World(replace_steps(REVIEW, 9), world.texts)
    before = dict(world.texts)

    assert changed.begin().version == REVIEW.hash
    assert changed.ask(rule.Sent("a1", "approve")).verdict == "changed"
    assert world.texts == before


def replace_steps(old: StateMachine, max_steps: int) -> StateMachine:
    return StateMachine(old.name, old.states, initial=old.initial, max_steps=max_steps)


def test_a_definition_may_change_under_a_machine_if_it_is_allowed():
    world = begun(REVIEW)
    world.wait(3)
    new = State("a", action=WORK, timeout_s=20, transitions=[Go("done"), Go("lost", "timeout")])
    changed = World(machine(new), world.texts, world.now)

    head = changed.begin(allow_changes=True)

    assert (head.version, head.state, head.visit, head.phase) == (changed.machine.hash, "a", 1, "acting")
    # What had begun goes on: a time-out that runs is not changed.
    changed.wait(7)
    assert changed.look().verdict == "moved"


@pytest.mark.parametrize(
    ("new", "phase"),
    [
        (State("b", transitions=[Go("done", "approve")]), "waiting"),
        (State("b", action=WORK, transitions=[Go("done")]), "acting"),
        (State("b", final="failed"), "over"),
    ],
)
def test_the_state_that_a_machine_is_in_becomes_what_it_is_now(new: State, phase: str):
    world = begun(REVIEW)
    world.end("succeeded", {"score": 9})
    first = State("a", action=WORK, transitions=[Go("b")])

    head = World(machine(first, new), world.texts, world.now).begin(allow_changes=True)

    assert (head.state, head.phase, head.visit) == ("b", phase, 2)
    assert head.due is None


def test_an_action_that_has_succeeded_is_not_done_again_under_a_new_definition():
    ways = [Go("done", "approve")]
    world = begun(machine(State("a", action=WORK, transitions=ways)))
    world.end("succeeded", 1)

    changed = World(machine(State("a", action=WORK, transitions=[*ways, Go("lost", "reject")])), world.texts)

    assert changed.begin(allow_changes=True).phase == "waiting"


def test_a_machine_whose_state_is_gone_keeps_its_definition():
    world = begun(REVIEW)
    world.end("succeeded", {"score": 9})
    changed = World(machine(State("a", action=WORK, transitions=[Go("done")])), world.texts)

    assert changed.begin(allow_changes=True).version == REVIEW.hash


def test_a_machine_that_ends_by_its_new_definition_is_a_run_that_has_ended():
    world = begun(REVIEW)
    world.end("succeeded", {"score": 9})
    assert "status" not in world.texts

    first = State("a", action=WORK, transitions=[Go("b")])
    changed = World(machine(first, State("b", final="failed")), world.texts, world.now)

    assert changed.begin(allow_changes=True).phase == "over"
    assert json.loads(changed.texts["status"])["status"] == "failed"
