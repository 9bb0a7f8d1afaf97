"""The part of the log store's contract that is about consumers that die or leave, and about dead letters."""

from __future__ import annotations

import pytest

from coterie._rules.log import Retention, Terms
from coterie.errors import Misuse
from coterie.ports import LogStore
from coterie.testing.clock import ManualClock
from coterie.testing.log_handles import (
    TOPIC,
    LogHandles,
    append,
    drain,
    group_of,
    ids,
    message,
    positions,
    read_all,
    take,
)

__all__ = ["DeathsContract"]

SECOND = 1_000_000


class DeathsContract(LogHandles):
    """What every `LogStore` does when consumers fail. Part of `LogStoreContract`."""

    # Leases

    async def test_what_a_dead_consumer_held_goes_to_others_with_a_failure_noted(
        self, store: LogStore, clock: ManualClock
    ) -> None:
        await append(store, *"abc")
        held = positions(await take(store, limit=2))

        clock.advance(14.999999)
        assert ids(await take(store, "two", limit=1)) == ["c"]
        clock.advance(0.000001)
        taken = await take(store, "two")

        assert ids(taken) == ["a", "b"]
        for delivery in taken.deliveries:
            ((at, consumer, reason),) = delivery.failures
            assert delivery.number == 2
            assert (at, consumer) == (round(clock.now() * SECOND), "one")
            assert "was not heard of" in reason
            assert "15 s" in reason
        assert list(await store.acknowledge(TOPIC, "group", "one", held)) == held
        assert await store.give_back(TOPIC, "group", "one", held[0], max_deliveries=0) is None
        assert not await store.beat(TOPIC, "group", "one", lease_s=15)
        assert [one.name for one in (await group_of(store)).consumers] == ["two"]

    async def test_a_consumer_that_is_heard_of_keeps_what_it_holds(self, store: LogStore, clock: ManualClock) -> None:
        await append(store, *"abc")
        held = positions(await take(store, limit=2))

        for turn in range(6):
            clock.advance(10)
            if turn % 2:
                assert await store.beat(TOPIC, "group", "one", lease_s=15)
            else:
                await take(store, limit=0)
            assert ids(await take(store, "two", limit=1)) == (["c"] if turn == 0 else [])
        # Acknowledging is not being heard of.
        await store.acknowledge(TOPIC, "group", "one", held[:1])
        clock.advance(5)
        await store.acknowledge(TOPIC, "group", "one", [])
        clock.advance(10)

        assert ids(await take(store, "two")) == ["b"]

    async def test_the_last_lease_that_was_named_counts(self, store: LogStore, clock: ManualClock) -> None:
        await append(store, "a")
        await take(store, terms=Terms(lease_s=10))
        assert await store.beat(TOPIC, "group", "one", lease_s=100)

        clock.advance(99)
        assert ids(await take(store, "two")) == []
        clock.advance(1)
        (delivery,) = (await take(store, "two")).deliveries
        assert "100 s" in delivery.failures[0].reason

    async def test_a_late_consumer_that_nobody_has_missed_still_holds_its_messages(
        self, store: LogStore, clock: ManualClock
    ) -> None:
        await append(store, *"abcd")
        a, b, c = positions(await take(store, limit=3))
        clock.advance(100)

        assert list(await store.acknowledge(TOPIC, "group", "one", [a])) == []
        await store.give_back(TOPIC, "group", "one", b)
        assert await store.beat(TOPIC, "group", "one", lease_s=15)
        clock.advance(100)
        taken = await take(store, done=[c])

        assert taken.stale == ()
        assert [(ids([each]), each.number) for each in taken.deliveries] == [(["b"], 1), (["d"], 1)]

    async def test_who_was_taken_for_dead_may_take_again_but_holds_nothing_of_old(
        self, store: LogStore, clock: ManualClock
    ) -> None:
        await append(store, "a")
        held = positions(await take(store))
        clock.advance(15)
        assert ids(await take(store, "two")) == ["a"]
        await append(store, "b")

        taken = await take(store, done=held)

        assert (ids(taken), list(taken.stale)) == (["b"], held)
        assert await store.beat(TOPIC, "group", "one", lease_s=15)

    async def test_a_consumer_that_is_unknown_cannot_be_heard_of(self, store: LogStore) -> None:
        await append(store, "a")
        await take(store)

        assert not await store.beat(TOPIC, "group", "two", lease_s=15)
        assert not await store.beat(TOPIC, "none", "one", lease_s=15)
        assert not await store.beat("none", "group", "one", lease_s=15)

        assert [one.name for one in (await group_of(store)).consumers] == ["one"]
        assert [status.name for status in await store.topics()] == [TOPIC]

    @pytest.mark.parametrize("wrong", [0, 0.5, -1, 86_401, float("nan"), float("inf")])
    async def test_a_lease_that_cannot_be_is_refused(self, store: LogStore, wrong: float) -> None:
        await append(store, "a")
        await take(store)

        with pytest.raises(Misuse):
            await store.beat(TOPIC, "group", "one", lease_s=wrong)

    # Leaving

    async def test_what_a_leaver_held_goes_to_others_at_once_and_counts_for_nothing(self, store: LogStore) -> None:
        await append(store, *"abc")
        held = positions(await take(store, limit=2))

        assert await store.leave(TOPIC, "group", "one") == 2

        assert await store.leave(TOPIC, "group", "one") == 0
        assert not await store.beat(TOPIC, "group", "one", lease_s=15)
        assert list(await store.acknowledge(TOPIC, "group", "one", held)) == held
        taken = await take(store, "two")
        assert ids(taken) == ["a", "b", "c"]
        assert {(each.number, each.failures) for each in taken.deliveries} == {(1, ())}

    async def test_of_who_is_said_to_have_died_a_failure_is_noted(self, store: LogStore, clock: ManualClock) -> None:
        await append(store, *"ab")
        await take(store)

        assert await store.leave(TOPIC, "group", "one", died=True) == 2

        taken = await take(store, "two")
        assert ids(taken) == ["a", "b"]
        for delivery in taken.deliveries:
            ((at, consumer, reason),) = delivery.failures
            assert (delivery.number, at, consumer) == (2, round(clock.now() * SECOND), "one")
            assert "died" in reason

    async def test_whoever_is_not_there_leaves_nothing(self, store: LogStore) -> None:
        assert await store.leave("none", "group", "one") == 0
        await take(store, limit=0)
        assert await store.leave(TOPIC, "none", "one", died=True) == 0
        assert await store.leave(TOPIC, "group", "two", died=True) == 0
        assert await store.leave(TOPIC, "group", "one") == 0

        assert (await group_of(store)).consumers == ()

    # Too many deliveries

    async def test_after_too_many_deliveries_a_message_is_given_up(self, store: LogStore, clock: ManualClock) -> None:
        terms = Terms(max_deliveries=3)
        await append(store, "a", "b")
        for number in (1, 2, 3):
            (delivery,) = (await take(store, f"c{number}", limit=1, terms=terms)).deliveries
            assert (ids([delivery]), delivery.number) == (["a"], number)
            clock.advance(15)

        taken = await take(store, "last", terms=terms)

        assert ids(taken) == ["b"]
        (dead,) = taken.dead
        assert (ids([dead]), dead.number) == (["a"], 3)
        assert [failure.consumer for failure in dead.failures] == ["c1", "c2", "c3"]
        assert (await take(store, terms=terms)).dead == ()
        assert (await store.dead_letters(TOPIC, "group")).letters == (dead,)

    async def test_the_take_that_finds_the_death_tells_of_the_dead_letters_even_if_it_takes_nothing(
        self, store: LogStore, clock: ManualClock
    ) -> None:
        await append(store, *"abc")
        await take(store, terms=Terms(max_deliveries=1))
        clock.advance(15)

        taken = await take(store, "two", limit=0, terms=Terms(max_deliveries=1))

        assert (ids(taken), ids(taken.dead)) == ([], ["a", "b", "c"])

    async def test_dead_letters_that_a_take_finds_come_in_the_order_of_the_log(
        self, store: LogStore, clock: ManualClock
    ) -> None:
        await append(store, *"abc")
        (a,) = positions(await take(store, "one", limit=1))
        await store.give_back(TOPIC, "group", "one", a)
        await take(store, "two", limit=1)
        await take(store, "one")
        clock.advance(15)

        taken = await take(store, "three", terms=Terms(max_deliveries=1))

        assert ids(taken.dead) == ["a", "b", "c"]

    async def test_those_that_died_too_often_are_given_up_by_who_would_get_them(self, store: LogStore) -> None:
        terms = Terms(max_deliveries=1)
        await append(store, *"abc")
        (a, _, _) = positions(await take(store, terms=terms))
        await store.give_back(TOPIC, "group", "one", a, reason="failed")
        await store.leave(TOPIC, "group", "one", died=True)

        taken = await take(store, "two", limit=1, terms=terms)

        assert (ids(taken), ids(taken.dead)) == ([], ["a", "b", "c"])
        assert taken.dead[0].failures[0].reason == "failed"

    async def test_a_message_given_back_too_often_is_a_dead_letter_at_once(
        self, store: LogStore, clock: ManualClock
    ) -> None:
        await append(store, "a")
        (first,) = (await take(store)).deliveries
        position = first.logged.position
        assert await store.give_back(TOPIC, "group", "one", position, reason="1", max_deliveries=2) is None
        await take(store)

        dead = await store.give_back(TOPIC, "group", "one", position, reason="2", max_deliveries=2)

        assert dead is not None
        now = round(clock.now() * SECOND)
        assert (dead.logged, dead.number) == (first.logged, 2)
        assert dead.failures == ((now, "one", "1"), (now, "one", "2"))
        assert (await store.dead_letters(TOPIC, "group")).letters == (dead,)
        status = await group_of(store)
        assert (status.held, status.waiting, status.dead) == (0, 0, 1)
        assert ids(await take(store)) == []

    @pytest.mark.parametrize("reason", [None, "malformed"])
    async def test_zero_deliveries_make_a_dead_letter_at_once(self, store: LogStore, reason: str | None) -> None:
        await append(store, "a")
        (a,) = positions(await take(store))

        dead = await store.give_back(TOPIC, "group", "one", a, reason=reason, max_deliveries=0, delay_s=60)

        assert dead is not None
        assert dead.number == 1
        assert [failure.reason for failure in dead.failures] == ([] if reason is None else [reason])

    # Dead letters

    async def test_dead_letters_come_in_pages_in_the_order_of_the_log(self, store: LogStore) -> None:
        await append(store, *"abcdefg")
        at = positions(await take(store))
        for index in (4, 0, 2, 6, 1):
            await store.give_back(TOPIC, "group", "one", at[index], reason=f"{index}", max_deliveries=0)

        first = await store.dead_letters(TOPIC, "group", limit=2)
        second = await store.dead_letters(TOPIC, "group", limit=2, after=first.after)
        third = await store.dead_letters(TOPIC, "group", limit=2, after=second.after)

        assert [ids(page.letters) for page in (first, second, third)] == [["a", "b"], ["c", "e"], ["g"]]
        assert third.after is None
        assert ids((await store.dead_letters(TOPIC, "group", limit=5)).letters) == ["a", "b", "c", "e", "g"]
        assert (await store.dead_letters(TOPIC, "group", limit=5)).after is None
        assert await store.dead_letters(TOPIC, "other") == await store.dead_letters("none", "group") == ((), None)

    @pytest.mark.parametrize("wrong", ["x", "-1", "1 ", 3])
    async def test_a_cursor_that_is_none_is_refused(self, store: LogStore, wrong: str) -> None:
        await append(store, "a")
        await take(store)

        with pytest.raises(Misuse):
            await store.dead_letters(TOPIC, "group", after=wrong)

    async def test_dead_letters_are_kept_whatever_the_retention(self, store: LogStore, clock: ManualClock) -> None:
        retention = Retention(max_messages=1, max_age_s=60)
        await append(store, message("a", text="kept 🌱"), retention=retention)
        (a,) = positions(await take(store))
        await store.give_back(TOPIC, "group", "one", a, reason="no", max_deliveries=0)
        clock.advance(10**6)
        await append(store, "b", "c", retention=retention)

        assert await read_all(store) == ["c"]
        (dead,) = (await store.dead_letters(TOPIC, "group")).letters
        assert dead.logged.message == message("a", text="kept 🌱")
        assert list(await store.requeue(TOPIC, "group", [a])) == [a]
        assert ids(await take(store)) == ["a", "c"]

    async def test_what_is_requeued_is_delivered_anew_in_its_group_alone_with_its_failures(
        self, store: LogStore
    ) -> None:
        await append(store, *"abc")
        await drain(store, terms=Terms(types=("none",)))
        await take(store, group="other")
        other = positions(await take(store, "one", group="third"))
        for position in other[:2]:
            await store.give_back(TOPIC, "third", "one", position, reason="no", max_deliveries=0)

        assert list(await store.requeue(TOPIC, "third", [other[1], other[2], other[0]])) == [other[1], other[0]]

        taken = await take(store, "two", group="third")
        assert [(ids([each]), each.number) for each in taken.deliveries] == [(["a"], 1), (["b"], 1)]
        assert [failure.reason for each in taken.deliveries for failure in each.failures] == ["no", "no"]
        assert ids(await take(store)) == ids(await take(store, group="other")) == []
        assert (await group_of(store, "third")).dead == 0
        assert list(await store.requeue(TOPIC, "third", other)) == []
        # It counts anew, and may die anew, with all its failures.
        dead = await store.give_back(TOPIC, "third", "two", other[0], reason="again", max_deliveries=1)
        assert dead is not None
        assert [failure.reason for failure in dead.failures] == ["no", "again"]

    async def test_what_is_discarded_is_gone(self, store: LogStore) -> None:
        await append(store, *"abc")
        at = positions(await take(store))
        for position in at[:2]:
            await store.give_back(TOPIC, "group", "one", position, max_deliveries=0)

        assert list(await store.discard(TOPIC, "group", [at[2], at[1]])) == [at[1]]
        assert list(await store.discard(TOPIC, "group", [at[1]])) == []

        assert ids((await store.dead_letters(TOPIC, "group")).letters) == ["a"]
        assert list(await store.requeue(TOPIC, "group", at)) == [at[0]]
        assert list(await store.acknowledge(TOPIC, "group", "one", [at[2]])) == []

    async def test_where_there_is_no_group_nothing_is_requeued_or_discarded(self, store: LogStore) -> None:
        (a,) = await append(store, "a")

        for topic in (TOPIC, "none"):
            assert list(await store.requeue(topic, "group", [a.position])) == []
            assert list(await store.discard(topic, "group", [a.position])) == []

        assert list(await store.groups(TOPIC)) == []
        assert [status.name for status in await store.topics()] == [TOPIC]
