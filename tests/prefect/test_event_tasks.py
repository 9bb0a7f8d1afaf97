"""Flows publish events on a bus, and wait for those of others."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from prefect import flow

from coterie import Plan, Task
from coterie.bus import CloudEvent, EventBus
from coterie.errors import NoReply, PolicyError, Unavailable
from prefect_coterie import (
    CoterieStore,
    apublish_event,
    await_for_event,
    event_tasks,
    plan_to_flow,
    publish_event,
    wait_for_event,
)
from prefect_coterie.tasks import workflow_id_here
from tests.prefect.runs import task_runs
from tests.prefect.trial import TEAM

pytestmark = pytest.mark.prefect

PLACED = "com.example.order.placed"


@pytest.fixture
def store(tmp_path: Path) -> CoterieStore:
    return CoterieStore(url=f"sqlite://{tmp_path}/state.db")


async def test_an_event_carries_the_workflow_id_of_its_flow_run(store: CoterieStore):
    @flow
    async def ordering() -> dict:
        return await apublish_event(PLACED, {"order": 7}, store=store, key="7", subject="order/7")

    state = await ordering(return_state=True)

    event = CloudEvent.from_dict(await state.aresult())
    assert (event.type, event.data, event.key, event.subject) == (PLACED, {"order": 7}, "7", "order/7")
    assert event.correlation_id == f"prefect.{state.state_details.flow_run_id}"
    assert set(await task_runs(state.state_details.flow_run_id, {f"publish {PLACED}"})) == {f"publish {PLACED}"}
    async with store.get_event_bus() as bus:
        assert [one.event async for one in bus.replay()] == [event]


async def test_what_was_published_before_the_wait_began_is_not_missed(store: CoterieStore):
    @flow
    async def early() -> tuple[dict, dict]:
        sent = await apublish_event(PLACED, store=store)
        return sent, await await_for_event("com.example.*", store=store, timeout_s=30)

    sent, found = await early()

    assert found == sent


async def test_a_retried_flow_run_hears_what_came_in_its_first_try(store: CoterieStore):
    tries = []

    @flow(retries=1)
    async def unsteady() -> dict:
        tries.append(1)
        if len(tries) == 1:
            async with store.get_event_bus() as bus:
                await bus.publish(PLACED, "early", correlation_id=await workflow_id_here())
            raise OSError("the flow's own")
        return await await_for_event(PLACED, store=store, timeout_s=30)

    assert (await unsteady())["data"] == "early"


async def test_a_wait_says_in_its_log_what_it_waits_for(store: CoterieStore, monkeypatch: pytest.MonkeyPatch):
    said: list[str] = []
    log = SimpleNamespace(info=lambda text, *of: said.append(text % of))
    monkeypatch.setattr(event_tasks, "get_run_logger", lambda: log)

    @flow
    async def waiting() -> dict:
        await apublish_event(PLACED, store=store, topic="orders")
        return await await_for_event(
            ["com.example.*", "task.failed"], store=store, topic="orders", where=lambda _: True, timeout_s=30
        )

    state = await waiting(return_state=True)

    (line,) = said
    assert line.startswith(
        f"waits for com.example.* or task.failed on the topic 'orders' of {store.url[: -len('.db')]}"
    )
    assert f"of the run 'prefect.{state.state_details.flow_run_id}' and as its 'where' chooses, since 20" in line
    assert ", until 20" in line
    assert line.endswith("'coterie events tail --topic orders' shows what comes")


async def test_what_was_published_before_the_run_began_is_another_matter(store: CoterieStore):
    async with store.get_event_bus() as bus:
        await bus.publish(PLACED, "old", correlation_id="order-1")
        # The store's clock has gone on since.
        await asyncio.sleep(0.05)

        @flow
        async def late() -> dict:
            waiting = asyncio.create_task(await_for_event(PLACED, store=store, correlation_id="order-1", timeout_s=60))
            await asyncio.sleep(0)
            await bus.publish(PLACED, "new", correlation_id="order-1")
            return await waiting

        assert (await late())["data"] == "new"


async def test_events_of_other_runs_are_let_pass(store: CoterieStore):
    @flow
    async def own() -> dict:
        await apublish_event(PLACED, "another's", store=store, correlation_id="order-1")
        await apublish_event(PLACED, "too small", store=store)
        await apublish_event(PLACED, "mine", store=store)
        return await await_for_event(PLACED, store=store, where=lambda event: event.data != "too small", timeout_s=30)

    assert (await own())["data"] == "mine"


async def test_any_runs_events_can_be_waited_for(store: CoterieStore):
    @flow
    async def any_() -> dict:
        await apublish_event(PLACED, "another's", store=store, correlation_id="order-1")
        return await await_for_event([PLACED, "task.*"], store=store, correlation_id="*", timeout_s=30)

    assert (await any_())["data"] == "another's"


async def test_a_wait_that_nobody_ends_fails(store: CoterieStore):
    @flow
    async def lonely() -> None:
        await await_for_event(PLACED, store=store, timeout_s=0.1)

    with pytest.raises(NoReply):
        await lonely()


def test_code_that_cannot_await_does_the_same(store: CoterieStore):
    @flow
    def plain() -> tuple[dict, dict]:
        return publish_event(PLACED, store=store), wait_for_event(PLACED, store=store, timeout_s=30)

    sent, found = plain()

    assert found == sent


async def test_a_retried_task_run_publishes_nothing_twice(store: CoterieStore, monkeypatch: pytest.MonkeyPatch):
    """The store's first answer is lost on its way."""
    publish, tries = EventBus.publish, []

    async def publish_and_lose(*arguments: Any, **options: Any) -> Any:
        done = await publish(*arguments, **options)
        tries.append(done.event.id)
        if len(tries) == 1:
            raise Unavailable("the answer was lost")
        return done

    monkeypatch.setattr(EventBus, "publish", publish_and_lose)

    @flow
    async def retried() -> None:
        await apublish_event.with_options(retry_delay_seconds=0)(PLACED, store=store)

    await retried()

    async with store.get_event_bus() as bus:
        (only,) = [one.event async for one in bus.replay()]
    assert tries == [only.id, only.id]


async def test_a_topic_of_its_own_and_keys_come_from_the_block(tmp_path: Path):
    signed = CoterieStore(
        url=f"sqlite://{tmp_path}/state.db", topic="orders", signing_keys="k1:a-secret-of-16-bytes,k2:another-secret-16"
    )
    await signed.asave("signed-orders", overwrite=True)

    @flow
    async def signing() -> dict:
        return await apublish_event(PLACED, store="signed-orders")

    sent = CloudEvent.from_dict(await signing())

    async with signed.get_event_bus() as bus:
        assert [one.event async for one in bus.replay()] == [sent]
    assert "secret-of" not in repr(signed)
    async with signed.get_event_bus("events") as elsewhere:
        assert [one async for one in elsewhere.replay()] == []


async def test_runs_tell_on_the_bus_what_becomes_of_their_tasks_where_the_block_says_so(tmp_path: Path):
    telling = CoterieStore(url=f"sqlite://{tmp_path}/state.db", announce=True)
    failing = plan_to_flow(
        Plan("failing", [Task("broken", "broken"), Task("after", "squarer", depends_on=["broken"])]),
        team=TEAM,
        artifacts=f"file://{tmp_path}/artifacts",
        store=telling,
        name="failing",
    )

    state = await failing(return_state=True)

    async with telling.get_event_bus() as bus:
        (failed,) = [one.event async for one in bus.replay("task.failed")]
    assert failed.correlation_id == f"prefect.{state.state_details.flow_run_id}"
    assert failed.subject == f"{failed.correlation_id}/broken"


async def test_a_bus_in_memory_would_reach_nobody():
    @flow
    async def nowhere() -> None:
        await apublish_event(PLACED, store="memory://")

    with pytest.raises(PolicyError, match="memory://"):
        await nowhere()
