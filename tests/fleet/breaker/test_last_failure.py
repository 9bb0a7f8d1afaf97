"""Whoever is told that a breaker opened is told the last failure that it counted; it is kept beside the state too."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

import pytest

from coterie.breaker import BreakerPolicy, CircuitBreaker, Classifier
from coterie.breaker.note import Note, leave_note, read_note
from coterie.breaker.telling import MOST_CHARS
from coterie.errors import Unavailable
from coterie.events import Event
from coterie.stores.memory import MemoryStateStore
from coterie.testing.clock import ManualClock
from coterie.testing.faults_state import FaultyStateStore
from tests.fleet.breaker.world import CERTAIN, NAME, Broken, Fleet, end_of, failures, until, work

AT_ONCE = BreakerPolicy(failure_threshold=1, jitter=0.0)


def raising(error: Exception) -> Callable[[], object]:
    def raises() -> None:
        raise error

    return raises


async def told(*errors: Exception, policy: BreakerPolicy = AT_ONCE) -> Event:
    """The event of a breaker whose calls end like this."""
    heard: list[Event] = []
    breaker = CircuitBreaker(NAME, policy, on_event=heard.append)
    for error in errors:
        with pytest.raises(type(error)):
            await breaker.call(raising(error))
    (opened,) = [event for event in heard if event.name == "breaker.opened"]
    return opened


async def test_the_event_names_the_last_failure_that_counted():
    opened = await told(
        ValueError("first"), ConnectionError("503: overloaded"), policy=BreakerPolicy(failure_threshold=2)
    )

    assert opened.fields["error"] == "ConnectionError: 503: overloaded"


async def test_the_log_names_it_too(caplog: pytest.LogCaptureFixture):
    await told(ConnectionError("503: overloaded"))

    (line,) = [record.getMessage() for record in caplog.records if "breaker.opened" in record.getMessage()]
    assert line == "breaker.opened agent: open, calls are refused for 60 s, after ConnectionError: 503: overloaded"


async def test_it_is_one_line_of_so_many_characters_without_secrets_and_without_what_acts_on_a_terminal():
    opened = await told(ConnectionError("api_key=abcdef123\n\x1b[31m" + "x" * 5_000))

    error = opened.fields["error"]
    assert len(error) == MOST_CHARS
    assert error.endswith("…")
    assert "abcdef123" not in error
    assert "\n" not in error
    assert "\x1b" not in error


async def test_what_does_not_count_is_not_what_it_opened_after():
    heard: list[Event] = []
    classify = Classifier(ignored=(KeyError,))
    breaker = CircuitBreaker(NAME, BreakerPolicy(failure_threshold=2), on_event=heard.append, classify=classify)
    for error in (ConnectionError("one"), KeyError("ignored"), ConnectionError("two")):
        with pytest.raises(type(error)):
            async with breaker.guard():
                raise error

    assert [event.fields["error"] for event in heard] == ["ConnectionError: two"]


async def test_a_result_that_counts_as_a_failure_is_said_to_be_one():
    heard: list[Event] = []
    judge = Classifier(failed_if=lambda result: result == "refused")
    breaker = CircuitBreaker(NAME, AT_ONCE, on_event=heard.append, classify=judge)

    await breaker.call(work, "refused")

    assert heard[0].fields["error"] == "a result that counts as a failure"


async def test_of_slow_calls_it_is_said_how_long_the_last_took():
    heard: list[Event] = []
    clock = ManualClock()
    policy = BreakerPolicy(mode="count", window_calls=4, min_calls=2, slow_call_s=5.0)
    breaker = CircuitBreaker(NAME, policy, on_event=heard.append, clock=clock)

    async def slowly() -> None:
        clock.advance(7.0)

    for _ in range(2):
        await breaker.call(slowly)

    assert [event.fields["error"] for event in heard] == ["a slow call, of 7 s"]


async def test_a_trial_that_fails_opens_it_after_its_own_error():
    heard: list[Event] = []
    clock = ManualClock()
    breaker = CircuitBreaker(NAME, AT_ONCE, on_event=heard.append, clock=clock)
    for words in ("one", "two"):
        with pytest.raises(Broken):
            await breaker.call(raising(Broken(words)))
        clock.advance(61.0)

    opened = [event.fields["error"] for event in heard if event.name == "breaker.opened"]
    assert opened == ["Broken: one", "Broken: two"]


async def test_what_is_no_opening_names_no_error():
    heard: list[Event] = []
    clock = ManualClock()
    breaker = CircuitBreaker(NAME, AT_ONCE, on_event=heard.append, clock=clock)
    await failures(breaker, 1)
    await breaker.reset()
    await breaker.force_open()

    assert ["error" in event.fields for event in heard] == [True, False, False]


# Beside the state in the store.


async def noted(fleet: Fleet) -> Note:
    """What is kept, once it is."""
    found: list[Note] = []
    async with asyncio.timeout(20):
        while not found:
            note = await read_note(fleet.make_store(), NAME)
            found += [note] if note is not None else []
    return found[0]


async def test_who_opens_a_shared_breaker_leaves_what_it_opened_after(fleet: Fleet):
    one, other = fleet.join(AT_ONCE), fleet.join(AT_ONCE)
    await other.refresh()

    await end_of(one.call(raising(Broken("503"))))  # type: ignore[arg-type]
    await fleet.seen_by_all("open")

    assert await noted(fleet) == ("Broken: 503", int(fleet.clock.now()))
    assert [event.fields["error"] for event in fleet.events] == ["Broken: 503"]
    notes = [call for store in fleet.stores for call in store.calls if call[1] == f"breaker-error/{NAME}"]
    assert notes == [("update", f"breaker-error/{NAME}")]


async def test_who_lists_breakers_does_not_take_it_for_one(fleet: Fleet):
    breaker = fleet.join(AT_ONCE)
    await failures(breaker, 1)
    await fleet.seen_by_all("open")
    await noted(fleet)

    assert list(await fleet.make_store().keys("breaker")) == [f"breaker/{NAME}"]


async def test_a_process_that_is_gone_soon_leaves_it_too(memory: Fleet):
    breaker = memory.join(AT_ONCE, residence="transient")
    await failures(breaker, 1)

    await breaker.aclose()

    assert await read_note(memory.make_store(), NAME) is not None


async def test_calls_that_pass_cost_nothing_more_for_it(fleet: Fleet):
    breaker = fleet.join(CERTAIN)
    await breaker.call(work)
    await failures(breaker, 4)
    await breaker.refresh()
    await breaker.aclose()

    assert not [call for call in fleet.stores[0].calls if "error" in call[1]]


async def test_a_store_that_does_not_take_it_is_nobody_s_trouble(memory: Fleet, caplog: pytest.LogCaptureFixture):
    store = FaultyStateStore(memory.make_store(), update=[Unavailable("full")])

    with caplog.at_level(logging.DEBUG, "coterie.breaker"):
        await leave_note(store, NAME, "ConnectionError: 503")

    assert [record.levelno for record in caplog.records] == [logging.DEBUG]
    assert await read_note(store, NAME) is None


async def test_while_the_store_is_away_nothing_is_left(memory: Fleet):
    breaker = memory.join(AT_ONCE)
    await breaker.call(work)
    memory.stores[0].down = "refusing"
    breaker.store_is_away(Unavailable("down"))
    memory.forget_commands()

    await failures(breaker, 1)
    await until(lambda: breaker.get_state().state == "open", "open here")

    assert memory.events[-1].fields["error"] == "Broken"
    assert ("update", f"breaker-error/{NAME}") not in memory.stores[0].calls


async def test_what_is_no_note_is_none():
    store = MemoryStateStore()
    for state in ({"error": 1, "at": 2}, {"error": "x"}, {}):
        await store.update(f"breaker-error/{NAME}", lambda _, __, state=state: (state, None, ()))  # type: ignore[arg-type,return-value,misc]  # a tuple will do
        assert await read_note(store, NAME) is None
