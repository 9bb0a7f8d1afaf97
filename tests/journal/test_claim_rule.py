"""What the journal's rule says in one case each: whose demand is met, who holds what, what comes too late."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coterie._rules import journal as rule
from coterie._rules.journal import RUN, Asked, Busy, Granted, Replayed
from coterie._rules.journal_text import Claim, Record
from tests.journal.claim_state import EPOCH, LEASE, PLACE, TICK


class Unit:
    """The texts of one unit of work and its run, changed as a store would."""

    def __init__(self) -> None:
        self.texts: dict[str, str | None] = dict.fromkeys((*PLACE, *RUN))
        self.now = EPOCH
        self._owners = 0

    def asked(self, engine: str = "e", **more: Any) -> Asked:
        self._owners += 1
        return Asked(
            **{"owner": f"o{self._owners}", "fingerprint": "a", "engine_run": engine, "lease_us": LEASE} | more
        )

    def claim(self, engine: str = "e", **more: Any) -> Any:
        return self.claim_as(self.asked(engine, **more))

    def claim_as(self, asked: Asked) -> Any:
        return self._put(rule.claim(self._given(*PLACE, RUN.claim, RUN.pulse), self.now, PLACE, asked))

    def claim_run(self, **more: Any) -> Any:
        return self._put(rule.claim_run(self._given(*RUN), self.now, self.asked(**more)))

    def record(self, granted: Granted, state: str = "succeeded", *, engine: str = "e", version: str = "a") -> bool:
        """Whether the store lets it in."""
        if self.texts[granted.guard.path] != granted.guard.text:
            return False
        claim = granted.claim
        record = Record(claim.epoch, version, {"state": state}, engine, given=claim.given, forced=claim.forced)
        self.texts |= {PLACE.record: record.text(), PLACE.pulse: None}
        return True

    def do(self, state: str = "succeeded", engine: str = "e", **more: Any) -> Granted:
        granted = self.claim(engine, **more)
        assert isinstance(granted, Granted), granted
        assert self.record(granted, state, engine=engine, version=more.get("fingerprint", "a"))
        return granted

    def seen(self, engine: str = "e", demand: int = 0) -> bool:
        return bool(self._put(rule.note_seen(self._given(PLACE.record), PLACE, engine, demand)))

    def forget(self) -> bool:
        return bool(self._put(rule.forget(self._given(*PLACE, RUN.claim), PLACE)))

    def renew(self, granted: Granted, pulse: str = PLACE.pulse) -> bool:
        return bool(
            self._put(rule.renew(self._given(granted.guard.path, pulse), self.now, pulse, granted.guard, LEASE))
        )

    def _given(self, *paths: str) -> Mapping[str, str | None]:
        return {path: self.texts[path] for path in paths}

    def _put(self, changed: Any) -> Any:
        self.texts |= changed.texts
        return changed.result


@pytest.fixture
def unit() -> Unit:
    return Unit()


# What is finished


@pytest.mark.parametrize("state", ["succeeded", "failed"])
@pytest.mark.parametrize("engine", ["e", "another"])
def test_what_is_finished_is_replayed_to_whoever_asks(unit: Unit, state: str, engine: str):
    unit.do(state)

    for _ in range(3):
        assert isinstance(unit.claim(engine), Replayed)


def test_a_success_is_done_anew_once_when_it_is_cleared_after_the_engine_took_it(unit: Unit):
    unit.do()
    assert unit.seen()

    again = unit.do(demand=1)

    assert (again.why, again.claim.epoch) == ("cleared", 1)
    assert isinstance(unit.claim(demand=1), Replayed)
    assert isinstance(unit.claim(demand=0), Replayed)


def test_a_success_that_the_engine_never_took_is_replayed_when_it_is_cleared(unit: Unit):
    unit.do()

    assert isinstance(unit.claim(demand=1), Replayed)


def test_what_failed_is_gone_on_with_in_its_epoch_once_for_each_clear(unit: Unit):
    unit.do("failed")

    again = unit.do("failed", demand=1)

    assert (again.why, again.claim.epoch) == ("goes_on", 0)
    assert isinstance(unit.claim(demand=1), Replayed)
    assert unit.do(demand=2).why == "goes_on"


def test_a_clear_of_a_failure_counts_although_another_engine_has_tried_it_since(unit: Unit):
    unit.do("failed", "mine")
    assert isinstance(unit.claim("theirs"), Replayed)
    unit.do("failed", "theirs", demand=1)
    assert isinstance(unit.claim("mine"), Replayed)

    assert unit.claim("mine", demand=1).why == "goes_on"


def test_other_work_is_done_in_the_same_epoch(unit: Unit):
    unit.do()

    again = unit.do(fingerprint="b")

    assert (again.why, again.claim.epoch) == ("changed", 0)


def test_a_success_need_not_remember_whom_it_was_given_to(unit: Unit):
    unit.do()
    before = dict(unit.texts)

    assert isinstance(unit.claim("another"), Replayed)

    assert unit.texts == before


def test_a_failure_that_somebody_mends_is_not_given_out_meanwhile(unit: Unit):
    unit.do("failed")
    mending = unit.claim(goes_on=True)

    assert isinstance(unit.claim(), Busy)
    assert unit.record(mending)

    assert isinstance(unit.claim(), Replayed)


def test_what_was_gone_on_with_for_a_demand_and_lost_is_gone_on_with_by_whoever_asks(unit: Unit):
    unit.do("failed")
    unit.claim(demand=1)
    unit.now += LEASE

    taken = unit.do(engine="another")

    assert taken.why == "unfinished"
    assert isinstance(unit.claim(demand=1), Replayed)


# Word that comes late


def test_word_of_a_success_of_before_a_clear_does_not_count_for_the_one_after(unit: Unit):
    unit.do()
    unit.seen()
    unit.do(demand=1)

    assert not unit.seen(demand=0)

    assert isinstance(unit.claim(demand=1), Replayed)


def test_word_of_a_success_of_before_a_clear_does_not_count_although_another_engine_met_it(unit: Unit):
    unit.do()
    unit.seen()
    unit.claim(demand=1)
    unit.now += LEASE
    unit.do(engine="another")

    assert not unit.seen(demand=0)

    assert isinstance(unit.claim(demand=1), Replayed)


# Demands by force


def test_each_name_of_force_is_met_once_however_they_alternate(unit: Unit):
    names = ["x", "y", "x", None, "y", "x", "z", "x", "y"]

    done = [name for name in names if isinstance(found := unit.claim(force=name), Granted) and unit.record(found)]

    assert done == ["x", "y", "z"]


def test_a_demand_by_force_stays_met_when_it_is_cleared_changed_or_forgotten_later(unit: Unit):
    unit.do(force="x")
    unit.seen()
    unit.do(demand=1)
    unit.do(demand=1, fingerprint="b")
    unit.forget()
    unit.do(demand=1, fingerprint="b")

    assert isinstance(unit.claim(force="x", demand=1, fingerprint="b"), Replayed)


def test_whoever_takes_over_forced_work_meets_the_demand_too(unit: Unit):
    unit.do()
    unit.claim(force="x")
    unit.now += LEASE

    taken = unit.do()

    assert (taken.why, taken.claim.epoch) == ("unfinished", 1)
    assert isinstance(unit.claim(force="x"), Replayed)


def test_what_was_begun_and_not_finished_is_begun_anew_by_force(unit: Unit):
    unit.claim()
    unit.now += LEASE

    forced = unit.claim(force="x")

    assert (forced.why, forced.claim.epoch) == ("forced", 1)
    unit.now += LEASE
    assert unit.claim(force="x").claim.epoch == 1


def test_what_a_whole_run_has_begun_is_begun_anew_by_force(unit: Unit):
    unit.claim_run()
    unit.now += LEASE

    assert unit.claim(force="x").claim.epoch == 1
    assert unit.claim_run(force="x").claim.epoch == 1
    unit.now += LEASE
    assert unit.claim_run(force="x").claim.epoch == 1
    unit.now += LEASE
    assert unit.claim_run().claim.epoch == 1


# What is forgotten


def test_what_is_forgotten_is_done_anew_once(unit: Unit):
    unit.do()

    assert unit.forget()

    again = unit.do()
    assert (again.why, again.claim.epoch) == ("forgotten", 1)
    assert isinstance(unit.claim(), Replayed)


def test_what_was_never_finished_is_forgotten_with_all_that_was_done_of_it(unit: Unit):
    begun = unit.claim()

    assert unit.forget()

    assert not unit.record(begun)
    assert unit.claim().claim.epoch == begun.claim.epoch + 1


def test_what_a_whole_run_has_begun_can_be_forgotten(unit: Unit):
    unit.claim_run()
    unit.now += LEASE

    assert unit.forget()

    assert unit.claim().claim.epoch == 1


def test_what_nobody_has_ever_begun_cannot_be_forgotten(unit: Unit):
    assert not unit.forget()

    assert unit.texts == Unit().texts


# Who holds it


def test_a_claim_holds_until_its_lease_ends(unit: Unit):
    first = unit.claim()

    unit.now += LEASE - 1
    assert isinstance(unit.claim(), Busy)
    unit.now += 1
    second = unit.claim()

    assert second.claim.token == first.claim.token + 1
    assert not unit.renew(first)
    assert not unit.record(first)
    assert unit.record(second)


def test_a_claim_that_is_renewed_holds_on(unit: Unit):
    first = unit.claim()

    for _ in range(5):
        unit.now += TICK
        assert unit.renew(first)
        assert isinstance(unit.claim(), Busy)


def test_the_claim_of_one_who_is_known_to_be_dead_holds_nothing(unit: Unit):
    dead = unit.asked()
    unit.claim_as(dead)

    assert isinstance(unit.claim(dead=frozenset({dead.owner})), Granted)


def test_a_heartbeat_that_comes_late_does_not_hold_what_is_finished(unit: Unit):
    done = unit.do("failed")

    assert not unit.renew(done)

    assert isinstance(unit.claim(demand=1), Granted)


def test_one_who_asks_twice_holds_one_claim(unit: Unit):
    asked = unit.asked()

    assert unit.claim_as(asked).claim == unit.claim_as(asked).claim


def test_one_who_asks_again_with_a_new_demand_is_granted_another_claim(unit: Unit):
    asked = unit.asked()
    assert unit.record(unit.claim_as(asked))

    again = unit.claim_as(replace(asked, force="x"))

    assert (again.claim.token, again.claim.epoch, again.claim.forced) == (2, 1, ("x",))


def test_nobody_claims_a_unit_of_a_run_that_another_process_holds(unit: Unit):
    run = unit.claim_run()

    assert isinstance(unit.claim(), Busy)
    assert isinstance(unit.claim_run(), Busy)
    assert unit.renew(run, RUN.pulse)


def test_whoever_had_the_run_is_refused_once_one_of_its_units_is_somebody_elses(unit: Unit):
    run = unit.claim_run()
    unit.now += LEASE

    taken = unit.claim()

    assert taken.why == "unfinished"
    assert not unit.renew(run, RUN.pulse)
    assert unit.texts[RUN.claim] != run.guard.text


def test_a_unit_of_a_run_that_nobody_has_had_as_a_whole_is_the_first_to_be_begun(unit: Unit):
    assert unit.claim().why == "first"


# What is stored

_names = st.text(max_size=8)
_demands = st.dictionaries(_names, st.integers(0, 9), max_size=3)
_claims = st.builds(
    Claim, st.integers(0, 9), st.integers(0, 9), _names, st.lists(_names, max_size=3).map(tuple), _demands
)
_records = st.builds(
    Record,
    st.integers(0, 9),
    _names,
    st.fixed_dictionaries({"state": st.sampled_from(["succeeded", "failed"])}),
    _names,
    st.integers(0, 10**10).map(lambda at: at / 1000),
    _demands,
    _demands,
    _demands,
    st.lists(_names, max_size=3).map(tuple),
)


@given(_claims)
def test_a_claim_reads_as_it_was_written(claim: Claim):
    assert Claim.read(claim.text(), "claim") == claim


@given(_records)
def test_a_record_reads_as_it_was_written(record: Record):
    assert Record.read(record.text(), "task/t") == record


@given(_claims, _claims)
def test_two_claims_with_one_text_are_one(one: Claim, other: Claim):
    assert one.text() != other.text() or one == other
