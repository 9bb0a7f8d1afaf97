"""Who works under which name, and who notices that he is gone."""

from __future__ import annotations

import asyncio

import pytest

from coterie import Team
from coterie._rules.decided import Decided
from coterie.errors import Misuse, PolicyError, Unavailable, UnknownAgentType, WorkerIdTaken
from coterie.journal import Journal
from coterie.journal.owner import new_owner
from coterie.remote import Worker, list_workers
from coterie.remote.queue import GROUP, queue_terms
from coterie.remote.registry import Registration
from coterie.remote.worker import Workshop
from coterie.runtime import Runtime
from coterie.testing import FaultyLogStore
from tests.fleet.remote.fleet import Fleet, eventually, until
from tests.fleet.remote.held import Held, held_call, names_told, submitted, waited


async def test_two_workers_of_one_id_are_not_alive_together(fleet: Fleet):
    team = Held().team
    async with fleet.worker(team, worker_id="w"):
        other = Worker(await fleet.runtime(team), worker_id="w")
        with pytest.raises(WorkerIdTaken, match="--id"):
            await other.run()

    async with fleet.worker(team, worker_id="w"):
        pass


async def test_the_id_of_a_process_that_has_ended_is_taken_at_once(fleet: Fleet):
    host, boot, space, _, _, chance = new_owner().split(":")
    dead = f"{host}:{boot}:{space}:999999999:1:{chance}"
    await Registration(fleet.store, "w", dead, ["held"], lease_s=1000).enlist(1)

    async with fleet.worker(Held().team, worker_id="w"):
        (found,) = await list_workers(fleet.store)

    assert (found.id, found.state, found.types, found.capacity) == ("w", "alive", ("held",), 4)


async def test_a_registration_that_its_store_has_forgotten_is_made_again(fleet: Fleet):
    async with fleet.worker(Held().team, worker_id="w", lease_s=1.0):
        await fleet.store.update("worker/w", lambda _, now: Decided(None, now))
        assert await list_workers(fleet.store) == []

        async def is_back() -> bool:
            return [each.id for each in await list_workers(fleet.store)] == ["w"]

        await eventually(is_back)


async def test_a_worker_whose_id_another_process_has_by_now_ends(fleet: Fleet):
    worker = Worker(await fleet.runtime(Held().team), worker_id="w", lease_s=1.0)
    work = asyncio.create_task(worker.run())
    await until(lambda: worker.status()["ready"] is True)
    await fleet.store.update("worker/w", lambda _, now: Decided(None, now))
    await Registration(fleet.store, "w", "another session", ["held"], lease_s=1000).enlist(1)

    await asyncio.wait_for(work, 15)

    assert [each.process for each in await list_workers(fleet.store)] == ["another session"]


async def test_a_worker_without_the_team_s_code_does_not_begin(fleet: Fleet):
    team = Held().team
    only_remote = Team("caller")
    only_remote.remote("held")

    with pytest.raises(UnknownAgentType, match="nobody"):
        Worker(await fleet.runtime(team), types=["nobody"])
    with pytest.raises(Misuse, match="no agents that could work here"):
        Worker(await fleet.runtime(only_remote))
    with pytest.raises(PolicyError, match="capacity"):
        Worker(await fleet.runtime(team), capacity=0)
    with pytest.raises(PolicyError, match="lease_s"):
        Worker(await fleet.runtime(team), lease_s=0.1)
    workshop: Workshop = await fleet.runtime(team)
    assert Worker(workshop).types == ("held",)


async def test_a_worker_that_is_lost_is_told_of_once_and_its_tasks_are_others(fleet: Fleet):
    host, boot, space, _, _, chance = new_owner().split(":")
    dead = f"{host}:{boot}:{space}:999999999:1:{chance}"
    await Registration(fleet.store, "gone", dead, ["held"], lease_s=1000).enlist(1)
    call = held_call()
    await submitted(fleet, call)
    await fleet.log.take("tasks/held", GROUP, f"{dead}/0", terms=queue_terms(1000), limit=1)
    held = Held()
    held.release.set()
    runtime = await fleet.runtime(held.team)

    async with fleet.worker(held.team), fleet.worker(held.team):
        assert (await waited(fleet, call)).output == "t"

    states = {worker.id: worker.state for worker in await list_workers(fleet.store)}
    assert states == {"gone": "lost"}
    assert (await names_told(fleet, runtime)).count("agent.lost") == 1


async def test_a_worker_whose_queues_cannot_be_watched_gives_its_id_back(fleet: Fleet):
    log = FaultyLogStore(fleet.log, {("watch", "before"): Unavailable("away")})
    runtime = Runtime(Held().team, store=fleet.store, log=log, journal=Journal(fleet.books))
    worker = Worker(await fleet.held.enter_async_context(runtime), worker_id="w")

    with pytest.raises(Unavailable):
        await worker.run()

    assert await list_workers(fleet.store) == []
