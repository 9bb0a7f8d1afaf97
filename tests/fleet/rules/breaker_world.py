"""A breaker's stored state, a clock, and all who listen: the rules are driven through it as a store would."""

from __future__ import annotations

import json
from itertools import groupby
from typing import Any

from coterie._rules.breaker import Admission, View, admit, force, look, read_view, record, reset, settle
from coterie._rules.breaker_policy import BreakerPolicy
from coterie._rules.decided import Operation, State
from coterie._rules.timeline import SECOND

# 27 Nov 2026, with a part of a second.
EPOCH = 1_795_774_000 * SECOND + 123_456
NAME = "linter"


class World:
    """Time passes only by `wait`, chance is 0 unless said: an open breaker rests for exactly its period."""

    def __init__(self, policy: BreakerPolicy | None = None, now: int = EPOCH, **settings: Any) -> None:
        self.policy = policy or BreakerPolicy(**settings)
        self.state: State | None = None
        self.now = now
        self.chance = 0
        self.views: list[View] = []
        self.writes = 0
        self._ids = 0

    def wait(self, seconds: float) -> None:
        self.now += round(seconds * SECOND)

    def do(self, operation: Operation[Any]) -> Any:
        """Apply it as a store does: the state goes through JSON, and signals are sent only if it is written."""
        decided = operation(self.state, self.now)
        if decided.state is self.state:
            assert not decided.signals, "signals of a decision that stores nothing are lost"
            return decided.result
        self.writes += 1
        text = json.dumps(decided.state)
        check_storable(decided.state)
        self.state = json.loads(text)
        for channel, message in decided.signals:
            assert channel == f"breaker/{NAME}"
            self.views.append(read_view(message))
        return decided.result

    def record(self, calls: str, *, generation: int | None = None) -> View:
        """Report calls that ended, one letter each, in one batch."""
        runs = [(code, len(list(same))) for code, same in groupby(calls)]
        generation = self.look().generation if generation is None else generation
        return self.do(record(NAME, self.policy, generation=generation, runs=runs, chance=self.chance))

    def admit(self, permit_id: str | None = None) -> Admission:
        self._ids += 1
        return self.do(admit(NAME, self.policy, permit_id=permit_id or f"{self._ids:016x}", chance=self.chance))

    def settle(self, admission: Admission, code: str) -> View:
        assert admission.permit is not None
        return self.do(
            settle(
                NAME,
                self.policy,
                permit_id=admission.permit,
                generation=admission.generation,
                code=code,
                chance=self.chance,
            )
        )

    def force(self, to: Any) -> View:
        return self.do(force(NAME, self.policy, to=to, chance=self.chance))

    def reset(self) -> View:
        return self.do(reset(NAME, self.policy))

    def look(self) -> View:
        before = self.state
        decided = look(NAME, self.policy)(self.state, self.now)
        assert decided.state is before
        assert not decided.signals
        return decided.result

    def opened(self) -> World:
        """With the breaker open, by as many failures as it takes."""
        for _ in range(1000):
            if self.look().state == "open":
                return self
            self.record("f")
        raise AssertionError(f"no number of failures opens {self.look()}")

    def tried(self) -> World:
        """With the breaker's time just over."""
        self.opened()
        self.now += self.look().retry_after_us
        return self


def check_storable(value: Any) -> None:
    """Only what every store can keep: integers below 10**14, texts, booleans, objects of them."""
    if isinstance(value, dict):
        for key, item in value.items():
            assert isinstance(key, str)
            check_storable(item)
    else:
        assert isinstance(value, str | int), f"{value!r} cannot be stored"
        assert isinstance(value, str) or abs(value) < 10**14, f"{value!r} has too many digits"
