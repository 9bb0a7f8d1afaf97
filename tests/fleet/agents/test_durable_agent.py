"""A pydantic-ai agent in a task: after a retry, what its model and tools answered is not asked for again."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from coterie import Intent, Journal, Orchestrator, PydanticAgent, Retry, Task
from coterie.durability import CoterieDurability, durable
from coterie.journal.view import view_run
from coterie.stores.journal_memory import MemoryJournalStore
from coterie.stores.opening import open_journal_store

pydantic_ai = pytest.importorskip("pydantic_ai")
from pydantic_ai import Agent  # noqa: E402
from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart, ToolCallPart  # noqa: E402
from pydantic_ai.models.function import AgentInfo, FunctionModel  # noqa: E402

REPOSITORY = Path(__file__).resolve().parents[3]


class Desk:
    """An agent that looks three things up, the first two at once, and then reports; and what it asked of whom."""

    def __init__(self, **options: Any) -> None:
        self.requests: list[int] = []
        self.looked: list[int] = []
        self.down = True
        self.answer: Callable[[list[ModelMessage], AgentInfo], ModelResponse] = self.report
        self.agent = Agent(FunctionModel(self._model), name="desk", **options)
        self.agent.tool_plain(self.look)

    async def look(self, number: int) -> str:
        """Look something up."""
        self.looked.append(number)
        await asyncio.sleep(0)
        return f"fact {number}"

    def _model(self, messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        # Looked up anew: an agent is bound to its model for good.
        return self.answer(messages, info)

    def report(self, messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        """What the model answers."""
        answered = sum(isinstance(message, ModelResponse) for message in messages)
        self.requests.append(answered)
        if answered == 0:
            return ModelResponse(parts=[ToolCallPart("look", {"number": 1}), ToolCallPart("look", {"number": 2})])
        if answered == 1:
            return ModelResponse(parts=[ToolCallPart("look", {"number": 3})])
        if self.down:
            raise ConnectionError("the model does not answer")
        return ModelResponse(parts=[TextPart("the report")])


@pytest.fixture
def desk() -> Desk:
    return Desk(capabilities=[CoterieDurability()])


@pytest.fixture
def work(desk: Desk) -> Callable[..., Any]:
    """Runs the task with the same journal each time, as another process would."""
    store = MemoryJournalStore("default")

    async def run(handler: Any = None, **intent: Any) -> Any:
        orchestrator = Orchestrator(journal=Journal(store))
        orchestrator.register_agent("desk", "desk", handler=handler or PydanticAgent(desk.agent, prompt="go"))
        result = await orchestrator.execute_workflow([Task("report", "desk")], workflow_id="w", intent=Intent(**intent))
        return result["report"], await view_run(Journal(store), "w")

    return run


async def test_what_was_answered_is_not_asked_for_again(desk: Desk, work: Callable[..., Any]):
    failed, _ = await work()
    desk.down = False

    ended, _ = await work(goes_on=True)

    assert failed.state == "failed"
    assert ended.output == "the report"
    assert desk.requests == [0, 1, 2, 2]
    assert desk.looked == [1, 2, 3]


async def test_an_attempt_after_another_in_the_same_process_goes_on_too(desk: Desk):
    orchestrator = Orchestrator(journal=Journal(MemoryJournalStore("default")))

    async def recovering(task_input: dict, ctx: Any) -> Any:
        desk.down = ctx.attempt == 1
        return await PydanticAgent(desk.agent, prompt="go")(task_input, ctx)

    orchestrator.register_agent("desk", "desk", handler=recovering, retry=Retry(max_attempts=2, base_s=0, cap_s=0))

    result = await orchestrator.execute_workflow([Task("report", "desk")])

    assert result["report"].output == "the report"
    assert desk.requests == [0, 1, 2, 2]


async def test_what_was_only_read_again_is_not_paid_for_again(desk: Desk, work: Callable[..., Any]):
    _, before = await work()
    desk.down = False

    _, after = await work(goes_on=True)

    # Of four requests, two were answered in the first attempt and one in the second.
    assert before.unit("report").usage.requests == 2
    assert after.unit("report").usage.requests == 1


async def test_without_a_journal_the_agent_runs_as_without_the_capability(desk: Desk):
    desk.down = False

    result = await desk.agent.run("go")

    assert result.output == "the report"
    assert desk.requests == [0, 1, 2]


async def test_an_agent_of_ones_own_code_is_durable_within_the_block(desk: Desk, work: Callable[..., Any]):
    async def by_hand(task_input: dict, ctx: Any) -> str:
        with durable(ctx):
            return (await desk.agent.run("go")).output

    await work(by_hand)
    desk.down = False

    ended, _ = await work(by_hand, goes_on=True)

    assert ended.output == "the report"
    assert desk.requests == [0, 1, 2, 2]


async def test_without_the_capability_everything_is_asked_for_again(work: Callable[..., Any]):
    desk = Desk()
    await work(PydanticAgent(desk.agent, prompt="go"))
    desk.down = False

    await work(PydanticAgent(desk.agent, prompt="go"), goes_on=True)

    assert desk.requests == [0, 1, 2, 0, 1, 2]


async def test_a_tool_can_be_left_out(work: Callable[..., Any]):
    desk = Desk(capabilities=[CoterieDurability()])
    glanced = []

    @desk.agent.tool_plain(metadata={"coterie": False})
    async def glance() -> str:
        glanced.append(1)
        return "as it is now"

    def answer(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        if len(messages) == 1:
            return ModelResponse(parts=[ToolCallPart("glance", {})])
        if desk.down:
            raise ConnectionError("the model does not answer")
        return ModelResponse(parts=[TextPart("done")])

    desk.answer = answer
    await work(PydanticAgent(desk.agent, prompt="go"))
    desk.down = False

    ended, _ = await work(PydanticAgent(desk.agent, prompt="go"), goes_on=True)

    assert ended.state == "succeeded"
    assert len(glanced) == 2


async def test_a_killed_process_is_gone_on_with_by_another(tmp_path: Path):
    program = [sys.executable, "-m", "tests.fleet.agents.test_durable_agent", str(tmp_path)]
    killed = await asyncio.to_thread(subprocess.run, program, cwd=REPOSITORY, check=False)

    ended = await asyncio.to_thread(subprocess.run, program, cwd=REPOSITORY, check=False)

    assert killed.returncode == -signal.SIGKILL
    assert ended.returncode == 0
    bills = [json.loads(line) for line in (tmp_path / "bills").read_text().splitlines()]
    # The one in which it died is asked for once more, those before it are not.
    assert bills == [0, 1, 2, 2]


async def _once(folder: Path) -> None:
    """What the killed process does: it dies in its third request, the first time."""
    desk = Desk(capabilities=[CoterieDurability()])
    desk.down = False

    def billed(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        response = desk.report(messages, info)
        with (folder / "bills").open("a") as bills:
            bills.write(f"{desk.requests[-1]}\n")
        if desk.requests[-1] == 2 and not (folder / "died").exists():
            (folder / "died").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return response

    desk.answer = billed
    journal = Journal(open_journal_store(f"sqlite://{folder}/state.db", "default"))
    orchestrator = Orchestrator(journal=journal)
    orchestrator.register_agent("desk", "desk", handler=PydanticAgent(desk.agent, prompt="go"))
    result = await orchestrator.execute_workflow([Task("report", "desk")], workflow_id="w")
    await journal.aclose()
    assert result["report"].output == "the report"


if __name__ == "__main__":
    asyncio.run(_once(Path(sys.argv[1])))
