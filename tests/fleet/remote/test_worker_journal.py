"""A worker whose journal cannot be used takes nothing, or gives back what it has: no task ends by that."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

from coterie import Task, TaskContext, Team
from coterie.errors import PolicyError
from coterie.journal import Journal
from coterie.remote import RemoteCalls, Worker, list_workers, performing
from coterie.remote import worker as remote_worker
from coterie.runtime import Runtime
from coterie.stores.journal_memory import MemoryJournalStore
from coterie.stores.opening import open_log_store, open_state_store
from tests.fleet.remote.fleet import Fleet, call_of, eventually, until
from tests.fleet.remote.held import Held, submitted, waited
from tests.support.command_line import coterie, folder, start
from tests.support.redis_servers import redis62

__all__ = ["coterie", "folder", "start"]

EVERY_SECOND = ("--appendonly", "yes", "--appendfsync", "everysec")
TEAM = """
from coterie import Team

team = Team("t")

@team.agent("adder")
async def add(task_input):
    return task_input["a"] + 1
"""


class Fickle(MemoryJournalStore):
    """A journal in a store that may be found not to be durable enough."""

    is_unfit = False

    def _refuse(self) -> None:
        if self.is_unfit:
            raise PolicyError("the store is not fit for a strict journal")

    async def change(self, run: str, paths: Sequence[str], decide: Any) -> Any:
        self._refuse()
        return await super().change(run, paths, decide)

    async def write(self, run: str, *given: Any, **more: Any) -> None:
        self._refuse()
        await super().write(run, *given, **more)

    async def runs(self, *, limit: int, after: str | None = None) -> Any:
        self._refuse()
        return await super().runs(limit=limit, after=after)


async def ask(url: str) -> str:
    store, log = open_state_store(url, "default"), open_log_store(url, "default")
    call = call_of(Task("t", "adder", input={"a": 1}))
    await RemoteCalls(store, log).submit(call)
    await log.aclose()
    await store.aclose()
    return call.id


async def phase_of(url: str, call_id: str) -> str | None:
    store, log = open_state_store(url, "default"), open_log_store(url, "default")
    status = await RemoteCalls(store, log).look(call_id)
    await log.aclose()
    await store.aclose()
    return None if status is None else status.phase


def test_a_worker_whose_store_is_not_fit_for_its_strict_journal_takes_nothing_and_ends_with_2(
    coterie: Callable[..., CompletedProcess[str]], folder: Path
):
    (folder / "mine.py").write_text(TEAM)
    with redis62(arguments=EVERY_SECOND) as server:
        url = server.url
        call = asyncio.run(ask(url))

        strict = coterie("worker", "--team", "mine:team", "--store", url, "--once", "--id", "w")
        left = asyncio.run(phase_of(url, call))
        relaxed = coterie("worker", "--team", "mine:team", "--store", url, "--once", "--journal", "relaxed")
        done = asyncio.run(phase_of(url, call))

    assert (strict.returncode, left) == (2, "queued"), strict.stderr
    assert "not fit for a strict journal" in strict.stderr
    assert "--journal relaxed" in strict.stderr
    assert "at most 1 at a time" not in strict.stderr
    assert (relaxed.returncode, done) == (0, "done"), relaxed.stderr


async def test_a_worker_with_a_journal_that_cannot_be_used_is_never_listed(fleet: Fleet):
    books = Fickle()
    books.is_unfit = True
    runtime = Runtime(Held().team, store=fleet.store, log=fleet.log, journal=Journal(books))
    worker = Worker(await fleet.held.enter_async_context(runtime))

    with pytest.raises(PolicyError, match="strict journal"):
        await worker.run()
    assert await list_workers(fleet.store) == []


@pytest.mark.parametrize("when", ["before it begins", "at a step"])
async def test_a_journal_that_is_found_unfit_at_work_gives_the_call_back_and_nothing_else_is_taken(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, when: str
):
    monkeypatch.setattr(performing, "_AWAY_S", (0.05,))
    monkeypatch.setattr(remote_worker, "_AWAY_S", 0.05)
    team, books, began = Team("worker"), Fickle(), list[int]()

    @team.agent("stepping")
    async def stepping(_: dict[str, Any], context: TaskContext) -> str:
        began.append(context.attempt)
        if when == "at a step" and len(began) == 1:
            books.is_unfit = True

        async def work() -> str:
            return "done"

        return await context.step("work", work)

    runtime = Runtime(team, store=fleet.store, log=fleet.log, journal=Journal(books))
    worker = Worker(await fleet.held.enter_async_context(runtime))
    work = asyncio.create_task(worker.run())
    await until(lambda: worker.status()["ready"] is True)
    books.is_unfit = when == "before it begins"
    call = call_of(Task("t", "stepping"), keeps="steps")
    await submitted(fleet, call)

    async def was_returned() -> bool:
        return "task.returned" in [one.event.name async for one in runtime.bus.replay()]

    await eventually(was_returned)
    other = call_of(Task("other", "stepping"), keeps="steps")
    await submitted(fleet, other)
    await asyncio.sleep(0.5)
    status = await fleet.calls.look(other.id)
    assert (status.phase, status.attempt, worker.status()["ready"]) == ("queued", 0, False)
    books.is_unfit = False
    assert (await waited(fleet, call)).output == "done"
    assert (await waited(fleet, other)).output == "done"
    worker.stop()
    await asyncio.wait_for(work, 15)


async def test_an_agent_that_raises_a_policy_error_of_its_own_has_failed(fleet: Fleet):
    team = Team("worker")

    @team.agent("strict")
    async def strict(_: dict[str, Any]) -> None:
        raise PolicyError("the agent's own setting")

    call = call_of(Task("t", "strict"), keeps="steps")
    await submitted(fleet, call)
    async with fleet.worker(team):
        result = await waited(fleet, call)

    assert (result.state, result.error.type) == ("failed", "PolicyError")
