"""A fleet's format is recorded once a namespace, and raised once all can read it."""

from __future__ import annotations

import asyncio

import pytest

from coterie._rules.decided import Decided, State
from coterie._rules.timeline import FORMAT
from coterie.errors import StateFormatError
from coterie.stores import format as fleet_format
from coterie.stores.format import check_format, migrate
from coterie.stores.memory import MemoryStateStore


@pytest.fixture
def store() -> MemoryStateStore:
    return MemoryStateStore()


async def record(store: MemoryStateStore, **state: int | str) -> None:
    await store.update("fleet/format", lambda old, now: Decided({"v": 1, "t0": 0, "at": 0, **state}, None))


async def recorded(store: MemoryStateStore) -> State | None:
    return (await store.read("fleet/format"))[0]


async def test_a_new_namespace_gets_the_format_of_the_first_who_comes(store: MemoryStateStore):
    assert await asyncio.gather(check_format(store), check_format(store)) == [FORMAT, FORMAT]

    state = await recorded(store)
    assert state is not None
    assert state["format"] == FORMAT
    assert state["v"] == FORMAT


async def test_a_known_format_is_not_written_again(store: MemoryStateStore):
    await record(store, format=FORMAT, by="0.0.1")

    assert await check_format(store) == FORMAT
    assert await migrate(store) == FORMAT

    assert (await recorded(store) or {})["by"] == "0.0.1"


@pytest.mark.parametrize("ask", [check_format, migrate])
async def test_a_newer_format_stops_with_the_version_needed(store: MemoryStateStore, ask):
    await record(store, format=FORMAT + 1, by="9.8.7")
    before = await recorded(store)

    with pytest.raises(
        StateFormatError, match=rf"format {FORMAT + 1}, .* up to {FORMAT}; update coterie here to 9\.8\.7"
    ):
        await ask(store)

    assert await recorded(store) == before


@pytest.mark.parametrize("ask", [check_format, migrate])
async def test_what_is_no_format_is_refused(store: MemoryStateStore, ask):
    await record(store, form=3)

    with pytest.raises(StateFormatError, match="namespace ours alone"):
        await ask(store)


async def test_an_older_format_holds_until_the_fleet_is_migrated(
    store: MemoryStateStore, monkeypatch: pytest.MonkeyPatch
):
    await record(store, format=FORMAT, by="0.0.1")
    monkeypatch.setattr(fleet_format, "FORMAT", FORMAT + 1)
    monkeypatch.setattr(fleet_format, "OLDEST", FORMAT)

    assert await check_format(store) == FORMAT
    assert await migrate(store) == FORMAT
    assert await check_format(store) == FORMAT + 1
    assert await migrate(store) == FORMAT + 1


async def test_a_format_that_is_too_old_is_raised_step_by_step(
    store: MemoryStateStore, monkeypatch: pytest.MonkeyPatch
):
    await record(store, format=FORMAT, by="0.0.1")
    monkeypatch.setattr(fleet_format, "FORMAT", FORMAT + 2)
    monkeypatch.setattr(fleet_format, "OLDEST", FORMAT + 1)

    with pytest.raises(StateFormatError, match=rf"coterie migrate' of a version that reads format {FORMAT + 1}"):
        await check_format(store)
    with pytest.raises(StateFormatError):
        await migrate(store)


async def test_migrating_what_was_never_used_says_so(store: MemoryStateStore):
    assert await migrate(store) is None
    assert await check_format(store) == FORMAT
