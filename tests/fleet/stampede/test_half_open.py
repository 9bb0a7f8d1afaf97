"""64 callers of 4 processes storm a half-open breaker: probes succeed, fail, die with their process, are cancelled."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.fleet.stampede.audit import Found, audit
from tests.fleet.stampede.fleet import PROCESSES, Fleet
from tests.fleet.stampede.journal import Row

CALLERS = 16
PROBES = 3
# Long enough for all callers to be there when the time is over; without chance, so that all know when it is.
QUICK = {"timeout_s": 0.15, "max_timeout_s": 0.15, "jitter": 0.0, "half_open_max_calls": PROBES, "success_threshold": 3}
# Permits that only a lost process lets expire.
PATIENT = {**QUICK, "probe_timeout_s": 30.0}
# Another permit is issued in the same trial, or the trial ends when its permits do.
REISSUED = {**QUICK, "probe_timeout_s": 0.4, "round_timeout_s": 30.0}
LAPSED = {**QUICK, "probe_timeout_s": 0.4, "round_timeout_s": 0.4}
POLICIES = {"succeed": [PATIENT], "fail": [PATIENT], "kill": [REISSUED, LAPSED], "cancel": [PATIENT]}


@dataclass
class Stormed:
    """One breaker, and all that is known of it."""

    fleet: Fleet
    chance: random.Random
    policy: dict[str, Any]
    name: str = ""
    rows: list[Row] = field(default_factory=list)
    ends: list[dict[str, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.name = self.fleet.new_name()
        for member in self.fleet.members:
            self.join(member.ask)

    def join(self, ask: Any) -> None:
        """Resident, transient, or to become resident at some moment of the storm."""
        pace = {
            "flush_s": 0.005,
            "reconcile_s": self.chance.choice([0.05, 0.5, 3600.0]),
            "resident_after_s": self.chance.choice([0.1, 0.15, 0.2]),
        }
        residence = self.chance.choice(["resident", "resident", "transient", "auto"])
        ask("join", name=self.name, policy=self.policy, residence=residence, pace=pace)

    def trip(self) -> int:
        """The generation that is open now, or was until a moment ago."""
        tripper = self.chance.choice(self.fleet.members)
        # Successes of the last round may come in between.
        while tripper.ask("look", name=self.name)["state"] == "closed":
            tripper.ask("run", name=self.name, codes="f" * 5)
        return int(tripper.ask("look", name=self.name)["generation"])

    def storm(self, case: str) -> None:
        """One round: all callers at once, until there is a verdict."""
        for number in range(PROCESSES):
            if case != "fail" and self.chance.random() < 0.3:
                self.join(self.fleet.members[number].ask)
        opened = self.trip()
        self.rows += self.fleet.rows()
        begun = len(self.rows)
        probe = {"succeed": "ok", "fail": "fail", "kill": "hang", "cancel": "ok"}[case]
        cancel = 0.7 if case == "cancel" else 0.0
        for member in self.fleet.members:
            seed = self.chance.randrange(10**6)
            member.tell("storm", name=self.name, callers=CALLERS, probe=probe, cancel=cancel, seed=seed)
        assert [member.hear() for member in self.fleet.members] == ["storming"] * PROCESSES
        lost = [self.kill(opened)] if case == "kill" else []
        if lost:
            self.fleet.all("go", but=lost)
        wanted = "open" if case == "fail" else "closed"
        self.rows += self.fleet.wait(lambda rows: _has_verdict(rows, wanted, opened), f"{wanted} after {opened}")
        self.ends += self.fleet.all("calm", but=lost)
        self.rows += self.fleet.rows()
        free = [row for row in self.rows[begun:] if row.what == "begin" and not row.more["permit"]]
        assert all(row.more["gen"] > opened for row in free), f"passed freely, known to be open: {free}"
        for number in lost:
            self.join(self.fleet.members[number].ask)
        if case != "fail":
            # What one process was told is known to all, whatever they were busy with.
            self.fleet.all("look", name=self.name)
            assert self.fleet.all("work", name=self.name) == ["done"] * PROCESSES

    def kill(self, opened: int) -> int:
        """Kill whoever holds one of the permits, once so many calls run."""
        wanted = self.chance.randint(1, PROBES)
        self.rows += self.fleet.wait(
            lambda rows: len(_probing(rows, opened)) >= wanted, f"{wanted} calls of the trial after {opened}"
        )
        pids = {member.pid: number for number, member in enumerate(self.fleet.members)}
        holders = sorted({pids[row.pid] for row in _probing(self.rows, opened) if row.pid in pids})
        victim = self.chance.choice(holders)
        self.fleet.kill(victim, self.name)
        return victim

    def checked(self, *, killed: bool) -> Found:
        self.rows += self.fleet.rows()
        return audit([row for row in self.rows if row.name == self.name], probes=PROBES, killed=killed)


def _has_verdict(rows: list[Row], state: str, opened: int) -> bool:
    return any(
        row.what == "decided" and row.more["seen"]["state"] == state and row.more["seen"]["gen"] > opened
        for row in rows
    )


def _probing(rows: list[Row], opened: int) -> list[Row]:
    return [row for row in rows if row.what == "begin" and row.more["permit"] and row.more["gen"] > opened]


def stormed(fleet: Fleet, case: str, rounds: int, seed: int) -> Found:
    chance = random.Random(f"{case} {seed}")
    found = Found()
    for policy in POLICIES[case]:
        fleet.skip()
        one = Stormed(fleet, chance, policy)
        for _ in range(rounds // len(POLICIES[case])):
            one.storm(case)
        seen = one.checked(killed=case == "kill")
        for name in ("rounds", "permits", "settled", "returned", "reissued", "lapsed"):
            setattr(found, name, getattr(found, name) + getattr(seen, name))
        found.verdicts += seen.verdicts
        # All were there, and were refused but for a few.
        refused = sum(count for end in one.ends for how, count in end.items() if how.startswith("refused"))
        assert refused > seen.permits
    print(f"{case}: {found}")  # noqa: T201 - pytest shows it with a failure
    return found


def check(case: str, found: Found, rounds: int) -> None:
    """That the storms were what they were meant to be."""
    assert found.rounds >= rounds
    if case == "succeed":
        assert found.verdicts == {"closed": rounds}
        assert found.settled == found.permits == rounds * PROBES
    elif case == "fail":
        assert found.verdicts["open"] >= rounds
        assert not found.verdicts["closed"]
    elif case == "kill":
        assert found.reissued
        assert found.lapsed
    else:
        assert found.verdicts == {"closed": rounds}
        assert found.returned


@pytest.mark.parametrize("case", list(POLICIES))
def test_a_storm_never_has_more_calls_than_permits(fleet: Fleet, seed: int, case: str):
    # Of few calls, chance may cancel none that holds a permit.
    rounds = 6 if case == "cancel" else 2
    check(case, stormed(fleet, case, rounds, seed), rounds)


@pytest.mark.full
@pytest.mark.parametrize("case", list(POLICIES))
def test_two_hundred_storms_never_have_more_calls_than_permits(fleet: Fleet, seed: int, case: str):
    check(case, stormed(fleet, case, 200, seed), 200)
