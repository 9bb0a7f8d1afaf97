"""The part of the journal store's contract that is about runs as wholes: their list, and their removal."""

from __future__ import annotations

import asyncio

import pytest

from coterie._rules.written import Guard, RunEntry
from coterie.errors import Misuse, StaleToken
from coterie.ports import JournalStore
from coterie.testing.journal_handles import JournalHandles, all_pages, all_runs, count_up, look, put

__all__ = ["RunsContract"]


class RunsContract(JournalHandles):
    """What every `JournalStore` does with runs as wholes. Part of `JournalStoreContract`."""

    # The list

    async def test_without_runs_the_list_is_empty(self, store: JournalStore) -> None:
        page = await store.runs(limit=10)

        assert (page.runs, page.after) == ((), None)

    async def test_runs_are_listed_the_one_begun_last_first(self, store: JournalStore) -> None:
        for run in ("b", "c", "a"):
            await store.write(run, {"run": "{}"})
        # It began long ago, whatever is written to it now.
        await store.write("b", {"status": "{}"})

        assert await all_runs(store) == ["a", "c", "b"]

    async def test_an_entry_tells_when_a_run_began_and_changed(self, store: JournalStore) -> None:
        _, before = await store.get("one", [])
        await store.write("one", {"run": "{}"})
        await store.write("one", {"status": "{}"})
        _, after = await store.get("one", [])

        (entry,) = (await store.runs(limit=10)).runs

        assert isinstance(entry, RunEntry)
        assert entry.run == "one"
        assert type(entry.begun_at) is type(entry.changed_at) is int
        assert before <= entry.begun_at <= entry.changed_at <= after

    @pytest.mark.parametrize("limit", [1, 2, 3, 6, 7, 100])
    async def test_pages_hold_as_many_as_asked_until_there_are_no_more(self, store: JournalStore, limit: int) -> None:
        for number in range(6):
            await store.write(f"r{number}", {"run": "{}"})

        pages = await all_pages(store, limit=limit)

        assert [entry.run for page in pages for entry in page.runs] == [f"r{number}" for number in reversed(range(6))]
        # Where a full page is the last, it says so.
        assert [len(page.runs) for page in pages[:-1]] == [limit] * (len(pages) - 1)
        assert 0 < len(pages[-1].runs) <= limit

    async def test_pages_are_stable_while_runs_are_added_and_changed(self, store: JournalStore) -> None:
        for number in range(9):
            await store.write(f"r{number}", {"run": "{}"})
        found, after = [], None

        for turn in range(3):
            page = await store.runs(limit=3, after=after)
            found += [entry.run for entry in page.runs]
            after = page.after
            await store.write(f"new{turn}", {"run": "{}"})
            await store.write("r0", {"status": f"{turn}"})

        assert found == [f"r{number}" for number in reversed(range(9))]
        assert after is None

    async def test_a_cursor_outlives_the_run_behind_which_it_stands(self, store: JournalStore) -> None:
        for number in range(6):
            await store.write(f"r{number}", {"run": "{}"})
        first = await store.runs(limit=2)
        for gone in ("r4", "r2"):
            await store.remove(gone)

        rest = await store.runs(limit=10, after=first.after)

        assert [entry.run for entry in first.runs] == ["r5", "r4"]
        assert [entry.run for entry in rest.runs] == ["r3", "r1", "r0"]

    async def test_another_handle_goes_on_from_a_cursor(self, store: JournalStore) -> None:
        for number in range(5):
            await store.write(f"r{number}", {"run": "{}"})
        first = await store.runs(limit=2)

        async with self.second(store) as other:
            rest = await other.runs(limit=10, after=first.after)

        assert [entry.run for entry in rest.runs] == ["r2", "r1", "r0"]

    async def test_runs_that_begin_at_once_are_each_listed_once(self, store: JournalStore) -> None:
        names = [f"r{number:03}" for number in range(120)]
        await asyncio.gather(*(store.write(name, {"run": "{}", "task/a": "1"}) for name in names for _ in range(2)))

        assert sorted(await all_runs(store, limit=7)) == names

    async def test_a_run_is_listed_whatever_its_first_text_is(self, store: JournalStore) -> None:
        await store.write("shelved", {"step": "1"}, shelf="a")
        await store.change("decided", ["n"], count_up())

        assert await all_runs(store) == ["decided", "shelved"]

    async def test_a_run_whose_texts_were_all_removed_is_listed_still(self, store: JournalStore) -> None:
        await store.write("one", {"a": "1"})
        await store.write("one", {"a": None})

        assert await all_runs(store) == ["one"]

    async def test_what_writes_no_text_begins_no_run(self, store: JournalStore) -> None:
        await store.write("empty", {})
        await store.write("removing", {"a": None}, shelf="s")
        await store.change("looking", ["a"], look)
        await store.change("deciding", ["a"], put({"a": None}))
        with pytest.raises(StaleToken):
            await store.write("guarded", {"a": "1"}, guard=Guard("claim", "mine"))
        await store.get("got", ["a"])
        await store.read("read")

        assert await all_runs(store) == []

    @pytest.mark.parametrize("limit", [0, -1, 1.5, "3", None, True])
    async def test_a_limit_that_is_no_number_of_runs_is_refused(self, store: JournalStore, limit: int) -> None:
        with pytest.raises(Misuse, match="limit"):
            await store.runs(limit=limit)

    async def test_a_limit_may_be_any_number(self, store: JournalStore) -> None:
        await store.write("one", {"a": "1"})

        assert len((await store.runs(limit=10**30)).runs) == 1

    @pytest.mark.parametrize("after", ["", "no cursor", "ü", "-", "x" * 10_000, "1' OR '1'='1", 3, b"1"])
    async def test_what_is_no_cursor_is_refused(self, store: JournalStore, after: str) -> None:
        await store.write("one", {"a": "1"})

        with pytest.raises(Misuse, match="cursor"):
            await store.runs(limit=10, after=after)

    # Removal

    async def test_removing_a_run_removes_all_its_shelves_and_its_entry(self, store: JournalStore) -> None:
        shelves = ["", "a", "a/b", "*", "item/a/ü"]
        for run in ("gone", "kept"):
            for shelf in shelves:
                await store.write(run, {f"p{number}": f"{run}{number}" for number in range(300)}, shelf=shelf)

        assert await store.remove("gone") is True

        assert [await store.read("gone", shelf) for shelf in shelves] == [{}] * 5
        assert (await store.get("gone", ["p0"]))[0] == {}
        assert await all_runs(store) == ["kept"]
        assert [len(await store.read("kept", shelf)) for shelf in shelves] == [300] * 5

    async def test_removing_what_is_not_there_says_so(self, store: JournalStore) -> None:
        await store.write("one", {"a": "1"})

        assert await store.remove("none") is False
        assert await store.remove("one") is True
        assert await store.remove("one") is False

    async def test_removing_leaves_runs_of_like_names_alone(self, store: JournalStore) -> None:
        names = ["r", "r.", "r:1", "r-1", "r~", "r+1", "R", "r_", "rr", "r:1:2"]
        for name in names:
            await store.write(name, {"a": name})
            await store.write(name, {"a": f"{name}, shelved"}, shelf="1")

        await store.remove("r")
        await store.remove("r:1")

        left = [name for name in names if name not in ("r", "r:1")]
        assert sorted(await all_runs(store)) == sorted(left)
        assert [await store.read(name) for name in left] == [{"a": name} for name in left]
        assert [await store.read(name, "1") for name in left] == [{"a": f"{name}, shelved"} for name in left]

    async def test_a_removed_run_can_begin_anew(self, store: JournalStore) -> None:
        await store.write("one", {"a": "old", "b": "old"})
        await store.write("one", {"a": "old"}, shelf="s")
        await store.write("two", {"a": "1"})
        (_, first) = (await store.runs(limit=2)).runs
        await store.remove("one")

        await store.write("one", {"a": "new"})

        assert await store.read("one") == {"a": "new"}
        assert await store.read("one", "s") == {}
        (again, _) = (await store.runs(limit=2)).runs
        assert (again.run, first.run) == ("one", "one")
        assert again.begun_at >= first.begun_at
        assert await store.change("one", ["n"], count_up()) == 1

    async def test_who_held_a_run_that_was_removed_is_refused(self, store: JournalStore) -> None:
        await store.write("one", {"claim": "mine"})
        async with self.second(store) as other:
            await other.remove("one")

            with pytest.raises(StaleToken):
                await store.write("one", {"task/a": "1"}, guard=Guard("claim", "mine"))

            assert await all_runs(store) == await all_runs(other) == []
            assert await store.read("one") == {}

    async def test_removals_and_writes_at_once_leave_whole_runs_or_none(self, store: JournalStore) -> None:
        async with self.second(store) as other:
            for turn in range(10):
                await store.write("one", {"a": "0", "b": "0"})
                await asyncio.gather(
                    *(store.write("one", {"a": f"{turn}", "b": f"{turn}"}) for _ in range(5)),
                    other.remove("one"),
                    *(other.write("one", {"a": f"{turn}", "b": f"{turn}"}) for _ in range(5)),
                )
                found = await store.read("one")
                assert found in ({}, {"a": f"{turn}", "b": f"{turn}"})
                assert await all_runs(other) == (["one"] if found else [])
