"""What makes states a machine: every mistake is refused on construction, with a message that names the culprit."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given, settings

from coterie.errors import MachineError, Misuse, PolicyError
from coterie.machine import StateMachine
from coterie.state import Action, Go, Guard, State
from coterie.task import Retry
from tests.journal.machine.worlds import machines

WORK = Action("worker")
DONE, LOST = State("done", final="succeeded"), State("lost", final="failed")


def machine(*states: State, **more: Any) -> StateMachine:
    return StateMachine("m", states, **{"initial": "a", **more})


def a(*transitions: Go, **more: Any) -> State:
    return State("a", transitions=transitions, **more)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: State("a b"), "the state 'a b' is not a usable name"),
        (lambda: State("a" * 101, final="failed"), "has over 100 characters; give it a shorter name"),
        (lambda: State("a"), "there is no way out of the state 'a'; give it a transition, or make it final"),
        (lambda: a(Go("b c")), "the target of a transition 'b c' is not a usable name"),
        (lambda: a(Go("b", "on approval")), "the trigger of the transition to 'b' 'on approval' is not a usable name"),
        (lambda: a(Go("b")), "'a' goes to 'b' on 'succeeded', and has no action that could end so; give it an action"),
        (lambda: a(Go("b", "failed")), "'a' goes to 'b' on 'failed', and has no action"),
        (lambda: Go("b", "cancelled"), "the transition to 'b' is on 'cancelled'"),
        (lambda: a(Go("b", "x"), Go("c", "x")), "'a' goes both to 'b' and to 'c' on 'x', neither with a guard"),
        (
            lambda: a(Go("b", "x"), Go("c", "x", when=[Guard("/n")])),
            "'a' never goes to 'c' on 'x': the transition to 'b' before it has no guard; put that one last",
        ),
        (
            lambda: a(Go("b", when=[Guard("/n")]), action=WORK),
            "'a' does not say where to go on 'succeeded' when no guard holds; add a last transition without one",
        ),
        (
            lambda: Go("b", "timeout", when=[Guard()]),
            "the transition to 'b' on 'timeout' has a guard, and nothing to ask",
        ),
        (lambda: Go("b", "exhausted", when=[Guard()]), "the transition to 'b' on 'exhausted' has a guard"),
        (lambda: a(Go("b", "x"), timeout_s=5), "'a' has a timeout_s and no transition on 'timeout'"),
        (lambda: a(Go("b", "timeout")), "'a' has a transition on 'timeout' and no timeout_s"),
        (lambda: a(Go("b", "timeout"), timeout_s=0), "timeout_s of the state 'a' is 0; give a number of seconds > 0"),
        (lambda: a(Go("b", "timeout"), timeout_s=True), "timeout_s of the state 'a' is True"),
        (lambda: a(Go("b", "timeout"), timeout_s=float("nan")), "timeout_s of the state 'a' is nan"),
        (lambda: a(Go("b", "exhausted"), Go("b", "x")), "'a' has a transition on 'exhausted' and no max_visits"),
        (lambda: a(Go("b", "x"), max_visits=0), "max_visits of the state 'a' is 0; give a whole number from 1"),
        (lambda: a(Go("b", "x"), max_visits=2.0), "max_visits of the state 'a' is 2.0"),
        (lambda: State("a", final="done"), "final of the state 'a' is 'done'; use 'succeeded' or 'failed'"),
        (lambda: a(Go("b", "x"), final="failed"), "the state 'a' is final and has transitions"),
        (lambda: State("a", action=WORK, max_visits=1, final="failed"), "'a' is final and has an action, max_visits"),
        (lambda: State("a", final="failed", timeout_s=1), "the state 'a' is final and has a timeout_s"),
        (lambda: State("a", transitions=["b"]), "transitions of 'a' is ['b']; pass a list of Go"),
        (lambda: State("a", transitions=Go("b")), "pass a list of Go"),
        (lambda: State("a", action="worker"), "the action of the state 'a' is 'worker'; pass an Action"),
        (lambda: Go("b", "x", when=Guard()), "pass a list of Guard"),
        (lambda: Guard("/n", "gte", 1), "a guard has the operator 'gte'; use one of "),
        (lambda: Guard("n"), "the pointer 'n'; a JSON pointer is empty or starts with '/'"),
        (lambda: Guard("/n", "like", 1), "the operator 'like'; use one of eq, ne"),
        (lambda: Guard("/n", "eq", {1, 2}), "is a set, not JSON"),
        (lambda: Action("a worker"), "'a worker' is not a usable name"),
        (lambda: Action("worker", input=[1]), "pass a JSON object"),
        (lambda: Action("worker", timeout_s=-1), "give a number of seconds > 0"),
        (lambda: Action("worker", retry=3), "pass a Retry"),
    ],
)
def test_a_part_that_cannot_work_is_refused(build: Any, message: str):
    with pytest.raises(Misuse, match=re.escape(message)):
        build()


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (machine, "the machine 'm' has no states"),
        (lambda: machine(DONE, DONE), "two states of the machine 'm' are called 'done'; rename one"),
        (lambda: machine(DONE), "'m' begins in 'a', which is none of the machine's states; known states: 'done'"),
        (lambda: machine(DONE, initial="dome"), "did you mean 'done'?"),
        (lambda: machine(DONE, initial=None), "begins in None"),
        (lambda: machine("done"), "holds 'done', which is no State; use StateMachine.from_dict"),
        (lambda: StateMachine("a b", [DONE], initial="done"), "the machine name 'a b' is not a usable name"),
        (
            lambda: machine(a(Go("dome", "x")), DONE),
            "the state 'a' goes on 'x' to 'dome', which is none of the machine's states; did you mean 'done'?",
        ),
        (
            lambda: machine(a(Go("done", "x")), DONE, LOST, State("b", transitions=[Go("lost", "x")])),
            "no transition of the machine 'm' leads from 'a' to 'lost', 'b'; add one, or remove what is never reached",
        ),
        (
            lambda: machine(
                a(Go("done", "x"), Go("b", "y")), DONE, State("b", max_visits=1, transitions=[Go("b", "x")])
            ),
            "there is no way out of 'b': no transitions lead from there to a final state of the machine 'm'",
        ),
        (lambda: machine(a(Go("a", "x")), max_steps=3), "there is no way out of 'a'"),
        (
            lambda: machine(a(Go("done", "failed"), action=WORK), DONE),
            "there is no way out of the state 'a' once its action has succeeded; add a transition on 'succeeded'",
        ),
        (
            lambda: machine(a(Go("b", "x"), Go("done", "y")), State("b", transitions=[Go("a", "x")]), DONE),
            "the machine 'm' may go round 'a' -> 'b' -> 'a' without end; give one of these states a max_visits",
        ),
        (lambda: machine(a(Go("a", "x"), Go("done", "y")), DONE), "may go round 'a' -> 'a' without end"),
        (
            # Once b has been entered as often as it may be, x leads past it, back to a.
            lambda: machine(
                a(Go("b", "x"), Go("done", "y")),
                State("b", max_visits=1, transitions=[Go("a", "x"), Go("a", "exhausted")]),
                DONE,
            ),
            "the machine 'm' may go round 'a' -> 'b' -> 'a' without end; give one of these states a max_visits that",
        ),
        (
            lambda: machine(
                a(Go("b", "x")),
                State("b", max_visits=1, transitions=[Go("c", "exhausted"), Go("done", "y")]),
                State("c", max_visits=1, transitions=[Go("b", "exhausted"), Go("b", "y")]),
                DONE,
            ),
            "the states 'b' -> 'c' -> 'b' are entered instead of each other on 'exhausted', without end",
        ),
        (
            lambda: machine(a(Go("done", "x")), DONE, max_steps=0),
            "max_steps of the machine 'm' is 0; give a whole number",
        ),
        (lambda: machine(a(Go("done", "x")), DONE, max_steps=True), "max_steps of the machine 'm' is True"),
    ],
)
def test_states_that_make_no_machine_are_refused(build: Any, message: str):
    with pytest.raises(Misuse, match=re.escape(message)):
        build()


@pytest.mark.parametrize(
    "more",
    [{"max_steps": 5}, {}],
)
def test_a_loop_with_a_bound_is_fine(more: Any):
    bound = None if more else 2

    built = machine(
        a(Go("b", "x"), Go("done", "y")), State("b", max_visits=bound, transitions=[Go("a", "x")]), DONE, **more
    )

    assert [state.name for state in built.states] == ["a", "b", "done"]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"$param": "topic"}, "'a' refers to the parameter 'topic', which the machine does not declare"),
        ({"$data": "outputs/a"}, "is no reference to a machine's data; write"),
        ({"$data": "/outputs/a", "defualt": 1}, "is no reference to a machine's data"),
        (
            {"$data": "/outputs/b"},
            "'/outputs/b', and so to 'b', which is none of the machine's states; known states: 'a'",
        ),
        (
            {"$data": "/outputs/a_/x"},
            "'/outputs/a_/x', and so to 'a_', which is none of the machine's states; did you mean 'a'?",
        ),
        ({"$data": "/outputs/done/text"}, "refers to '/outputs/done/text', and the state 'done' has no action"),
        ({"$data": "/errors"}, "refers to '/errors', and so to '', which is none of the machine's states"),
        ({"$data": "/event/comment"}, "refers to '/event/comment': an event has name, payload, who"),
        ({"$data": "/output/a"}, "refers to '/output/a': a machine carries /outputs/<state>"),
        ({"$data": "/visit/number"}, "a machine carries"),
        ([{"deep": {"$data": "/x"}}], "refers to '/x'"),
    ],
)
def test_an_input_that_refers_to_what_there_never_is_is_refused(value: Any, message: str):
    state = a(Go("done"), action=Action("worker", input={"it": value}))

    with pytest.raises(MachineError, match=re.escape(message)):
        machine(state, DONE)


def test_what_agents_are_asked_for_is_known():
    built = machine(
        a(Go("b"), action=Action("writer")),
        State("b", action=Action("writer", retry=Retry()), transitions=[Go("c")]),
        State("c", action=Action("checker"), transitions=[Go("done")]),
        DONE,
    )

    assert built.agent_types == ("writer", "checker")


def test_parameters_are_bound_as_a_plan_s():
    built = machine(a(Go("done"), action=Action("worker", input={"n": {"$param": "n"}})), DONE, params={"n": 1})

    assert built.bind({"n": 2}) == {"n": 2}
    assert built.bind(None) == {"n": 1}
    with pytest.raises(Misuse, match="the machine 'm' has no parameter 'm'; it declares: n"):
        built.bind({"m": 2})


def test_a_state_is_found_by_its_name():
    built = machine(a(Go("done", "x")), DONE)

    assert built.state("done") is DONE
    with pytest.raises(Misuse, match="the machine 'm' has no state 'b'; it has: a, done"):
        built.state("b")


def test_policies_are_refused_as_a_task_s():
    with pytest.raises(PolicyError, match="retry needs"):
        Action("worker", retry=Retry(max_attempts=0))


@settings(max_examples=100, deadline=None)
@given(machines())
def test_equal_machines_are_equal_and_hash_equally(built: StateMachine):
    again = StateMachine(
        built.name, list(built.states), initial=built.initial, params=dict(built.params), max_steps=built.max_steps
    )

    assert again == built
    assert hash(again) == hash(built)
    assert again.hash == built.hash


def test_a_chain_of_ten_thousand_states_needs_no_deep_stack():
    chain = [State(f"s{i}", transitions=[Go(f"s{i + 1}", "x")]) for i in range(10_000)]

    built = StateMachine("long", [*chain, State("s10000", final="succeeded")], initial="s0")

    assert len(built.states) == 10_001
