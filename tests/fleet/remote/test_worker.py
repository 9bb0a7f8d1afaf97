"""A worker takes what it has room for, ends what nobody wants, and gives back what it cannot finish."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest

from coterie import Policies, Task, TaskContext, Team
from coterie._rules.breaker_policy import BreakerPolicy
from coterie._rules.decided import Decided
from coterie._rules.log import Message
from coterie._rules.pool_policy import PoolPolicy
from coterie.errors import CallAbandoned, Misuse, PolicyError, Unavailable, UnknownAgentType, WorkerIdTaken
from coterie.journal import Journal
from coterie.journal.owner import new_owner
from coterie.remote import Call, Worker, list_workers
from coterie.remote.queue import GROUP, QUEUE, queue_terms
from coterie.remote.registry import Registration
from coterie.remote.worker import Workshop
from coterie.runtime import Runtime
from coterie.testing import FaultyLogStore, FaultyStateStore
from tests.fleet.remote.fleet import Fleet, call_of, eventually, until


class Held:
    """An agent that says when it begins, and ends when it is told to."""

    def __init__(self, agent_type: str = "held", capacity: int = 4) -> None:
        self.began: list[str] = []
        self.cancelled: list[str] = []
        self.release = asyncio.Event()
        self.team = Team("worker")
        self.team.agent(agent_type, capacity=capacity)(self.perform)

    async def perform(self, _: dict[str, Any], context: TaskContext) -> str:
        self.began.append(context.task_id)
        try:
            await self.release.wait()
        except asyncio.CancelledError:
            self.cancelled.append(context.task_id)
            raise
        return context.task_id


def held_call(name: str = "t", agent_type: str = "held", **more: Any) -> Call:
    return call_of(Task(name, agent_type, **more))


async def submitted(fleet: Fleet, *calls: Call) -> None:
    for call in calls:
        await fleet.calls.submit(call, owner="me")


async def waited(fleet: Fleet, call: Call) -> Any:
    return await asyncio.wait_for(fleet.calls.wait(call.id), 15)


async def names_told(fleet: Fleet, runtime: Runtime) -> list[str]:
    return [recorded.event.name async for recorded in runtime.bus.replay()]


async def test_a_call_of_the_run_s_own_journal_is_recorded_there(fleet: Fleet):
    held = Held()
    held.release.set()
    call = held_call()
    async with fleet.worker(held.team):
        await submitted(fleet, call)
        result = await waited(fleet, call)

    assert (result.state, result.output) == ("succeeded", "t")
    assert "task/t" in await fleet.books.read("r")


async def test_what_the_journal_has_finished_is_not_done_again(fleet: Fleet):
    held = Held()
    held.release.set()
    first, second = held_call(), replace(held_call(), id="another")
    async with fleet.worker(held.team):
        for call in (first, second):
            await submitted(fleet, call)
            await waited(fleet, call)

    assert held.began == ["t"]


async def test_what_a_worker_left_behind_that_died_after_the_end_is_tidied_up(fleet: Fleet):
    held = Held()
    held.release.set()
    call = replace(held_call(), keeps="steps", idempotency_key="k")
    await submitted(fleet, call)
    taken = await fleet.log.take("tasks/held", GROUP, "dead", terms=queue_terms(15), limit=1)
    async with fleet.worker(held.team):
        # Another message of it, since the first is held by one who will never acknowledge it.
        message = replace(taken.deliveries[0].logged.message, id="again")
        await fleet.log.append("tasks/held", [message], retention=QUEUE)
        await waited(fleet, call)
        await fleet.books.write(f"call.{call.id}", {"claim/t": "{}"})
        await fleet.log.leave("tasks/held", GROUP, "dead", died=True)

        async def is_tidy() -> bool:
            return not (await fleet.books.runs(limit=9)).runs

        await eventually(is_tidy)

    assert held.began == ["t"]


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


async def test_a_message_that_is_no_call_is_a_dead_letter_with_its_reason(fleet: Fleet):
    texts = ["not JSON", json.dumps({"v": 1, "call": "nobody", "round": 1})]
    messages = [Message(str(n), "call", text) for n, text in enumerate(texts)]
    await fleet.log.append("tasks/held", messages, retention=QUEUE)

    async with fleet.worker(Held().team, once=True):
        await until(lambda: True)
        letters = await dead_letters(fleet, 2)

    assert "names no call" in letters[0]
    assert "nothing is known" in letters[1]


async def dead_letters(fleet: Fleet, count: int) -> list[str]:
    async with asyncio.timeout(10):
        while True:
            found = (await fleet.log.dead_letters("tasks/held", GROUP)).letters
            if len(found) >= count:
                return [letter.failures[-1].reason for letter in found]
            await asyncio.sleep(0.01)


async def test_a_call_of_another_type_than_its_queue_ends_with_a_reason(fleet: Fleet):
    call = held_call(agent_type="other")
    await submitted(fleet, call)
    message = (await fleet.log.read("tasks/other")).messages[0].message
    await fleet.log.append("tasks/held", [message], retention=QUEUE)

    async with fleet.worker(Held().team):
        with pytest.raises(CallAbandoned, match="queue of 'held'"):
            await waited(fleet, call)
        (letter,) = await dead_letters(fleet, 1)

    assert "'other'" in letter


async def test_a_call_whose_workers_die_again_and_again_is_given_up_and_can_be_requeued(fleet: Fleet):
    held, call = Held(), held_call()
    await submitted(fleet, call)
    terms = queue_terms(15.0)
    for number in range(5):
        taken = await fleet.log.take("tasks/held", GROUP, f"c{number}", terms=terms, limit=1)
        assert len(taken.deliveries) == 1
        await fleet.log.leave("tasks/held", GROUP, f"c{number}", died=True)

    async with fleet.worker(held.team):
        with pytest.raises(CallAbandoned, match="coterie dlq"):
            await waited(fleet, call)
        held.release.set()
        positions = [each.logged.position for each in (await fleet.log.dead_letters("tasks/held", GROUP)).letters]
        await fleet.log.requeue("tasks/held", GROUP, positions)
        await until(lambda: held.began == ["t"])

        async def ended() -> bool:
            return (await fleet.calls.look(call.id)).result is not None

        await eventually(ended)

    assert (await waited(fleet, call)).output == "t"


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


async def test_the_end_of_a_worker_that_was_replaced_changes_nothing(fleet: Fleet):
    stalled, quick = Held(capacity=1), Held()
    call = replace(held_call(), keeps="steps", idempotency_key="k")
    async with fleet.worker(stalled.team, worker_id="stalled"):
        await submitted(fleet, call)
        await until(lambda: stalled.began == ["t"])
        async with fleet.worker(quick.team, worker_id="quick"):
            (group,) = await fleet.log.groups("tasks/held")
            (holder,) = [each.name for each in group.consumers if each.held]
            await fleet.log.leave("tasks/held", GROUP, holder, died=True)
            await until(lambda: quick.began == ["t"])
            quick.release.set()
            result = await waited(fleet, call)
            stalled.release.set()
            await asyncio.sleep(0.1)
            status = await fleet.calls.look(call.id)

    assert (result, status.worker) == (status.result, "quick")


async def test_a_worker_that_takes_its_own_call_over_keeps_the_message_of_the_later_attempt(fleet: Fleet):
    held = Held(capacity=2)
    call = replace(held_call(), keeps="steps", idempotency_key="k")
    async with fleet.worker(held.team, lease_s=1.0) as worker:
        await submitted(fleet, call)
        await until(lambda: held.began == ["t"])
        (group,) = await fleet.log.groups("tasks/held")
        await fleet.log.leave("tasks/held", GROUP, group.consumers[0].name, died=True)
        # The earlier attempt is ended at a heartbeat.
        await until(lambda: held.began == ["t", "t"] and held.cancelled == ["t"] and worker.in_use == 1)
        await asyncio.sleep(0.1)
        (group,) = await fleet.log.groups("tasks/held")
        assert group.held == 1

        held.release.set()
        assert (await waited(fleet, call)).output == "t"


async def test_a_refusal_gives_the_task_back_and_holds_no_slot(fleet: Fleet):
    team = Team("worker")
    policy = Policies(breaker=BreakerPolicy(failure_threshold=1, timeout_s=600), max_wait_s=600)
    team.protect("broken", policy)

    @team.agent("broken")
    async def broken(_: dict[str, Any]) -> None:
        raise ConnectionError("down")

    @team.agent("fine")
    async def fine(_: dict[str, Any]) -> str:
        return "fine"

    calls = [held_call(f"b{n}", "broken") for n in range(3)]
    async with fleet.worker(team, capacity=1) as worker:
        await submitted(fleet, *calls)
        assert (await waited(fleet, calls[0])).state == "failed"
        last = held_call("f", "fine")
        await submitted(fleet, last)

        assert (await waited(fleet, last)).output == "fine"
        await until(lambda: worker.in_use == 0)
        statuses = [await fleet.calls.look(call.id) for call in calls[1:]]

    assert [status.phase for status in statuses] == ["queued", "queued"]
    (group,) = await fleet.log.groups("tasks/broken")
    assert (group.held, group.dead) == (0, 0)


async def test_a_refusal_that_lasts_longer_than_the_policies_allow_is_the_end(fleet: Fleet):
    team = Team("worker")
    team.protect("broken", Policies(breaker=BreakerPolicy(failure_threshold=1, timeout_s=600), max_wait_s=0.5))

    @team.agent("broken")
    async def broken(_: dict[str, Any]) -> None:
        raise ConnectionError("down")

    calls = [held_call(f"b{n}", "broken") for n in range(2)]
    async with fleet.worker(team):
        await submitted(fleet, calls[0])
        await waited(fleet, calls[0])
        await submitted(fleet, calls[1])
        result = await waited(fleet, calls[1])

    assert result.state == "failed"
    assert result.error.type == "BreakerOpen"


async def test_a_pool_of_the_whole_fleet_holds_for_all_workers_and_every_task_gets_its_turn(fleet: Fleet):
    at_work, most = [0], [0]
    team = Team("worker")
    team.protect("pooled", Policies(pool=PoolPolicy(), max_wait_s=60))

    @team.agent("pooled", capacity=1)
    async def pooled(_: dict[str, Any]) -> None:
        at_work[0] += 1
        most[0] = max(most[0], at_work[0])
        await asyncio.sleep(0.01)
        at_work[0] -= 1

    calls = [held_call(f"p{n}", "pooled") for n in range(6)]
    async with fleet.worker(team), fleet.worker(team):
        await submitted(fleet, *calls)
        ends = [(await waited(fleet, call)).state for call in calls]

    assert ends == ["succeeded"] * 6
    assert most == [1]


async def test_the_most_urgent_task_is_begun_first_whatever_its_type(fleet: Fleet):
    order: list[str] = []
    team = Team("worker")

    async def note(_: dict[str, Any], context: TaskContext) -> None:
        order.append(context.task_id)

    for name in ("one", "two", "three"):
        team.agent(name, capacity=4)(note)
    await submitted(
        fleet,
        held_call("old", "one"),
        held_call("urgent", "two", priority=50),
        held_call("later", "three"),
        held_call("more-urgent", "one", priority=60),
    )

    worker = Worker(await fleet.runtime(team), capacity=1, once=True)
    await asyncio.wait_for(worker.run(), 15)

    assert order == ["more-urgent", "urgent", "old", "later"]


async def test_a_worker_takes_no_more_than_its_agents_have_slots(fleet: Fleet):
    held = Held(capacity=2)
    calls = [held_call(f"t{n}") for n in range(5)]
    async with fleet.worker(held.team, capacity=10) as worker:
        await submitted(fleet, *calls)
        await until(lambda: len(held.began) == 2)
        (group,) = await fleet.log.groups("tasks/held")
        assert (group.held, worker.in_use) == (2, 2)

        held.release.set()
        assert [(await waited(fleet, call)).state for call in calls] == ["succeeded"] * 5


async def test_once_means_until_nothing_is_left(fleet: Fleet):
    held = Held(capacity=2)
    held.release.set()
    await submitted(fleet, *(held_call(f"t{n}") for n in range(7)))

    worker = Worker(await fleet.runtime(held.team), once=True)
    await asyncio.wait_for(worker.run(), 15)

    assert sorted(held.began) == [f"t{n}" for n in range(7)]


async def test_health_checks_say_whether_it_is_ready(fleet: Fleet):
    async with fleet.worker(Held().team, health=("127.0.0.1", 0), worker_id="w") as worker:
        live = await asked(worker, "GET /live HTTP/1.1\r\n\r\n")
        ready = await asked(worker, "GET /ready HTTP/1.1\r\nHost: x\r\n\r\n")
        other = await asked(worker, "GET /other HTTP/1.1\r\n\r\n")
        wrong = await asked(worker, "nonsense\r\n\r\n")
        worker.stop()
        stopping = await asked(worker, "GET /ready HTTP/1.1\r\n\r\n")

    assert [found[0] for found in (live, ready, other, wrong, stopping)] == [200, 200, 404, 405, 503]
    assert ready[1] == {
        "ready": True,
        "worker": "w",
        "types": ["held"],
        "capacity": 4,
        "in_use": 0,
        "draining": False,
    }


async def asked(worker: Worker, request: str) -> tuple[int, Any]:
    assert worker.health is not None
    reader, writer = await asyncio.open_connection("127.0.0.1", worker.health.port)
    writer.write(request.encode())
    answer = (await asyncio.wait_for(reader.read(), 5)).decode()
    writer.close()
    return int(answer.split(" ")[1]), json.loads(answer.partition("\r\n\r\n")[2])


async def test_a_store_that_fails_for_a_moment_ends_no_worker(fleet: Fleet):
    held = Held()
    held.release.set()
    store = FaultyStateStore(fleet.store)
    runtime = Runtime(held.team, store=store, log=fleet.log, journal=Journal(fleet.books))
    worker = Worker(await fleet.held.enter_async_context(runtime))
    work = asyncio.create_task(worker.run())
    await until(lambda: worker.status()["ready"] is True)
    call = held_call()
    store.down = "refusing"
    await submitted(fleet, call)
    await asyncio.sleep(0.3)
    assert held.began == []
    store.down = None

    assert (await waited(fleet, call)).output == "t"
    worker.stop()
    await asyncio.wait_for(work, 10)


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


async def test_a_worker_whose_queues_cannot_be_watched_gives_its_id_back(fleet: Fleet):
    log = FaultyLogStore(fleet.log, {("watch", "before"): Unavailable("away")})
    runtime = Runtime(Held().team, store=fleet.store, log=log, journal=Journal(fleet.books))
    worker = Worker(await fleet.held.enter_async_context(runtime), worker_id="w")

    with pytest.raises(Unavailable):
        await worker.run()

    assert await list_workers(fleet.store) == []


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


async def test_an_output_that_is_too_large_for_the_record_is_the_task_s_failure(fleet: Fleet):
    team = Team("worker")

    @team.agent("large")
    async def large(_: dict[str, Any]) -> str:
        return "x" * 300_000

    call = replace(held_call("t", "large"), keeps="steps", idempotency_key="k")
    async with fleet.worker(team):
        await submitted(fleet, call)
        result = await waited(fleet, call)

    assert result.state == "failed"
    assert result.error.type == "OversizedMessage"


async def test_what_was_taken_and_never_arrived_goes_back_at_once_and_disturbs_no_other_work(fleet: Fleet):
    held, first, second = Held(), held_call("first"), held_call("second")
    log = FaultyLogStore(fleet.log)
    runtime = Runtime(held.team, store=fleet.store, log=log, journal=Journal(fleet.books))
    worker = Worker(await fleet.held.enter_async_context(runtime))
    work = asyncio.create_task(worker.run())
    await submitted(fleet, first)
    await until(lambda: held.began == ["first"])
    log.script["take", "after"] = Unavailable("the answer is lost")
    await submitted(fleet, second)

    async def is_taken() -> bool:
        (group,) = await fleet.log.groups("tasks/held")
        return group.held == 2

    await eventually(is_taken)
    assert held.began == ["first"]
    log.script.clear()

    await until(lambda: held.began == ["first", "second"])
    assert held.cancelled == []
    held.release.set()
    ends = [(await waited(fleet, call)).output for call in (first, second)]
    worker.stop()
    await asyncio.wait_for(work, 10)

    assert ends == ["first", "second"]
    (group,) = await fleet.log.groups("tasks/held")
    assert (group.held, group.unread, group.dead) == (0, 0, 0)
