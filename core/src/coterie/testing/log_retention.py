"""The part of the log store's contract that is about what is kept, what goes, and who is told of it."""

from __future__ import annotations

import pytest

from coterie._rules.log import Retention, Terms
from coterie.errors import TopicFull
from coterie.ports import LogStore
from coterie.testing.clock import ManualClock
from coterie.testing.log_handles import TOPIC, LogHandles, append, ids, positions, read_all, take

__all__ = ["RetentionContract"]


class RetentionContract(LogHandles):
    """What every `LogStore` keeps. Part of `LogStoreContract`."""

    # Topics

    async def test_beyond_its_length_the_oldest_go_and_readers_are_told_exactly_how_many(self, store: LogStore) -> None:
        retention = Retention(max_messages=3)
        at = [answer.position for answer in await append(store, "a", "b", retention=retention)]

        await append(store, *"cdefg", retention=retention)

        assert await read_all(store) == ["e", "f", "g"]
        # Of b on, c and d are gone; a reader from the beginning begins with what is there.
        assert [(await store.read(TOPIC, after=after)).lost for after in ("", *at)] == [0, 3, 2]
        reading = await store.read(TOPIC, after=at[0], limit=1)
        assert (ids(reading), reading.lost) == (["e"], 3)
        assert (await store.read(TOPIC, after=reading.after)).lost == 0

    async def test_of_one_call_that_is_too_long_the_last_ones_stay(self, store: LogStore) -> None:
        answers = await append(store, *"abcdef", retention=Retention(max_messages=2))

        assert await read_all(store) == ["e", "f"]
        assert len({answer.position for answer in answers}) == 6
        assert (await append(store, "a"))[0] == (answers[0].position, True)

    async def test_what_is_too_old_goes_when_something_is_appended(self, store: LogStore, clock: ManualClock) -> None:
        retention = Retention(max_age_s=60)
        (a,) = await append(store, "a", retention=retention)
        clock.advance(30)
        await append(store, "b", retention=retention)

        clock.advance(30)
        await append(store, "c", retention=retention)
        assert await read_all(store) == ["a", "b", "c"]
        clock.advance(1)
        await append(store, "c", retention=retention)
        assert await read_all(store) == ["a", "b", "c"], "what is not added changes nothing"
        await append(store, "d", retention=retention)

        assert await read_all(store) == ["b", "c", "d"]
        assert (await store.read(TOPIC, after=a.position)).lost == 0
        clock.advance(10**6)
        await append(store, "e", retention=retention)
        assert await read_all(store) == ["e"]
        assert (await store.read(TOPIC, after=a.position)).lost == 3

    async def test_without_bounds_everything_stays(self, store: LogStore, clock: ManualClock) -> None:
        retention = Retention(max_messages=None, max_age_s=None, when_full="refuse")

        for number in range(5):
            await append(store, f"{number}", retention=retention)
            clock.advance(10**6)

        assert await read_all(store) == ["0", "1", "2", "3", "4"]

    async def test_a_full_topic_refuses_new_messages_all_or_none(self, store: LogStore) -> None:
        retention = Retention(max_messages=3, when_full="refuse")
        await append(store, "a", "b", retention=retention)

        with pytest.raises(TopicFull) as raised:
            await append(store, "c", "d", retention=retention)
        assert raised.value.retry_after_s > 0
        assert await read_all(store) == ["a", "b"]
        await append(store, "c", retention=retention)
        with pytest.raises(TopicFull):
            await append(store, "d", retention=retention)

        # What it has already needs no room.
        assert [answer.is_duplicate for answer in await append(store, *"cab", retention=retention)] == [True] * 3
        assert await read_all(store) == ["a", "b", "c"]

    async def test_a_full_topic_makes_room_of_what_every_group_is_done_with(self, store: LogStore) -> None:
        retention = Retention(max_messages=3, when_full="refuse")
        await append(store, *"abc", retention=retention)
        one, two = await take(store, group="one"), await take(store, group="two", limit=2)

        await store.acknowledge(TOPIC, "one", "one", positions(one))
        with pytest.raises(TopicFull):
            await append(store, "d", retention=retention)
        # What is held in front of it does not keep what is done with.
        await store.acknowledge(TOPIC, "two", "one", positions(two)[1:])
        await append(store, "d", retention=retention)

        assert await read_all(store) == ["a", "c", "d"]
        with pytest.raises(TopicFull):
            await append(store, "e", retention=retention)
        assert ids(await take(store, group="two")) == ["c", "d"]
        assert ids(await take(store, group="one")) == ["d"]
        assert {status.name: status.held for status in await store.groups(TOPIC)} == {"one": 1, "two": 3}

    async def test_a_full_topic_keeps_as_much_as_it_may(self, store: LogStore) -> None:
        retention = Retention(max_messages=4, when_full="refuse")
        await append(store, *"abcd", retention=retention)
        await take(store, limit=3, done=positions(await take(store, limit=3)))

        await append(store, "e", retention=retention)

        assert await read_all(store) == ["b", "c", "d", "e"]

    async def test_in_a_full_topic_what_is_done_with_leaves_gaps_that_are_lost_to_no_group(
        self, store: LogStore
    ) -> None:
        retention = Retention(max_messages=5, when_full="refuse")
        (held,) = await append(store, "held", retention=retention)
        await take(store)
        for number in range(50):
            await append(store, f"{number}", retention=retention)
            taken = await take(store, done=positions(await take(store)))
            assert taken.lost == 0

        assert await read_all(store) == await read_all(store, limit=1) == ["held", "46", "47", "48", "49"]
        late = await take(store, group="late")
        assert (ids(late), late.lost) == (["held", "46", "47", "48", "49"], 0)
        # A reader is told of what it cannot read any more.
        reading = await store.read(TOPIC, after=held.position)
        assert (ids(reading), reading.lost) == (["46", "47", "48", "49"], 46)
        assert list(await store.acknowledge(TOPIC, "group", "one", [held.position])) == []

    async def test_in_a_full_topic_a_dead_letter_is_done_with(self, store: LogStore) -> None:
        retention = Retention(max_messages=1, when_full="refuse")
        await append(store, "a", retention=retention)
        (position,) = positions(await take(store))
        await store.give_back(TOPIC, "group", "one", position, reason="no", max_deliveries=0)

        await append(store, "b", retention=retention)

        assert await read_all(store) == ["b"]
        assert ids((await store.dead_letters(TOPIC, "group")).letters) == ["a"]

    async def test_a_full_topic_drops_what_is_too_old_nevertheless(self, store: LogStore, clock: ManualClock) -> None:
        retention = Retention(max_messages=2, max_age_s=60, when_full="refuse")
        await append(store, "a", "b", retention=retention)
        await take(store, limit=0)
        clock.advance(61)

        await append(store, "c", retention=retention)

        assert await read_all(store) == ["c"]
        taken = await take(store)
        assert (ids(taken), taken.lost) == (["c"], 2)

    async def test_an_idle_topic_may_be_dropped_but_is_never_damaged(self, store: LogStore, clock: ManualClock) -> None:
        retention = Retention(idle_s=60)
        await append(store, "a", retention=retention)
        clock.advance(50)
        await append(store, "b", retention=retention)
        clock.advance(50)
        assert await read_all(store) == ["a", "b"], "it was not idle for so long"

        clock.advance(11)

        assert await read_all(store) in (["a", "b"], [])
        await append(store, "c", retention=retention)
        assert await read_all(store) in (["a", "b", "c"], ["c"])

    # Losses

    async def test_a_group_is_told_once_how_many_went_before_it_got_to_them(self, store: LogStore) -> None:
        retention = Retention(max_messages=3)
        await append(store, *"abc", retention=retention)
        (a,) = positions(await take(store, limit=1))
        await take(store, group="idle", limit=0)
        await append(store, *"defg", retention=retention)

        # b, c, d; a was not lost: it got to it.
        second, third = await take(store, limit=1), await take(store)
        assert (ids(second), second.lost, ids(third), third.lost) == (["e"], 3, ["f", "g"], 0)
        await append(store, "h", retention=retention)
        idle = await take(store, group="idle", limit=0)
        assert (idle.lost, ids(await take(store, group="idle"))) == (5, ["f", "g", "h"])
        assert list(await store.acknowledge(TOPIC, "group", "one", [a])) == []

    async def test_what_went_before_a_group_began_is_not_lost_unless_it_begins_behind_a_position(
        self, store: LogStore
    ) -> None:
        retention = Retention(max_messages=2)
        (a, *_) = await append(store, *"abcde", retention=retention)

        begun = [await take(store, group=begin, terms=Terms(begin=begin)) for begin in ("begin", "end")]
        behind = await take(store, group="behind", terms=Terms(begin=a.position))

        assert [(ids(taken), taken.lost) for taken in begun] == [(["d", "e"], 0), ([], 0)]
        assert (ids(behind), behind.lost) == (["d", "e"], 2)

    async def test_what_a_consumer_holds_is_acknowledged_whatever_the_retention(self, store: LogStore) -> None:
        retention = Retention(max_messages=2)
        await append(store, *"ab", retention=retention)
        held = positions(await take(store))
        await append(store, *"cdef", retention=retention)

        taken = await take(store, done=held)

        assert (ids(taken), taken.lost, taken.stale) == (["e", "f"], 2, ())

    async def test_what_waits_to_be_delivered_again_comes_again_or_is_counted_as_lost(
        self, store: LogStore, clock: ManualClock
    ) -> None:
        retention = Retention(max_messages=2)
        await append(store, *"ab", retention=retention)
        a, _ = positions(await take(store))
        await store.give_back(TOPIC, "group", "one", a)
        await append(store, *"cdef", retention=retention)
        clock.advance(16)

        taken = await take(store, "two")

        # c and d were dropped unread; b was held by who died.
        got = ids(taken)
        assert got[-2:] == ["e", "f"]
        assert got[:-2] == [letter for letter in "ab" if letter in got]
        assert taken.lost + len(got) == 6

    async def test_all_of_a_topic_that_was_made_anew_lies_behind_a_position_of_the_old_one(
        self, store: LogStore, clock: ManualClock
    ) -> None:
        *_, last = await append(store, *"abc")
        await store.drop_topic(TOPIC)
        clock.advance(1)
        await append(store, "d")

        reading = await store.read(TOPIC, after=last.position)
        taken = await take(store, terms=Terms(begin=last.position))

        assert ([logged.message.id for logged in reading.messages], reading.lost, reading.is_all) == (["d"], 0, True)
        assert (ids(taken), taken.lost) == (["d"], 0)
