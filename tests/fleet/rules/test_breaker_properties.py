"""Random histories of a fleet: clocks that go back and leap, reports that are lost, holders that die."""

from __future__ import annotations

import json

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from coterie._rules.breaker import Admission
from coterie._rules.breaker_policy import BreakerPolicy, terms_of
from coterie._rules.timeline import SECOND
from tests.fleet.rules.breaker_world import EPOCH, World

CALM = settings(max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck))

policies = st.builds(
    lambda mode, failures, **settings: BreakerPolicy(
        mode=mode, failure_threshold=failures if mode == "consecutive" else 5, **settings
    ),
    mode=st.sampled_from(["consecutive", "count", "time"]),
    failures=st.integers(1, 3),
    success_threshold=st.just(1),
    half_open_max_calls=st.integers(1, 3),
    timeout_s=st.sampled_from([0.5, 3.0]),
    max_timeout_s=st.sampled_from([3.0, 20.0]),
    timeout_growth=st.sampled_from([1.0, 1.5, 2.0]),
    probe_timeout_s=st.sampled_from([1.0, 2.5]),
    round_timeout_s=st.sampled_from([None, 2.5, 4.0]),
    jitter=st.sampled_from([0.0, 0.5]),
    window_calls=st.just(6),
    window_s=st.integers(1, 4),
    min_calls=st.integers(1, 6),
    slow_call_s=st.sampled_from([None, 1.0]),
)
chances = st.sampled_from([0, 1, 500_000, 999_999])


class Fleet(RuleBasedStateMachine):
    """Many processes that call through one breaker; nothing here knows how the rule keeps its state."""

    @initialize(policy=policies)
    def begin(self, policy: BreakerPolicy) -> None:
        self.world = World(policy)
        self.running: list[Admission] = []
        self.ended: list[Admission] = []
        self.told = 0

    def _any(self, data: st.DataObject, admissions: list[Admission]) -> Admission:
        return admissions[data.draw(st.integers(0, len(admissions) - 1))]

    @rule(chance=chances)
    def ask(self, chance: int) -> None:
        self.world.chance = chance
        foreseen, writes = self.world.look(), self.world.writes
        admission = self.world.admit()

        assert admission.admitted == (foreseen.retry_after_us == 0), "a look foresees what an admission answers"
        if admission.admitted:
            self.running.append(admission)
        else:
            assert admission.retry_after_us == foreseen.retry_after_us
            assert self.world.look().until_us == foreseen.until_us, "a refusal prolongs nothing"
            assert self.world.writes <= writes + 1
        assert (admission.permit is None) == (admission.state != "half_open" or not admission.admitted)
        if admission.permit:
            assert 0 < admission.holds_us <= terms_of(self.world.policy).probe_timeout
            assert admission.deadline_us == self.world.now + admission.holds_us or self.world.now < EPOCH

    @precondition(lambda self: self.running)
    @rule(data=st.data(), codes=st.text("sftg", min_size=1, max_size=6), chance=chances)
    def report(self, data: st.DataObject, codes: str, chance: int) -> None:
        """A call ends; closed ones as a batch, with others of its generation. It may come late by any time."""
        admission = self._any(data, self.running)
        self.world.chance = chance
        self.running.remove(admission)
        self.ended.append(admission)
        if admission.permit is None:
            self.world.record(codes, generation=admission.generation)
        else:
            self.world.settle(admission, data.draw(st.sampled_from("sftgi")))

    @precondition(lambda self: self.ended)
    @rule(data=st.data(), code=st.sampled_from("sftgi"))
    def report_again(self, data: st.DataObject, code: str) -> None:
        admission = self._any(data, self.ended)
        if admission.permit is not None:
            before = self.world.look()
            assert self.world.settle(admission, code).generation == before.generation

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def die(self, data: st.DataObject) -> None:
        """A process is killed: its call is never reported."""
        self.running.remove(self._any(data, self.running))

    @rule(us=st.one_of(st.integers(1, 5 * SECOND), st.sampled_from([SECOND, 60 * SECOND])))
    def wait(self, us: int) -> None:
        self.world.now += us

    @rule()
    def wait_as_told(self) -> None:
        """Until the very instant at which an admission was said to succeed; a microsecond before, it does not."""
        view = self.world.look()
        if view.state == "forced_open" or not view.retry_after_us:
            return
        if self.world.now < self._highest():
            self.ask(0)  # a clock that was set back must have been seen
            view = self.world.look()
            if not view.retry_after_us:
                return
        self.world.now += view.retry_after_us - 1
        assert self.world.look().retry_after_us == 1
        self.world.now += 1
        assert self.world.look().retry_after_us == 0
        self.ask(0)

    def _highest(self) -> int:
        state = self.world.state
        return state["t0"] * SECOND + state["at"] if state else 0

    @rule(us=st.sampled_from([1, SECOND, 7 * SECOND + 1, 3600 * SECOND, 10**14]))
    def set_clock_back(self, us: int) -> None:
        self.world.now -= us

    @rule(us=st.sampled_from([3600 * SECOND, 5 * 10**13, 10**15]))
    def leap(self, us: int) -> None:
        self.world.now += us

    @rule(to=st.sampled_from(["forced_open", "disabled", "metrics_only", "open", "closed", "auto"]), chance=chances)
    def force(self, to: str, chance: int) -> None:
        self.world.chance = chance
        view = self.world.force(to)
        assert to in {view.state, "auto"}
        assert to != "auto" or view.state in ("closed", "open", "half_open")

    @rule()
    def reset(self) -> None:
        assert self.world.reset().state == "closed"

    @invariant()
    def trial_lets_no_more_through_than_permitted(self) -> None:
        trial = (self.world.state or {}).get("round")
        if trial is None:
            return
        view = self.world.look()
        if view.state == "half_open":
            assert view.probes_out + view.probes_settled <= self.world.policy.half_open_max_calls
        permits = len(trial["permits"])
        assert trial["admitted"] == permits + trial["settled"] + trial["returned"] + trial["expired"]
        assert permits + trial["settled"] <= self.world.policy.half_open_max_calls

    @invariant()
    def a_transition_has_a_greater_generation_and_is_told(self) -> None:
        stored = self.world.state or {"state": "closed", "gen": 0}
        # What is told besides is that a permit of the trial has come back: no transition.
        assert all(view.changed or view.state == "half_open" for view in self.world.views)
        told = [view for view in self.world.views if view.changed]
        generations = [view.generation for view in told[max(0, self.told - 1) :]]
        assert generations == sorted(set(generations))
        assert (stored["state"], stored["gen"]) == ((told[-1].state, told[-1].generation) if told else ("closed", 0))
        self.told = len(told)

    @invariant()
    def what_is_stored_is_small(self) -> None:
        size = len(json.dumps(self.world.state))
        assert size < 700, f"{size} bytes: {self.world.state}"

    @invariant()
    def what_is_seen_is_sane(self) -> None:
        view, policy = self.world.look(), terms_of(self.world.policy)
        assert 0 <= view.retry_after_us <= policy.round_timeout + policy.max_timeout
        assert view.failures <= view.calls
        assert view.slow <= view.calls
        assert (view.opened > 0) == (view.state in ("open", "half_open"))

    @invariant()
    def waiting_long_enough_lets_a_call_pass(self) -> None:
        world = self.world
        later, asked = World(world.policy, now=world.now), world.look()
        later.state = world.state
        later.admit()
        for _ in range(3):
            later.now += later.look().retry_after_us
        assert later.admit().admitted == (asked.state != "forced_open")


Fleet.TestCase.settings = CALM
TestFleet = Fleet.TestCase
