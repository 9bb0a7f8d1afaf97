"""The part of the log store's contract that is about topics: appending, names, and reading."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from coterie._rules.log import Message, Retention, Terms
from coterie.errors import Misuse
from coterie.errors.bus import OversizedMessage
from coterie.ports import LogStore
from coterie.testing.clock import ManualClock
from coterie.testing.log_handles import (
    TOPIC,
    LogHandles,
    append,
    ids,
    message,
    positions,
    read_all,
    take,
    uses_of_a_group,
)

__all__ = ["TopicsContract"]

MIB = 2**20
SECOND = 1_000_000
STRANGE = [
    "ü",
    "u\u0308",
    "🌱",
    " ",
    "a b",
    "/",
    "*",
    "%",
    "_",
    "{x}",
    "a:b",
    "\u2028",
    "'",
    '"',
    "\\",
    "A",
    "a",
    "0",
    "-",
]
NO_LABELS = ["", "x" * 501, "a\x00", "a\nb", "\t", "\x7f", "\x85", "\ud800", None, 3, b"a"]
NO_NAMES = ["", "/", "-a", ".a", "_a", "a b", "ü", "*", "{a}", "a\n", "a:b", "x" * 201, None, 3]
NAMES = ["a", "A", "0", "a.b", "a_b", "a-b", "a/b", "a/b/c", "tasks/linter", "x" * 200, "a.", "a/"]


class TopicsContract(LogHandles):
    """What every `LogStore` does with topics. Part of `LogStoreContract`."""

    # Appending

    async def test_messages_are_read_as_they_were_appended(self, store: LogStore, clock: ManualClock) -> None:
        made = [
            Message(f"id {part}", f"type {part}", f"{part} 🌱 \x00\r\n\u2028\\'\"", f"key {part}", priority)
            for priority, part in enumerate(STRANGE, start=-3)
        ]
        made += [Message("x" * 500, "🌱" * 500, "", "ü" * 500), Message("none", "t", "1e5", priority=10**9)]

        appended = await append(store, *made)

        reading = await store.read(TOPIC)
        assert [logged.message for logged in reading.messages] == made
        assert [logged.position for logged in reading.messages] == [answer.position for answer in appended]
        assert {logged.at for logged in reading.messages} == {round(clock.now() * SECOND)}
        assert reading.after == appended[-1].position
        assert (reading.lost, reading.is_all) == (0, True)
        assert not any(answer.is_duplicate for answer in appended)

    async def test_messages_of_one_call_lie_in_their_order_and_calls_one_after_another(self, store: LogStore) -> None:
        await append(store, "b", "a", "c")
        await append(store, "0")
        await append(store, "z", "y")

        assert await read_all(store) == ["b", "a", "c", "0", "z", "y"]
        assert await read_all(store, limit=1) == ["b", "a", "c", "0", "z", "y"]

    async def test_appending_nothing_makes_no_topic(self, store: LogStore) -> None:
        assert list(await append(store)) == []

        assert list(await store.topics()) == []

    async def test_a_known_id_is_not_added_again_and_its_old_position_is_the_answer(self, store: LogStore) -> None:
        first = await append(store, "a", "b")

        again = await append(store, message("b", text="other"), "c", "a")

        assert [answer.is_duplicate for answer in again] == [True, False, True]
        assert [again[0].position, again[2].position] == [first[1].position, first[0].position]
        assert await read_all(store) == ["a", "b", "c"]
        assert [logged.message.text for logged in (await store.read(TOPIC)).messages][1] == "text of b"

    @pytest.mark.parametrize("dedup_s", [0.0, 60.0])
    async def test_an_id_that_comes_twice_in_one_call_is_added_once(self, store: LogStore, dedup_s: float) -> None:
        answers = await append(store, "a", "b", "a", "a", retention=Retention(dedup_s=dedup_s))

        assert [answer.is_duplicate for answer in answers] == [False, False, True, True]
        assert answers[0].position == answers[2].position == answers[3].position
        assert await read_all(store) == ["a", "b"]

    async def test_an_id_is_forgotten_once_its_time_is_over(self, store: LogStore, clock: ManualClock) -> None:
        retention = Retention(dedup_s=60)
        first = await append(store, "a", retention=retention)

        clock.advance(59)
        # Asked again, it is not remembered for longer.
        assert (await append(store, "a", retention=retention))[0].position == first[0].position
        clock.advance(1)
        again = await append(store, "a", retention=retention)

        assert not again[0].is_duplicate
        assert await read_all(store) == ["a", "a"]
        clock.advance(59)
        assert (await append(store, "a", retention=retention))[0].position == again[0].position

    async def test_without_a_time_to_remember_an_id_comes_again_with_the_next_call(self, store: LogStore) -> None:
        retention = Retention(dedup_s=0)

        answers = [await append(store, "a", retention=retention) for _ in range(3)]

        assert not any(answer.is_duplicate for (answer,) in answers)
        assert await read_all(store) == ["a", "a", "a"]

    async def test_ids_of_other_topics_are_other_ids(self, store: LogStore) -> None:
        await append(store, "a", topic="one")
        (answer,) = await append(store, "a", topic="two")

        assert not answer.is_duplicate
        assert await read_all(store, topic="one") == await read_all(store, topic="two") == ["a"]

    async def test_of_many_who_append_one_id_at_once_one_adds_it(self, store: LogStore, clock: ManualClock) -> None:
        async with self.several(store, clock, 4) as handles:
            answers = await asyncio.gather(*(append(handles[n % 4], "same", f"own {n}") for n in range(24)))

        assert sum(not same.is_duplicate for same, _ in answers) == 1
        assert len({same.position for same, _ in answers}) == 1
        got = await read_all(store)
        assert sorted(got) == sorted(["same", *(f"own {n}" for n in range(24))])

    async def test_a_call_takes_a_thousand_messages_and_no_more(self, store: LogStore) -> None:
        made = [f"m{number:04}" for number in range(1001)]

        with pytest.raises(Misuse, match="1001"):
            await append(store, *made)
        assert list(await store.topics()) == []
        await append(store, *made[:1000])

        assert await read_all(store) == made[:1000]

    async def test_a_text_takes_a_mebibyte_and_no_more(self, store: LogStore) -> None:
        most = ["x" * MIB, "ü" * (MIB // 2)]
        await append(store, *(message(f"{len(text)}", text=text) for text in most))

        for larger in ("x" * (MIB + 1), "ü" * (MIB // 2) + "x"):
            with pytest.raises(OversizedMessage) as raised:
                await append(store, "small", message("large", text=larger))
            assert (raised.value.size_bytes, raised.value.limit_bytes) == (MIB + 1, MIB)

        reading = await store.read(TOPIC)
        assert [logged.message.text for logged in reading.messages] == most
        assert ids(await take(store)) == [f"{len(text)}" for text in most]

    @pytest.mark.parametrize("wrong", NO_LABELS)
    async def test_an_id_type_or_key_that_cannot_be_is_refused_with_all_its_call(
        self, store: LogStore, wrong: str
    ) -> None:
        made = [Message(wrong, "t", ""), Message("a", wrong, "")] + (
            [Message("a", "t", "", wrong)] if wrong != "" else []
        )

        for bad in made:
            with pytest.raises(Misuse):
                await append(store, "good", bad)

        assert list(await store.topics()) == []

    @pytest.mark.parametrize("bad", [{"text": 3}, {"text": "\ud800"}, {"priority": 1.5}, {"priority": True}])
    async def test_a_text_or_priority_that_cannot_be_is_refused(self, store: LogStore, bad: dict[str, Any]) -> None:
        with pytest.raises(Misuse):
            await append(store, "good", replace(message("a"), **bad))

        assert list(await store.topics()) == []

    # Names

    @pytest.mark.parametrize("wrong", NO_NAMES)
    async def test_a_topic_or_group_that_is_no_name_is_refused(self, store: LogStore, wrong: str) -> None:
        uses: list[Callable[[], Awaitable[object]]] = [
            lambda: append(store, "a", topic=wrong),
            lambda: store.read(wrong),
            lambda: store.locate(wrong, None),
            lambda: store.groups(wrong),
            lambda: store.drop_topic(wrong),
            lambda: store.watch(wrong, print),
        ]
        for topic, group in ((TOPIC, wrong), (wrong, "group")):
            uses += uses_of_a_group(store, topic, group)
        for use in uses:
            with pytest.raises(Misuse):
                await use()

        assert list(await store.topics()) == []

    async def test_names_are_apart(self, store: LogStore) -> None:
        for name in NAMES:
            await append(store, f"of {name}", topic=name)
            for group in NAMES:
                await take(store, group=group, topic=name, limit=0)

        assert [status.name for status in await store.topics()] == sorted(NAMES)
        for name in NAMES:
            assert await read_all(store, topic=name) == [f"of {name}"]
            assert [status.name for status in await store.groups(name)] == sorted(NAMES)
            assert ids(await take(store, group="a/b", topic=name)) == [f"of {name}"]
            assert ids(await take(store, group="a", topic=name)) == [f"of {name}"]

    # Reading

    async def test_a_topic_that_does_not_exist_is_empty(self, store: LogStore) -> None:
        assert await store.read("none") == ((), "", 0, True)
        assert await store.locate("none", None) == await store.locate("none", 0) == ""
        assert list(await store.groups("none")) == []
        assert not await store.drop_topic("none")
        assert list(await store.topics()) == []

    async def test_reading_goes_on_from_where_it_was(self, store: LogStore) -> None:
        at = [answer.position for answer in await append(store, "a", "b", "c")]

        first = await store.read(TOPIC, limit=2)
        second = await store.read(TOPIC, after=first.after, limit=2)
        third = await store.read(TOPIC, after=second.after)
        await append(store, "d")
        fourth = await store.read(TOPIC, after=third.after)

        assert (ids(first), first.after, first.is_all) == (["a", "b"], at[1], False)
        assert (ids(second), second.after, second.is_all) == (["c"], at[2], True)
        assert (ids(third), third.after, third.is_all) == ([], at[2], True)
        assert (ids(fourth), fourth.is_all) == (["d"], True)
        assert (await store.read(TOPIC, limit=4)).is_all
        assert {reading.lost for reading in (first, second, third, fourth)} == {0}

    async def test_reading_takes_nothing_from_groups(self, store: LogStore) -> None:
        await append(store, "a", "b")

        await read_all(store)

        assert ids(await take(store)) == ["a", "b"]
        assert await read_all(store) == ["a", "b"]

    @pytest.mark.parametrize(
        ("types", "expected"),
        [
            ([], "abcdefghi"),
            (["*"], "abcdefghi"),
            (["task.done"], "a"),
            (["task.*"], "abf"),
            (["*.done"], "ae"),
            (["task*"], "abcf"),
            (["*o*e"], "aeg"),
            (["task.done", "x?"], "ad"),
            (["t*k.*ed"], "b"),
            (["[x]", "x?"], "d"),
            (["none", "%", "_", "task_done", "x."], ""),
            (["**"], "abcdefghi"),
            (["%*", "*%a"], "h"),
        ],
    )
    async def test_patterns_choose_by_type_and_only_a_star_stands_for_others(
        self, store: LogStore, types: Sequence[str], expected: str
    ) -> None:
        kinds = ["task.done", "task.failed", "task", "x?", "agent.done", "task.", "overtime", "%a", "xy"]
        await append(store, *(message(letter, type=kind) for letter, kind in zip("abcdefghi", kinds, strict=True)))

        assert "".join(await read_all(store, types=types)) == expected
        assert "".join(await read_all(store, types=types, limit=1)) == expected
        assert "".join(ids(await take(store, terms=Terms(types=tuple(types))))) == expected

    @pytest.mark.parametrize("wrong", ["task.*", [""], ["a\n"], [None], ["x" * 501]])
    async def test_patterns_that_cannot_be_are_refused(self, store: LogStore, wrong: Sequence[str]) -> None:
        with pytest.raises(Misuse):
            await store.read(TOPIC, types=wrong)
        with pytest.raises(Misuse):
            await take(store, terms=Terms(types=wrong))  # type: ignore[arg-type]  # what is tested

    @pytest.mark.parametrize("wrong", ["x", "-1", "1-", "1 ", "²", "1.5", "end", "9" * 40, None, 3])
    async def test_a_position_that_is_none_is_refused(self, store: LogStore, wrong: str) -> None:
        await append(store, "a")

        with pytest.raises(Misuse):
            await store.read(TOPIC, after=wrong)
        with pytest.raises(Misuse):
            await store.acknowledge(TOPIC, "group", "one", [wrong])
        with pytest.raises(Misuse):
            await store.requeue(TOPIC, "group", [wrong])
        with pytest.raises(Misuse):
            await store.discard(TOPIC, "group", [wrong])
        with pytest.raises(Misuse):
            await store.give_back(TOPIC, "group", "one", wrong)
        with pytest.raises(Misuse):
            await take(store, done=[wrong])
        if wrong != "end":
            with pytest.raises(Misuse):
                await take(store, terms=Terms(begin=wrong))

        assert list(await store.groups(TOPIC)) == []

    @pytest.mark.parametrize("wrong", [0, -1, 1.5, None, True, "1"])
    async def test_a_limit_that_cannot_be_is_refused(self, store: LogStore, wrong: int) -> None:
        with pytest.raises(Misuse):
            await store.read(TOPIC, limit=wrong)
        with pytest.raises(Misuse):
            await store.dead_letters(TOPIC, "group", limit=wrong)
        if wrong != 0:
            with pytest.raises(Misuse):
                await take(store, limit=wrong)

    async def test_a_reader_is_found_its_place_by_time(self, store: LogStore, clock: ManualClock) -> None:
        begun = round(clock.now() * SECOND)
        at = []
        for letter in "abc":
            at += [answer.position for answer in await append(store, letter, f"{letter}2")]
            clock.advance(10)

        async def behind(instant: int | None) -> list[str]:
            position = await store.locate(TOPIC, instant)
            reading = await store.read(TOPIC, after=position)
            assert reading.lost == 0
            return ids(reading)

        assert await behind(0) == await behind(begun) == ["a", "a2", "b", "b2", "c", "c2"]
        assert await behind(begun + 1) == await behind(begun + 10 * SECOND) == ["b", "b2", "c", "c2"]
        assert await behind(begun + 20 * SECOND) == ["c", "c2"]
        assert await behind(begun + 20 * SECOND + 1) == await behind(begun + 99 * SECOND) == await behind(None) == []
        assert await store.locate(TOPIC, None) == at[-1]

    @pytest.mark.parametrize("wrong", [-1, 1.5, "1", True])
    async def test_an_instant_that_cannot_be_is_refused(self, store: LogStore, wrong: int) -> None:
        with pytest.raises(Misuse):
            await store.locate(TOPIC, wrong)

    # Status

    async def test_topics_are_told_of(self, store: LogStore) -> None:
        at = [
            answer.position for answer in await append(store, *"abcd", topic="b", retention=Retention(max_messages=3))
        ]
        (other,) = await append(store, "x", topic="a")
        await take(store, topic="c", limit=0)

        a, b, c = await store.topics()

        assert (a.name, a.messages, a.appended, a.first, a.last) == ("a", 1, 1, other.position, other.position)
        assert (b.name, b.messages, b.appended, b.first, b.last) == ("b", 3, 4, at[1], at[3])
        assert (c.name, c.messages, c.appended, c.first, c.last) == ("c", 0, 0, "", "")

    async def test_a_topic_is_dropped_with_all_that_belongs_to_it(self, store: LogStore) -> None:
        await append(store, "a", "b")
        await append(store, "x", topic="other")
        (first, _) = positions(await take(store))
        await store.give_back(TOPIC, "group", "one", first, max_deliveries=0)

        assert await store.drop_topic(TOPIC)
        assert not await store.drop_topic(TOPIC)

        assert [status.name for status in await store.topics()] == ["other"]
        assert list(await store.groups(TOPIC)) == []
        assert await store.dead_letters(TOPIC, "group") == ((), None)
        assert not await store.beat(TOPIC, "group", "one", lease_s=15)
        # Not even the ids are remembered.
        assert not (await append(store, "a"))[0].is_duplicate
        assert ids(await take(store)) == ["a"]
