"""Whatever fails while a worker is at work: no call is left where nobody gets at it, and no worker spins or ends."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from coterie import Policies, Task, TaskContext, Team
from coterie._rules.log import Taken
from coterie._rules.pool_policy import PoolPolicy
from coterie.errors import ArtifactError, CallAbandoned, Unavailable
from coterie.journal import Journal
from coterie.remote import Worker, performing, records, taking, worker
from coterie.remote.queue import GROUP, queue_terms
from coterie.runtime import Runtime
from coterie.testing import FaultyLogStore, FaultyStateStore
from tests.fleet.remote.fleet import Fleet, call_of, eventually, until
from tests.fleet.remote.held import Held, held_call, submitted, waited


async def died_again(fleet: Fleet, topic: str, times: int) -> None:
    """The message that lies there was delivered so often to consumers that died."""
    for n in range(times):
        await fleet.log.take(topic, GROUP, f"dead-{n}", terms=queue_terms(15), limit=1)
        await fleet.log.leave(topic, GROUP, f"dead-{n}", died=True)


async def test_a_full_worker_does_not_spin_while_a_message_is_due(fleet: Fleet, monkeypatch: pytest.MonkeyPatch):
    rounds = [0]
    take_round = taking.take_round

    async def counted(*given: Any) -> Any:
        rounds[0] += 1
        return await take_round(*given)

    monkeypatch.setattr(worker, "take_round", counted)
    held = Held(capacity=1)
    await submitted(fleet, held_call("waits"))
    (first,) = (await fleet.log.take("tasks/held", GROUP, "other", terms=queue_terms(15), limit=1)).deliveries
    await fleet.log.give_back("tasks/held", GROUP, "other", first.logged.position, delay_s=1.0)
    await submitted(fleet, held_call("runs"))
    async with fleet.worker(held.team):
        await until(lambda: held.began == ["runs"])
        await asyncio.sleep(1.0)
        before = rounds[0]
        await asyncio.sleep(0.5)
        spun = rounds[0] - before
        held.release.set()

    assert spun < 10


async def test_what_was_taken_beyond_the_room_goes_back_though_the_store_fails(fleet: Fleet):
    team, log = Team("worker"), FaultyLogStore(fleet.log)
    began: list[str] = []
    release = asyncio.Event()

    async def hold(_: dict[str, Any], context: TaskContext) -> None:
        began.append(context.task_id)
        await release.wait()

    for name in ("one", "two", "three"):
        team.agent(name)(hold)
    await submitted(fleet, *(held_call(name, name) for name in ("one", "two", "three")))
    log.script["give_back", "before"] = Unavailable(log.url, "for a moment")
    runtime = Runtime(team, store=fleet.store, log=log, journal=Journal(fleet.books))
    await fleet.held.enter_async_context(runtime)
    at_work = Worker(runtime, capacity=1)
    work = asyncio.create_task(at_work.run())
    await until(lambda: len(began) == 1 and ("give_back", "tasks/two") in log.calls)
    log.script.clear()
    # Another one has room for all; the first still is at its task.
    async with fleet.worker(team):
        await until(lambda: len(began) == 3)
        release.set()

    at_work.stop()
    await asyncio.wait_for(work, 20)


async def test_a_call_that_is_given_up_while_another_queue_fails_ends_all_the_same(fleet: Fleet):
    held = Held()
    held.team.agent("other")(held.perform)
    call = held_call()
    await submitted(fleet, call)
    await died_again(fleet, "tasks/held", 5)
    log = FaultyLogStore(fleet.log)
    take = log.take

    async def failing(topic: str, *given: Any, **more: Any) -> Taken:
        if topic == "tasks/other":
            raise Unavailable(log.url, "this one alone")
        return await take(topic, *given, **more)

    log.take = failing  # type: ignore[method-assign]
    runtime = Runtime(held.team, store=fleet.store, log=log, journal=Journal(fleet.books))
    at_work = Worker(await fleet.held.enter_async_context(runtime))
    work = asyncio.create_task(at_work.run())
    with pytest.raises(CallAbandoned):
        await waited(fleet, call)

    at_work.stop()
    await asyncio.wait_for(work, 20)


async def test_a_state_store_that_is_away_when_a_call_is_given_up_ends_no_worker(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(records, "_INSIST_S", 0.2)
    held, call = Held(), held_call()
    held.release.set()
    await submitted(fleet, call)
    await died_again(fleet, "tasks/held", 5)
    state = FaultyStateStore(fleet.store)
    runtime = Runtime(held.team, store=state, log=fleet.log, journal=Journal(fleet.books))
    at_work = Worker(await fleet.held.enter_async_context(runtime))
    enlist = at_work._registration.enlist

    async def then_away(capacity: int) -> None:
        await enlist(capacity)
        subscribe = state.subscribe

        async def last(*given: Any) -> None:
            await subscribe(*given)
            state.down = "refusing"

        state.subscribe = last  # type: ignore[method-assign]

    at_work._registration.enlist = then_away  # type: ignore[method-assign]
    work = asyncio.create_task(at_work.run())

    async def is_dead() -> bool:
        return any(group.dead for group in await fleet.log.groups("tasks/held"))

    await eventually(is_dead)
    await asyncio.sleep(1.0)
    assert not work.done()
    state.down = None
    with pytest.raises(CallAbandoned):
        await waited(fleet, call)
    at_work.stop()
    await asyncio.wait_for(work, 20)


async def test_a_call_whose_end_cannot_be_kept_is_given_up_and_not_waited_for_for_ever(
    stored_fleet: Fleet, monkeypatch: pytest.MonkeyPatch
):
    team, fleet = Team("worker"), stored_fleet

    @team.agent("large")
    async def large(_: dict[str, Any]) -> str:
        return "x" * 300_000

    async def full(*_: Any) -> Any:
        raise ArtifactError("the disk is full")

    monkeypatch.setattr(performing, "stowed", full)
    monkeypatch.setattr(worker, "_AWAY_S", 0.01)
    call = held_call("t", "large")
    await submitted(fleet, call)
    async with fleet.worker(team):
        with pytest.raises(CallAbandoned, match="disk is full"):
            await waited(fleet, call)


async def test_an_end_that_cannot_be_recorded_for_long_is_recorded_then_and_not_done_again(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(records, "_INSIST_S", 0.2)
    held, call = Held(), held_call()
    state = FaultyStateStore(fleet.store)
    runtime = Runtime(held.team, store=state, log=fleet.log)
    at_work = Worker(await fleet.held.enter_async_context(runtime))
    work = asyncio.create_task(at_work.run())
    await submitted(fleet, call)
    await until(lambda: held.began == ["t"])
    state.down = "refusing"
    held.release.set()
    await asyncio.sleep(1.5)
    state.down = None
    result = await waited(fleet, call)
    at_work.stop()
    await asyncio.wait_for(work, 20)

    assert (result.output, held.began) == ("t", ["t"])


async def test_a_store_that_is_away_before_a_call_begins_counts_no_delivery(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(records, "_INSIST_S", 0.02)
    monkeypatch.setattr(worker, "_AWAY_S", 0.01)
    held, call = Held(), held_call()
    held.release.set()
    state = FaultyStateStore(fleet.store)
    runtime = Runtime(held.team, store=state, log=fleet.log, journal=Journal(fleet.books))
    at_work = Worker(await fleet.held.enter_async_context(runtime))
    work = asyncio.create_task(at_work.run())
    await until(lambda: at_work.status()["ready"] is True)
    state.down = "refusing"
    await submitted(fleet, call)
    await asyncio.sleep(1.5)
    state.down = None
    assert (await waited(fleet, call)).output == "t"
    at_work.stop()
    await asyncio.wait_for(work, 20)


async def test_tasks_that_a_pool_refuses_do_not_go_round_and_round(fleet: Fleet):
    team, release = Team("worker"), asyncio.Event()
    team.protect("pooled", Policies(pool=PoolPolicy(), max_wait_s=60))

    @team.agent("pooled", capacity=1)
    async def pooled(_: dict[str, Any]) -> None:
        await release.wait()

    log = FaultyLogStore(fleet.log)
    calls = [held_call(f"p{n}", "pooled") for n in range(100)]
    async with fleet.worker(team):
        await submitted(fleet, calls[0])
        await eventually(lambda: _is_running(fleet, calls[0].id))
        await submitted(fleet, *calls[1:])
        runtime = Runtime(team, store=fleet.store, log=log, journal=Journal(fleet.books))
        other = Worker(await fleet.held.enter_async_context(runtime))
        work = asyncio.create_task(other.run())
        await asyncio.sleep(2.0)
        refused = log.calls.count(("give_back", "tasks/pooled"))
        release.set()
        ends = [(await waited(fleet, call)).state for call in calls]
        other.stop()
        await asyncio.wait_for(work, 20)

    assert ends == ["succeeded"] * 100
    assert refused <= 100


async def _is_running(fleet: Fleet, call_id: str) -> bool:
    status = await fleet.calls.look(call_id)
    return status is not None and status.phase == "running"


async def test_threads_that_nobody_waits_for_count_against_the_capacity_of_all_types(fleet: Fleet):
    team, release = Team("worker"), threading.Event()
    began: list[str] = []

    @team.agent("stuck", capacity=4)
    def stuck(_: dict[str, Any], context: Any) -> None:
        began.append(context.task_id)
        release.wait(20)

    first = call_of(Task("t", "stuck", timeout_s=0.1))
    try:
        async with fleet.worker(team, capacity=2):
            await submitted(fleet, first)
            assert (await waited(fleet, first)).state == "failed"
            calls = [held_call(f"more{n}", "stuck") for n in range(3)]
            await submitted(fleet, *calls)
            await until(lambda: len(began) == 2)
            await asyncio.sleep(0.3)
            assert len(began) == 2
            release.set()
            assert [(await waited(fleet, call)).state for call in calls] == ["succeeded"] * 3
    finally:
        release.set()


async def test_what_is_told_of_a_call_never_stands_in_its_way(fleet: Fleet):
    held = Held()
    held.release.set()
    runtime = await fleet.runtime(held.team)
    call = held_call()
    call = type(call).of(
        call.task, namespace="default", workflow_id="r", traceparent="no such thing", correlation_id="a\nb"
    )
    async with fleet.worker(held.team):
        await runtime.remote.submit(call, owner="me")
        assert (await waited(fleet, call)).output == "t"
