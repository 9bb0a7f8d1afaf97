"""The caller's side: a call is asked for once, waited for, and cancelled by whom it belongs to; nothing is lost."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from coterie import ForEach, Task, Team
from coterie._rules import call as rule
from coterie._rules.log import Retention, Terms
from coterie.errors import (
    CallAbandoned,
    CallCancelled,
    Misuse,
    NoReply,
    OversizedMessage,
    TopicFull,
    Unavailable,
)
from coterie.journal import Intent
from coterie.remote import Call, RemoteCalls, waiting
from coterie.remote import calls as caller
from coterie.remote.call import CallItem
from coterie.remote.outcome import Outcome
from coterie.result import ErrorInfo, ItemResult, TaskResult
from coterie.stores.log_memory import MemoryLogStore
from coterie.stores.memory import MemoryStateStore
from coterie.testing import FaultyLogStore, FaultyStateStore
from coterie.usage import Usage
from tests.fleet.remote.fleet import Fleet, call_of, eventually, until

TASK = Task("lint", "linter", input={"path": "a.py"}, priority=7)
RESULT = TaskResult("lint", "succeeded", {"ok": True}, None, 1, "linter")
TERMS = Terms(by_priority=True)


async def end(fleet: Fleet, call: Call, result: TaskResult = RESULT) -> bool:
    """What a worker does to a record, without one."""
    key = f"call/{call.id}"
    begun = await fleet.store.update(
        key, partial(rule.begin, call_id=call.id, round_=1, position="1", worker="w", session="s")
    )
    text = Outcome(result, Usage(1), "w").to_json()
    return await fleet.store.update(key, partial(rule.finish, call_id=call.id, token=begun.record.token, result=text))


async def queued(fleet: Fleet, agent_type: str = "linter") -> int:
    return len((await fleet.log.read(f"tasks/{agent_type}")).messages)


async def test_a_call_is_one_record_and_one_message_however_often_it_is_asked_for(fleet: Fleet):
    call = call_of(TASK)

    statuses = [await fleet.calls.submit(call, owner=owner) for owner in ("anna", "bert")]

    (logged,) = (await fleet.log.read("tasks/linter")).messages
    assert [status.phase for status in statuses] == ["queued", "queued"]
    assert statuses[-1].owner == "bert"
    assert logged.message.priority == 7
    assert "a.py" not in logged.message.text


async def test_who_waits_is_woken_by_the_end_and_told_all_of_it(fleet: Fleet):
    call = call_of(TASK)
    await fleet.calls.submit(call)
    waiter = asyncio.create_task(fleet.calls.ended(call.id))
    await asyncio.sleep(0)

    await end(fleet, call)

    status = await asyncio.wait_for(waiter, 3)
    assert (status.result, status.usage, status.worker) == (RESULT, Usage(1), "w")
    assert await fleet.calls.wait(call.id) == RESULT
    assert (await fleet.calls.submit(call)).result == RESULT
    assert await queued(fleet) == 1


async def test_a_message_that_was_lost_is_sent_again_by_whoever_waits(fleet: Fleet, monkeypatch: pytest.MonkeyPatch):
    call = call_of(TASK)
    await fleet.calls.submit(call)
    await fleet.log.drop_topic("tasks/linter")
    monkeypatch.setattr(waiting, "SEND_AGAIN_S", 0.0)
    monkeypatch.setattr(waiting, "LOOK_S", 0.02)

    waiter = asyncio.create_task(fleet.calls.wait(call.id))

    await eventually(partial(queued, fleet))
    waiter.cancel()
    await asyncio.wait({waiter})


async def test_also_of_a_call_that_was_refused_the_message_is_sent_again(fleet: Fleet, monkeypatch: pytest.MonkeyPatch):
    call = call_of(TASK)
    await fleet.calls.submit(call)
    key = f"call/{call.id}"
    begun = await fleet.store.update(
        key, partial(rule.begin, call_id=call.id, round_=1, position="1", worker="w", session="s")
    )
    token = begun.record.token
    await fleet.store.update(key, partial(rule.put_back, call_id=call.id, token=token, was_refused=True))
    await fleet.log.drop_topic("tasks/linter")
    monkeypatch.setattr(waiting, "SEND_AGAIN_S", 0.0)
    monkeypatch.setattr(waiting, "LOOK_S", 0.02)

    waiter = asyncio.create_task(fleet.calls.wait(call.id))

    await eventually(partial(queued, fleet))
    waiter.cancel()
    await asyncio.wait({waiter})


async def test_that_nobody_serves_the_type_is_said_once_however_many_wait(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setattr(waiting, "NOTICE_S", 0.0)
    monkeypatch.setattr(waiting, "LOOK_S", 0.02)
    calls, others = fleet.calls, [call_of(replace(TASK, id=f"t{n}")) for n in range(3)]
    for call in others:
        await calls.submit(call)

    waiters = [asyncio.create_task(calls.wait(call.id)) for call in others]
    await until(lambda: "call.no_worker" in caplog.text)
    await asyncio.sleep(0.1)
    for waiter in waiters:
        waiter.cancel()
    await asyncio.wait(waiters)

    assert caplog.text.count("call.no_worker") == 1
    assert "coterie worker --team package.module:team --types linter" in caplog.text


async def test_who_joins_a_queued_call_is_not_told_that_there_is_no_room(fleet: Fleet, monkeypatch: pytest.MonkeyPatch):
    call = call_of(TASK)
    await fleet.calls.submit(call)
    # Its message is gone, and others' have taken its room.
    await fleet.log.drop_topic("tasks/linter")
    monkeypatch.setattr(caller, "QUEUE", Retention(when_full="refuse", max_messages=1))
    await fleet.calls.submit(call_of(replace(TASK, id="other")))

    assert (await fleet.calls.submit(call, owner="next")).phase == "queued"


async def test_a_call_is_kept_for_as_long_as_anybody_may_wait_for_it():
    kept: dict[str, float] = {}

    class Noting(FaultyStateStore):
        async def update(self, key: str, decide: Any, *, keep_s: float | None = None) -> Any:
            kept[key] = keep_s or 0.0
            return await super().update(key, decide, keep_s=keep_s)

    calls = RemoteCalls(Noting(MemoryStateStore()), MemoryLogStore())
    month_s = 30 * 86_400.0
    call = replace(call_of(TASK), patience_s=month_s)
    await calls.submit(call)
    assert kept[f"call/{call.id}"] > month_s

    await calls.cancel(call.id, by="me")
    assert kept[f"call/{call.id}"] == 7 * 86_400.0


async def test_who_died_between_record_and_message_is_made_good_by_the_next_who_asks(fleet: Fleet):
    call = call_of(TASK)
    log = FaultyLogStore(MemoryLogStore(), {("append", "before"): Unavailable("the answer is lost")})
    calls = RemoteCalls(fleet.store, log)
    with pytest.raises(Unavailable):
        await calls.submit(call)
    assert (await calls.look(call.id)).phase == "queued"

    await fleet.calls.submit(call)

    assert await queued(fleet) == 1


async def test_a_queue_without_room_leaves_no_call_behind(fleet: Fleet, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(caller, "QUEUE", Retention(when_full="refuse", max_messages=1))
    first, second = call_of(TASK), call_of(replace(TASK, id="other"))
    await fleet.calls.submit(first)

    with pytest.raises(TopicFull):
        await fleet.calls.submit(second)

    assert (await fleet.calls.look(second.id)).phase == "cancelled"
    with pytest.raises(TopicFull):
        # Asked for anew, not joined.
        await fleet.calls.submit(second)


async def test_only_its_owner_cancels_a_call_and_who_waits_is_told_by_whom(fleet: Fleet):
    call = call_of(TASK)
    await fleet.calls.submit(call, owner="old")
    await fleet.calls.submit(call, owner="new")
    waiter = asyncio.create_task(fleet.calls.wait(call.id))

    assert not await fleet.calls.cancel(call.id, owner="old", by="on_kill")
    assert await fleet.calls.cancel(call.id, owner="new", by="a person")

    with pytest.raises(CallCancelled, match="a person"):
        await asyncio.wait_for(waiter, 3)
    assert not await fleet.calls.cancel(call.id, by="somebody else")


async def test_a_call_that_was_cancelled_is_asked_for_anew(fleet: Fleet):
    call = call_of(TASK)
    await fleet.calls.submit(call)
    await fleet.calls.cancel(call.id, by="a person")

    again = await fleet.calls.submit(call)

    assert again.phase == "queued"
    assert await queued(fleet) == 2


async def test_a_call_that_nobody_begins_within_its_patience_is_over(fleet: Fleet, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(waiting, "LOOK_S", 0.02)
    call = call_of(TASK, patience_s=0.05)
    await fleet.calls.submit(call)

    with pytest.raises(NoReply, match="linter"):
        await asyncio.wait_for(fleet.calls.wait(call.id), 5)
    assert (await fleet.calls.look(call.id)).given_up == "late"


async def test_waiting_has_an_end_where_one_is_given(fleet: Fleet):
    call = call_of(TASK)
    await fleet.calls.submit(call)

    with pytest.raises(NoReply, match=call.id):
        await fleet.calls.wait(call.id, timeout_s=0.01)
    assert (await fleet.calls.look(call.id)).phase == "queued"


async def test_a_call_that_is_not_known_is_not_waited_for(fleet: Fleet):
    assert await fleet.calls.look("nobody") is None
    with pytest.raises(CallAbandoned, match="nothing is known"):
        await fleet.calls.wait("nobody")


async def test_a_store_that_fails_for_a_moment_does_not_end_the_waiting(fleet: Fleet):
    store = FaultyStateStore(fleet.store, subscribe=[Unavailable("away")], read=[Unavailable("away")] * 2)
    call = call_of(TASK)
    await fleet.calls.submit(call)
    await end(fleet, call)

    assert await RemoteCalls(store, fleet.log).wait(call.id) == RESULT


async def test_a_document_that_is_too_large_goes_to_the_artifact_store_or_nowhere(fleet: Fleet, stored_fleet: Fleet):
    large = call_of(replace(TASK, input={"text": "x" * 300_000}))

    with pytest.raises(OversizedMessage, match="artifact store"):
        await fleet.calls.submit(large)
    await stored_fleet.calls.submit(large)

    state, _ = await stored_fleet.store.read(f"call/{large.id}")
    assert len(state["call"]) < 2000


async def test_who_asks_after_a_recorded_failure_gets_it_and_not_another_attempt(fleet: Fleet):
    call = call_of(TASK)
    failed = TaskResult("lint", "failed", None, ErrorInfo("StepFailed", "no"), 3)
    await fleet.calls.submit(call)
    await end(fleet, call, failed)

    assert (await fleet.calls.submit(call)).result == failed


def test_a_call_is_read_as_it_was_written():
    upstream = {
        "a": TaskResult("a", "succeeded", [1, 2], item_results=(ItemResult("k", 0, "succeeded", 1),)),
        "b": TaskResult("b", "failed", error=ErrorInfo("Bad", "ü")),
    }
    task = Task("t", "linter", input={"x": {"$param": "p"}}, depends_on=("a", "b"), foreach=ForEach(items=[1]))
    call = Call(
        id="c1",
        workflow_id="airflow.dag.run",
        task=task,
        upstream=upstream,
        params={"p": "ü"},
        epoch=2,
        item=CallItem("k", 4, {"v": 1}),
        keeps="steps",
        idempotency_key="key",
        intent=Intent("airflow.x", demand=3, force="f"),
        place="p",
        stores_outputs=False,
        patience_s=60.0,
        correlation_id="corr",
        causation_id="cause",
        traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        submitted_by="me",
    )

    read = Call.from_json(call.to_json())

    assert read == call
    assert read.upstream["a"].item_results == upstream["a"].item_results


def test_a_call_s_id_is_that_of_the_work_whoever_asks():
    base = call_of(TASK)

    assert call_of(TASK).id == base.id
    others = [
        call_of(replace(TASK, input={"path": "b.py"})),
        call_of(TASK, version="2"),
        call_of(TASK, intent=Intent(demand=1)),
        call_of(TASK, instance="i"),
        Call.of(TASK, namespace="other", workflow_id="r"),
        Call.of(TASK, namespace="default", workflow_id="r2"),
    ]
    assert len({base.id, *(other.id for other in others)}) == 7


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"v": 9}', '{"v": 1, "task": {"id": "x"}}', '{"v":1,"task":3}'])
def test_a_text_that_is_no_call_is_refused_with_a_reason(text: str):
    with pytest.raises(Misuse):
        Call.from_json(text)


def test_a_call_that_cannot_be_is_refused():
    with pytest.raises(Misuse, match="patience_s"):
        call_of(TASK, patience_s=0)
    with pytest.raises(Misuse, match="keeps"):
        call_of(TASK, keeps="nothing")
    with pytest.raises(Misuse, match="item"):
        call_of(TASK, item=CallItem("k", 0))


async def test_an_orchestrator_that_knows_no_way_to_workers_says_so():
    from coterie import Orchestrator

    team = Team("caller")
    team.remote("linter")

    result = await Orchestrator(team).execute_task(Task("lint", "linter"))

    assert result.state == "failed"
    assert "remote=RemoteCalls" in str(result.error)
