"""Registrations of workers: one process an id, and one that notices that another is gone."""

from __future__ import annotations

from coterie._rules import worker as rule
from coterie._rules.decided import State
from coterie._rules.worker import WorkerRecord

NOW = 1_800_000_000_000_000
SECOND = 1_000_000


def enlisted(session: str = "s1", now: int = NOW, state: State | None = None, dead: tuple[str, ...] = ()):
    return rule.enlist(
        state, now, session=session, types=("b", "a"), capacity=3, lease_us=15 * SECOND, dead=frozenset(dead)
    )


def record_of(state: State | None) -> WorkerRecord:
    record = rule.worker_record(state)
    assert record is not None
    return record


def test_a_registration_says_who_works_and_until_when_it_is_believed():
    record = record_of(enlisted().state)

    assert (record.session, record.types, record.capacity) == ("s1", ("a", "b"), 3)
    assert record.until_us == NOW + 15 * SECOND
    assert record.is_alive(NOW + 15 * SECOND - 1)
    assert not record.is_alive(NOW + 15 * SECOND)


def test_an_id_belongs_to_one_process_while_it_is_heard_of():
    state = enlisted().state
    refused = enlisted("s2", NOW + SECOND, state)
    late = enlisted("s2", NOW + 15 * SECOND, state)

    assert refused.result.holder == record_of(state)
    assert refused.state is state
    assert late.result.holder is None


def test_the_id_of_a_process_that_is_known_dead_is_free_at_once():
    assert enlisted("s2", NOW + 1, enlisted().state, dead=("s1",)).result.holder is None


def test_being_heard_of_counts_only_for_who_holds_the_id():
    state = enlisted().state
    later = rule.report(state, NOW + 9 * SECOND, session="s1", in_use=2, is_draining=True)
    other = rule.report(state, NOW, session="s2", in_use=0, is_draining=False)

    assert later.result
    assert record_of(later.state).until_us == NOW + 24 * SECOND
    assert (record_of(later.state).in_use, record_of(later.state).is_draining) == (2, True)
    assert not other.result
    assert other.state is state


def test_one_alone_is_the_first_to_notice_that_a_worker_is_lost():
    state = enlisted().state
    early = rule.mark_lost(state, NOW + SECOND, session="s1", is_dead=False)
    first = rule.mark_lost(state, NOW + 15 * SECOND, session="s1", is_dead=False)
    second = rule.mark_lost(first.state, NOW + 16 * SECOND, session="s1", is_dead=False)

    assert early.result is None
    assert first.result is not None
    assert second.result is None
    assert not record_of(first.state).is_alive(NOW)


def test_a_worker_that_is_known_dead_is_lost_at_once_and_not_a_newer_one_of_its_id():
    state = enlisted().state

    assert rule.mark_lost(state, NOW, session="s1", is_dead=True).result is not None
    assert rule.mark_lost(state, NOW, session="s0", is_dead=True).result is None


def test_a_worker_that_was_taken_for_lost_and_is_heard_of_again_is_alive():
    lost = rule.mark_lost(enlisted().state, NOW + 20 * SECOND, session="s1", is_dead=False).state
    back = rule.report(lost, NOW + 21 * SECOND, session="s1", in_use=0, is_draining=False)

    assert record_of(back.state).is_alive(NOW + 22 * SECOND)


def test_only_its_own_session_gives_an_id_up():
    state = enlisted().state

    assert rule.quit_work(state, NOW, session="s1").state is None
    assert rule.quit_work(state, NOW, session="s2").state is state
