"""The record of a call: whatever happens, in whatever order, one attempt at most has its result counted."""

from __future__ import annotations

import random
import secrets
from functools import partial
from typing import Any

import pytest

from coterie._rules import call as rule
from coterie._rules.call import Asked, Begun, CallRecord, Dropped
from coterie._rules.decided import Decided, State

NOW = 1_800_000_000_000_500
SECOND = 1_000_000
ID = "c"
ASKED = Asked("linter", "{}", "anna", 10 * SECOND, 3)


class Book:
    """One record, and the clock that it lives by."""

    def __init__(self) -> None:
        self.state: State | None = None
        self.now = NOW
        self.signals: list[tuple[str, str]] = []

    def do(self, decide: Any, **given: Any) -> Any:
        decided: Decided[Any] = decide(self.state, self.now, call_id=ID, **given)
        self.state = decided.state
        self.signals = [tuple(signal) for signal in decided.signals]
        return decided.result

    @property
    def record(self) -> CallRecord:
        record = rule.call_record(self.state)
        assert record is not None
        return record

    def submit(self, owner: str = "anna") -> Any:
        return self.do(rule.submit, asked=ASKED._replace(owner=owner))

    def begin(self, position: str = "1", worker: str = "w1", round_: int = 1) -> Any:
        return self.do(rule.begin, round_=round_, position=position, worker=worker, session=f"s-{worker}")

    def finish(self, token: int, result: str = "R") -> bool:
        return bool(self.do(rule.finish, token=token, result=result))


@pytest.fixture
def book() -> Book:
    return Book()


def begun(found: Any) -> Begun:
    assert isinstance(found, Begun), found
    return found


def dropped(found: Any) -> str:
    assert isinstance(found, Dropped), found
    return found.why


def test_a_call_is_queued_begun_and_done(book: Book):
    assert book.submit().is_new
    first = begun(book.begin())

    assert (first.record.phase, first.record.worker, first.record.token) == ("running", "w1", 1)
    assert book.signals == [("call/c", "running")]
    assert book.finish(1)
    assert (book.record.phase, book.record.result, book.record.call) == ("done", "R", "")
    assert book.signals == [("call/c", "done")]


def test_who_asks_again_joins_what_is_queued_running_or_has_a_result(book: Book):
    book.submit()
    again = book.submit(owner="bert")
    token = begun(book.begin()).record.token
    running = book.submit(owner="carl")
    book.finish(token)
    done = book.submit(owner="dora")

    assert [each.is_new for each in (again, running, done)] == [False] * 3
    assert [each.record.phase for each in (again, running, done)] == ["queued", "running", "done"]
    assert [each.record.owner for each in (again, running)] == ["bert", "carl"]
    assert book.record.round == 1


def test_a_result_of_an_attempt_that_was_taken_over_changes_nothing(book: Book):
    book.submit()
    old = begun(book.begin(worker="w1")).record.token
    new = begun(book.begin(worker="w2")).record.token

    assert not book.finish(old, "stale")
    assert book.finish(new, "fresh")
    assert not book.finish(old, "stale")
    assert book.record.result == "fresh"


def test_whoever_did_not_hear_that_his_result_counts_is_told_so_again(book: Book):
    book.submit()
    token = begun(book.begin()).record.token

    assert book.finish(token, "R")
    assert book.finish(token, "R")
    assert not book.finish(token, "another")


def test_another_message_of_a_running_call_takes_nothing_over(book: Book):
    book.submit()
    token = begun(book.begin(position="1")).record.token

    assert dropped(book.begin(position="2", worker="w2")) == "begun elsewhere"
    assert book.finish(token)


def test_a_message_whose_end_is_recorded_is_only_acknowledged(book: Book):
    book.submit()
    book.finish(begun(book.begin()).record.token)

    assert dropped(book.begin(worker="w2")) == "done"
    assert book.record.result == "R"


def test_only_the_last_to_ask_may_cancel(book: Book):
    book.submit(owner="old trigger")
    book.submit(owner="new trigger")

    assert not book.do(rule.cancel, owner="old trigger", by="a person")
    assert book.do(rule.cancel, owner="new trigger", by="a person")
    assert (book.record.phase, book.record.reason) == ("cancelled", "a person")


def test_a_cancelled_call_tells_its_worker_and_counts_no_result(book: Book):
    book.submit()
    token = begun(book.begin(worker="w7")).record.token
    book.do(rule.cancel, owner=None, by="a person")

    assert book.signals == [("call/c", "cancelled"), ("worker/w7", "c")]
    assert not book.finish(token)
    assert dropped(book.begin(worker="w2")) == "cancelled"


def test_what_is_done_is_not_cancelled(book: Book):
    book.submit()
    book.finish(begun(book.begin()).record.token)

    assert not book.do(rule.cancel, owner=None, by="a person")
    assert book.record.phase == "done"


def test_a_call_asked_for_again_after_its_cancellation_is_another_round(book: Book):
    book.submit()
    old = begun(book.begin(worker="w1")).record.token
    book.do(rule.cancel, owner=None, by="a person")
    again = book.submit(owner="newer")

    assert (again.is_new, again.record.round) == (True, 2)
    assert not book.finish(old)
    assert dropped(book.begin(round_=1)) == "older round"
    assert book.finish(begun(book.begin(round_=2, position="2")).record.token)


def test_a_call_that_nobody_begins_in_time_is_late(book: Book):
    book.submit()
    book.now += 10 * SECOND - 1
    assert not book.do(rule.expire)
    book.now += 1

    assert dropped(book.begin()) == "late"
    assert (book.record.phase, book.record.given_up) == ("done", "late")
    assert book.submit().is_new


def test_a_call_that_was_begun_once_is_never_late(book: Book):
    book.submit()
    token = begun(book.begin()).record.token
    book.do(rule.put_back, token=token)
    book.now += 1000 * SECOND

    assert not book.do(rule.expire)
    begun(book.begin())


def test_refusals_are_counted_from_the_first_one_and_anew_after_work(book: Book):
    book.submit()
    waits = []
    for _ in range(3):
        found = begun(book.begin())
        waits.append(found.waited_us)
        book.do(rule.put_back, token=found.record.token, was_refused=True)
        book.now += SECOND
    found = begun(book.begin())
    book.do(rule.put_back, token=found.record.token)
    after = begun(book.begin())

    assert waits == [0, SECOND, 2 * SECOND]
    assert after.waited_us == 0


def test_who_was_taken_for_lost_may_end_it_until_somebody_else_has_begun(book: Book):
    book.submit()
    token = begun(book.begin()).record.token
    assert book.do(rule.lose, token=token)
    assert book.finish(token)

    other = Book()
    other.submit()
    token = begun(other.begin()).record.token
    other.do(rule.lose, token=token)
    new = begun(other.begin(position="9", worker="w2")).record.token
    assert not other.finish(token)
    assert other.finish(new)


def test_a_dead_letter_ends_its_call_and_requeued_it_is_done_after_all(book: Book):
    book.submit()
    begun(book.begin(position="1"))
    assert not book.do(rule.abandon, round_=1, position="2", reason="another message")
    assert book.do(rule.abandon, round_=1, position="1", reason="died 5 times")
    assert (book.record.phase, book.record.given_up, book.record.reason) == ("done", "abandoned", "died 5 times")

    assert book.finish(begun(book.begin(position="1")).record.token)
    assert (book.record.given_up, book.record.result) == ("", "R")


def test_a_submission_of_which_nobody_could_be_told_is_undone(book: Book):
    book.submit()

    assert book.do(rule.withdraw, round_=1)
    assert book.submit().is_new


def test_a_message_without_a_record_is_of_nothing(book: Book):
    assert dropped(book.begin()) == "unknown"


def test_in_random_histories_no_two_results_count_and_what_is_over_stays_over():
    seed = secrets.randbits(64)
    print(f"seed {seed}")  # noqa: T201  # shown when the test fails
    for number in range(300):
        one_history(random.Random(f"{seed}/{number}"))  # histories, no secrets


def one_history(chance: random.Random) -> None:
    book = Book()
    tokens: list[tuple[int, int]] = []
    counted: dict[int, list[int]] = {}
    for _ in range(chance.randrange(5, 60)):
        book.now += chance.choice((0, 1, SECOND, 20 * SECOND, -SECOND))
        before = rule.call_record(book.state)
        act = chance.choice(ACTS)
        token, round_ = chance.choice(tokens) if tokens else (0, 1)
        match act:
            case "begin":
                current = before.round if before is not None else 1
                found = book.begin(chance.choice("12"), chance.choice(("w1", "w2")), chance.choice((current, 1)))
                if isinstance(found, Begun):
                    tokens.append((found.record.token, found.record.round))
            case "finish":
                was_over = before is not None and before.phase == "done"
                if book.finish(token, f"result of {token}") and not was_over:
                    counted.setdefault(round_, []).append(token)
            case "submit":
                book.submit(chance.choice(("anna", "bert")))
            case "cancel":
                book.do(rule.cancel, owner=chance.choice(("anna", None)), by="x")
            case "abandon":
                book.do(rule.abandon, round_=round_, position=chance.choice("12"), reason="x")
            case "expire":
                book.do(rule.expire)
            case _:
                decide = {"put back": rule.put_back, "lose": rule.lose}[act]
                book.do(partial(decide), token=token)
        check(before, rule.call_record(book.state))
    assert all(len(each) == 1 for each in counted.values()), counted
    granted = [token for token, _ in tokens]
    assert granted == sorted(set(granted))


ACTS = ("begin", "begin", "finish", "submit", "cancel", "abandon", "expire", "put back", "lose")


def check(before: CallRecord | None, after: CallRecord | None) -> None:
    """Of one step."""
    if before is None or after is None:
        assert before is None
        return
    assert after.token >= before.token
    assert after.round in (before.round, before.round + 1)
    if before.result:
        assert (after.result, after.phase) == (before.result, "done")
    if before.phase == "cancelled" and after.phase != "cancelled":
        assert after.round == before.round + 1
    if after.phase in ("queued", "running"):
        # What is still to be done must be there to be read.
        assert after.call == ASKED.call
        assert not after.result


def test_a_record_says_for_how_long_its_end_could_not_be_recorded(book: Book):
    book.submit()
    token = begun(book.begin()).record.token

    assert book.do(rule.finish, token=token, result="R", unsaid_us=SECOND)
    assert book.do(rule.finish, token=token, result="R", unsaid_us=2 * SECOND), "its answer was lost"
    assert book.record.unsaid_us == SECOND


def test_a_record_of_an_end_that_was_recorded_at_once_or_by_an_earlier_version_says_nothing_of_that(book: Book):
    book.submit()
    book.finish(begun(book.begin()).record.token)

    assert "unsaid" not in (book.state or {})
    assert book.record.unsaid_us == 0


def test_who_joins_a_call_is_told_whose_it_was(book: Book):
    joined = [book.submit(owner=owner) for owner in ("anna", "anna", "bert", "bert", "carl")]

    assert [each.before for each in joined] == ["", "", "anna", "", "bert"]
