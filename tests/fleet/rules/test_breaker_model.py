"""Every interleaving of two processes that call through one breaker, through trip, trial, kill and recovery.

A state of the model is the stored breaker, the clock, and what each process holds: nothing, or an admission whose call
runs. A step is one second that passes, or one process that asks, reports success, failure or nothing, or is killed and
started anew. States are compared by what can matter later: instants as distances from now, generations as "the
breaker's" or "older", permits by who holds them. So the model is finite, and searched to its end.
"""

from __future__ import annotations

import random
import sys
from collections import deque
from collections.abc import Iterator
from typing import Any, NamedTuple, Self

import pytest

from coterie._rules.breaker import Admission, View, admit, look, record, settle
from coterie._rules.breaker_policy import BreakerPolicy
from coterie._rules.decided import State
from coterie._rules.timeline import SECOND, moment
from tests.fleet.rules.breaker_world import EPOCH, NAME

PERMITS_AT_MOST = 99
# Seconds that the clock may go back unseen, or be behind: more would bring nothing new.
SINCE_MOST, BEHIND_MOST = 8, 4


class Action(NamedTuple):
    """One step. kind: "tick" (of `process` seconds), "ask", "die", or the code that is reported."""

    kind: str
    process: int


class Model(NamedTuple):
    """One state, by one of its concrete forms."""

    stored: State | None
    now: int
    held: tuple[Admission | None, ...]


class Search:
    """What was visited, and from where each state was reached."""

    def __init__(self, policy: BreakerPolicy, *, processes: int, ticks: tuple[int, ...] = (1,)) -> None:
        self.policy = policy
        self.ticks = ticks
        self.start = Model(None, EPOCH, (None,) * processes)
        self.seen: dict[Any, Model] = {self.abstract(self.start): self.start}
        self.reached_from: dict[Any, set[Any]] = {}
        self.steps = 0

    def explore(self) -> Self:
        """Visit every state, breadth first, and check it and each step."""
        pending = deque([self.start])
        while pending:
            model = pending.popleft()
            origin = self.abstract(model)
            for action, after in self.successors(model):
                found = self.take(model, action, after)
                self.reached_from.setdefault(found, set()).add(origin)
                if found not in self.seen:
                    self.seen[found] = after
                    pending.append(after)
        return self

    def wander(self, seed: int, *, walks: int, length: int) -> Self:
        """Visit states by chance: each walk begins anew."""
        chance = random.Random(seed)
        for _ in range(walks):
            model = self.start
            for _ in range(length):
                action, after = chance.choice(list(self.successors(model)))
                self.seen.setdefault(self.take(model, action, after), after)
                model = after
        return self

    def take(self, model: Model, action: Action, after: Model) -> Any:
        self.steps += 1
        try:
            check_step(self.policy, model, action, after)
            check_state(self.policy, after)
        except AssertionError as wrong:
            raise AssertionError(f"{action} breaks {model}: {wrong}") from wrong
        return self.abstract(after)

    def unrecoverable(self) -> set[Any]:
        """The states from which no way leads to a closed breaker with nothing counted."""
        recovered = {found for found in self.seen if found[0] == "closed" and not found[1]}
        pending = list(recovered)
        while pending:
            fresh = self.reached_from.get(pending.pop(), set()) - recovered
            recovered |= fresh
            pending += fresh
        return set(self.seen) - recovered

    def successors(self, model: Model) -> Iterator[tuple[Action, Model]]:
        for tick in self.ticks:
            if tick > 0 or behind_s(model) < BEHIND_MOST:
                yield Action("tick", tick), model._replace(now=model.now + tick * SECOND)
        for process, holding in enumerate(model.held):
            if holding is None:
                operation = admit(NAME, self.policy, permit_id=fresh_id(model, process), chance=0)
                decided = operation(model.stored, model.now)
                admission = decided.result if decided.result.admitted else None
                yield Action("ask", process), let(model, process, decided.state, admission)
                continue
            yield Action("die", process), let(model, process, model.stored, None)
            for code in "sfi":
                yield Action(code, process), let(model, process, self.reported(model, holding, code), None)

    def reported(self, model: Model, holding: Admission, code: str) -> State | None:
        generation = holding.generation
        if holding.permit is not None:
            operation = settle(NAME, self.policy, permit_id=holding.permit, generation=generation, code=code, chance=0)
        elif code == "i":
            return model.stored
        else:
            operation = record(NAME, self.policy, generation=generation, runs=[(code, 1)], chance=0)
        return operation(model.stored, model.now).state

    def abstract(self, model: Model) -> Any:
        """What can matter later: equal for states with the same future."""
        stored = model.stored or {"state": "closed", "gen": 0}
        trial, permits = stored.get("round"), permits_of(model)
        at = moment(model.stored, model.now).at
        owners = {holding.permit: process for process, holding in enumerate(model.held) if holding and holding.permit}
        held = tuple(
            holding and (holding.generation == stored["gen"], holding.permit in permits) for holding in model.held
        )
        clock: Any = None
        if len(self.ticks) > 1 and stored["state"] in {"open", "half_open"}:
            clock = (min(at - stored["at"], SINCE_MOST * SECOND), behind_s(model))
        return (
            stored["state"],
            stored.get("counted"),
            stored.get("period", 0),
            max(0, stored.get("until", 0) - at),
            trial and (max(0, trial["deadline"] - at), max(0, trial["lapse"] - at), trial["settled"], trial["failed"]),
            tuple(sorted((owners.get(permit, 9), max(0, deadline - at)) for permit, deadline in permits.items())),
            held,
            clock,
        )


def let(model: Model, process: int, stored: State | None, holding: Admission | None) -> Model:
    held = tuple(holding if other == process else kept for other, kept in enumerate(model.held))
    return Model(stored, model.now, held)


def permits_of(model: Model) -> dict[str, int]:
    return model.stored["round"]["permits"] if model.stored and "round" in model.stored else {}


def fresh_id(model: Model, process: int) -> str:
    used = set(permits_of(model)) | {holding.permit for holding in model.held if holding is not None}
    return next(name for number in range(PERMITS_AT_MOST) if (name := f"{process}{number:015x}") not in used)


def behind_s(model: Model) -> int:
    """How many seconds the clock is behind what was last stored."""
    if model.stored is None:
        return 0
    return max(0, model.stored["t0"] + -(-(model.stored["at"] - model.now) // SECOND))


def view_of(policy: BreakerPolicy, model: Model) -> View:
    return look(NAME, policy)(model.stored, model.now).result


def check_state(policy: BreakerPolicy, model: Model) -> None:
    """What holds in every state."""
    view, permits, at = view_of(policy, model), permits_of(model), moment(model.stored, model.now).at
    trial = model.stored["round"] if model.stored and "round" in model.stored else None
    if trial is not None:
        assert trial["admitted"] == len(permits) + trial["settled"] + trial["returned"] + trial["expired"]
        assert len(permits) + trial["settled"] <= policy.half_open_max_calls
    if view.state == "half_open":
        assert view.probes_out + view.probes_settled <= policy.half_open_max_calls
        within = [holding for holding in model.held if holding and permits.get(holding.permit or "", 0) > at]
        assert len(within) <= view.probes_out
    assert view.state in {"closed", "open", "half_open"}


def check_step(policy: BreakerPolicy, before: Model, action: Action, after: Model) -> None:
    """What holds in every step."""
    seen, then = view_of(policy, before), view_of(policy, after)
    moved = f"{seen.state}>{then.state}" if seen.generation != then.generation else None
    if action.kind == "tick":
        # Time alone ends a trial that ran out (unseen, it is not over where the clock goes back).
        assert moved in ({None, "half_open>open"} if action.process > 0 else {None, "open>half_open"})
    elif action.kind == "ask":
        admitted = after.held[action.process]
        assert (admitted is not None) == (seen.retry_after_us == 0)
        assert moved in {None, "open>half_open"}
        if admitted is None:
            assert then == seen, "a refusal moved something"
        else:
            assert (admitted.permit is not None) == (then.state == "half_open")
            assert then.state != "open"
    else:
        holding = before.held[action.process]
        assert holding is not None
        late = holding.generation != seen.generation
        if late or action.kind in {"i", "die"}:
            assert moved is None
            assert (then.failures, then.calls) == (seen.failures, seen.calls)
        if late or action.kind == "die":
            assert then == seen
        if moved:
            # By rates, any call may be the last one of a trial.
            expected = {"s": {"half_open>closed"}, "f": {"closed>open", "half_open>open"}}[action.kind]
            assert moved in expected or (policy.mode == "count" and moved.startswith(("half_open>", "closed>open")))


def small(mode: Any, permits: int, successes: int) -> BreakerPolicy:
    return BreakerPolicy(
        mode=mode,
        failure_threshold=2 if mode == "consecutive" else 5,
        success_threshold=successes,
        half_open_max_calls=permits,
        timeout_s=1.0,
        max_timeout_s=2.0,
        timeout_growth=2.0,
        jitter=0.0,
        probe_timeout_s=2.0,
        round_timeout_s=3.0,
        window_calls=2,
        min_calls=2,
        failure_rate=0.5 if mode == "consecutive" else 1.0,
    )


CASES = [("consecutive", 1, 1), ("consecutive", 2, 1), ("consecutive", 2, 2), ("count", 1, 1), ("count", 2, 1)]


def searched(search: Search, what: str) -> None:
    # Seen with -s.
    sys.stdout.write(f"\n{what}: {len(search.seen)} states, {search.steps} steps\n")


@pytest.mark.parametrize(("mode", "permits", "successes"), CASES)
def test_no_interleaving_of_two_processes_breaks_or_wedges_a_breaker(mode: str, permits: int, successes: int):
    search = Search(small(mode, permits, successes), processes=2).explore()

    searched(search, f"2 processes, {mode}, {permits} permits, {successes} to close")
    assert {found[0] for found in search.seen} == {"closed", "open", "half_open"}
    assert not search.unrecoverable()


@pytest.mark.parametrize(("mode", "permits", "successes"), CASES)
def test_no_walk_of_three_processes_breaks_a_breaker_whose_clock_goes_back_at_times(
    mode: str, permits: int, successes: int
):
    seed = 20_261_127

    search = Search(small(mode, permits, successes), processes=3, ticks=(1, -2)).wander(seed, walks=25, length=80)

    searched(search, f"seed {seed}, {mode}, {permits} permits, {successes} to close")
    assert {found[0] for found in search.seen} == {"closed", "open", "half_open"}


@pytest.mark.full
@pytest.mark.parametrize("processes", [2, 3])
@pytest.mark.parametrize(("mode", "permits", "successes"), CASES)
def test_no_interleaving_breaks_or_wedges_a_breaker_whose_clock_goes_back_at_times(
    mode: str, permits: int, successes: int, processes: int
):
    ticks = (1, -2) if processes == 2 else (1,)
    search = Search(small(mode, permits, successes), processes=processes, ticks=ticks).explore()

    searched(search, f"{processes} processes, ticks {ticks}, {mode}, {permits} permits, {successes} to close")
    assert not search.unrecoverable()
