"""The contract of every journal store, to inherit: what `coterie.ports.JournalStore` promises, as tests."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from coterie._rules.written import Guard
from coterie.errors import CoterieError, Misuse, StaleToken
from coterie.ports import JournalStore
from coterie.testing.journal_claims import ClaimsContract
from coterie.testing.journal_handles import all_runs, count_up, look, put
from coterie.testing.journal_runs import RunsContract

__all__ = ["JournalStoreContract"]

MIB = 2**20
STRANGE = [
    "ü",
    "u\u0308",
    "🌱",
    " ",
    "a b",
    "/",
    "//a/",
    "a/../b",
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
]
NO_PATHS = ["", "x" * 513, "a\x00", "a\nb", "\t", "\x7f", "\x85", "\ud800", None, 3, b"a"]
NO_RUNS = ["", " ", "a/b", "-a", "a b", "ü", "*", "{a}", "a\n", "x" * 251, None]


class JournalStoreContract(ClaimsContract, RunsContract):
    """What every `JournalStore` does.

    Inherit it, give it a fixture `store` with an empty store that is closed afterwards, and override `another`.
    """

    # Writing and reading

    async def test_texts_read_as_they_were_written(self, store: JournalStore) -> None:
        texts = {path: f"{path} 🌱 \x00\r\n\u2028\\'\"" for path in STRANGE}
        texts |= {"empty": "", "x" * 512: "long", "🌱" * 512: "longer", "line": "\n", "zero": "\x00", "number": "1e5"}

        await store.write("one", texts)
        await store.write("one", texts, shelf="s")

        assert await store.read("one") == await store.read("one", "s") == texts
        assert (await store.get("one", list(texts)))[0] == texts
        assert (await store.change("one", list(texts), look))[0] == texts

    async def test_what_is_not_there_is_not_found(self, store: JournalStore) -> None:
        await store.write("one", {"a": "1"})

        assert await store.read("none") == await store.read("one", "none") == {}
        assert (await store.get("none", ["a"]))[0] == {}
        assert (await store.get("one", ["b", "a", "c", "a"]))[0] == {"a": "1"}
        assert (await store.get("one", []))[0] == {}

    async def test_a_later_text_takes_the_place_of_an_earlier_one(self, store: JournalStore) -> None:
        await store.write("one", {"a": "1", "b": "1", "c": "1"})

        await store.write("one", {"a": "22", "c": ""})

        assert await store.read("one") == {"a": "22", "b": "1", "c": ""}

    async def test_none_removes_a_text(self, store: JournalStore) -> None:
        await store.write("one", {"a": "1", "b": "1", "c": "1"})
        await store.write("one", {"a": "1"}, shelf="s")

        await store.write("one", {"a": None, "none": None, "b": "2"})
        await store.change("one", ["c"], put({"c": None}))

        assert await store.read("one") == {"b": "2"}
        assert (await store.get("one", ["a", "b", "c"]))[0] == {"b": "2"}
        assert await store.read("one", "s") == {"a": "1"}

    async def test_shelves_are_apart(self, store: JournalStore) -> None:
        shelves = ["", "a", "a/b", "a/b/c", "A", "a:b", "*", "{x}", "ü", "x" * 512, "🌱" * 512, "run"]
        paths = ["a", "b", "a/b", "b/c", "run", ":a"]
        for shelf in shelves:
            await store.write("one", {path: f"{shelf}|{path}" for path in paths}, shelf=shelf)

        await store.write("one", {"a": None, "b": "other"}, shelf="a")

        for shelf in shelves:
            expected = {path: f"{shelf}|{path}" for path in paths}
            if shelf == "a":
                del expected["a"]
                expected["b"] = "other"
            assert await store.read("one", shelf) == expected
        # The main shelf is what `get` and `change` look at.
        assert (await store.get("one", ["a", "b"]))[0] == {"a": "|a", "b": "|b"}
        assert (await store.change("one", ["a", "b"], look))[0] == {"a": "|a", "b": "|b"}

    async def test_runs_are_apart(self, store: JournalStore) -> None:
        names = ["a", "A", "a:b", "a.b", "a~", "a+", "a-", "a" * 250, "0"]
        for name in names:
            await store.write(name, {"b": name}, shelf="b")
            await store.write(name, {"b": f"main {name}"})

        assert [await store.read(name, "b") for name in names] == [{"b": name} for name in names]
        assert [await store.read(name) for name in names] == [{"b": f"main {name}"} for name in names]

    async def test_texts_may_have_four_mebibytes_and_no_more(self, store: JournalStore) -> None:
        most = {"ascii": "x" * 4 * MIB, "others": "ü" * 2 * MIB}
        await store.write("one", most)
        await store.change("one", ["decided"], put({"decided": most["others"]}))

        for larger in ("x" * (4 * MIB + 1), "ü" * 2 * MIB + "x"):
            with pytest.raises(Misuse, match="bytes"):
                await store.write("one", {"small": "1", "large": larger, "more": "1"})
            with pytest.raises(Misuse, match="bytes"):
                await store.change("one", ["small", "large"], put({"small": "1", "large": larger}))

        assert await store.read("one") == {**most, "decided": most["others"]}

    async def test_a_shelf_of_many_texts_reads_whole(self, store: JournalStore) -> None:
        texts = {f"item/map/{number * 7919 % 10_007:05}": f"{number}" + "x" * (number % 50) for number in range(6000)}

        await store.write("one", texts)
        await store.write("one", {"elsewhere": "1"}, shelf="z")

        assert await store.read("one") == texts

    async def test_large_texts_together_read_whole(self, store: JournalStore) -> None:
        texts = {f"p{number}": chr(65 + number) * (MIB + number) for number in range(9)}

        await asyncio.gather(*(store.write("one", {path: text}) for path, text in texts.items()))

        assert await store.read("one") == texts

    async def test_what_is_changed_after_it_was_handed_over_is_not_written(self, store: JournalStore) -> None:
        texts: dict[str, str | None] = {"a": "1"}
        writing = asyncio.ensure_future(store.write("one", texts))
        await asyncio.sleep(0)
        texts["a"], texts["b"] = "2", "2"
        await writing

        assert await store.read("one") == {"a": "1"}

    async def test_what_was_read_is_the_readers_own(self, store: JournalStore) -> None:
        await store.write("one", {"a": "1"})

        (await store.read("one"))["a"] = "2"
        (await store.get("one", ["a"]))[0]["a"] = "2"

        assert await store.read("one") == {"a": "1"}

    async def test_the_clock_is_in_whole_microseconds_since_the_epoch(self, store: JournalStore) -> None:
        _, got = await store.get("none", [])
        _, decided = await store.change("none", [], look)

        for now in (got, decided):
            assert type(now) is int
            # From 2001 to 2100, in microseconds.
            assert 10**15 < now < 41 * 10**14

    # Atomicity, and who sees what

    async def test_what_was_acknowledged_is_seen_at_once_by_all(self, store: JournalStore) -> None:
        async with self.second(store) as other:
            for n in range(20):
                writer, reader = (store, other) if n % 2 else (other, store)

                await writer.write("one", {"n": f"{n}"})
                await writer.write("one", {"m": f"{n}"}, shelf="s")

                assert (await reader.get("one", ["n"]))[0] == await reader.read("one") == {"n": f"{n}"}
                assert await reader.read("one", "s") == {"m": f"{n}"}

    async def test_a_write_is_seen_whole_or_not_at_all(self, store: JournalStore) -> None:
        paths = [f"p{number}" for number in range(40)]
        await store.write("one", dict.fromkeys(paths, "0"))

        async with self.second(store) as other:

            async def write() -> None:
                for turn in range(1, 21):
                    await store.write("one", dict.fromkeys(paths, f"{turn}"))

            writing = asyncio.ensure_future(write())
            while not writing.done():
                decided, _ = await other.change("one", paths, look)
                got, _ = await other.get("one", paths)
                assert len(set(decided.values())) == len(set(got.values())) == 1
            await writing

        assert await store.read("one") == dict.fromkeys(paths, "20")

    async def test_what_cannot_be_written_takes_all_its_write_along(self, store: JournalStore) -> None:
        await store.write("one", {"a": "1"})

        for bad in (3, b"bytes", 1.5, ["x"], "\ud800", "ok \udfff"):
            texts: dict[str, str | None] = {"a": "2", "b": bad, "c": "2"}  # type: ignore[dict-item]  # what is tested
            with pytest.raises(Misuse):
                await store.write("one", texts)
            with pytest.raises(Misuse):
                await store.change("one", ["a", "b", "c"], put(texts))

        assert await store.read("one") == {"a": "1"}

    # Names

    @pytest.mark.parametrize("wrong", NO_PATHS)
    async def test_a_path_that_is_none_is_refused(self, store: JournalStore, wrong: str) -> None:
        with pytest.raises(Misuse):
            await store.write("one", {"a": "1", wrong: "1"})
        with pytest.raises(Misuse):
            await store.write("one", {"a": "1"}, guard=Guard(wrong, "x"))
        with pytest.raises(Misuse):
            await store.get("one", ["a", wrong])
        with pytest.raises(Misuse):
            await store.change("one", ["a", wrong], put({"a": "1"}))
        if wrong != "":
            with pytest.raises(Misuse):
                await store.write("one", {"a": "1"}, shelf=wrong)
            with pytest.raises(Misuse):
                await store.read("one", wrong)
        assert await store.read("one") == {}
        assert await all_runs(store) == []

    @pytest.mark.parametrize("wrong", NO_RUNS)
    async def test_a_run_that_is_no_name_is_refused(self, store: JournalStore, wrong: str) -> None:
        uses: list[Callable[[], Awaitable[object]]] = [
            lambda: store.write(wrong, {"a": "1"}),
            lambda: store.change(wrong, ["a"], put({"a": "1"})),
            lambda: store.get(wrong, ["a"]),
            lambda: store.read(wrong),
            lambda: store.remove(wrong),
        ]
        for use in uses:
            with pytest.raises(Misuse):
                await use()
        assert await all_runs(store) == []

    async def test_one_text_is_no_list_of_paths(self, store: JournalStore) -> None:
        with pytest.raises(Misuse, match="list"):
            await store.get("one", "abc")
        with pytest.raises(Misuse, match="list"):
            await store.change("one", "abc", look)

    @pytest.mark.parametrize("name", ["other", "{}-2", "{}_", "{}0", "x-{}"])
    async def test_two_namespaces_never_meet(self, store: JournalStore, name: str) -> None:
        async with self.second(store, namespace=name.format(store.namespace)) as other:
            await store.write("one", {"a": "ours", "claim": "ours"})
            await other.write("one", {"a": "theirs"})
            await other.write("two", {"a": "theirs"})

            assert (await store.read("one"), await store.read("two")) == ({"a": "ours", "claim": "ours"}, {})
            assert (await all_runs(store), await all_runs(other)) == (["one"], ["two", "one"])
            with pytest.raises(StaleToken):
                await other.write("one", {"a": "x"}, guard=Guard("claim", "ours"))
            assert await other.remove("one") is True
            assert await store.read("one") == {"a": "ours", "claim": "ours"}

    async def test_a_store_tells_where_it_is_and_what_survives(self, store: JournalStore) -> None:
        assert "://" in store.url
        assert store.scope in ("process", "machine", "fleet")
        assert store.durability in ("strict", "relaxed", "none")
        assert store.namespace

    # Cancellation and the end

    @pytest.mark.parametrize("ticks", [0, 1, 2, 5, 20])
    async def test_a_cancelled_caller_harms_nobody_else(self, store: JournalStore, ticks: int) -> None:
        counting = [asyncio.ensure_future(store.change("one", ["n"], count_up())) for _ in range(20)]
        writing = [asyncio.ensure_future(store.write("one", {f"a{n}": "1", f"b{n}": "1"})) for n in range(20)]
        for _ in range(ticks):
            await asyncio.sleep(0)
        for caller in counting[::2] + writing[::2]:
            caller.cancel()

        counts = await asyncio.gather(*counting, return_exceptions=True)
        writes = await asyncio.gather(*writing, return_exceptions=True)

        assert all(isinstance(end, int | asyncio.CancelledError) for end in counts)
        assert all(end is None or isinstance(end, asyncio.CancelledError) for end in writes)
        found = await store.read("one")
        counted = [end for end in counts if isinstance(end, int)]
        assert 10 <= len(set(counted)) == len(counted) <= int(found["n"]) <= 20
        # Each cancelled write was done wholly or not at all, all others wholly.
        assert all((f"a{n}" in found) == (f"b{n}" in found) for n in range(20))
        assert all(f"a{n}" in found for n in range(20) if writes[n] is None)
        assert await store.change("one", ["n"], count_up()) == int(found["n"]) + 1

    async def test_closing_ends_what_was_begun_and_leaves_nobody_waiting(self, store: JournalStore) -> None:
        callers = [asyncio.ensure_future(store.change("one", ["n"], count_up())) for _ in range(20)]
        await asyncio.sleep(0)

        await store.aclose()

        for end in await asyncio.gather(*callers, return_exceptions=True):
            assert isinstance(end, int | CoterieError)

    async def test_closing_twice_is_no_error(self, store: JournalStore) -> None:
        await store.write("one", {"a": "1"})

        await store.aclose()
        await store.aclose()

    async def test_a_closed_store_says_so(self, store: JournalStore) -> None:
        await store.write("one", {"a": "1"})
        await store.aclose()

        uses: list[Callable[[], Awaitable[object]]] = [
            lambda: store.write("one", {"a": "1"}),
            lambda: store.change("one", ["a"], look),
            lambda: store.get("one", ["a"]),
            lambda: store.read("one"),
            lambda: store.runs(limit=1),
            lambda: store.remove("one"),
        ]
        for use in uses:
            with pytest.raises(Misuse, match="closed"):
                await use()

    async def test_what_one_handle_wrote_outlives_it(self, store: JournalStore) -> None:
        async with self.second(store) as other:
            await other.write("one", {"a": "1"})

        assert await store.read("one") == {"a": "1"}

    async def test_a_second_event_loop_goes_on_where_the_first_has_ended(self, store: JournalStore) -> None:
        handles: list[JournalStore] = []

        async def use() -> int:
            if not handles:
                handles.append(await self.another(store) or store)
            await asyncio.gather(*(handles[0].write("one", {f"p{n}": "1"}) for n in range(5)))
            return await handles[0].change("one", ["n"], count_up())

        async def end() -> None:
            if handles[0] is not store:
                await handles[0].aclose()

        counts = [await asyncio.to_thread(asyncio.run, use()) for _ in range(3)]
        await asyncio.to_thread(asyncio.run, end())

        assert counts == [1, 2, 3]
        assert len(await store.read("one")) == 6
