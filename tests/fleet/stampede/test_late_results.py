"""A call that ends after its breaker has moved on changes nothing, whichever process made it, whatever it says."""

from __future__ import annotations

import itertools
import random
from typing import Any, NamedTuple

import pytest

from tests.fleet.stampede.fleet import Fleet
from tests.fleet.stampede.journal import Row

HELD = 3
# Opens at the fifth failure, and at the fifth alone, in each mode.
MODES: dict[str, dict[str, Any]] = {
    "consecutive": {"failure_threshold": 5},
    "count": {"min_calls": 5, "window_calls": 5, "failure_rate": 1.0},
    "time": {"min_calls": 5, "window_s": 3600, "failure_rate": 1.0},
}
STAYS = {"jitter": 0.0, "half_open_max_calls": 3, "success_threshold": 3, "probe_timeout_s": 600.0}


class Case(NamedTuple):
    """began: in which state the late calls were let in. ends: in which state the breaker is when they end."""

    mode: str
    residence: str
    began: str
    ends: str
    code: str

    @property
    def policy(self) -> dict[str, Any]:
        rest_s = 3600.0 if self.ends == "open" and self.began == "closed" else 0.05
        return {"mode": self.mode, "timeout_s": rest_s, "max_timeout_s": 3600.0, **MODES[self.mode], **STAYS}


CASES = [
    Case(*chosen)
    for chosen in itertools.product(
        MODES, ["resident", "transient"], ["closed", "half_open"], ["open", "half_open", "closed"], ["s", "f"]
    )
]


def late(fleet: Fleet, case: Case) -> None:
    """Member 0 holds the late calls; 1 moves the breaker; 2 tries it; 3 only sees the end of it."""
    name = fleet.new_name()
    fleet.all("join", name=name, policy=case.policy, residence=case.residence)
    holder, mover, trier, _ = fleet.members
    if case.began == "half_open":
        tripped(mover, name, case)
        held(holder, name)
    else:
        assert holder.ask("hold", name=name, count=HELD) == HELD
    generation = moved(mover, trier, name, case)
    fleet.skip()
    before = holder.ask("stored", name=name)

    assert holder.ask("release", code=case.code) == HELD
    seen = fleet.all("look", name=name)

    after = holder.ask("stored", name=name)
    assert after["state"] == before["state"], case
    assert [(one["state"], one["generation"]) for one in seen] == [(case.ends, generation)] * 4, case
    assert not decisions(fleet.rows(), name), case
    trier.ask("release", code="i")


def tripped(member: Any, name: str, case: Case) -> None:
    while member.ask("look", name=name)["state"] == "closed":
        member.ask("run", name=name, codes="f" * 5)


def held(member: Any, name: str, count: int = HELD) -> None:
    """Calls of a trial, as soon as there is one."""
    while member.ask("hold", name=name, count=1) < count:
        pass


def moved(mover: Any, trier: Any, name: str, case: Case) -> int:
    """Into the state in which the late calls end, in a younger generation than theirs."""
    if case.began == "half_open":
        mover.ask("reset", name=name)
    tripped(mover, name, case)
    if case.ends == "half_open":
        held(trier, name, 1)
    elif case.ends == "closed":
        mover.ask("reset", name=name)
        mover.ask("run", name=name, codes="f" * 4)
    return int(trier.ask("look", name=name)["generation"])


def decisions(rows: list[Row], name: str) -> list[Row]:
    return [row for row in rows if row.what == "decided" and row.name == name]


def test_a_sample_of_late_results_changes_nothing(fleet: Fleet, seed: int):
    for case in random.Random(seed).sample(CASES, 8):
        late(fleet, case)


@pytest.mark.full
@pytest.mark.parametrize("case", CASES, ids="-".join)
def test_a_late_result_changes_nothing(fleet: Fleet, case: Case):
    late(fleet, case)
