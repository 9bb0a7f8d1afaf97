"""Whatever is decided, a machine ends: its loops are bounded."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from coterie.machine import StateMachine
from coterie.state import TRIGGERS
from tests.journal.machine.worlds import World, begun, check_history, machines


def most_visits(machine: StateMachine) -> int:
    """How many states a machine may enter at most.

    Without `max_steps`: between two entries of states that have a bound there are only states that have none, and those
    lie on no loop.
    """
    if machine.max_steps is not None:
        return machine.max_steps + 1
    bounds = [state.max_visits for state in machine.states if state.max_visits is not None]
    return (sum(bounds) + 1) * (len(machine.states) - len(bounds) + 1)


def step(world: World, data: st.DataObject) -> None:
    """One thing that may happen in the state, of those that lead out of it if possible."""
    state, number = world.machine.state(world.state), world.head.visit
    triggers = [go.trigger for go in state.transitions if go.trigger != "exhausted"]
    if world.head.phase == "acting":
        triggers += ["succeeded", "failed"]
    else:
        triggers = [trigger for trigger in triggers if trigger not in ("succeeded", "failed")]
    trigger = data.draw(st.sampled_from(triggers))
    value = data.draw(st.sampled_from([{"n": 1}, {"n": 0}, {"n": 2}]))
    if trigger == "timeout":
        world.wait(state.timeout_s or 0)
        world.look()
    elif trigger in TRIGGERS:
        world.end(trigger, value)
    else:
        # One of them opens every guard that can be opened.
        for n in (value["n"], 0, 1, 2):
            if world.head.visit == number and world.head.phase != "over":
                world.send(trigger, {"n": n}, event_id=f"{number}.{n}.{trigger}")


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(machines(), st.data())
def test_every_machine_ends_within_its_bounds(machine: StateMachine, data: st.DataObject):
    world, most = begun(machine), most_visits(machine)

    # A visit takes three of them at most: its action ends, and none of the guards of one event holds.
    for _ in range(40 * most):
        if world.head.phase == "over":
            break
        step(world, data)

    assert world.head.phase == "over" or stuck_by_guards(world)
    assert world.head.visit <= most
    check_history(world)


def stuck_by_guards(world: World) -> bool:
    """Whether the only ways out are events whose guards cannot hold together, as in `/n = 0` and `/n >= 1`."""
    state = world.machine.state(world.state)
    ways = [go for go in state.transitions if go.trigger not in TRIGGERS]
    return state.timeout_s is None and all(len(go.when) > 1 for go in ways)
