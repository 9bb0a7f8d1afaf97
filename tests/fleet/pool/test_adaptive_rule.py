"""Slots that are lent by what an agent bears: what holds after every step, and one situation at a time."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coterie._rules.aimd import Aimd
from coterie._rules.pool import set_agent
from coterie._rules.pool_policy import Terms
from coterie._rules.pool_status import PooledAgent, look
from tests.fleet.pool.adaptive import FOUR, busy, limit, release
from tests.fleet.pool.histories import (
    ADAPTIVE,
    AGENTS,
    EPOCH,
    HISTORIES,
    SECOND,
    Grant,
    Step,
    World,
    slots,
    terms,
)

EXAMPLES = settings(max_examples=100, deadline=None)
ADAPTIVE_TERMS = st.builds(terms, adaptive=ADAPTIVE)
# Of agents that are in use most of the time, so that limits grow.
BUSY = st.lists(
    st.one_of(
        st.sampled_from("abcdefghijkl").map(lambda ticket: ("ask", ticket, "h1", 0, True, True, "", [])),
        st.tuples(st.just("release"), st.integers(0, 11), st.sampled_from("sssssof"), st.just(1000)),
        st.tuples(st.just("register"), st.sampled_from(AGENTS), st.integers(1, 8), st.just(1), st.just(False)),
    ),
    min_size=40,
    max_size=80,
)


@dataclass
class Observer(World):
    """Keeps each agent's limit and epoch by itself, and for each lease the epoch in which it began.

    An epoch is how often the agent had been forgotten, and its limit lowered. answered: the successes that count.
    """

    limits: dict[str, int] = field(default_factory=dict)
    answered: dict[str, int] = field(default_factory=dict)
    epochs: dict[str, tuple[int, int]] = field(default_factory=dict)
    began: dict[int, tuple[int, int]] = field(default_factory=dict)
    lives: int = 0
    over: tuple[Grant, str, int] | None = None

    def run(self, step: Step) -> Any:
        self.over = None
        result = super().run(step)
        for name in [name for name in self.limits if name not in self.agents]:
            del self.limits[name]
        for name, agent in self.agents.items():
            if name not in self.limits:
                self.lives += 1
                self.limits[name], self.epochs[name] = self._within(self.policy["start"], agent["c"]), (self.lives, 0)
                self.answered[name] = 0
        if step[0] == "register" and not step[4]:
            self._change(step[1], self.limits[step[1]])
        if self.over is not None:
            self._learn(*self.over)
        for token, grant in self.grants.items():
            self.began.setdefault(token, self.epochs.get(grant.agent, (0, 0)))
        return result

    def _back(self, grant: Grant, lease_id: str, outcome: str, latency_us: int) -> str:
        in_flight = sum(one.agent == grant.agent and one.until > self.now for one in self.grants.values())
        how = super()._back(grant, lease_id, outcome, latency_us)
        if how == "ok":
            self.over = grant, outcome, in_flight
        return how

    def _learn(self, grant: Grant, outcome: str, in_flight: int) -> None:
        if grant.agent not in self.limits:
            return
        limit, epoch = self.limits[grant.agent], self.epochs[grant.agent]
        if outcome == "o" and self.began[grant.token] >= epoch:
            limit = min(int(limit * Fraction(self.policy["backoff"], 10**6)), limit - 1)
            self.epochs[grant.agent] = (epoch[0], epoch[1] + 1)
            self.answered[grant.agent] = 0
        elif outcome == "s" and in_flight * 2 >= limit and limit < self.policy["maximum"]:
            self.answered[grant.agent] += 1
            if self.answered[grant.agent] == limit:
                limit, self.answered[grant.agent] = limit + 1, 0
        self._change(grant.agent, limit)

    def _change(self, name: str, limit: int) -> None:
        after = self._within(limit, self.agents[name]["c"])
        if after != self.limits[name]:
            self.answered[name] = 0
        self.limits[name] = after

    def _within(self, limit: int, capacity: int) -> int:
        return max(self.policy["minimum"], min(limit, self.policy["maximum"], capacity))

    @property
    def policy(self) -> Any:
        return self.terms["adaptive"]


@EXAMPLES
@given(ADAPTIVE_TERMS, HISTORIES | BUSY)
def test_a_limit_moves_as_one_expects_who_counts_epochs(policy: Terms, history: list[Step]):
    world = Observer(policy)
    for agent in AGENTS:
        world.run(("register", agent, 3, 1, False))

    for step in history:
        world.run(step)

        assert {name: one["m"] for name, one in world.agents.items()} == world.limits, step
        assert {name: one["k"] for name, one in world.agents.items()} == {
            name: world.answered[name] for name in world.agents
        }, step


@EXAMPLES
@given(ADAPTIVE_TERMS, HISTORIES)
def test_a_limit_stays_within_its_bounds(policy: Terms, history: list[Step]):
    world = World(policy)

    for step in history:
        world.run(step)

        bounds = policy["adaptive"]
        assert all(bounds["minimum"] <= one["m"] <= bounds["maximum"] for one in world.agents.values())


@EXAMPLES
@given(ADAPTIVE_TERMS, HISTORIES)
def test_nobody_is_granted_more_than_the_limit_and_the_capacity(policy: Terms, history: list[Step]):
    world = World(policy)

    for step in history:
        before = set(world.grants) | world.ended
        world.run(step)

        used = Counter(lease["a"] for lease in world.leases.values())
        granted = {lease["a"] for lease in world.leases.values() if lease["n"] not in before}
        # Those that were out when the limit was lowered, or the capacity, may be more.
        assert all(used[name] <= slots(world.agents[name]) for name in granted), (step, used)


@EXAMPLES
@given(ADAPTIVE_TERMS, HISTORIES, st.integers(1, 12))
def test_after_any_history_an_agent_that_answers_recovers(policy: Terms, history: list[Step], capacity: int):
    world = World(policy)
    for step in history:
        world.run(step)
    for ticket in list(world.tickets) + list(world.leases):
        for holder in ("", "h1", "h2"):
            world.run(("drop", ticket, holder))
    for agent in ("south", "east"):
        world.run(("set", agent, "remove"))
    world.run(("register", "north", 5, 1, False))
    world.run(("set", "north", "resume"))
    for _ in range(5):
        world.ask("low")
        release(world, "o")

    world.run(("register", "north", capacity, 1, False))
    world.terms = {**policy, "queue": 100}
    bounds = policy["adaptive"]
    most = max(bounds["minimum"], min(bounds["maximum"], capacity))
    assert limit(world) == bounds["minimum"]
    enough = sum(range(bounds["minimum"], most))
    for number in range(enough + most):
        world.ask(f"again{number}")
    for _ in range(enough):
        assert limit(world) < most
        release(world, "s")

    assert limit(world) == most
    assert len(world.leases) == min(most, capacity)


@EXAMPLES
@given(HISTORIES)
def test_without_the_option_nothing_is_stored_for_it_and_an_overload_is_a_failure(history: list[Step]):
    world, plain = World(terms()), World(terms())

    for step in history:
        world.run(step)
        plain.run((*step[:2], "f", step[3]) if step[0] == "release" and step[2] == "o" else step)

        assert json.dumps(world.state) == json.dumps(plain.state)
        assert all(set(agent) == set("icwesdly") for agent in world.agents.values())
        assert all(set(lease) == set("aneoh") for lease in world.leases.values())


def test_without_the_option_the_stored_form_is_what_it_always_was():
    world = World(terms())
    world.run(("register", "north", 2, 1, False))
    world.ask("one")

    assert json.dumps(world.state) == (
        f'{{"v": 1, "t0": {EPOCH // SECOND}, "at": 0, "token": {EPOCH // 100 + 1}, "count": 2, "last": 1, '
        '"agents": {"north": {"i": 1, "c": 2, "w": 1, "e": 30000000, "s": 0, "d": 0, "l": 0, "y": 0}}, '
        f'"leases": {{"one": {{"a": "north", "n": {EPOCH // 100 + 1}, "e": 30000000, "o": "p1", "h": "h1"}}}}, '
        '"tickets": {}}'
    )
    assert "adaptive" not in world.terms


@pytest.mark.parametrize(("start", "capacity", "lent"), [(4, 8, 4), (4, 2, 2), (8, 8, 8)])
def test_the_smaller_one_of_limit_and_capacity_is_lent(start: int, capacity: int, lent: int):
    world = busy(Aimd(start=start), capacity=capacity)

    assert len(world.leases) == lent
    assert len(world.tickets) == 20 - lent


@pytest.mark.parametrize("outcome", ["f", ""])
def test_a_failure_or_a_cancelled_call_changes_nothing(outcome: str):
    world = busy(FOUR)

    for _ in range(6):
        release(world, outcome)

    assert limit(world) == 4
    assert len(world.leases) == 4


def test_calls_that_are_overloaded_together_lower_the_limit_once():
    world = busy(FOUR)

    for _ in range(4):
        release(world, "o")

    assert limit(world) == 3
    assert len(world.leases) == 3
    # Those are of the new epoch.
    release(world, "o")
    assert limit(world) == 2


def test_leases_that_are_out_when_the_limit_falls_run_on_and_their_slots_are_not_lent_again():
    world = busy(Aimd(start=8, backoff=0.5))

    for number in range(5):
        release(world, "o")
        assert (limit(world), len(world.leases)) == (4, max(4, 7 - number))
        assert len(world.granted) == (number == 4)


def test_a_lease_that_expires_or_comes_back_too_late_changes_nothing():
    world = busy(FOUR)
    lost = list(world.grants.values())

    world.now += 40 * SECOND
    world.run(("register", "north", 8, 1, False))
    late = [world.turn(back=[(one.ticket, "north", one.token, "o", 5)])["back"][one.ticket] for one in lost]

    assert "ok" not in late
    assert limit(world) == 4


def test_an_agent_that_was_forgotten_starts_again_and_its_old_leases_lower_nothing():
    world = busy(FOUR)
    for oldest in (True, True, False):
        release(world, "o", oldest=oldest)
    assert limit(world) == 2

    world.run(("set", "north", "remove"))
    world.run(("register", "north", 8, 1, False))
    assert limit(world) == 4
    release(world, "o")
    assert limit(world) == 4

    world.now += 200 * SECOND
    world.run(("renew", 0))
    assert world.agents == {}
    world.run(("register", "north", 8, 1, False))
    assert limit(world) == 4


def test_a_limit_outlives_heartbeats_draining_and_an_old_age():
    world = busy(FOUR)
    release(world, "o")

    for change in ("drain", "resume"):
        world.run(("set", "north", change))
        world.run(("register", "north", 8, 1, False))
    world.now += 10 * SECOND
    world.run(("register", "north", 8, 1, True))
    world.run(("register", "north", 8, 1, False))

    assert limit(world) == 3


def test_whoever_changes_an_agent_without_knowing_the_policy_heeds_the_limit():
    world = busy(FOUR)

    world.apply(set_agent(terms(), "north", "resume", chance=0))

    assert len(world.leases) == 4
    assert limit(world) == 4


def test_the_option_begins_and_ends_with_a_heartbeat_and_new_bounds_hold_from_then_on():
    world = busy(FOUR)

    world.terms = terms(queue_limit=100, adaptive=Aimd(minimum=6, start=6, maximum=7))
    world.run(("register", "north", 8, 1, False))
    assert limit(world) == 6
    world.terms = terms(queue_limit=100)
    world.run(("register", "north", 8, 1, False))
    assert "m" not in world.agents["north"]
    assert len(world.leases) == 8
    world.terms = terms(queue_limit=100, adaptive=FOUR)
    release(world, "o")
    assert "m" not in world.agents["north"]
    world.run(("register", "north", 8, 1, False))
    # Granted before there was a limit.
    release(world, "o")

    assert limit(world) == 4


def test_a_lower_capacity_is_a_lower_limit():
    world = busy(FOUR)

    world.run(("register", "north", 2, 1, False))
    assert limit(world) == 2
    for _ in range(4):
        release(world, "")
    world.run(("register", "north", 8, 1, False))
    for _ in range(2):
        release(world, "s")

    assert limit(world) == 3


def test_the_status_shows_the_limit_and_counts_what_is_lent():
    world = busy(FOUR)
    world.run(("register", "south", 1, 1, False))

    status = look(world.state, world.now, world.terms)

    assert [(one.agent_id, one.capacity, one.limit, one.slots, one.condition) for one in status.agents] == [
        ("north", 8, 4, 4, "busy"),
        ("south", 1, 1, 1, "busy"),
    ]
    assert (status.capacity, status.in_use) == (5, 5)
    assert PooledAgent("one", "linter", 3, 0, "ready").slots == 3
