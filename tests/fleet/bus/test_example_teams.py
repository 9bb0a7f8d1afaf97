"""The example agents that work through events: what they say, how they fail, and what a killed one's successor does."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from coterie import JsonValue, Plan, Runtime, Task, WorkflowResult
from coterie.bus import CloudEvent, EventBus, short_type
from coterie.journal import Intent
from coterie.teams import errands, newsdesk, supervisor
from tests.fleet.bus.buses import until

SAID = ("task.assigned", "task.completed", "task.failed")


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COTERIE_NEWSDESK_PACE_S", "0")
    monkeypatch.setenv("COTERIE_DESK_PACE_S", "0")


@pytest.fixture
async def bus() -> AsyncIterator[EventBus]:
    async with EventBus.open("memory://") as bus:
        yield bus


@asynccontextmanager
async def at_work(serving: Any) -> AsyncIterator[None]:
    """Somebody serves until the block ends, and is killed then."""
    service = asyncio.create_task(serving)
    try:
        yield
    finally:
        service.cancel()
        await asyncio.gather(service, return_exceptions=True)


async def said(bus: EventBus, *types: str) -> list[CloudEvent]:
    return [recorded.event async for recorded in bus.replay(*(types or SAID))]


async def ask(bus: EventBus, agent_type: str, task_input: dict[str, JsonValue], task_id: str = "t") -> CloudEvent:
    data: JsonValue = {"task_id": task_id, "agent_type": agent_type, "input": task_input}
    created = await bus.publish("task.created", data, correlation_id="story")
    return created.event


async def ended(bus: EventBus, created: CloudEvent) -> CloudEvent:
    return await bus.wait_for(
        "task.completed",
        "task.failed",
        where=lambda event: event.causation_id == created.id,
        since="begin",
        timeout_s=60,
    )


async def test_each_task_is_done_by_the_agent_of_its_type_alone(bus: EventBus):
    async with at_work(newsdesk.serve(bus)):
        facts = await ended(bus, await ask(bus, "researcher", {"subject": "tea"}, "research"))
        article = await ended(bus, await ask(bus, "writer", {"facts": facts.data["output"]}, "write"))

    assert article.data["output"].splitlines()[0] == "1. tea: who says so."
    told = await said(bus)
    assert [(short_type(event.type), event.data["task_id"], event.data["agent_type"]) for event in told] == [
        ("task.assigned", "research", "researcher"),
        ("task.completed", "research", "researcher"),
        ("task.assigned", "write", "writer"),
        ("task.completed", "write", "writer"),
    ]
    assert {event.correlation_id for event in told} == {"story"}


@pytest.mark.parametrize(
    ("agent_type", "task_input", "why"),
    [
        ("researcher", {"subject": " "}, "there is no subject to look into; say which"),
        ("writer", {"facts": []}, "there are no facts to write about; have them found first"),
    ],
)
async def test_an_agent_that_fails_says_why(bus: EventBus, agent_type: str, task_input: dict[str, JsonValue], why: str):
    async with at_work(newsdesk.serve(bus)):
        end = await ended(bus, await ask(bus, agent_type, task_input))

    assert (short_type(end.type), end.data["error"]) == ("task.failed", why)


async def test_what_asks_for_nothing_is_a_dead_letter(bus: EventBus):
    async with at_work(newsdesk.serve(bus)):
        await bus.publish("task.created", "whatever")
        await until(lambda: _dead(bus), "it is a dead letter of both")


async def _dead(bus: EventBus) -> bool:
    letters = [await bus.dead_letters(group) for group in newsdesk.AGENTS]
    return all(len(found) == 1 and "asks for nothing" in found[0].failures[-1].reason for found in letters)


async def test_the_successor_of_a_killed_agent_says_nothing_twice(bus: EventBus, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COTERIE_NEWSDESK_PACE_S", "3600")
    created = await ask(bus, "researcher", {"subject": "tea"})
    async with at_work(newsdesk.serve(bus)):
        await bus.wait_for("task.assigned", since="begin", timeout_s=60)
    monkeypatch.setenv("COTERIE_NEWSDESK_PACE_S", "0")

    async with at_work(newsdesk.serve(bus)):
        await ended(bus, created)

    assert [short_type(event.type) for event in await said(bus)] == ["task.assigned", "task.completed"]


async def test_errands_refuse_times_that_are_none(tmp_path: Path):
    async with Runtime(errands.team, artifacts=f"file://{tmp_path}/artifacts", journal=False) as runtime:
        run = runtime.orchestrator.execute_task
        done = await run(Task("done", "errand", input={"number": 7, "seconds": 0}))
        refused = await run(Task("refused", "errand", input={"seconds": "2"}))

    assert (done.state, refused.state) == ("succeeded", "failed")
    assert refused.error is not None
    assert "seconds is '2'" in refused.error.message


async def test_the_supervisor_finds_a_way_around_an_interview_that_fails(tmp_path: Path):
    async with _runtime(tmp_path) as runtime, at_work(supervisor.serve(runtime.bus)):
        result = await runtime.orchestrator.execute_task(_supervise())
        report = await runtime.artifacts.load(result.output)
        asked = await said(runtime.bus, f"{supervisor.ASKED}.*")

    assert report["steps"] == [
        "facts: done",
        "interview: nobody picked up",
        "archive: done",
        "letters: done",
        "summary: done",
    ]
    assert report["text"].splitlines() == [
        "tea: since when",
        "tea: at what price",
        "tea, in the archive",
        "tea, in the letters",
    ]
    assert Counter(event.type for event in asked).most_common(1)[0][1] == 1


async def test_the_supervisor_gives_up_where_there_is_no_way_around(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(supervisor, "PATIENCE_S", 0.05)
    async with _runtime(tmp_path) as runtime:
        result = await runtime.orchestrator.execute_task(_supervise())

    assert result.error is not None
    assert "there is no way around 'facts'" in result.error.message


async def test_what_a_supervisor_was_answered_its_successor_does_not_ask_again(tmp_path: Path):
    plan = Plan("p", [_supervise()])
    only = {skill: supervisor.SKILLS[skill] for skill in ("facts", "interview")}
    await _killed_at("archive", tmp_path, plan, only)

    async with _runtime(tmp_path) as runtime, at_work(supervisor.serve(runtime.bus)):
        result = await runtime.orchestrator.execute_workflow(plan, workflow_id="story")
        asked = await _asked(runtime.bus)

    assert result.status == "succeeded"
    assert asked == {
        "facts": 1,
        "interview": 1,
        "archive": 2,  # it was being asked when the first supervisor ended
        "letters": 1,
        "summary": 1,
    }


async def test_what_nobody_answered_is_asked_again_when_the_run_goes_on(tmp_path: Path):
    plan = Plan("p", [_supervise()])
    alone = await _alone(tmp_path, plan)

    async with _runtime(tmp_path) as runtime, at_work(supervisor.serve(runtime.bus)):
        result = await _go_on(runtime, plan)
        asked = await _asked(runtime.bus)

    assert (alone.status, result.status) == ("failed", "succeeded")
    assert "Have somebody serve it, then go on with the run." in str(alone["supervise"].error)
    assert asked == {"facts": 2, "interview": 1, "archive": 1, "letters": 1, "summary": 1}


async def test_what_was_answered_stays_where_somebody_else_was_not_there(tmp_path: Path):
    plan = Plan("p", [_supervise()])
    only = {skill: supervisor.SKILLS[skill] for skill in ("facts", "interview")}
    await _killed_at("archive", tmp_path, plan, only)
    alone = await _alone(tmp_path, plan)

    async with _runtime(tmp_path) as runtime, at_work(supervisor.serve(runtime.bus)):
        result = await _go_on(runtime, plan)
        asked = await _asked(runtime.bus)

    assert (alone.status, result.status) == ("failed", "succeeded")
    # That nobody picked up is what the desk of the interview answered: it stays.
    assert asked == {"facts": 1, "interview": 1, "archive": 3, "letters": 1, "summary": 1}


async def _alone(folder: Path, plan: Plan) -> WorkflowResult:
    """The run, while no desk is there."""
    async with _runtime(folder) as runtime:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(supervisor, "PATIENCE_S", 0.05)
            return await runtime.orchestrator.execute_workflow(plan, workflow_id="story")


async def _killed_at(skill: str, folder: Path, plan: Plan, desks: Mapping[str, Any]) -> None:
    """The run, until it asks for a skill that is none of these desks'."""
    async with _runtime(folder) as runtime:
        run = asyncio.create_task(runtime.orchestrator.execute_workflow(plan, workflow_id="story"))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(supervisor, "SKILLS", desks)
            async with at_work(supervisor.serve(runtime.bus)):
                await runtime.bus.wait_for(f"{supervisor.ASKED}.{skill}", since="begin", timeout_s=60)
        run.cancel()
        await asyncio.gather(run, return_exceptions=True)


async def _go_on(runtime: Runtime, plan: Plan) -> WorkflowResult:
    """As `coterie runs resume` does, or a cleared task."""
    return await runtime.orchestrator.execute_workflow(plan, workflow_id="story", intent=Intent(goes_on=True))


async def _asked(bus: EventBus) -> dict[str, int]:
    asked = Counter(event.type for event in await said(bus, f"{supervisor.ASKED}.*"))
    return {skill: asked[f"{supervisor.ASKED}.{skill}"] for skill in supervisor.SKILLS}


def _supervise() -> Task:
    return Task("supervise", "supervisor", input={"subject": "tea"})


def _runtime(folder: Path) -> Runtime:
    return Runtime(
        supervisor.team, artifacts=f"file://{folder}/artifacts", store=f"sqlite://{folder}/state.db", journal=True
    )
