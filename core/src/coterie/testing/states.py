"""The contract of every state store, to inherit: what `coterie.ports.StateStore` promises, as tests."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable

import pytest

from coterie._json import JsonValue
from coterie._rules.decided import Decided, Operation, Signal, State
from coterie.errors import CoterieError, Misuse
from coterie.ports import StateStore
from coterie.testing.state_handles import Inbox, add, ignore, look, number_in, put, what_time
from coterie.testing.state_signals import SignalsContract

__all__ = ["StateStoreContract"]


class StateStoreContract(SignalsContract):
    """What every `StateStore` does.

    Inherit it, give it a fixture `store` with an empty store that is closed afterwards, and override `another`.
    """

    # Decisions

    async def test_a_state_reads_as_it_was_decided(self, store: StateStore) -> None:
        state: State = {
            "v": 1,
            "name": 'grün 🌱 \u2028 \x00 \\ "',
            "yes": True,
            "open": {"a": {"b": -3}},
            "few": [1, "x"],
        }

        result = await store.update("breaker/one", lambda old, _: Decided(state, {"old": old}))

        assert result == {"old": None}
        assert (await store.read("breaker/one"))[0] == state

    async def test_a_key_without_a_state_reads_as_none(self, store: StateStore) -> None:
        assert (await store.read("breaker/none"))[0] is None

    async def test_a_decision_is_given_the_state_that_is_stored(self, store: StateStore) -> None:
        await store.update("pool/linter", put({"n": 7}))

        assert await store.update("pool/linter", look) == {"n": 7}

    async def test_fifty_callers_lose_no_update(self, store: StateStore) -> None:
        runs = itertools.count()

        def watched(old: State | None, now: int) -> Decided[int]:
            next(runs)
            return add(old, now)

        counts = await asyncio.gather(*(store.update("limit/hot", watched) for _ in range(50)))

        assert sorted(counts) == list(range(1, 51))
        assert (await store.read("limit/hot"))[0] == {"n": 50}
        # A decision may be run again, as it is pure; its effect is there once.
        assert next(runs) >= 50

    async def test_callers_of_many_keys_do_not_mix(self, store: StateStore) -> None:
        keys = [f"limit/k{number}" for number in range(20)]

        await asyncio.gather(*(store.update(key, add) for key in keys for _ in range(3)))

        assert [(await store.read(key))[0] for key in keys] == [{"n": 3}] * 20

    async def test_two_handles_lose_no_update(self, store: StateStore) -> None:
        async with self.second(store) as other:
            handles = [store, other]

            counts = await asyncio.gather(*(handles[n % 2].update("limit/shared", add) for n in range(60)))

            assert sorted(counts) == list(range(1, 61))
            assert (await store.read("limit/shared"))[0] == (await other.read("limit/shared"))[0] == {"n": 60}

    async def test_a_decision_that_raises_changes_nothing_and_fails_its_caller_alone(self, store: StateStore) -> None:
        def fail(old: State | None, now: int) -> Decided[int]:
            raise KeyError("mine")

        asked: list[Awaitable[int]] = [store.update("limit/x", fail if n % 3 == 0 else add) for n in range(30)]
        ends = await asyncio.gather(*asked, return_exceptions=True)

        assert [type(end) for end in ends[::3]] == [KeyError] * 10
        assert sorted(end for end in ends if isinstance(end, int)) == list(range(1, 21))
        assert (await store.read("limit/x"))[0] == {"n": 20}

    async def test_the_state_that_was_given_is_not_written_again(self, store: StateStore) -> None:
        inbox = Inbox()
        await store.update("breaker/one", put({"n": 1}))
        await store.subscribe("breaker/one", inbox)

        # Not stored, hence not signalled: the second message comes first.
        kept = await store.update("breaker/one", lambda old, _: Decided(old, "kept", (Signal("breaker/one", "no"),)))
        await store.update("breaker/one", put({"n": 2}, Signal("breaker/one", "yes")))

        assert kept == "kept"
        assert await inbox.until(1) == ["yes"]

    async def test_none_removes_the_state(self, store: StateStore) -> None:
        await store.update("breaker/one", put({"n": 1}))

        await store.update("breaker/one", put(None))

        assert (await store.read("breaker/one"))[0] is None
        assert list(await store.keys("breaker")) == []
        assert await store.update("breaker/one", add) == 1

    async def test_removing_what_is_not_there_is_no_error(self, store: StateStore) -> None:
        assert await store.update("breaker/none", lambda old, _: Decided(None, old)) is None

    async def test_a_state_is_kept_at_least_as_long_as_asked(self, store: StateStore) -> None:
        await store.update("retry/linter", put({"n": 1}), keep_s=3600)

        assert (await store.read("retry/linter"))[0] == {"n": 1}
        assert list(await store.keys("retry")) == ["retry/linter"]

    async def test_a_state_may_be_dropped_later_but_is_never_damaged(self, store: StateStore) -> None:
        await store.update("retry/linter", put({"n": 1}), keep_s=0.001)

        assert (await store.read("retry/linter"))[0] in ({"n": 1}, None)
        # A change without `keep_s` is kept for good.
        await store.update("retry/linter", put({"n": 5}))
        assert await store.update("retry/linter", add) == 6

    @pytest.mark.parametrize("keep_s", [0, -1, float("nan"), float("inf")])
    async def test_a_time_to_keep_that_cannot_be_is_refused(self, store: StateStore, keep_s: float) -> None:
        with pytest.raises(Misuse, match="keep_s"):
            await store.update("retry/linter", add, keep_s=keep_s)

    async def test_the_clock_is_in_whole_microseconds_since_the_epoch(self, store: StateStore) -> None:
        decided = await store.update("limit/x", what_time)
        _, read = await store.read("limit/x")

        for now in (decided, read):
            assert type(now) is int
            # From 2001 to 2100, in microseconds.
            assert 10**15 < now < 41 * 10**14

    async def test_an_operation_is_applied_by_its_rule_and_read_by_its_reader(self, store: StateStore) -> None:
        def rule(state: State | None, now: int, by: int, names: JsonValue) -> Decided[JsonValue]:
            count = number_in(state, "n") + by
            return Decided({"n": count}, {"n": count, "names": names})

        operation = Operation("contract.add", (3, {"a": "ü", "none": {}}), rule, lambda answer: ["read", answer])

        assert await store.update("limit/x", operation) == ["read", {"n": 3, "names": {"a": "ü", "none": {}}}]
        assert await store.update("limit/x", operation) == ["read", {"n": 6, "names": {"a": "ü", "none": {}}}]
        assert (await store.read("limit/x"))[0] == {"n": 6}

    # Values

    @pytest.mark.parametrize("number", [0, 1, -1, 2**31, 2**53 // 100, 10**14 - 1, 1 - 10**14])
    async def test_integers_of_fourteen_digits_are_exact(self, store: StateStore, number: int) -> None:
        await store.update("budget/x", put({"n": number}))

        state, _ = await store.read("budget/x")
        assert state == {"n": number}
        assert type(number_in(state, "n")) is int

    @pytest.mark.parametrize("state", [{}, {"open": {}}, {"open": {"a": {}}, "few": [{}]}])
    async def test_empty_objects_stay_objects(self, store: StateStore, state: State) -> None:
        await store.update("pool/x", put(state))

        assert (await store.read("pool/x"))[0] == state

    async def test_a_large_state_is_whole(self, store: StateStore) -> None:
        state: State = {"tickets": {f"{n:016x}": {"at": n, "name": "ü" * 20} for n in range(3000)}}

        await store.update("pool/x", put(state))

        assert (await store.read("pool/x"))[0] == state

    @pytest.mark.parametrize(
        "state",
        [{"x": {1, 2}}, {"x": float("nan")}, {"x": b"bytes"}, {"x": object()}, {"x": "\ud800"}, ["list"], "text", 3],
    )
    async def test_what_is_not_json_is_refused_and_changes_nothing(self, store: StateStore, state: State) -> None:
        await store.update("pool/x", put({"n": 1}))

        with pytest.raises(Misuse):
            await store.update("pool/x", put(state))

        assert (await store.read("pool/x"))[0] == {"n": 1}

    async def test_a_state_that_is_changed_after_it_was_decided_is_not_changed_in_the_store(
        self, store: StateStore
    ) -> None:
        state: State = {"n": 1}
        await store.update("pool/x", put(state))

        state["n"] = 2

        assert (await store.read("pool/x"))[0] == {"n": 1}

    # Keys and names

    async def test_keys_are_listed_by_kind_and_sorted(self, store: StateStore) -> None:
        for key in ("pool/b", "pool/a", "pool/a-1", "pool/B_2", "pools/c", "breaker/a"):
            await store.update(key, add)

        assert list(await store.keys("pool")) == ["pool/B_2", "pool/a", "pool/a-1", "pool/b"]
        assert list(await store.keys("limit")) == []

    @pytest.mark.parametrize(
        "key",
        [
            "",
            "pool",
            "pool/",
            "/pool",
            "pool/a/b",
            "pool/a b",
            "pool/../x",
            "pool/a*",
            "pool/a\n",
            "pool/ä",
            "p:x/a",
            "{x}/a",
        ],
    )
    async def test_a_key_that_might_leave_its_namespace_is_refused(self, store: StateStore, key: str) -> None:
        with pytest.raises(Misuse):
            await store.update(key, add)
        with pytest.raises(Misuse):
            await store.read(key)

    @pytest.mark.parametrize("kind", ["", "pool/", "po*", "../pool", "pool/a", "p l"])
    async def test_a_kind_that_is_no_name_is_refused(self, store: StateStore, kind: str) -> None:
        with pytest.raises(Misuse):
            await store.keys(kind)

    @pytest.mark.parametrize(
        "channel", ["", "pool", "pool/", "pool/*", "pool/a/", "pool/a/b/c", "pool/a b", "../x", "pool/a\n"]
    )
    async def test_a_channel_that_might_leave_its_namespace_is_refused(self, store: StateStore, channel: str) -> None:
        with pytest.raises(Misuse):
            await store.publish(channel, "x")
        with pytest.raises(Misuse):
            await store.subscribe(channel, ignore)
        with pytest.raises(Misuse):
            await store.update("pool/a", put({"n": 1}, Signal(channel, "x")))
        assert (await store.read("pool/a"))[0] is None

    async def test_names_may_be_as_long_as_names_may_be(self, store: StateStore) -> None:
        key = f"{'k' * 128}/{'n' * 128}"

        await store.update(key, add)

        assert list(await store.keys("k" * 128)) == [key]
        assert (await store.read(key))[0] == {"n": 1}

    async def test_equal_names_of_two_kinds_are_two_states(self, store: StateStore) -> None:
        await store.update("pool/x", put({"n": 1}))
        await store.update("breaker/x", put({"n": 2}))

        assert (await store.read("pool/x"))[0] == {"n": 1}
        assert (await store.read("breaker/x"))[0] == {"n": 2}

    async def test_many_keys_are_listed_once_each(self, store: StateStore) -> None:
        keys = sorted(f"limit/k{number:03}" for number in range(300))
        await asyncio.gather(*(store.update(key, add) for key in keys))

        assert list(await store.keys("limit")) == keys

    @pytest.mark.parametrize("name", ["other", "{}-2", "{}_", "{}0", "x-{}"])
    async def test_two_namespaces_never_meet(self, store: StateStore, name: str) -> None:
        async with self.second(store, namespace=name.format(store.namespace)) as other:
            ours, theirs = Inbox(), Inbox()
            await store.subscribe("pool/x", ours)
            await other.subscribe("pool/x", theirs)

            await store.update("pool/x", put({"n": 1}, Signal("pool/x", "ours")))
            await other.update("pool/x", put({"n": 2}, Signal("pool/x", "theirs")))
            await other.update("pool/y", add)

            assert await ours.until(1) == ["ours"]
            assert await theirs.until(1) == ["theirs"]
            assert (await store.read("pool/x"))[0] == {"n": 1}
            assert list(await store.keys("pool")) == ["pool/x"]
            assert list(await other.keys("pool")) == ["pool/x", "pool/y"]

    async def test_a_store_tells_where_it_is(self, store: StateStore) -> None:
        assert "://" in store.url
        assert store.scope in ("process", "machine", "fleet")
        assert store.namespace

    # Cancellation and the end

    @pytest.mark.parametrize("ticks", [0, 1, 2, 5, 20])
    async def test_a_cancelled_caller_harms_nobody_else(self, store: StateStore, ticks: int) -> None:
        callers = [asyncio.ensure_future(store.update("limit/x", add)) for _ in range(40)]
        for _ in range(ticks):
            await asyncio.sleep(0)
        for caller in callers[::2]:
            caller.cancel()

        ends = await asyncio.gather(*callers, return_exceptions=True)

        counts = [end for end in ends if isinstance(end, int)]
        total = number_in((await store.read("limit/x"))[0], "n")
        assert all(isinstance(end, int | asyncio.CancelledError) for end in ends)
        # Each cancelled decision was applied wholly or not at all, all others once.
        assert len(set(counts)) == len(counts) <= total <= 40
        assert set(range(1, total + 1)) >= set(counts)
        assert len(counts) >= 20

    async def test_closing_leaves_no_caller_waiting(self, store: StateStore) -> None:
        callers = [asyncio.ensure_future(store.update("limit/x", add)) for _ in range(20)]
        await asyncio.sleep(0)

        await store.aclose()

        for end in await asyncio.gather(*callers, return_exceptions=True):
            assert isinstance(end, int | CoterieError)

    async def test_closing_twice_is_no_error(self, store: StateStore) -> None:
        await store.update("pool/x", add)

        await store.aclose()
        await store.aclose()

    async def test_a_closed_store_says_so(self, store: StateStore) -> None:
        await store.update("pool/x", add)
        await store.aclose()

        uses: list[Callable[[], Awaitable[object]]] = [
            lambda: store.update("pool/x", add),
            lambda: store.read("pool/x"),
            lambda: store.keys("pool"),
            lambda: store.publish("pool/x", "x"),
            lambda: store.subscribe("pool/x", ignore),
        ]
        for use in uses:
            with pytest.raises(Misuse, match="closed"):
                await use()
        await store.unsubscribe("pool/x", ignore)

    async def test_after_closing_nobody_is_told(self, store: StateStore) -> None:
        async with self.second(store) as other:
            inbox, witness = Inbox(), Inbox()
            await store.subscribe("pool/x", inbox)
            await other.subscribe("pool/x", witness)
            await store.aclose()

            await other.publish("pool/x", "late")

            assert await witness.until(1) == ["late"]
            assert inbox.messages == []

    async def test_what_one_handle_stored_outlives_it(self, store: StateStore) -> None:
        async with self.second(store) as other:
            await other.update("pool/x", put({"n": 1}))

        assert (await store.read("pool/x"))[0] == {"n": 1}
