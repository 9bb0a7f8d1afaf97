"""The part of the log store's contract that is about groups: taking, acknowledging, giving back, and their status."""

from __future__ import annotations

import asyncio

import pytest

from coterie._rules.log import Terms
from coterie.errors import Misuse
from coterie.ports import LogStore
from coterie.testing.clock import ManualClock
from coterie.testing.log_handles import TOPIC, LogHandles, append, drain, group_of, ids, message, positions, take

__all__ = ["GroupsContract"]

SECOND = 1_000_000
NO_CONSUMERS = ["", "x" * 201, "a\x00", "a\nb", "\x7f", "\x85", "\ud800", None, 3]


class GroupsContract(LogHandles):
    """What every `LogStore` does for groups of consumers. Part of `LogStoreContract`."""

    # Taking

    async def test_what_is_taken_is_what_was_appended(self, store: LogStore, clock: ManualClock) -> None:
        made = message("a 🌱", key="k", type="t", text="ü\x00\n", priority=-5)
        (answer,) = await append(store, made)

        taken = await take(store)

        (delivery,) = taken.deliveries
        assert delivery.logged == (answer.position, round(clock.now() * SECOND), made)
        assert (delivery.number, delivery.failures) == (1, ())
        assert (taken.dead, taken.lost, taken.stale) == ((), 0, ())

    async def test_messages_are_taken_in_the_order_of_the_log_and_each_once(self, store: LogStore) -> None:
        await append(store, *"abcdefg")

        first, second, third = [await take(store, name, limit=3) for name in ("one", "two", "one")]

        assert [ids(taken) for taken in (first, second, third)] == [["a", "b", "c"], ["d", "e", "f"], ["g"]]
        assert ids(await take(store, "three")) == []

    async def test_every_group_gets_every_message(self, store: LogStore) -> None:
        await append(store, "a", "b")

        assert ids(await take(store, group="x")) == ["a", "b"]
        assert ids(await take(store, "two", group="y", limit=1)) == ["a"]
        await append(store, "c")
        assert ids(await take(store, group="x")) == ["c"]
        assert ids(await take(store, group="y")) == ["b", "c"]
        # Another's acknowledgement is no acknowledgement here.
        assert [status.held for status in await store.groups(TOPIC)] == [3, 3]

    async def test_limit_zero_takes_nothing_and_makes_the_group_begin(self, store: LogStore) -> None:
        await append(store, "a")

        taken = await take(store, limit=0, terms=Terms(begin="end"))
        await append(store, "b")

        assert taken.deliveries == ()
        assert ids(await take(store)) == ["b"]

    async def test_a_group_begins_where_its_first_terms_say(self, store: LogStore) -> None:
        at = [answer.position for answer in await append(store, *"abc")]
        begins = {"begin": "begin", "end": "end", "second": at[1], "last": at[2], "first": ""}
        for group, begin in begins.items():
            await take(store, group=group, limit=0, terms=Terms(begin=begin))
        await append(store, "d")

        # Where it begins is settled: later terms do not change it.
        got = {group: "".join(ids(await take(store, group=group, terms=Terms(begin="begin")))) for group in begins}

        assert got == {"begin": "abcd", "end": "d", "second": "cd", "last": "d", "first": "abcd"}

    async def test_a_group_may_begin_before_its_topic_does(self, store: LogStore) -> None:
        for group, begin in (("begin", "begin"), ("end", "end")):
            assert (await take(store, group=group, terms=Terms(begin=begin))).deliveries == ()

        await append(store, "a")

        assert ids(await take(store, group="begin")) == ids(await take(store, group="end")) == ["a"]

    async def test_what_matches_none_of_a_groups_types_is_passed_over_for_good(self, store: LogStore) -> None:
        await append(store, message("a", type="x"), message("b", type="y"), message("c", type="x"))

        assert ids(await take(store, terms=Terms(types=("x",)))) == ["a", "c"]

        assert ids(await take(store, "two")) == []
        status = await group_of(store)
        assert (status.unread, status.held, status.waiting) == (0, 2, 0)

    # Acknowledging

    async def test_what_is_acknowledged_never_comes_again(self, store: LogStore, clock: ManualClock) -> None:
        await append(store, *"abc")
        a, b, _ = positions(await take(store))

        assert list(await store.acknowledge(TOPIC, "group", "one", [b, a])) == []
        clock.advance(10**6)

        assert ids(await take(store, "two")) == ["c"]

    async def test_only_who_holds_a_message_acknowledges_it(self, store: LogStore) -> None:
        await append(store, *"abcd")
        a, b, c = positions(await take(store, limit=3))
        (d,) = positions(await take(store, group="other"))[3:]

        assert list(await store.acknowledge(TOPIC, "group", "two", [a, b])) == [a, b]
        assert list(await store.acknowledge(TOPIC, "none", "one", [a])) == [a]
        assert list(await store.acknowledge("none", "group", "one", [a])) == [a]
        assert list(await store.acknowledge(TOPIC, "group", "one", [d, b, a])) == [d]
        assert list(await store.acknowledge(TOPIC, "group", "one", [a, c, b])) == [a, b]
        assert list(await store.acknowledge(TOPIC, "group", "one", [])) == []

        assert [status.name for status in await store.groups(TOPIC)] == ["group", "other"]
        assert [status.name for status in await store.topics()] == [TOPIC]
        assert ids(await take(store)) == ["d"]

    async def test_one_call_acknowledges_and_takes(self, store: LogStore) -> None:
        await append(store, message("a", key="k"), message("b", key="k"), "c")
        first = await take(store, limit=1)

        second = await take(store, done=positions(first), limit=1)
        third = await take(store, "two", done=positions(second))

        assert (ids(first), ids(second), ids(third)) == (["a"], ["b"], ["c"])
        assert second.stale == ()
        assert list(third.stale) == positions(second)
        assert (await take(store, done=[*positions(first), *positions(second)], limit=0)).stale == tuple(
            positions(first)
        )

    # Giving back

    async def test_what_is_given_back_comes_again_first(self, store: LogStore) -> None:
        await append(store, *"abcd")
        _, b, c = positions(await take(store, limit=3))

        await store.give_back(TOPIC, "group", "one", c)
        await store.give_back(TOPIC, "group", "one", b)

        assert ids(await take(store, "two", limit=2)) == ["b", "c"]
        assert ids(await take(store, "two")) == ["d"]

    async def test_without_a_reason_a_delivery_does_not_count(self, store: LogStore) -> None:
        await append(store, "a")

        for _ in range(5):
            (delivery,) = (await take(store, terms=Terms(max_deliveries=2))).deliveries
            assert (delivery.number, delivery.failures) == (1, ())
            position = delivery.logged.position
            assert await store.give_back(TOPIC, "group", "one", position, max_deliveries=1) is None

    async def test_a_reason_is_noted_and_the_number_grows(self, store: LogStore, clock: ManualClock) -> None:
        await append(store, "a")
        noted: list[tuple[int, str, str]] = []
        for number, reason in enumerate(["", "it failed 🌱\n", "x" * 2000, "🌱" * 2001], start=1):
            (delivery,) = (await take(store, f"c{number}")).deliveries
            assert (delivery.number, list(delivery.failures)) == (number, noted)
            await store.give_back(TOPIC, "group", f"c{number}", delivery.logged.position, reason=reason)
            noted.append((round(clock.now() * SECOND), f"c{number}", reason[:2000]))
            clock.advance(1.000001)

        (delivery,) = (await take(store)).deliveries
        assert (delivery.number, list(delivery.failures)) == (5, noted)

    async def test_a_delay_holds_a_message_back_until_it_is_over(self, store: LogStore, clock: ManualClock) -> None:
        await append(store, *"abc")
        a, b, _ = positions(await take(store))
        await store.give_back(TOPIC, "group", "one", a, delay_s=20)
        await store.give_back(TOPIC, "group", "one", b, delay_s=10, reason="later")

        taken = await take(store)
        assert (ids(taken), taken.due_s) == ([], 10)
        clock.advance(9.999999)
        taken = await take(store)
        assert (ids(taken), taken.due_s) == ([], 0.000001)
        clock.advance(0.000001)
        taken = await take(store)
        assert (ids(taken), taken.due_s) == (["b"], 10)
        clock.advance(60)
        assert ids(await take(store)) == ["a"]

    async def test_a_message_that_somebody_else_holds_is_not_given_back(self, store: LogStore) -> None:
        await append(store, "a", "b")
        a, b = positions(await take(store))
        await store.acknowledge(TOPIC, "group", "one", [b])

        for topic, group, consumer, position in [
            (TOPIC, "group", "two", a),
            (TOPIC, "group", "one", b),
            (TOPIC, "none", "one", a),
            ("none", "group", "one", a),
        ]:
            assert await store.give_back(topic, group, consumer, position, reason="no", max_deliveries=0) is None

        assert ids(await take(store, "two")) == []
        assert list(await store.acknowledge(TOPIC, "group", "one", [a])) == []
        assert await store.dead_letters(TOPIC, "group") == ((), None)

    @pytest.mark.parametrize(
        "wrong",
        [
            {"delay_s": -1},
            {"delay_s": float("nan")},
            {"delay_s": float("inf")},
            {"reason": 3},
            {"max_deliveries": -1},
            {"max_deliveries": 1.5},
            {"max_deliveries": 1001},
        ],
    )
    async def test_what_cannot_be_asked_of_a_message_given_back_is_refused(
        self, store: LogStore, wrong: dict[str, int]
    ) -> None:
        await append(store, "a")
        (a,) = positions(await take(store))

        with pytest.raises(Misuse):
            await store.give_back(TOPIC, "group", "one", a, **wrong)  # type: ignore[arg-type]  # what is tested

        assert list(await store.acknowledge(TOPIC, "group", "one", [a])) == []

    async def test_half_a_character_in_a_reason_does_no_harm(self, store: LogStore) -> None:
        await append(store, "a")
        (a,) = positions(await take(store))

        await store.give_back(TOPIC, "group", "one", a, reason="bad \ud800 text")

        ((_, _, reason),) = (await take(store)).deliveries[0].failures
        assert reason.startswith("bad ")

    # When there is more

    async def test_a_taker_is_told_when_to_look_again(self, store: LogStore) -> None:
        assert (await take(store)).due_s is None
        await append(store, "a", "b")

        # What there is was not all taken; what it holds itself is no reason to look again.
        assert (await take(store, limit=1)).due_s == 0
        assert (await take(store)).due_s is None
        assert (await take(store)).due_s is None

    async def test_the_end_of_anothers_lease_is_a_time_to_look_again(self, store: LogStore, clock: ManualClock) -> None:
        await append(store, "a", "b")
        await take(store, "one", limit=1, terms=Terms(lease_s=40))
        clock.advance(10)
        await take(store, "two", terms=Terms(lease_s=20))

        assert (await take(store, "three")).due_s == 20
        assert (await take(store, "two", terms=Terms(lease_s=20))).due_s == 30

    # Status

    async def test_groups_are_told_of(self, store: LogStore, clock: ManualClock) -> None:
        at = [answer.position for answer in await append(store, message("a", key="k"), message("b", key="k"), *"cde")]
        await take(store, "second", limit=2, terms=Terms(lease_s=30))
        await take(store, "first", limit=0, terms=Terms(lease_s=10))
        await take(store, group="a", limit=0, terms=Terms(begin="end"))

        a, group = await store.groups(TOPIC)

        assert (a.name, a.position, a.unread, a.held, a.waiting, a.dead) == ("a", at[4], 0, 0, 0, 0)
        assert (group.name, group.position) == ("group", at[2])
        assert (group.unread, group.held, group.waiting, group.dead) == (2, 2, 1, 0)
        now = round(clock.now() * SECOND)
        assert [(one.name, one.held, one.until) for one in group.consumers] == [
            ("first", 0, now + 10 * SECOND),
            ("second", 2, now + 30 * SECOND),
        ]

    async def test_a_group_is_dropped_with_its_dead_letters_and_begins_anew(self, store: LogStore) -> None:
        await append(store, *"abc")
        a, b, _ = positions(await take(store))
        await store.give_back(TOPIC, "group", "one", a, max_deliveries=0)
        await take(store, group="other")

        assert await store.drop_group(TOPIC, "group")
        assert not await store.drop_group(TOPIC, "group")
        assert not await store.drop_group("none", "group")

        assert await store.dead_letters(TOPIC, "group") == ((), None)
        assert [status.name for status in await store.groups(TOPIC)] == ["other"]
        assert list(await store.acknowledge(TOPIC, "group", "one", [b])) == [b]
        assert ids(await take(store)) == ["a", "b", "c"]
        assert [delivery.number for delivery in (await take(store, group="other")).deliveries] == []

    @pytest.mark.parametrize("wrong", NO_CONSUMERS)
    async def test_a_consumer_that_cannot_be_is_refused(self, store: LogStore, wrong: str) -> None:
        await append(store, "a")
        (a,) = positions(await take(store))

        for use in (
            take(store, wrong),
            store.acknowledge(TOPIC, "group", wrong, [a]),
            store.give_back(TOPIC, "group", wrong, a),
            store.beat(TOPIC, "group", wrong, lease_s=15),
            store.leave(TOPIC, "group", wrong),
        ):
            with pytest.raises(Misuse):
                await use

        assert [one.name for one in (await group_of(store)).consumers] == ["one"]

    @pytest.mark.parametrize("name", ["ü 🌱", "host:1/2:3", "*", "{x}", "'", "a b", "%", "x" * 200, "🌱" * 200])
    async def test_a_consumer_has_any_name(self, store: LogStore, name: str) -> None:
        await append(store, "a")

        held = positions(await take(store, name))

        assert [one.name for one in (await group_of(store)).consumers] == [name]
        assert await store.beat(TOPIC, "group", name, lease_s=15)
        assert list(await store.acknowledge(TOPIC, "group", name, held)) == []

    # Many at once

    async def test_of_many_consumers_each_message_comes_to_one(self, store: LogStore, clock: ManualClock) -> None:
        made = [f"m{number:03}" for number in range(300)]

        async with self.several(store, clock, 3) as handles:

            async def produce(number: int) -> None:
                for begin in range(number * 100, number * 100 + 100, 10):
                    await append(handles[number], *made[begin : begin + 10])

            producing = [asyncio.ensure_future(produce(number)) for number in range(3)]
            done = asyncio.gather(*producing)

            async def consume(number: int) -> list[str]:
                got: list[str] = []
                while not done.done():
                    # A store that never waits lets nobody else go on.
                    await asyncio.sleep(0)
                    got += await drain(handles[number % 3], f"c{number}", limit=7)
                return got + await drain(handles[number % 3], f"c{number}", limit=7)

            shares = await asyncio.gather(*(consume(number) for number in range(6)))
            await done

        assert sorted(got for share in shares for got in share) == made
        status = await group_of(store)
        assert (status.unread, status.held, status.waiting) == (0, 0, 0)

    async def test_another_handle_takes_up_where_this_one_left(self, store: LogStore, clock: ManualClock) -> None:
        async with self.second(store, clock) as other:
            await append(store, *"abc")
            held = positions(await take(store, limit=2))

            assert ids(await take(other, "two")) == ["c"]
            assert list(await other.acknowledge(TOPIC, "group", "one", held[:1])) == []
            await other.give_back(TOPIC, "group", "one", held[1], reason="elsewhere")

            (delivery,) = (await take(store)).deliveries
            assert (ids([delivery]), delivery.number) == (["b"], 2)
            assert delivery.failures[0].reason == "elsewhere"
            assert [one.name for one in (await group_of(other)).consumers] == ["one", "two"]

    @pytest.mark.parametrize("name", ["other", "{}-2", "{}_", "{}0", "x-{}"])
    async def test_two_namespaces_never_meet(self, store: LogStore, clock: ManualClock, name: str) -> None:
        async with self.second(store, clock, namespace=name.format(store.namespace)) as other:
            await append(store, "ours")
            await append(other, "theirs", "more")
            await append(other, "else", topic="else")

            assert ids(await take(store)) == ["ours"]
            assert ids(await take(other)) == ["theirs", "more"]
            assert [status.name for status in await store.topics()] == [TOPIC]
            assert await other.drop_topic(TOPIC)
            assert (await group_of(store)).held == 1
