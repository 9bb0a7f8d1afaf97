"""The part of the journal store's contract that is about who may write: decisions, and guards."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable

import pytest

from coterie._rules.written import Changed, Guard
from coterie.errors import Misuse, StaleToken
from coterie.ports import JournalStore
from coterie.testing.journal_handles import JournalHandles, Texts, count_up, look, put, take_over

__all__ = ["ClaimsContract"]


class ClaimsContract(JournalHandles):
    """What every `JournalStore` does for those who write at once. Part of `JournalStoreContract`."""

    # Decisions

    async def test_a_decision_is_given_every_path_it_asked_for_and_no_other(self, store: JournalStore) -> None:
        await store.write("one", {"a": "1", "b": "2"})

        given, _ = await store.change("one", ["b", "none", "b"], look)

        assert given == {"b": "2", "none": None}

    async def test_fifty_callers_lose_no_change(self, store: JournalStore) -> None:
        calls, decide = itertools.count(), count_up()

        def watched(texts: Texts, now: int) -> Changed[int]:
            next(calls)
            return decide(texts, now)

        counts = await asyncio.gather(*(store.change("one", ["n"], watched) for _ in range(50)))

        assert sorted(counts) == list(range(1, 51))
        assert await store.read("one") == {"n": "50"}
        # A decision may be run again, as it is pure; its effect is there once.
        assert next(calls) >= 50

    async def test_changes_of_many_runs_and_paths_do_not_mix(self, store: JournalStore) -> None:
        runs = [f"r{number}" for number in range(10)]

        await asyncio.gather(
            *(store.change(run, [path], count_up(path)) for _ in range(3) for run in runs for path in ("n", "m"))
        )

        assert [await store.read(run) for run in runs] == [{"n": "3", "m": "3"}] * 10

    async def test_two_handles_lose_no_change(self, store: JournalStore) -> None:
        async with self.second(store) as other:
            handles = [store, other]

            counts = await asyncio.gather(*(handles[n % 2].change("one", ["n"], count_up()) for n in range(60)))

            assert sorted(counts) == list(range(1, 61))
            assert await store.read("one") == await other.read("one") == {"n": "60"}

    async def test_changes_and_writes_of_one_run_lose_nothing(self, store: JournalStore) -> None:
        await asyncio.gather(
            *(store.change("one", ["n"], count_up()) for _ in range(30)),
            *(store.write("one", {f"task/{number}": f"{number}"}) for number in range(30)),
            *(store.write("one", {f"step/{number}": f"{number}"}, shelf="s") for number in range(30)),
        )

        assert await store.read("one") == {"n": "30", **{f"task/{number}": f"{number}" for number in range(30)}}
        assert await store.read("one", "s") == {f"step/{number}": f"{number}" for number in range(30)}

    async def test_a_decision_that_raises_changes_nothing_and_fails_its_caller_alone(self, store: JournalStore) -> None:
        def fail(texts: Texts, now: int) -> Changed[int]:
            raise KeyError("mine")

        asked: list[Awaitable[int]] = [
            store.change("one", ["n"], fail if n % 3 == 0 else count_up()) for n in range(30)
        ]
        ends = await asyncio.gather(*asked, return_exceptions=True)

        assert [type(end) for end in ends[::3]] == [KeyError] * 10
        assert sorted(end for end in ends if isinstance(end, int)) == list(range(1, 21))
        assert await store.read("one") == {"n": "20"}

    async def test_a_decision_may_write_only_what_it_was_given(self, store: JournalStore) -> None:
        await store.write("one", {"a": "1"})

        with pytest.raises(Misuse, match="'b'"):
            await store.change("one", ["a"], put({"a": "2", "b": "2"}))

        assert await store.read("one") == {"a": "1"}

    # Guards

    async def test_a_guard_that_holds_lets_a_write_pass(self, store: JournalStore) -> None:
        await store.write("one", {"claim": "mine 🌱"})
        guard = Guard("claim", "mine 🌱")

        await store.write("one", {"task/a": "1"}, guard=guard)
        # It is the main shelf's text that counts.
        await store.write("one", {"claim": "on the shelf"}, guard=guard, shelf="s")
        await store.write("one", {"b": "1"}, guard=guard, shelf="s")

        assert await store.read("one") == {"claim": "mine 🌱", "task/a": "1"}
        assert await store.read("one", "s") == {"claim": "on the shelf", "b": "1"}

    @pytest.mark.parametrize("held", ["theirs", "", "mine ", "Mine", None])
    @pytest.mark.parametrize("shelf", ["", "s"])
    async def test_a_guard_that_does_not_hold_lets_nothing_be_written(
        self, store: JournalStore, held: str | None, shelf: str
    ) -> None:
        await store.write("one", {"claim": held, "b": "old"})
        await store.write("one", {"claim": "mine"}, shelf="s")
        before = [await store.read("one", name) for name in ("", "s")]

        with pytest.raises(StaleToken, match="nothing was written"):
            await store.write("one", {"a": "1", "b": None, "claim": "mine"}, guard=Guard("claim", "mine"), shelf=shelf)
        # It is looked at even if there is nothing to write.
        with pytest.raises(StaleToken):
            await store.write("one", {}, guard=Guard("claim", "mine"), shelf=shelf)

        assert [await store.read("one", name) for name in ("", "s")] == before

    async def test_a_guarded_write_may_change_what_guards_it(self, store: JournalStore) -> None:
        await store.write("one", {"claim": "mine", "pulse": "1"})

        await store.write("one", {"claim": None, "pulse": None, "status": "done"}, guard=Guard("claim", "mine"))

        assert await store.read("one") == {"status": "done"}
        with pytest.raises(StaleToken):
            await store.write("one", {"status": "again"}, guard=Guard("claim", "mine"))

    async def test_of_fifty_who_pass_one_claim_on_one_succeeds(self, store: JournalStore) -> None:
        await store.write("one", {"claim": "free"})

        ends = await asyncio.gather(
            *(
                store.write("one", {"claim": f"{n}", f"won/{n}": "yes"}, guard=Guard("claim", "free"))
                for n in range(50)
            ),
            return_exceptions=True,
        )

        (winner,) = [n for n, end in enumerate(ends) if end is None]
        assert all(end is None or isinstance(end, StaleToken) for end in ends)
        assert await store.read("one") == {"claim": f"{winner}", f"won/{winner}": "yes"}

    async def test_a_refused_write_does_not_harm_those_beside_it(self, store: JournalStore) -> None:
        await store.write("one", {"claim": "mine"})

        ends = await asyncio.gather(
            *(
                store.write("one", {f"p{n}": "1"}, guard=Guard("claim", "theirs" if n % 4 == 0 else "mine"))
                for n in range(40)
            ),
            return_exceptions=True,
        )

        assert [type(end) for end in ends[::4]] == [StaleToken] * 10
        assert sorted(await store.read("one")) == sorted(["claim", *(f"p{n}" for n in range(40) if n % 4)])

    async def test_writes_to_a_shelf_do_not_hold_for_a_guard(self, store: JournalStore) -> None:
        await store.write("one", {"claim": "mine"})
        mine, other = Guard("claim", "mine"), Guard("claim", "other")

        ends = await asyncio.gather(
            *(
                store.write("one", {"claim": "other"}, guard=mine, shelf="s")
                if n % 2
                else store.write("one", {f"p{n}": "1"}, guard=other if n % 4 else mine)
                for n in range(40)
            ),
            return_exceptions=True,
        )

        assert [isinstance(end, StaleToken) for end in ends] == [n % 4 == 2 for n in range(40)]
        assert await store.read("one") == {"claim": "mine", **{f"p{n}": "1" for n in range(0, 40, 4)}}

    async def test_a_stale_holder_is_refused_from_the_moment_another_has_taken_over(self, store: JournalStore) -> None:
        async with self.second(store) as other:
            for turn in range(10):
                await store.change("one", ["claim"], take_over("claim", f"old {turn}"))
                old, new = Guard("claim", f"old {turn}"), Guard("claim", f"new {turn}")
                late = [asyncio.ensure_future(store.write("one", {f"a{n}": f"{turn}"}, guard=old)) for n in range(5)]

                assert await other.change("one", ["claim"], take_over("claim", new.text)) == old.text
                with pytest.raises(StaleToken):
                    await store.write("one", {"late": "1"}, guard=old)
                await other.write("one", {"n": f"{turn}"}, guard=new)

                ends = await asyncio.gather(*late, return_exceptions=True)
                assert all(end is None or isinstance(end, StaleToken) for end in ends)
                assert "late" not in await other.read("one")
