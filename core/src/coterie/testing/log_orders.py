"""The part of the log store's contract that is about order, within a key and by priority, and about who is woken."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from random import Random

import pytest

from coterie._rules.log import Retention, Terms
from coterie.errors import Misuse
from coterie.ports import LogStore
from coterie.testing.clock import ManualClock
from coterie.testing.log_handles import (
    PATIENCE_S,
    TOPIC,
    Bell,
    LogHandles,
    append,
    group_of,
    ids,
    message,
    positions,
    take,
    uses_of_a_group,
)

__all__ = ["OrdersContract"]

BY_PRIORITY = Terms(by_priority=True, ageing_s=60)


class OrdersContract(LogHandles):
    """In which order every `LogStore` delivers, and whom it wakes. Part of `LogStoreContract`."""

    # Keys

    async def test_of_one_key_one_message_is_held_at_a_time_even_by_one_consumer(self, store: LogStore) -> None:
        await append(store, *(message(name, key=name[0]) for name in ["x1", "x2", "y1", "x3", "y2"]), "free")

        first = await take(store)
        assert ids(first) == ["x1", "y1", "free"]
        assert ids(await take(store, "two")) == []
        second = await take(store, "two", done=positions(first))
        assert (ids(second), list(second.stale)) == ([], positions(first))
        assert ids(await take(store, done=positions(first)[:1])) == ["x2"]
        assert ids(await take(store, "two")) == []
        await store.acknowledge(TOPIC, "group", "one", positions(first)[1:])
        assert ids(await take(store, "two")) == ["y2"]

    async def test_keys_of_one_group_do_not_hold_up_another(self, store: LogStore) -> None:
        await append(store, message("x1", key="x"), message("x2", key="x"))

        (first,) = positions(await take(store, group="a"))
        assert ids(await take(store, group="b")) == ["x1"]
        assert ids(await take(store, group="a", done=[first])) == ["x2"]
        assert ids(await take(store, group="b")) == []

    async def test_a_message_given_back_keeps_its_place_in_its_key(self, store: LogStore, clock: ManualClock) -> None:
        await append(store, *(message(f"x{number}", key="x") for number in (1, 2, 3)), message("y1", key="y"))
        (x1,) = positions(await take(store, limit=1))

        await store.give_back(TOPIC, "group", "one", x1, delay_s=10, reason="later")
        taken = await take(store, "two")
        assert (ids(taken), taken.due_s) == (["y1"], 10)
        clock.advance(10)
        assert ids(await take(store, "two")) == ["x1"]
        assert ids(await take(store, "two", done=[x1])) == ["x2"]

    async def test_the_death_of_a_consumer_keeps_the_order_of_its_keys(
        self, store: LogStore, clock: ManualClock
    ) -> None:
        await append(store, *(message(f"x{number}", key="x") for number in (1, 2, 3)), "free")
        assert ids(await take(store, "one")) == ["x1", "free"]

        clock.advance(15)
        taken = await take(store, "two")
        assert ids(taken) == ["x1", "free"]
        await store.leave(TOPIC, "group", "two", died=True)
        order = []
        while (taken := await take(store, "three")).deliveries:
            order += ids(taken)
            await store.acknowledge(TOPIC, "group", "three", positions(taken))

        assert order == ["x1", "free", "x2", "x3"]

    async def test_a_dead_letter_no_longer_stands_in_the_way(self, store: LogStore, clock: ManualClock) -> None:
        await append(store, *(message(f"x{number}", key="x") for number in (1, 2, 3)))
        (x1,) = positions(await take(store))
        await store.give_back(TOPIC, "group", "one", x1, max_deliveries=0)
        assert ids(await take(store, terms=Terms(max_deliveries=1))) == ["x2"]
        clock.advance(15)

        taken = await take(store, "two", terms=Terms(max_deliveries=1))

        assert (ids(taken), ids(taken.dead)) == (["x3"], ["x2"])

    async def test_what_is_requeued_waits_for_who_holds_its_key_and_comes_first_then(self, store: LogStore) -> None:
        await append(store, *(message(f"x{number}", key="x") for number in (1, 2, 3)))
        (x1,) = positions(await take(store))
        await store.give_back(TOPIC, "group", "one", x1, max_deliveries=0)
        (x2,) = positions(await take(store))
        await store.requeue(TOPIC, "group", [x1])

        assert ids(await take(store, "two")) == []
        assert ids(await take(store, "two", limit=0)) == []
        await store.acknowledge(TOPIC, "group", "one", [x2])
        assert ids(await take(store, "two")) == ["x1"]
        assert ids(await take(store, "two", done=[x1])) == ["x3"]

    async def test_what_is_requeued_comes_before_a_later_one_that_was_given_back(self, store: LogStore) -> None:
        await append(store, *(message(f"x{number}", key="x") for number in (1, 2)))
        (x1,) = positions(await take(store))
        await store.give_back(TOPIC, "group", "one", x1, max_deliveries=0)
        (x2,) = positions(await take(store))
        await store.requeue(TOPIC, "group", [x1])
        assert ids(await take(store, "two")) == []
        await store.give_back(TOPIC, "group", "one", x2)

        assert ids(await take(store)) == ["x1"]
        assert ids(await take(store, done=[x1])) == ["x2"]

    async def test_a_hot_key_does_not_stop_other_keys(self, store: LogStore) -> None:
        for begin in range(0, 3000, 1000):
            await append(store, *(message(f"hot{begin + number:04}", key="hot") for number in range(1000)))
        await append(store, *(message(f"cool{number}", key=f"k{number}") for number in range(5)), "free")

        taken = await take(store, limit=3)
        others = await take(store, "two", limit=10)

        assert ids(taken) == ["hot0000", "cool0", "cool1"]
        assert ids(others) == ["cool2", "cool3", "cool4", "free"]
        done = positions(taken)[:1]
        for number in range(1, 20):
            next_one = await take(store, done=done, limit=1)
            assert ids(next_one) == [f"hot{number:04}"]
            done = positions(next_one)
        status = await group_of(store)
        assert status.held + status.waiting + status.unread == 3006 - 19

    async def test_nothing_is_lost_where_more_wait_than_a_group_may_keep_waiting(self, store: LogStore) -> None:
        for begin in range(0, 11_000, 1000):
            await append(store, *(message(f"{begin + number}", key="hot") for number in range(1000)))
        await append(store, message("other", key="k"))
        (first,) = positions(await take(store, limit=2))[:1]

        taken = await take(store, "two", limit=2)
        status = await group_of(store)
        assert status.held + status.waiting + status.unread == 11_001
        # So many at the most wait for the one that is held.
        assert ids(taken) in ([], ["other"])
        assert ids(await take(store, done=[first], limit=1)) == ["1"]

    @pytest.mark.parametrize(
        "terms", [Terms(max_deliveries=1000), Terms(max_deliveries=1000, by_priority=True)], ids=["log", "priority"]
    )
    async def test_many_consumers_that_fail_lose_nothing_and_keep_the_order_of_each_key(
        self, store: LogStore, clock: ManualClock, terms: Terms
    ) -> None:
        seed = secrets.randbits(32)
        print(f"seed {seed}")  # noqa: T201  # for who must find it again
        chance = Random(seed)  # noqa: S311  # a history, no secret
        made = [message(f"{key}{number:02}", key=key, priority=number % 3) for number in range(20) for key in "vwxyz"]
        chance.shuffle(made)
        await append(store, *made)
        at_work: dict[str, str] = {}
        finished: list[str] = []

        async def work(handle: LogStore, name: str) -> None:
            while len(finished) < len(made):
                for delivery in (await take(handle, name, limit=3, terms=terms)).deliveries:
                    key, id_ = delivery.logged.message.key, delivery.logged.message.id
                    assert at_work.setdefault(key, name) == name, "two consumers hold messages of one key"
                    await asyncio.sleep(0)
                    del at_work[key]
                    position, reason = delivery.logged.position, chance.choice([None, "failed"])
                    if chance.random() < 0.3:
                        await handle.give_back(TOPIC, "group", name, position, reason=reason)
                    else:
                        finished.append(id_)
                        assert list(await handle.acknowledge(TOPIC, "group", name, [position])) == []
                if chance.random() < 0.1:
                    # Dies, with nothing in hand that it has not settled.
                    await handle.leave(TOPIC, "group", name, died=True)
                await asyncio.sleep(0)

        async with self.several(store, clock, 3) as handles, asyncio.timeout(PATIENCE_S * 3):
            await asyncio.gather(*(work(handles[number % 3], f"c{number}") for number in range(6)))

        assert sorted(finished) == sorted(each.id for each in made)
        for key in "vwxyz":
            assert [name for name in finished if name[0] == key] == [each.id for each in made if each.key == key]

    # Priority

    async def test_by_priority_the_highest_comes_first_and_equals_in_the_order_of_the_log(
        self, store: LogStore
    ) -> None:
        levels = {"a": 0, "b": 5, "c": -1, "d": 5, "e": 0, "f": 9}
        await append(store, *(message(name, priority=level) for name, level in levels.items()))

        assert ids(await take(store, limit=4, terms=BY_PRIORITY)) == ["f", "b", "d", "a"]
        await append(store, message("g", priority=7))
        assert ids(await take(store, "two", terms=BY_PRIORITY)) == ["g", "e", "c"]

    async def test_without_by_priority_the_order_is_that_of_the_log(self, store: LogStore) -> None:
        await append(store, *(message(name, priority=level) for level, name in enumerate("abc")))

        assert ids(await take(store)) == ["a", "b", "c"]

    async def test_waiting_makes_up_for_priority(self, store: LogStore, clock: ManualClock) -> None:
        await append(store, message("old", priority=0), message("low", priority=-1))
        clock.advance(59)
        await append(store, message("soon", priority=1))
        clock.advance(1.000001)
        await append(store, message("late", priority=1), message("high", priority=2))

        # 60 s are worth one level: "late" came more than that after "old", and "soon" less.
        assert ids(await take(store, terms=BY_PRIORITY)) == ["high", "soon", "old", "late", "low"]

    async def test_priorities_beyond_a_thousand_count_as_that(self, store: LogStore) -> None:
        levels = {"a": 1000, "b": 10**9, "c": -(10**9), "d": -1000, "e": 999}
        await append(store, *(message(name, priority=level) for name, level in levels.items()))

        assert ids(await take(store, terms=BY_PRIORITY)) == ["a", "b", "e", "c", "d"]

    async def test_by_priority_keys_keep_their_order(self, store: LogStore) -> None:
        made = [("x1", "x", 0), ("x2", "x", 9), ("y1", "y", 5), ("y2", "y", 8), ("free", "", 1)]
        await append(store, *(message(name, key=key, priority=level) for name, key, level in made))

        first = await take(store, terms=BY_PRIORITY)
        assert ids(first) == ["y1", "free", "x1"]
        assert ids(await take(store, terms=BY_PRIORITY, done=positions(first))) == ["x2", "y2"]

    async def test_by_priority_what_is_given_back_stands_where_it_stood(
        self, store: LogStore, clock: ManualClock
    ) -> None:
        await append(store, *(message(name, priority=level) for name, level in [("a", 1), ("b", 2), ("c", 3)]))
        for position in positions(await take(store, limit=2, terms=BY_PRIORITY)):
            await store.give_back(TOPIC, "group", "one", position, delay_s=1, reason="no")
        clock.advance(1)
        await append(store, message("d", priority=2))

        assert ids(await take(store, terms=BY_PRIORITY)) == ["c", "b", "d", "a"]

    async def test_by_priority_types_are_chosen_and_nothing_is_lost(self, store: LogStore) -> None:
        terms = Terms(by_priority=True, types=("x*",))
        await append(store, *(message(f"{n}", type="xy"[n % 2], priority=n) for n in range(10)))

        assert ids(await take(store, limit=2, terms=terms)) == ["8", "6"]
        assert ids(await take(store, "two", terms=terms)) == ["4", "2", "0"]

    async def test_by_priority_a_taker_is_told_that_there_is_more(self, store: LogStore) -> None:
        await append(store, "a", "b", "c")

        assert (await take(store, limit=1, terms=BY_PRIORITY)).due_s == 0
        assert (await take(store, terms=BY_PRIORITY)).due_s is None

    # Watching

    async def test_who_watches_is_told_of_what_is_appended(self, store: LogStore, clock: ManualClock) -> None:
        async with self.several(store, clock, 2) as (here, there):
            bell = Bell()
            await there.watch(TOPIC, bell)

            for letter in "abc":
                await append(here, letter)
                await bell.rings()
                assert ids(await take(there)) == [letter]

    @pytest.mark.parametrize("by", ["acknowledge", "take", "give_back", "bury", "leave", "die", "requeue"])
    async def test_who_watches_is_told_of_what_may_be_taken_again(
        self, store: LogStore, clock: ManualClock, by: str
    ) -> None:
        async with self.several(store, clock, 2) as (here, there):
            bell = Bell()
            await append(here, message("x1", key="x"), message("x2", key="x"), message("y1", key="y"))
            x1, y1 = positions(await take(here))
            if by == "requeue":
                await here.give_back(TOPIC, "group", "one", y1, max_deliveries=0)
            await there.watch(TOPIC, bell)
            assert ids(await take(there, "two")) == []
            bell.forget()

            acts: dict[str, Callable[[], Awaitable[object]]] = {
                "acknowledge": lambda: here.acknowledge(TOPIC, "group", "one", [x1]),
                "take": lambda: take(here, done=[x1], limit=0),
                "give_back": lambda: here.give_back(TOPIC, "group", "one", x1),
                "bury": lambda: here.give_back(TOPIC, "group", "one", x1, max_deliveries=0),
                "leave": lambda: here.leave(TOPIC, "group", "one"),
                "die": lambda: here.leave(TOPIC, "group", "one", died=True),
                "requeue": lambda: here.requeue(TOPIC, "group", [y1]),
            }
            await acts[by]()
            await bell.rings()

            free = {"give_back": ["x1"], "leave": ["x1", "y1"], "die": ["x1", "y1"], "requeue": ["y1"]}
            assert ids(await take(there, "two")) == free.get(by, ["x2"])

    async def test_who_waits_is_told_of_a_delay_that_it_must_wait_for(
        self, store: LogStore, clock: ManualClock
    ) -> None:
        async with self.several(store, clock, 2) as (here, there):
            bell = Bell()
            await append(here, "a")
            (a,) = positions(await take(here))
            await there.watch(TOPIC, bell)
            bell.forget()

            await here.give_back(TOPIC, "group", "one", a, delay_s=7)
            await bell.rings()

            assert (await take(there, "two")).due_s == 7

    async def test_every_watcher_is_told_until_it_stops(self, store: LogStore) -> None:
        stays, goes, elsewhere = Bell(), Bell(), Bell()
        for bell in (stays, goes):
            await store.watch(TOPIC, bell)
            await store.watch(TOPIC, bell)
        await store.watch("other", elsewhere)
        await append(store, "a")
        await asyncio.gather(stays.rings(), goes.rings())

        await store.unwatch(TOPIC, goes)
        await store.unwatch(TOPIC, goes)
        await store.unwatch("none", goes)
        goes.forget()
        elsewhere.forget()
        stays.forget()
        await append(store, "b")
        await stays.rings()

        assert not goes.has_rung
        assert not elsewhere.has_rung

    async def test_a_notice_that_raises_stops_nobody(self, store: LogStore) -> None:
        def fail(_message: str | None) -> None:
            raise KeyError("mine")

        bell, heard = Bell(), asyncio.Event()
        asyncio.get_running_loop().set_exception_handler(lambda _loop, _context: heard.set())
        await store.watch(TOPIC, fail)
        await store.watch(TOPIC, bell)

        await append(store, "a")

        await bell.rings()
        await asyncio.wait_for(heard.wait(), 20)

    # The end

    async def test_a_closed_store_refuses_everything(self, store: LogStore) -> None:
        await append(store, "a")
        bell = Bell()
        await store.watch(TOPIC, bell)
        await store.aclose()
        await store.aclose()

        uses: list[Callable[[], Awaitable[object]]] = [
            *uses_of_a_group(store, TOPIC, "group"),
            lambda: append(store, "a"),
            lambda: store.read(TOPIC),
            lambda: store.locate(TOPIC, None),
            lambda: store.groups(TOPIC),
            store.topics,
            lambda: store.drop_topic(TOPIC),
            lambda: store.watch(TOPIC, bell),
        ]
        for use in uses:
            with pytest.raises(Misuse, match="closed"):
                await use()
        await store.unwatch(TOPIC, bell)

    async def test_what_is_there_outlives_a_handle_that_is_closed(self, store: LogStore, clock: ManualClock) -> None:
        async with self.second(store, clock) as other:
            await append(other, "a", "b", retention=Retention())
            await take(other, limit=1)
            await other.aclose()

            assert ids(await take(store, "two")) == ["b"]
            clock.advance(15)
            assert ids(await take(store, "two")) == ["a"]
