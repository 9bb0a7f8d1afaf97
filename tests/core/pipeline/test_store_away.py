"""The store does not answer from the first call on: who waits for it, who learns of it, and how all is well again."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from coterie import Agent, CircuitBreaker, Event, Orchestrator, Policies, Quota, RetryAllowance, Task, Team
from coterie._rules.breaker_policy import BreakerPolicy
from coterie.errors import StateFormatError, Unavailable
from coterie.stores.memory import MemoryStateStore
from coterie.testing import FaultyStateStore

PATIENCE_S = 20.0


async def fine(task_input: Mapping[str, Any]) -> str:
    return "fine"


def orchestrator_on(store: FaultyStateStore, events: list[Event] | None = None, **policies: Any) -> Orchestrator:
    team = Team("away", [Agent("x1", "x", fine, capacity=4)])
    team.protect("x", Policies(breaker=BreakerPolicy(failure_threshold=1), max_wait_s=0, **policies))
    return Orchestrator(team, store=store, on_event=events.append if events is not None else None)


async def ends(orchestrator: Orchestrator, count: int) -> list[str]:
    states = []
    for _ in range(count):
        try:
            states.append((await orchestrator.execute_task(Task("t", "x"))).state)
        except Unavailable:
            states.append("unavailable")
    return states


async def test_a_caller_that_fails_open_waits_only_once_for_a_store_that_does_not_answer():
    store = FaultyStateStore(MemoryStateStore())
    store.down = "refusing"
    orchestrator = orchestrator_on(store)
    first = await ends(orchestrator, 1)
    store.down = None
    store.gate.clear()

    async with asyncio.timeout(PATIENCE_S):
        others = await ends(orchestrator, 20)

    assert first + others == ["succeeded"] * 21
    store.gate.set()
    await orchestrator.pipeline.aclose()


async def test_the_callers_that_come_together_wait_for_one_answer():
    store = FaultyStateStore(MemoryStateStore())
    orchestrator = orchestrator_on(store)

    await asyncio.gather(*(ends(orchestrator, 1) for _ in range(10)))

    assert store.calls.count(("read", "fleet/format")) == 1
    await orchestrator.pipeline.aclose()


async def test_when_the_store_is_back_its_states_hold_again():
    memory = MemoryStateStore()
    store = FaultyStateStore(memory)
    by_hand = CircuitBreaker("x1", store=memory)
    await by_hand.force_open()
    store.down = "refusing"
    orchestrator = orchestrator_on(store)
    assert await ends(orchestrator, 3) == ["succeeded"] * 3

    store.down = None

    async with asyncio.timeout(PATIENCE_S):
        while await ends(orchestrator, 1) == ["succeeded"]:  # noqa: ASYNC110  # in the background
            await asyncio.sleep(0.01)
    await orchestrator.pipeline.aclose()
    await by_hand.aclose()


async def test_a_store_of_a_newer_format_is_refused_as_often_as_it_is_asked():
    store = FaultyStateStore(MemoryStateStore(), read=[StateFormatError("of tomorrow") for _ in range(2)])
    orchestrator = orchestrator_on(store)

    results = [await orchestrator.execute_task(Task("t", "x")) for _ in range(3)]

    assert [one.error and one.error.type for one in results] == ["StateFormatError", "StateFormatError", None]
    await orchestrator.pipeline.aclose()


async def test_who_listens_is_told_once_of_each_state_that_is_done_without():
    store, events = FaultyStateStore(MemoryStateStore()), []
    store.down = "refusing"
    quotas = {"requests": Quota(rate_per_s=100, burst=100)}
    orchestrator = orchestrator_on(store, events, limits=quotas, retries=RetryAllowance())

    await ends(orchestrator, 3)

    told = [(event.name, event.fields.get("breaker") or event.fields.get("state")) for event in events]
    lost = [one for one in told if "store_failed" in one[0]]
    assert lost == [("breaker.store_failed", "x1"), ("state.store_failed", "limit/x")]
    await orchestrator.pipeline.aclose()
