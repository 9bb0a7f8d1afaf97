"""A machine whose texts lie in a dictionary, random machines, and what must hold of any history."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from hypothesis import reject
from hypothesis import strategies as st

from coterie._rules import machine_texts as rule
from coterie._rules.foreach import condition_holds
from coterie._rules.machine import Cancel, Ended, Input, Look, Sent
from coterie._rules.machine_record import Head, Visit
from coterie._rules.machine_texts import Answer
from coterie._rules.timeline import SECOND
from coterie.errors import MachineError
from coterie.machine import StateMachine
from coterie.state import Action, Go, Guard, State
from coterie.stores.journals import checked_change

EPOCH = 1_700_000_000 * SECOND + 250_000
EVENTS = ("approve", "reject", "resume")
RUN = "run"


@dataclass
class World:
    """One machine, its texts and the store's clock; `ask` is what a shell does, without a shell."""

    machine: StateMachine
    texts: dict[str, str] = field(default_factory=dict)
    now: int = EPOCH

    def begin(self, *, allow_changes: bool = False) -> Head:
        paths = [rule.HEAD, rule.DEFINITION, "status"]
        seen = {path: self.texts.get(path) for path in paths}
        changed = rule.begin(
            seen, self.now, self.machine.table, self.machine.hash, self.machine.to_json(), allow_changes=allow_changes
        )
        self._write(changed, paths)
        return changed.result

    def ask(self, what: Input, *, visit: int | None = None) -> Answer:
        """visit: where the asker believes the machine to be; else where it is."""
        believed = visit if visit is not None else self.head.visit
        paths = rule.paths_of(what, believed)
        seen = {path: self.texts.get(path) for path in paths}
        changed = rule.apply(seen, self.now, self.machine.table, what, version=self.machine.hash, visit=believed)
        assert seen == {path: self.texts.get(path) for path in paths}, "a decision leaves alone what it is given"
        self._write(changed, paths)
        return changed.result

    def end(self, how: Any = "succeeded", value: Any = None, *, visit: int | None = None) -> Answer:
        number = visit if visit is not None else self.head.visit
        result = {"task_id": "action", "state": how, "attempts": 1, "output": {"value": value}}
        return self.ask(Ended(number, how, value, result), visit=number)

    def send(self, name: str, payload: Any = None, *, event_id: str, who: str = "", visit: int | None = None) -> Answer:
        return self.ask(Sent(event_id, name, payload, who, visit))

    def look(self) -> Answer:
        return self.ask(Look())

    def cancel(self, who: str = "") -> Answer:
        return self.ask(Cancel(who))

    def wait(self, seconds: float) -> None:
        self.now += round(seconds * SECOND)

    @property
    def head(self) -> Head:
        return Head.read(self.texts[rule.HEAD], rule.HEAD)

    @property
    def state(self) -> str:
        return self.head.state

    def visit(self, number: int) -> Visit | None:
        text = self.texts.get(rule.visit_path(number))
        return Visit.read(text, f"visit {number}") if text is not None else None

    def history(self) -> list[Visit]:
        """The visits that were left, in order."""
        found = [self.visit(number) for number in range(1, self.head.visit + 1)]
        return [visit for visit in found if visit is not None and visit.left is not None]

    def _write(self, changed: Any, paths: list[str]) -> None:
        for path, text in checked_change(changed, paths, RUN).items():
            assert text is not None
            self.texts[path] = text


def begun(machine: StateMachine) -> World:
    world = World(machine)
    world.begin()
    return world


def check_history(world: World) -> None:
    """What holds of any machine at any time: the history is one unbroken walk along the transitions."""
    machine, head, history = world.machine, world.head, world.history()
    over = head.phase == "over"
    # A machine that ended in the midst of a state has left that visit too.
    assert [visit.number for visit in history] == list(range(1, head.visit + (over and not _is_final(world))))
    entered = [machine.initial, *(visit.to for visit in history if visit.to is not None)]
    assert [visit.state for visit in history] == entered[: len(history)]
    assert head.state == entered[-1]
    for before, after in pairwise(history):
        assert before.left == after.entered
    assert sum(head.visits.values()) == head.visit == len(entered)
    for name, number in head.visits.items():
        assert number == entered.count(name)
        assert number <= (machine.state(name).max_visits or number)
    if machine.max_steps is not None:
        assert head.visit - 1 <= machine.max_steps
    for visit in history:
        check_step(machine, visit)
    assert (head.status is not None) == over
    assert (head.due is not None) <= (not over)


def check_step(machine: StateMachine, visit: Visit) -> None:
    """What led out of a visit is a transition of its state, the first that was open."""
    state = machine.state(visit.state)
    if visit.trigger == "cancelled":
        assert visit.to is None
        return
    ways = [go for go in state.transitions if go.trigger == visit.trigger and all(_holds(go, visit))]
    if not ways:
        assert visit.trigger == "failed"
        assert visit.to is None
        return
    wanted = ways[0].to
    for passed in visit.passed:
        assert passed == wanted
        assert machine.state(passed).max_visits is not None
        instead = machine.state(passed).ways("exhausted")
        wanted = instead[0].to if instead else "nowhere"
    assert visit.to in (wanted, None)


def _holds(go: Go, visit: Visit) -> list[bool]:
    came: Any = visit.payload
    if visit.trigger in ("succeeded", "failed"):
        assert visit.result is not None
        came = visit.result["output"]["value"]  # type: ignore[call-overload, index]  # as `World.end` writes it
    return [condition_holds(guard.condition, came) for guard in go.when]


def _is_final(world: World) -> bool:
    return world.machine.state(world.head.state).final is not None


# Random machines.

VALUES = st.sampled_from([None, {"n": 0}, {"n": 1}, {"n": 2, "why": "…"}, {"type": "StepFailed", "message": "no"}])
GUARDS = st.lists(
    st.builds(Guard, st.just("/n"), st.sampled_from(["eq", "ge", "exists"]), st.integers(0, 2)), max_size=2
)


@st.composite
def machines(draw: st.DrawFn) -> StateMachine:
    """Machines that may be built, of all kinds; those that may not are thrown away."""
    names = [f"s{number}" for number in range(draw(st.integers(1, 4)))]
    targets = st.sampled_from([*names, "done", "lost"])
    states = [draw(_states(name, targets)) for name in names]
    states += [State("done", final="succeeded"), State("lost", final="failed")]
    reached = _reached(states, "s0")
    kept = [state for state in states if state.name in reached]
    for max_steps in (draw(st.sampled_from([None, 1, 3, 9])), 9):
        try:
            return StateMachine("random", kept, initial="s0", max_steps=max_steps)
        except MachineError as error:
            refused = error
    assert "way out" in str(refused) or "exhausted" in str(refused), refused
    return reject()


@st.composite
def _states(draw: st.DrawFn, name: str, targets: st.SearchStrategy[str]) -> State:
    acts, timeout_s = draw(st.booleans()), draw(st.sampled_from([None, 2.0, 5.5]))
    max_visits = draw(st.sampled_from([None, 1, 2]))
    triggers = draw(st.lists(st.sampled_from(EVENTS), unique=True, min_size=0 if acts or timeout_s else 1, max_size=2))
    chosen = [(trigger, draw(GUARDS)) for trigger in triggers]
    if acts and (draw(st.booleans()) or not (triggers or timeout_s)):
        chosen += [("succeeded", draw(GUARDS)), ("succeeded", [])]
    if acts and draw(st.booleans()):
        chosen.append(("failed", draw(GUARDS)))
    if timeout_s is not None:
        chosen.append(("timeout", []))
    if max_visits is not None and draw(st.booleans()):
        chosen.append(("exhausted", []))
    transitions: list[Go] = []
    for trigger, guards in chosen:
        # Two without a guard for one trigger would be refused.
        transitions = [go for go in transitions if go.trigger != trigger or go.when]
        transitions.append(Go(draw(targets), trigger, when=guards))
    action = Action("worker") if acts else None
    return State(name, action=action, transitions=transitions, timeout_s=timeout_s, max_visits=max_visits)


def _reached(states: list[State], initial: str) -> set[str]:
    targets = {state.name: [go.to for go in state.transitions] for state in states}
    seen, pending = {initial}, [initial]
    while pending:
        fresh = set(targets[pending.pop()]) - seen
        seen |= fresh
        pending += fresh
    return seen
