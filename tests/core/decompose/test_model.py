"""Plans by a model: pydantic-ai's own test models, and a real HTTP server that speaks the chat format."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager

import pytest
from openai import AsyncOpenAI
from pydantic_ai.messages import ModelResponse, TextPart, ToolCallPart
from pydantic_ai.models.function import FunctionModel
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.models.test import TestModel
from pydantic_ai.providers.openai import OpenAIProvider

from coterie import Agent, ModelDecomposer, Team
from coterie.command import Command
from coterie.errors import Misuse, PlanRejected, PolicyError, Unavailable
from tests.core.decompose.chat_server import ChatServer, serving

GOOD = {
    "name": "review",
    "tasks": [
        {"id": "lint", "agent_type": "linter", "input": {"path": "src"}},
        {"id": "report", "agent_type": "reporter", "depends_on": ["lint"], "trigger_rule": "all_done"},
    ],
}
CYCLIC = {
    "name": "review",
    "tasks": [
        {"id": "a", "agent_type": "linter", "depends_on": ["b"]},
        {"id": "b", "agent_type": "linter", "depends_on": ["a"]},
    ],
}
FORBIDDEN = {"name": "review", "tasks": [{"id": "ship", "agent_type": "deployer"}]}
LARGE = {"name": "review", "tasks": [{"id": f"t{n}", "agent_type": "linter"} for n in range(51)]}


@pytest.fixture
def team() -> Team:
    team = Team("reviewers")

    @team.agent("linter")
    async def lint(task_input):
        """Finds style errors.

        And more that no model needs to know.
        """

    @team.agent("reporter")
    async def report(task_input):
        """Merges what the others found."""

    @team.agent("deployer", plannable=False)
    async def deploy(task_input):
        """Ships to production."""

    team.command("shell", ["sh"])
    return team


@asynccontextmanager
async def model_of(server: ChatServer):
    async with AsyncOpenAI(base_url=server.url, api_key="unused", max_retries=0) as client:
        yield OpenAIChatModel("local-model", provider=OpenAIProvider(openai_client=client))


def scripted(*answers: object) -> tuple[FunctionModel, list]:
    """A model that gives these answers in turn (a dict as the plan, a str as text), and the messages it was sent."""
    seen: list = []

    def answer(messages, info):
        reply = answers[min(len(seen), len(answers) - 1)]
        seen.append(list(messages))
        part = TextPart(reply) if isinstance(reply, str) else ToolCallPart(info.output_tools[0].name, reply)
        return ModelResponse(parts=[part])

    return FunctionModel(answer), seen


# A real server.


async def test_a_good_plan_comes_over_http(team):
    with serving(GOOD) as server:
        async with model_of(server) as model:
            found = await ModelDecomposer(model).propose("review the code", {"path": "src"}, team=team)

    assert found.plan.task("report").depends_on == ("lint",)
    assert found.corrections == 0
    assert (found.usage.requests, found.usage.input_tokens, found.usage.output_tokens) == (1, 100, 20)


async def test_the_prompt_holds_the_agents_and_the_data(team):
    with serving(GOOD) as server:
        async with model_of(server) as model:
            await ModelDecomposer(model).decompose("review the code", {"path": "src"}, team=team)

    rules, data = (message["content"] for message in server.requests[0]["messages"])
    assert "- linter: Finds style errors.\n- reporter: Merges what the others found.\n" in rules
    assert "deployer" not in rules
    assert "shell" not in rules
    assert json.loads(data) == {"objective": "review the code", "context": {"path": "src"}}
    assert "review the code" not in rules


async def test_a_refused_plan_is_corrected_with_the_reason(team):
    with serving(CYCLIC, GOOD) as server:
        async with model_of(server) as model:
            found = await ModelDecomposer(model).propose("review", {}, team=team)

    assert found.corrections == 1
    assert found.reasons[0].startswith("tasks wait for each other: a -> b -> a")
    assert found.usage.requests == 2
    assert "tasks wait for each other: a -> b -> a" in server.requests[1]["messages"][-1]["content"]
    assert "tasks wait" not in json.dumps(server.requests[0])


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (CYCLIC, "a -> b -> a"),
        (FORBIDDEN, "the agent type 'deployer'; a plan may use: 'linter', 'reporter'"),
        (LARGE, "the plan has 51 tasks; use at most 50"),
        ("I would rather chat.", "the answer holds no plan document"),
    ],
)
async def test_a_model_that_never_improves_is_rejected_with_every_reason(team, bad, reason):
    with serving(bad) as server:
        async with model_of(server) as model:
            with pytest.raises(PlanRejected) as caught:
                await ModelDecomposer(model, max_corrections=2).decompose("review", {}, team=team)

    assert len(server.requests) == 3
    assert len(caught.value.reasons) == 3
    assert all(reason in each for each in caught.value.reasons)


@pytest.mark.parametrize("status", [500, 503, 429])
async def test_a_failing_service_is_unavailable(team, status):
    with serving(status) as server:
        async with model_of(server) as model:
            with pytest.raises(Unavailable, match=f"HTTP status {status}") as caught:
                await ModelDecomposer(model).decompose("review", {}, team=team)

    assert len(server.requests) == 1
    assert caught.value.__cause__ is not None


async def test_a_refused_key_is_misuse(team):
    with serving(401) as server:
        async with model_of(server) as model:
            with pytest.raises(Misuse, match="HTTP status 401; check its name, the key"):
                await ModelDecomposer(model).decompose("review", {}, team=team)


async def test_a_service_that_is_not_there_is_unavailable(team):
    with serving(GOOD) as server:
        pass

    async with model_of(server) as model:
        with pytest.raises(Unavailable, match="could not be reached"):
            await ModelDecomposer(model).decompose("review", {}, team=team)


# pydantic-ai's own test models.


async def test_whatever_fits_the_shape_that_the_model_is_given_is_a_plan(team):
    plan = await ModelDecomposer(TestModel()).decompose("review", {}, team=team)

    assert plan.tasks[0].agent_type in ("linter", "reporter")


async def test_no_correction_means_one_answer(team):
    model, seen = scripted(CYCLIC, GOOD)

    with pytest.raises(PlanRejected, match="refused 1 times, last because: tasks wait for each other"):
        await ModelDecomposer(model, max_corrections=0).decompose("review", {}, team=team)
    assert len(seen) == 1


async def test_answers_of_every_kind_are_counted_alike(team):
    model, seen = scripted("no", {"name": "x"}, CYCLIC, "no", GOOD)

    found = await ModelDecomposer(model, max_corrections=4).propose("review", {}, team=team)

    assert found.corrections == 4
    assert found.usage.requests == len(seen) == 5


async def test_the_objective_is_repeated_after_an_answer_that_was_no_document(team):
    model, seen = scripted("no", GOOD)

    await ModelDecomposer(model).decompose("review the code", {}, team=team)

    prompt = seen[1][-1].parts[-1].content
    assert "review the code" in prompt
    assert "Your plan was refused: the answer holds no plan document" in prompt


async def test_the_limits_are_the_callers(team):
    model, _ = scripted(GOOD)

    with pytest.raises(PlanRejected, match="2 tasks wait for each other in a row; use at most 1"):
        await ModelDecomposer(model, max_depth=1).decompose("review", {}, team=team)


async def test_a_command_agent_is_never_planned_even_if_it_says_so(team):
    team.add(Agent("tool", "tool", Command(["true"]), plannable=True))
    model, _ = scripted({"name": "x", "tasks": [{"id": "a", "agent_type": "tool"}]})

    with pytest.raises(PlanRejected, match="asks for the agent type 'tool'"):
        await ModelDecomposer(model).decompose("review", {}, team=team)


async def test_a_model_that_does_not_answer_in_time_is_unavailable(team):
    async def hang(messages, info):
        await asyncio.Event().wait()

    with pytest.raises(Unavailable, match=r"did not answer within 0\.01 s"):
        await ModelDecomposer(FunctionModel(hang), answer_timeout_s=0.01).decompose("review", {}, team=team)


async def test_cancelling_is_not_swallowed(team):
    asked = asyncio.Event()

    async def hang(messages, info):
        asked.set()
        await asyncio.Event().wait()

    work = asyncio.create_task(ModelDecomposer(FunctionModel(hang)).decompose("review", {}, team=team))
    await asked.wait()
    work.cancel()

    with pytest.raises(asyncio.CancelledError):
        await work


async def test_an_error_inside_the_model_is_raised_as_it_is(team):
    def broken(messages, info):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await ModelDecomposer(FunctionModel(broken)).decompose("review", {}, team=team)


async def test_an_unknown_model_is_named(team):
    with pytest.raises(Misuse, match="'nobody:model'"):
        await ModelDecomposer("nobody:model").decompose("review", {}, team=team)


async def test_a_missing_key_is_told(team, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)

    with pytest.raises(Misuse, match="OPENAI_API_KEY"):
        await ModelDecomposer("openai:gpt-5").decompose("review", {}, team=team)


async def test_a_team_without_plannable_types_is_refused_before_the_model_is_asked():
    team = Team("commands")
    team.command("shell", ["sh"])
    model, seen = scripted(GOOD)

    with pytest.raises(Misuse, match="'commands' has no agent type"):
        await ModelDecomposer(model).decompose("review", {}, team=team)
    assert not seen


@pytest.mark.parametrize(("objective", "context"), [("  ", {}), ("review", {"x": object()})])
async def test_an_objective_or_context_that_says_nothing_is_refused(team, objective, context):
    with pytest.raises(Misuse, match=r"objective is empty|not JSON"):
        await ModelDecomposer(TestModel()).decompose(objective, context, team=team)


def test_settings_that_cannot_work_are_refused():
    with pytest.raises(PolicyError, match="max_corrections is -1"):
        ModelDecomposer("test", max_corrections=-1)


async def test_without_pydantic_ai_the_extra_is_named(team, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pydantic_ai", None)

    with pytest.raises(Misuse, match=r"pip install 'coterie\[llm\]'"):
        await ModelDecomposer("openai:gpt-5").decompose("review", {}, team=team)
