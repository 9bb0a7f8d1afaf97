"""Random histories of a limiter, and the slow reading of its rules: a log of all that was admitted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st

from coterie._rules import quota
from coterie._rules.decided import Operation, State
from coterie._rules.quota import Quota, Reserved
from coterie._rules.timeline import SECOND, moment

EPOCH = 1_790_000_000 * 1_000_000
NAMES = ("requests", "tokens")


@dataclass
class Admission:
    """Who was let through when, in the state's own time. `costs` shrink when a caller used less."""

    number: int
    reserved: Reserved
    asked: dict[str, int]
    go: int
    costs: dict[str, int]


@dataclass
class Story:
    """Plays operations on one limiter; `log` holds what was admitted and not taken back, in order of reservation."""

    quotas: Mapping[str, Quota]
    now: int = EPOCH
    state: State | None = None
    log: list[Admission] = field(default_factory=list)
    settled: set[int] = field(default_factory=set)

    def apply(self, operation: Operation[Any]) -> Any:
        decided = operation(self.state, self.now)
        self.state = decided.state
        return decided.result

    def reserve(self, costs: dict[str, int], max_wait_s: float = 3600.0) -> Reserved:
        before = self.state
        reserved: Reserved = self.apply(quota.reserve(self.quotas, costs, max_wait_s=max_wait_s))
        if reserved.granted:
            assert self.state is not None
            self.log.append(Admission(reserved.number, reserved, costs, self.at + reserved.wait_us, dict(costs)))
        elif before is not None and self.state is not before:
            # Only time goes on, from where the clock was set back.
            assert self.now < before["t0"] * SECOND + before["at"]  # type: ignore[operator]
            assert {**before, "t0": 0, "at": 0} == {**(self.state or {}), "t0": 0, "at": 0}
        return reserved

    @property
    def at(self) -> int:
        return moment(self.state, self.now).at

    def settle(self, position: int, actual: dict[str, int]) -> None:
        """The caller at `position` (of those that went) reports what it used."""
        gone = [one for one in self.log if one.go <= self.at and one.number not in self.settled]
        if not gone:
            return
        one = gone[position % len(gone)]
        actual = {name: used for name, used in actual.items() if name in one.asked}
        operation = quota.settle(self.quotas, one.number, one.asked, actual)
        self.settled.add(one.number)
        if operation is not None:
            self.apply(operation)
        for name, used in actual.items():
            one.costs[name] = min(used, one.costs[name])

    def cancel(self, positions: list[int]) -> None:
        """Callers that still wait give up, together."""
        waiting = [one for one in self.log if one.number not in self.settled]
        gone = {one.number: one for one in (waiting[place % len(waiting)] for place in positions)} if waiting else {}
        if not gone:
            return
        given = [(one.reserved, quota.charges(self.quotas, one.asked)) for one in gone.values()]
        self.apply(quota.cancel(given))
        self.log = [one for one in self.log if one.number not in gone]

    def pause(self, pause_s: float) -> None:
        at, before = self.at, self.state["held"] if self.state else 0
        held = self.apply(quota.pause("demo", pause_s))
        for one in self.log:
            if one.go > at:
                one.go += held - before

    def most_over(self, name: str) -> int:
        """By how many microseconds the fullest window exceeds what it may hold; <= 0 if none does."""
        one = self.quotas[name]
        log = sorted((entry.go, one.charge_us(entry.costs.get(name, 0))) for entry in self.log)
        worst, best_start, total = -one.full_us, None, 0
        for go, charge in log:
            # The best beginning of a window that ends here: what was admitted before it, against the time.
            start = go - total
            best_start = start if best_start is None else max(best_start, start)
            total += charge
            worst = max(worst, total - go + best_start - one.full_us)
        return worst

    def play(self, steps: list[tuple[Any, ...]]) -> None:
        for step in steps:
            getattr(self, step[0])(*step[1:])

    def move(self, by_us: int) -> None:
        self.now += by_us


def quotas() -> st.SearchStrategy[dict[str, Quota]]:
    rate = st.one_of(st.floats(0.01, 50_000.0), st.integers(1, 5_000).map(float))
    one = st.builds(Quota, rate_per_s=rate, burst=st.integers(1, 2_000))
    return st.fixed_dictionaries(dict.fromkeys(NAMES, one))


@st.composite
def crowds(draw: st.DrawFn) -> tuple[Story, list[tuple[Any, ...]]]:
    """A small limiter that is always nearly full, whose callers use less than they asked for, soon or late."""
    burst = draw(st.integers(4, 12))
    tokens = Quota(rate_per_s=draw(st.sampled_from([0.5, 1.0, 3.0])), burst=burst)
    asked = st.fixed_dictionaries({"tokens": st.one_of(st.just(burst), st.integers(1, burst))})
    used = st.fixed_dictionaries({"tokens": st.one_of(st.just(0), st.integers(0, burst))})
    reserve = st.tuples(st.just("reserve"), asked, st.sampled_from([0.0, 3600.0]))
    settle = st.tuples(st.just("settle"), st.integers(0, 5), used)
    steps = st.one_of(reserve, reserve, settle, settle, st.tuples(st.just("move"), st.integers(0, 8 * SECOND)))
    return Story({"tokens": tokens, "requests": Quota(rate_per_s=1000, burst=1000)}), draw(st.lists(steps, max_size=30))


@st.composite
def stories(
    draw: st.DrawFn, *, kinds: tuple[str, ...] = ("settle", "cancel", "pause", "back")
) -> tuple[Story, list[tuple[Any, ...]]]:
    """A limiter, and what happens to it: callers of all sizes, clocks that leap and go back, cancellations, pauses."""
    limits = draw(quotas())
    full = max(one.full_us for one in limits.values())

    def costs(name: str) -> st.SearchStrategy[int]:
        burst = limits[name].burst
        return st.one_of(st.integers(1, burst), st.integers(1, max(1, burst // 8)), st.just(1))

    asked = st.one_of(
        st.fixed_dictionaries({"requests": st.just(1), "tokens": costs("tokens")}),
        st.fixed_dictionaries({"requests": costs("requests")}),
        st.fixed_dictionaries({"tokens": costs("tokens")}),
    )
    used = st.fixed_dictionaries({"tokens": st.integers(0, limits["tokens"].burst)})
    steps: list[st.SearchStrategy[tuple[Any, ...]]] = [
        st.tuples(st.just("reserve"), asked, st.sampled_from([0.0, 1.0, 3600.0])),
        st.tuples(st.just("reserve"), asked),
        st.tuples(st.just("move"), st.one_of(st.integers(0, 1000), st.integers(0, full), st.integers(0, full // 8))),
    ]
    if "settle" in kinds:
        steps.append(st.tuples(st.just("settle"), st.integers(0, 20), used))
    if "cancel" in kinds:
        steps.append(st.tuples(st.just("cancel"), st.lists(st.integers(0, 20), min_size=1, max_size=6)))
    if "pause" in kinds:
        steps.append(st.tuples(st.just("pause"), st.floats(0, 30)))
    if "back" in kinds:
        steps.append(st.tuples(st.just("move"), st.integers(-5_000_000_000, 0)))
    return Story(limits), draw(st.lists(st.one_of(steps), min_size=1, max_size=25))
