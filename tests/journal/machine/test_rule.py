"""One machine, case by case: what leads where, what is kept, and what changes nothing."""

from __future__ import annotations

from typing import Any

import pytest

from coterie._rules import machine_texts as rule
from coterie._rules.machine_record import Error, Head, Visit
from coterie._rules.timeline import SECOND
from coterie.errors import Misuse, StateFormatError
from coterie.machine import StateMachine
from coterie.state import Action, Go, Guard, State
from tests.journal.machine.worlds import EPOCH, World, begun, check_history

WORK = Action("worker")


ENDS = (State("done", final="succeeded"), State("lost", final="failed"))


def machine(*states: State, **more: Any) -> StateMachine:
    targets = {go.to for state in states for go in state.transitions}
    return StateMachine("m", [*states, *(end for end in ENDS if end.name in targets)], initial="a", **more)


REVIEW = machine(
    State(
        "a",
        action=WORK,
        timeout_s=10,
        transitions=[Go("b", when=[Guard("/score", "ge", 7)]), Go("a"), Go("lost", "failed"), Go("lost", "timeout")],
    ),
    State("b", timeout_s=60, transitions=[Go("done", "approve"), Go("a", "reject"), Go("lost", "timeout")]),
    max_steps=6,
)


def test_an_action_s_end_leads_to_the_first_state_whose_guards_hold():
    good, poor = begun(REVIEW), begun(REVIEW)

    good.end("succeeded", {"score": 7})
    poor.end("succeeded", {"score": 6.9})

    assert (good.state, good.head.phase) == ("b", "waiting")
    assert (poor.state, poor.head.phase, poor.head.visit) == ("a", "acting", 2)


def test_a_failure_is_caught_or_ends_the_machine_with_its_error():
    caught = begun(REVIEW)
    uncaught = begun(machine(State("a", action=WORK, transitions=[Go("done")])))
    error = {"type": "TaskTimedOut", "message": "too slow"}

    caught.end("failed", error)
    uncaught.end("failed", error)

    assert (caught.state, caught.head.status, caught.head.error) == ("lost", "failed", None)
    assert (uncaught.state, uncaught.head.status) == ("a", "failed")
    assert uncaught.head.error == Error("TaskTimedOut", "too slow")


def test_failures_are_told_apart_by_guards():
    busy = Guard("/type", "in", ["PoolBusy", "BreakerOpen"])
    ways = [Go("b", "failed", when=[busy]), Go("done")]
    world = begun(machine(State("a", action=WORK, transitions=ways), State("b", transitions=[Go("done", "go")])))

    world.end("failed", {"type": "BreakerOpen", "message": ""})

    assert world.state == "b"


def test_an_event_tells_who_and_when_and_is_kept():
    world = begun(REVIEW)
    world.end("succeeded", {"score": 9})
    world.wait(5)

    answer = world.send("reject", {"why": "too long"}, event_id="r1", who="ann")

    assert answer.receipt == rule.Receipt("r1", "reject", "ann", 2, "b", "a", (EPOCH + 5 * SECOND) / 1e6)
    assert world.visit(2) == Visit(
        2,
        "b",
        EPOCH,
        left=EPOCH + 5 * SECOND,
        trigger="reject",
        to="a",
        event_id="r1",
        payload={"why": "too long"},
        who="ann",
    )
    assert world.head.event == 2


def test_an_event_that_the_state_does_not_take_changes_nothing():
    world = begun(REVIEW)
    before = dict(world.texts)

    answer = world.send("approve", event_id="a1")

    assert (answer.verdict, answer.why) == ("illegal", "no transition is on it")
    assert world.texts == before


def test_an_event_whose_guards_do_not_hold_changes_nothing():
    ways = [Go("done", "approve", when=[Guard("/level", "ge", 2), Guard("/name")])]
    world = begun(machine(State("a", transitions=ways)))
    before = dict(world.texts)

    for payload in (None, {"level": 1, "name": "ann"}, {"level": 2}, {"level": "2", "name": "ann"}):
        answer = world.send("approve", payload, event_id="a1")
        assert (answer.verdict, answer.why) == (
            "illegal",
            "no guard of its transitions holds: to 'done' if /level ge 2 and /name exists",
        )

    assert world.texts == before
    assert world.send("approve", {"level": 2, "name": None}, event_id="a1").verdict == "moved"


def test_an_event_meant_for_another_visit_changes_nothing():
    world = begun(REVIEW)
    world.end("succeeded", {"score": 9})
    world.send("reject", event_id="r1", visit=2)
    world.end("succeeded", {"score": 9})

    answer = world.send("approve", event_id="a1", visit=2)

    assert (answer.verdict, answer.why) == ("illegal", "it was meant for visit 2")
    assert world.send("approve", event_id="a1", visit=4).verdict == "moved"


def test_an_event_sent_again_has_the_same_answer_and_does_nothing_however_late():
    world = begun(REVIEW)
    world.end("succeeded", {"score": 9})
    first = world.send("reject", event_id="r1", who="ann")
    world.end("succeeded", {"score": 9})
    before = dict(world.texts)

    again = world.send("reject", event_id="r1", who="ann")

    assert (again.verdict, again.receipt) == ("repeated", first.receipt)
    assert world.texts == before
    assert world.state == "b"


def test_an_id_belongs_to_one_event():
    world = begun(REVIEW)
    world.end("succeeded", {"score": 9})
    world.send("reject", event_id="x")

    with pytest.raises(Misuse, match="the event id 'x' is that of the event 'reject', taken before"):
        world.send("approve", event_id="x")


def test_a_refused_event_may_be_sent_again_with_its_id():
    world = begun(REVIEW)
    world.send("approve", event_id="a1")
    world.end("succeeded", {"score": 9})

    assert world.send("approve", event_id="a1").verdict == "moved"


def test_an_event_may_end_an_action_and_its_end_comes_late():
    world = begun(machine(State("a", action=WORK, transitions=[Go("done"), Go("lost", "stop")])))
    world.send("stop", event_id="s1")

    answer = world.end("succeeded", 1, visit=1)

    assert answer.verdict == "late"
    assert world.state == "lost"


def test_without_a_transition_on_success_a_state_waits_and_keeps_the_output():
    world = begun(machine(State("a", action=WORK, transitions=[Go("done", "approve")])))

    assert world.end("succeeded", {"n": 1}).verdict == "stayed"
    assert (world.head.phase, world.head.outputs) == ("waiting", {"a": 1})
    assert world.end("succeeded", {"n": 2}).verdict == "late"
    world.send("approve", event_id="a1")

    left = world.visit(1)
    assert left is not None
    assert left.result == {"task_id": "action", "state": "succeeded", "attempts": 1, "output": {"value": {"n": 1}}}
    assert (left.trigger, left.to) == ("approve", "done")


def test_outputs_and_errors_are_found_by_the_visit_that_gave_them_last():
    world = begun(REVIEW)

    world.end("succeeded", {"score": 1})
    world.end("succeeded", {"score": 9})
    world.send("reject", event_id="r1")
    world.end("failed", {"type": "X", "message": ""})

    assert (world.head.outputs, world.head.errors, world.head.event) == ({"a": 2}, {"a": 4}, 3)


@pytest.mark.parametrize(("seconds", "verdict"), [(9.999999, "idle"), (10, "moved"), (86_400, "moved")])
def test_a_time_out_is_due_at_its_instant_and_not_before(seconds: float, verdict: str):
    world = begun(REVIEW)
    world.wait(seconds)

    assert world.look().verdict == verdict
    assert world.state == ("lost" if verdict == "moved" else "a")


def test_whoever_looks_in_vain_writes_nothing():
    world = begun(REVIEW)
    before = dict(world.texts)
    world.wait(5)

    assert world.look().verdict == "idle"
    assert world.texts == before


def test_a_time_out_comes_before_an_action_that_ends_after_it():
    world = begun(REVIEW)
    world.wait(10)

    answer = world.end("succeeded", {"score": 9})

    assert answer.verdict == "late"
    assert [visit.trigger for visit in world.history()] == ["timeout"]


def test_an_event_after_a_time_out_finds_the_state_that_this_led_to():
    ways = [Go("b", "timeout"), Go("lost", "approve")]
    late = machine(State("a", timeout_s=5, transitions=ways), State("b", transitions=[Go("done", "approve")]))
    world = begun(late)
    world.wait(6)

    answer = world.send("approve", event_id="a1")

    assert answer.receipt is not None
    assert (answer.receipt.state, answer.receipt.to, answer.receipt.visit) == ("b", "done", 2)
    assert [(visit.trigger, visit.to) for visit in world.history()] == [("timeout", "b"), ("approve", "done")]
    check_history(world)


def test_a_refused_event_after_a_time_out_leaves_the_time_out_taken():
    world = begun(REVIEW)
    world.wait(10)

    answer = world.send("approve", event_id="a1")

    why = "the time-out of 'a' was due, and was taken first; then it has ended"
    assert (answer.verdict, answer.why) == ("illegal", why)
    assert world.state == "lost"


def test_each_visit_has_its_time_out_anew():
    world = begun(REVIEW)
    world.wait(9)
    world.end("succeeded", {"score": 1})
    world.wait(9)

    assert world.look().verdict == "idle"


def test_a_clock_that_is_set_back_delays_a_time_out_by_what_had_passed_of_it_at_most():
    world = begun(REVIEW)
    world.wait(6)
    world.wait(-3600)
    world.look()

    world.wait(10)

    assert world.look().verdict == "moved"


def test_a_state_that_was_entered_as_often_as_it_may_be_is_passed_over():
    world = begun(
        machine(
            State("a", max_visits=2, transitions=[Go("b", "go"), Go("c", "exhausted")]),
            State("b", transitions=[Go("a", "back")]),
            State("c", max_visits=1, transitions=[Go("a", "back"), Go("done", "exhausted")]),
        )
    )
    for number, event in enumerate(["go", "back", "go", "back", "back"]):
        assert world.send(event, event_id=f"e{number}").verdict == "moved"

    assert world.state == "done"
    assert [visit.passed for visit in world.history()] == [(), (), (), ("a",), ("a", "c")]
    assert [visit.to for visit in world.history()] == ["b", "a", "b", "c", "done"]
    check_history(world)


def test_without_a_way_past_it_an_exhausted_state_fails_the_machine():
    world = begun(machine(State("a", max_visits=1, transitions=[Go("a", "again"), Go("done", "go")])))

    answer = world.send("again", event_id="e1")

    assert answer.receipt is not None
    assert answer.receipt.to is None
    assert world.head.status == "failed"
    assert world.head.error is not None
    assert world.head.error.message.startswith("the state 'a' may be entered 1 times, and has: raise the bound")
    check_history(world)


def test_a_machine_that_took_all_its_steps_fails():
    world = begun(REVIEW)

    for _ in range(7):
        world.end("succeeded", {"score": 0})

    assert (world.head.status, world.head.visit) == ("failed", 7)
    assert world.head.error is not None
    assert "the machine may take 6 steps" in world.head.error.message


def test_a_cancelled_machine_is_over_and_says_who_wanted_it():
    world = begun(REVIEW)

    assert world.cancel("ann").verdict == "moved"
    assert world.cancel("ben").verdict == "repeated"

    left = world.visit(1)
    assert left is not None
    assert (left.trigger, left.who, left.to) == ("cancelled", "ann", None)
    assert (world.head.phase, world.head.status, world.head.due) == ("over", "cancelled", None)
    assert world.end("succeeded", {"score": 9}).verdict == "late"
    assert world.send("approve", event_id="a1").why == "it has ended"


def test_whoever_knows_an_older_visit_is_told_to_look_again():
    world = begun(REVIEW)
    world.end("succeeded", {"score": 9})
    before = dict(world.texts)

    assert world.ask(rule.Sent("a1", "approve"), visit=1).verdict == "elsewhere"
    assert World(REVIEW).begin().visit == 1
    assert world.texts == before


def test_where_a_machine_is_takes_a_bounded_text_after_ten_thousand_steps():
    ways = [Go("a"), Go("done", "stop")]
    world = begun(machine(State("a", action=WORK, transitions=ways), max_steps=10_000))
    small = len(world.texts["machine"])

    for _ in range(10_000):
        world.end("succeeded", {"long": "x" * 100})

    assert world.head.visit == 10_001
    assert len(world.texts["machine"]) < small + 100
    assert len(world.history()) == 10_000


def test_heads_and_visits_read_back_as_they_were_written():
    world = begun(REVIEW)
    world.end("succeeded", {"score": 9})
    world.send("reject", {"why": ["é", None]}, event_id="r1", who="ann")
    world.end("failed", {"type": "X", "message": "no"})

    assert Head.read(world.head.text(), "machine") == world.head
    assert [Visit.read(visit.text(), "visit") for visit in world.history()] == world.history()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"v": "1"}', '{"v": 99}'])
def test_texts_of_others_or_of_a_newer_coterie_are_refused(text: str):
    with pytest.raises(StateFormatError):
        Head.read(text, "machine")
    with pytest.raises(StateFormatError):
        Visit.read(text, "machine/visit/1")


def test_nothing_is_known_of_a_machine_that_has_not_begun():
    world = World(REVIEW)

    assert world.ask(rule.Sent("a1", "approve"), visit=1) == rule.Answer(None, "elsewhere")
    assert world.texts == {}


def test_a_machine_that_begins_in_a_final_state_is_over_at_once():
    world = begun(StateMachine("m", [State("done", final="succeeded")], initial="done"))

    assert (world.head.phase, world.head.status, world.head.visit) == ("over", "succeeded", 1)
