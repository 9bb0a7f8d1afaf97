"""Triggers on a real Valkey: places in a queue, wake-ups, and what they share."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager

import pytest
from airflow.serialization.serialized_objects import BaseSerialization

from airflow_provider_coterie import outlook as outlook_module
from airflow_provider_coterie import resuming, triggers
from airflow_provider_coterie.resuming import ResumingTrigger
from airflow_provider_coterie.triggers import CoterieRefusalTrigger, CoterieStateTrigger
from airflow_provider_coterie.waiting import Wait, patience_s, wait_of
from coterie import Agent, Task, Team
from coterie.breaker import BreakerPolicy, CircuitBreaker
from coterie.errors import BreakerOpen, BudgetSpent, PoolBusy, QuotaSpent
from coterie.policies import Policies
from coterie.pool import PoolPolicy, ResourcePool
from coterie.stores.opening import open_state_store
from tests.airflow.conftest import connection
from tests.support.redis_servers import valkey

POOL = PoolPolicy()
BREAKER = BreakerPolicy(failure_threshold=1, timeout_s=250.0, jitter=0.0)
CONN = "coterie_default"
# Longer than any of these tests takes, shorter than what would wake a trigger by itself.
PATIENCE_S = 60.0


@pytest.fixture(scope="module")
def server():
    with valkey() as running:
        yield running


@pytest.fixture
def namespace(server, artifacts, request, monkeypatch):
    """A namespace of this test's own, named by the default connection; nothing is looked at without a signal."""
    name = f"t{abs(hash(request.node.name))}"
    monkeypatch.setenv("AIRFLOW_CONN_COTERIE_DEFAULT", connection(artifacts, store=server.url, namespace=name))
    monkeypatch.setattr(triggers, "RECONCILE_S", 3600.0)
    return name


@asynccontextmanager
async def opened(server, namespace):
    store = open_state_store(server.url, namespace)
    try:
        yield store
    finally:
        await store.aclose()


def team(breaker_scope="agent"):
    agents = [Agent("a-1", "a", lambda _: None), Agent("a-2", "a", lambda _: None, capacity=2)]
    return Team("t", agents, policies={"a": Policies(breaker=BREAKER, breaker_scope=breaker_scope, pool=POOL)})


def refusal_of(error, *, ticket="one", priority=0, of=None):
    task = Task("task", "a", priority=priority)
    wait = wait_of(error, team=of or team(), task=task, ticket=ticket, first_refused_at=None)
    return CoterieRefusalTrigger(coterie_conn_id=CONN, wait=wait.to_dict())


def queued(ticket, *, priority=0):
    of = Team("t", [Agent("a", "a", lambda _: None)], policies={"a": Policies(pool=POOL)})
    return refusal_of(PoolBusy("busy", retry_after_s=1.0), ticket=ticket, priority=priority, of=of)


async def payload(trigger):
    """What its one event says."""
    (event,) = [event async for event in trigger.run()]
    return event.payload


async def fired(trigger):
    return (await payload(trigger))["woken_by"]


async def placed(pool, count):
    """Wait until so many stand in the queue, which tells nobody."""
    async with asyncio.timeout(PATIENCE_S):
        while (await pool.refresh()).waiting.get("a", 0) != count:  # noqa: ASYNC110
            await asyncio.sleep(0.02)


@asynccontextmanager
async def one_slot(server, namespace):
    """A pool of one slot, which is taken; give it back with `complete_task`."""
    async with opened(server, namespace) as store, ResourcePool("a", store=store, policy=POOL) as pool:
        pool.register_agent("a")
        assignment = await pool.submit_task(Task("holder", "a"))
        yield pool, assignment


def rearranged(trigger):
    """As Airflow stores and makes it again."""
    path, kwargs = trigger.serialize()
    assert path == f"{type(trigger).__module__}.{type(trigger).__name__}"
    return type(trigger)(**BaseSerialization.deserialize(BaseSerialization.serialize(kwargs)))


def test_a_trigger_is_the_same_after_airflow_has_stored_it():
    refused = refusal_of(BreakerOpen("a-1", retry_after_s=5.0))
    watching = CoterieStateTrigger(coterie_conn_id=CONN, agent_type="a", pool={"lease_s": 9.0}, agents=[["a", 2]])

    assert rearranged(refused).serialize() == refused.serialize()
    assert rearranged(refused).wait == refused.wait
    assert rearranged(watching).serialize() == watching.serialize()


@pytest.mark.parametrize(
    ("error", "wait_for", "breakers"),
    [
        (BreakerOpen("a", retry_after_s=5.0), "breaker", ("a-1", "a-2")),
        (BreakerOpen("a-2", retry_after_s=5.0), "breaker", ("a-1", "a-2")),
        (PoolBusy("busy", retry_after_s=5.0), "slot", ()),
        (QuotaSpent("spent", retry_after_s=5.0), "time", ()),
        (BudgetSpent("spent", retry_after_s=5.0), "time", ()),
    ],
)
def test_what_a_task_waits_for_is_what_refused_it(error, wait_for, breakers):
    wait = wait_of(error, team=team(), task=Task("t", "a"), ticket="x", first_refused_at=None)

    assert (wait.wait_for, wait.breakers) == (wait_for, breakers)
    assert wait.retry_at - wait.first_refused_at == pytest.approx(5.0)
    assert wait.gives_up_at - wait.first_refused_at == pytest.approx(300.0, abs=1.0)
    assert Wait.from_dict(wait.to_dict()) == wait


def test_a_breaker_of_the_whole_type_is_the_one_that_is_watched():
    wait = wait_of(
        BreakerOpen("a", retry_after_s=5.0), team=team("type"), task=Task("t", "a"), ticket="x", first_refused_at=None
    )

    assert wait.breakers == ("a",)


def test_the_patience_is_that_of_the_first_refusal():
    now = time.time()

    assert patience_s(None, now) is None
    assert patience_s(Policies(max_wait_s=100.0), None) == 100.0
    assert patience_s(Policies(max_wait_s=100.0), now - 40.0) == pytest.approx(60.0, abs=1.0)
    assert patience_s(Policies(max_wait_s=100.0), now - 400.0) == 0.0
    assert patience_s(Policies(max_wait_s=100.0), now + 1000.0) == 100.0, "another machine's clock is ahead"


def test_what_is_found_at_once_resumes_the_task_only_when_airflow_has_seen_its_worker_let_go(monkeypatch):
    class AtOnce(ResumingTrigger):
        def serialize(self):
            return "at.Once", {}

        async def awaited(self):
            return {"woken_by": "nothing"}

    async def run():
        loop = asyncio.get_running_loop()
        begun_at = loop.time()
        (event,) = [event async for event in AtOnce().run()]
        return event.payload, loop.time() - begun_at

    monkeypatch.setattr(resuming, "SETTLE_S", 0.25)
    payload, took_s = asyncio.run(run())

    assert payload == {"woken_by": "nothing"}
    assert took_s >= 0.25


def test_deferred_tasks_are_served_by_priority_then_by_arrival(server, namespace):
    async def run():
        order = []

        async def wait(ticket, priority):
            await fired(queued(ticket, priority=priority))
            order.append(ticket)

        async with one_slot(server, namespace) as (pool, held):
            waits = []
            for count, (ticket, priority) in enumerate([("first", 0), ("second", 0), ("urgent", 5)], start=1):
                waits.append(asyncio.create_task(wait(ticket, priority)))
                await placed(pool, count)
            await pool.complete_task("holder", held.agent_id, success=True)
            for turn in range(1, 4):
                async with asyncio.timeout(PATIENCE_S):
                    while len(order) < turn:
                        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED, timeout=0.05)
                # The resumed task takes its slot, by its ticket, and gives it back.
                async with pool.lease(ticket=order[-1], wait_s=0.0):
                    assert len(order) == turn, "nobody else has a slot"
            await asyncio.gather(*waits)
        return order

    assert asyncio.run(run()) == ["urgent", "first", "second"]


def test_two_triggers_of_one_task_are_one_place_and_a_restart_keeps_it(server, namespace):
    async def run():
        async with one_slot(server, namespace) as (pool, held):
            first = asyncio.create_task(fired(queued("first")))
            await placed(pool, 1)
            second = asyncio.create_task(fired(queued("second")))
            await placed(pool, 2)
            twin = asyncio.create_task(fired(queued("first")))
            first.cancel()
            await asyncio.wait({first})
            again = asyncio.create_task(fired(queued("first")))
            await placed(pool, 2)

            await pool.complete_task("holder", held.agent_id, success=True)
            woken = await asyncio.wait_for(asyncio.gather(again, twin), PATIENCE_S)

            assert not second.done(), "it stands behind"
            second.cancel()
            await asyncio.wait({second})
            return woken

    assert asyncio.run(run()) == ["slot", "slot"]


def test_a_task_that_a_person_ends_leaves_the_queue(server, namespace):
    async def run():
        async with one_slot(server, namespace) as (pool, held):
            ended = queued("ended")
            waiting = asyncio.create_task(fired(ended))
            await placed(pool, 1)
            behind = asyncio.create_task(fired(queued("behind")))
            await placed(pool, 2)

            waiting.cancel()
            await asyncio.wait({waiting})
            # Airflow does not wait for longer than a second, and cancels again.
            killing = asyncio.create_task(ended.on_kill())
            await asyncio.sleep(0)
            killing.cancel()

            await placed(pool, 1)
            await pool.complete_task("holder", held.agent_id, success=True)
            return await asyncio.wait_for(behind, PATIENCE_S)

    assert asyncio.run(run()) == "slot"


def test_a_breaker_that_is_closed_by_hand_wakes_and_has_its_agents_picked_again(server, namespace):
    async def run():
        async with opened(server, namespace) as store, ResourcePool("a", store=store, policy=POOL) as pool:
            breakers = [CircuitBreaker(name, BREAKER, store=store) for name in ("a-1", "a-2")]
            for breaker, capacity in zip(breakers, (1, 2), strict=True):
                pool.register_agent(breaker.name, capacity=capacity)
                await breaker.force_open()
                await pool.refresh()
                await pool.suspend_for(breaker.name, 250.0)
            watching = asyncio.Event()
            told_within = triggers._told_within

            async def seen(told, seconds):
                watching.set()
                await told_within(told, seconds)

            triggers._told_within = seen
            try:
                waiting = asyncio.create_task(fired(refusal_of(BreakerOpen("a", retry_after_s=250.0))))
                await asyncio.wait_for(watching.wait(), PATIENCE_S)
                assert not waiting.done()
                await breakers[1].reset()
                woken = await asyncio.wait_for(waiting, PATIENCE_S)
            finally:
                triggers._told_within = told_within
            conditions = {agent.agent_id: agent.condition for agent in (await pool.refresh()).agents}
            for breaker in breakers:
                await breaker.aclose()
            return woken, conditions

    assert asyncio.run(run()) == ("breaker", {"a-1": "suspended", "a-2": "ready"})


def test_a_store_that_goes_away_and_comes_back_is_looked_at_again(artifacts, monkeypatch):
    monkeypatch.setattr(triggers, "RECOVER_S", 0.05)
    monkeypatch.setattr(triggers, "RECONCILE_S", 3600.0)

    async def run(server):
        watching = asyncio.Event()
        told_within = triggers._told_within

        async def seen(told, seconds):
            watching.set()
            await told_within(told, seconds)

        monkeypatch.setattr(triggers, "_told_within", seen)
        async with opened(server, "default") as store:
            breaker = CircuitBreaker("a-1", BREAKER, store=store)
            await breaker.force_open()
            await breaker.aclose()
        one = Team("t", [Agent("a-1", "a", lambda _: None)], policies={"a": Policies(breaker=BREAKER)})
        waiting = asyncio.create_task(fired(refusal_of(BreakerOpen("a-1", retry_after_s=250.0), of=one)))
        await asyncio.wait_for(watching.wait(), PATIENCE_S)
        # Nothing is kept: when it is back, no breaker is open.
        await asyncio.to_thread(server.restart)
        return await asyncio.wait_for(waiting, PATIENCE_S)

    with valkey() as server:
        monkeypatch.setenv("AIRFLOW_CONN_COTERIE_DEFAULT", connection(artifacts, store=server.url))
        assert asyncio.run(run(server)) == "breaker"


def test_triggers_of_one_process_share_one_store_and_close_it(server, namespace, monkeypatch):
    made = []
    original = outlook_module.Outlook.__init__

    def counted(self, store):
        made.append(store)
        original(self, store)

    monkeypatch.setattr(outlook_module.Outlook, "__init__", counted)

    async def run():
        async with one_slot(server, namespace) as (pool, _):
            waits = [asyncio.create_task(fired(queued(f"t{n}"))) for n in range(20)]
            await placed(pool, 20)
            (shared,) = outlook_module._open[asyncio.get_running_loop()].values()
            users = shared.users
            for wait in waits:
                wait.cancel()
            await asyncio.wait(waits)
            return users, len(outlook_module._open[asyncio.get_running_loop()])

    assert asyncio.run(run()) == (20, 0)


def test_without_its_store_a_trigger_waits_for_the_time_alone(monkeypatch):
    monkeypatch.setenv("AIRFLOW_CONN_COTERIE_DEFAULT", connection("s3://bucket/x", store="nothing://like/that"))
    trigger = refusal_of(BreakerOpen("a-1", retry_after_s=0.05))

    assert asyncio.run(fired(trigger)) == "time"


def test_the_patience_ends_the_waiting_whatever_is_waited_for(server, namespace):
    async def run():
        async with one_slot(server, namespace):
            trigger = queued("late")
            object.__setattr__(trigger.wait, "gives_up_at", time.time() + 0.3)
            return await fired(trigger)

    assert asyncio.run(run()) == "patience"


def test_a_pool_s_free_slots_and_a_breaker_s_state_end_the_waiting(server, namespace, monkeypatch):
    monkeypatch.setattr(triggers, "POOL_LOOK_S", 0.05)

    async def run():
        async with one_slot(server, namespace) as (pool, held):
            pools = CoterieStateTrigger(coterie_conn_id=CONN, agent_type="a", pool={}, agents=[["a", 1]])
            free = asyncio.create_task(payload(pools))
            states = CoterieStateTrigger(coterie_conn_id=CONN, breaker="a", expected=["forced_open"])
            open_ = asyncio.create_task(payload(states))
            await asyncio.wait({free, open_}, timeout=0.3)
            assert not free.done()
            assert not open_.done()
            await pool.complete_task("holder", held.agent_id, success=True)
            async with opened(server, namespace) as store:
                breaker = CircuitBreaker("a", BREAKER, store=store)
                await breaker.force_open()
                await breaker.aclose()
            return await asyncio.wait_for(asyncio.gather(free, open_), PATIENCE_S)

    assert asyncio.run(run()) == [{"free_slots": 1}, {"state": "forced_open"}]
