"""The part of the state store's contract that is about signals."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from coterie._rules.decided import Decided, Signal, State
from coterie.errors import Misuse
from coterie.ports import StateStore
from coterie.testing.state_handles import PATIENCE_S, Handles, Inbox, add, number_in, put

__all__ = ["SignalsContract"]


class SignalsContract(Handles):
    """What every `StateStore` does for those who listen. Part of `StateStoreContract`."""

    async def test_a_signal_comes_after_the_state_is_stored(self, store: StateStore) -> None:
        seen: asyncio.Queue[str | None] = asyncio.Queue()
        await store.subscribe("pool/x", seen.put_nowait)

        await store.update("pool/x", put({"n": 1}, Signal("pool/x", "stored")))

        async with asyncio.timeout(PATIENCE_S):
            assert await seen.get() == "stored"
        assert (await store.read("pool/x"))[0] == {"n": 1}

    async def test_signals_come_in_the_order_of_the_decisions(self, store: StateStore) -> None:
        inbox = Inbox()
        await store.subscribe("pool/x", inbox)

        for number in range(20):
            signals = (Signal("pool/x", f"{number}a"), Signal("pool/x/more", "else"), Signal("pool/x", f"{number}b"))
            await store.update("pool/x", put({"n": number}, *signals))

        assert await inbox.until(40) == [f"{number}{letter}" for number in range(20) for letter in "ab"]

    async def test_a_decision_that_raises_or_is_refused_sends_no_signal(self, store: StateStore) -> None:
        inbox = Inbox()
        await store.subscribe("pool/x", inbox)

        with pytest.raises(Misuse):
            await store.update("pool/x", put({"n": float("nan")}, Signal("pool/x", "never")))
        await store.publish("pool/x", "after")

        assert await inbox.until(1) == ["after"]

    async def test_another_handle_is_told(self, store: StateStore) -> None:
        async with self.second(store) as other:
            inbox = Inbox()
            await other.subscribe("pool/x", inbox)

            await store.update("pool/x", put({"n": 1}, Signal("pool/x", json.dumps({"grün": "\n"}))))
            await store.publish("pool/x", "")

            assert await inbox.until(2) == [json.dumps({"grün": "\n"}), ""]

    async def test_what_was_stored_before_it_is_told_can_be_read(self, store: StateStore) -> None:
        async with self.second(store) as other:
            inbox = Inbox()
            await other.subscribe("pool/x", inbox)

            for number in range(1, 11):
                await store.update("pool/x", put({"n": number}, Signal("pool/x", str(number))))
                await inbox.until(number)
                assert number_in((await other.read("pool/x"))[0], "n") >= number

    async def test_all_subscribers_of_a_channel_are_told(self, store: StateStore) -> None:
        inboxes = [Inbox() for _ in range(100)]
        for inbox in inboxes:
            await store.subscribe("pool/x", inbox)

        await store.publish("pool/x", "all")

        assert [await inbox.until(1) for inbox in inboxes] == [["all"]] * 100

    async def test_a_notice_that_was_given_twice_is_called_once(self, store: StateStore) -> None:
        inbox = Inbox()
        await store.subscribe("pool/x", inbox)
        await store.subscribe("pool/x", inbox)

        await store.publish("pool/x", "one")
        await store.publish("pool/x", "two")

        assert await inbox.until(2) == ["one", "two"]

    async def test_who_has_unsubscribed_is_told_nothing_more(self, store: StateStore) -> None:
        gone, there = Inbox(), Inbox()
        await store.subscribe("pool/x", gone)
        await store.subscribe("pool/x", there)

        await store.unsubscribe("pool/x", gone)
        await store.unsubscribe("pool/x", gone)
        await store.unsubscribe("pool/never", gone)
        await store.publish("pool/x", "late")

        assert await there.until(1) == ["late"]
        assert gone.messages == []

    async def test_a_notice_is_not_called_inside_the_update_that_caused_it(self, store: StateStore) -> None:
        inside: list[bool] = []
        deciding = False
        done = asyncio.Event()

        def notice(message: str | None) -> None:
            inside.append(deciding)
            done.set()

        def decide(old: State | None, now: int) -> Decided[None]:
            nonlocal deciding
            deciding = True
            try:
                return Decided({"n": 1}, None, (Signal("pool/x", "x"),))
            finally:
                deciding = False

        await store.subscribe("pool/x", notice)
        await store.update("pool/x", decide)

        async with asyncio.timeout(PATIENCE_S):
            await done.wait()
        assert inside == [False]

    async def test_signals_of_concurrent_decisions_come_in_their_order(self, store: StateStore) -> None:
        def decide(old: State | None, now: int) -> Decided[int]:
            count = number_in(old, "n") + 1
            return Decided({"n": count}, count, (Signal("pool/x", str(count)),))

        async with self.second(store) as other:
            near, far = Inbox(), Inbox()
            await store.subscribe("pool/x", near)
            await other.subscribe("pool/x", far)

            await asyncio.gather(*(store.update("pool/x", decide) for _ in range(50)))

            assert await near.until(50) == [str(count) for count in range(1, 51)]
            told = [int(message) for message in await far.until_told_of("50") if message is not None]
            assert told == sorted(told)
            assert None in far.messages or told == list(range(1, 51))

    async def test_removing_a_state_is_signalled(self, store: StateStore) -> None:
        inbox = Inbox()
        await store.update("pool/x", add)
        await store.subscribe("pool/x", inbox)

        await store.update("pool/x", put(None, Signal("pool/x", "removed")))

        assert await inbox.until(1) == ["removed"]

    async def test_a_long_message_comes_whole_or_as_word_of_a_loss(self, store: StateStore) -> None:
        async with self.second(store) as other:
            inbox = Inbox()
            await other.subscribe("pool/x", inbox)

            await store.publish("pool/x", "ü" * 200_000)

            assert await inbox.until(1) in (["ü" * 200_000], [None])

    async def test_a_notice_that_raises_stops_nobody_and_is_reported(self, store: StateStore) -> None:
        reports: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, report: reports.append(report))
        inbox = Inbox()

        def fail(message: str | None) -> None:
            raise RuntimeError("of the notice")

        await store.subscribe("pool/x", fail)
        await store.subscribe("pool/x", inbox)
        await store.publish("pool/x", "one")

        assert await inbox.until(1) == ["one"]
        assert [str(report["exception"]) for report in reports] == ["of the notice"]

    async def test_what_a_store_was_told_before_is_not_told_to_who_comes_later(self, store: StateStore) -> None:
        early, late = Inbox(), Inbox()
        await store.subscribe("pool/x", early)
        await store.publish("pool/x", "before")
        await early.until(1)

        await store.subscribe("pool/x", late)
        await store.publish("pool/x", "after")

        assert await late.until(1) == ["after"]
        assert await early.until(2) == ["before", "after"]
