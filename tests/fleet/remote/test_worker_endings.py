"""A worker ends what nobody wants, finishes what it is at, and gives back what it cannot finish."""

from __future__ import annotations

import asyncio
from typing import Any

from coterie import Team
from coterie.journal import Journal
from coterie.remote import Worker, list_workers
from coterie.runtime import Runtime
from coterie.testing import FaultyStateStore
from tests.fleet.remote.fleet import Fleet, eventually, until
from tests.fleet.remote.held import Held, held_call, names_told, submitted, waited


async def test_a_cancelled_call_that_nobody_has_begun_is_never_begun(fleet: Fleet):
    held, call = Held(), held_call()
    await submitted(fleet, call)
    await fleet.calls.cancel(call.id, by="a person")

    worker = Worker(await fleet.runtime(held.team), once=True)
    await asyncio.wait_for(worker.run(), 10)

    assert held.began == []
    (group,) = await fleet.log.groups("tasks/held")
    assert (group.held, group.unread, group.dead) == (0, 0, 0)


async def test_a_cancellation_reaches_the_agent_that_is_at_it(fleet: Fleet):
    held, call = Held(), held_call()
    async with fleet.worker(held.team):
        await submitted(fleet, call)
        await until(lambda: held.began == ["t"])
        await fleet.calls.cancel(call.id, owner="me", by="a person")

        await until(lambda: held.cancelled == ["t"])


async def test_a_cancellation_whose_signal_was_lost_is_seen_at_the_next_heartbeat(fleet: Fleet):
    held, call = Held(), held_call()
    deaf = FaultyStateStore(fleet.store)
    deaf.deaf = True
    runtime = Runtime(held.team, store=deaf, log=fleet.log, journal=Journal(fleet.books))
    worker = Worker(await fleet.held.enter_async_context(runtime), lease_s=1.0)
    work = asyncio.create_task(worker.run())
    await submitted(fleet, call)
    await until(lambda: held.began == ["t"])

    await fleet.calls.cancel(call.id, by="a person")

    await until(lambda: held.cancelled == ["t"])
    worker.stop()
    await asyncio.wait_for(work, 10)


async def test_a_drained_worker_finishes_what_it_is_at_and_takes_nothing_more(fleet: Fleet):
    held = Held(capacity=1)
    first, second = held_call("first"), held_call("second")
    runtime = await fleet.runtime(held.team)
    worker = Worker(runtime, worker_id="w")
    work = asyncio.create_task(worker.run())
    await submitted(fleet, first)
    await until(lambda: held.began == ["first"])
    await submitted(fleet, second)

    drain = asyncio.create_task(worker.drain(10))
    await asyncio.sleep(0.05)
    assert worker.status()["ready"] is False
    held.release.set()
    await asyncio.wait_for(asyncio.gather(drain, work), 15)

    assert (await waited(fleet, first)).output == "first"
    assert (await fleet.calls.look(second.id)).phase == "queued"
    assert await list_workers(fleet.store) == []
    told = await names_told(fleet, runtime)
    assert told.index("agent.draining") < told.index("task.completed") < told.index("agent.left")


async def test_what_is_not_finished_in_time_is_given_back_and_counts_no_delivery(fleet: Fleet):
    slow, quick, call = Held(), Held(), held_call()
    quick.release.set()
    worker = Worker(await fleet.runtime(slow.team), graceful_shutdown_timeout_s=0.05)
    work = asyncio.create_task(worker.run())
    await submitted(fleet, call)
    await until(lambda: slow.began == ["t"])
    worker.stop()
    await asyncio.wait_for(work, 10)

    assert slow.cancelled == ["t"]
    status = await fleet.calls.look(call.id)
    assert (status.phase, status.worker) == ("queued", None)
    async with fleet.worker(quick.team):
        assert (await waited(fleet, call)).output == "t"


async def test_a_cancellation_that_comes_while_a_call_is_being_begun_ends_it_too(fleet: Fleet):
    held, call = Held(), held_call()
    gated = FaultyStateStore(fleet.store)
    runtime = Runtime(held.team, store=gated, log=fleet.log, journal=Journal(fleet.books))
    worker = Worker(await fleet.held.enter_async_context(runtime))
    work = asyncio.create_task(worker.run())
    await until(lambda: worker.status()["ready"] is True)
    gated.down = "mute"
    await submitted(fleet, call)

    async def is_begun() -> bool:
        return (await fleet.calls.look(call.id)).phase == "running"

    # It has begun, and does not know it yet.
    await eventually(is_begun)
    await fleet.calls.cancel(call.id, by="a person")
    gated.down = None

    await until(lambda: worker.in_use == 0)
    assert held.began == []
    (group,) = await fleet.log.groups("tasks/held")
    await until(lambda: worker.in_use == 0)
    worker.stop()
    await asyncio.wait_for(work, 10)
    assert group.dead == 0


async def test_a_worker_that_is_cancelled_gives_back_at_once_what_it_is_at(fleet: Fleet):
    held, call = Held(), held_call()
    worker = Worker(await fleet.runtime(held.team))
    work = asyncio.create_task(worker.run())
    await submitted(fleet, call)
    await until(lambda: held.began == ["t"])

    work.cancel()
    await asyncio.wait({work}, timeout=10)

    assert work.cancelled()
    assert held.cancelled == ["t"]
    assert (await fleet.calls.look(call.id)).phase == "queued"
    (group,) = await fleet.log.groups("tasks/held")
    assert (group.held, await list_workers(fleet.store)) == (0, [])


async def test_an_agent_that_is_ended_has_time_to_tidy_up(fleet: Fleet):
    team, began, tidied = Team("worker"), asyncio.Event(), asyncio.Event()

    @team.agent("tidy")
    async def tidy(_: dict[str, Any]) -> None:
        began.set()
        try:
            await asyncio.sleep(30)
        finally:
            # For longer than until the next heartbeat, and the one after it.
            await asyncio.sleep(1.0)
            tidied.set()

    call = held_call("t", "tidy")
    async with fleet.worker(team, lease_s=1.0) as worker:
        await submitted(fleet, call)
        await began.wait()
        await fleet.calls.cancel(call.id, by="me")
        await until(lambda: worker.in_use == 0)

    assert tidied.is_set()
