"""pydantic-ai's agents in a team: its own test models, and its HTTP client against a real server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any

import pytest
from openai import AsyncOpenAI
from pydantic import BaseModel
from pydantic_ai import Agent, DeferredToolRequests, RunContext
from pydantic_ai.exceptions import (
    FallbackExceptionGroup,
    ModelAPIError,
    ModelHTTPError,
    UnexpectedModelBehavior,
    UserError,
)
from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart, ToolCallPart
from pydantic_ai.models.fallback import FallbackModel
from pydantic_ai.models.function import AgentInfo, FunctionModel
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.models.test import TestModel
from pydantic_ai.providers.openai import OpenAIProvider
from pydantic_ai.usage import RequestUsage, UsageLimits

from coterie import Agent as Member
from coterie import Orchestrator, Retry, Task, Team
from coterie.agents import AgentRejected, AgentThrottled, AgentUnavailable, BadAnswer, PydanticAgent
from coterie.agents.model_failure import translated
from coterie.errors import CoterieError, Misuse, PolicyError, StepFailed
from coterie.usage import Price, Usage
from tests.support.stub_provider import Behaviour, StubProvider


class Finding(BaseModel):
    line: int
    text: str


def answering(*answers: str | Exception, usage: tuple[int, int] = (10, 2)) -> tuple[FunctionModel, list[str]]:
    """A model that gives these answers in turn, and what it was asked."""
    asked: list[str] = []

    def answer(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        found = answers[min(len(asked), len(answers) - 1)]
        asked.append(str(messages[-1].parts[-1].content))  # type: ignore[union-attr]
        if isinstance(found, Exception):
            raise found
        return ModelResponse([TextPart(found)], usage=RequestUsage(input_tokens=usage[0], output_tokens=usage[1]))

    return FunctionModel(answer), asked


@asynccontextmanager
async def behind(provider: StubProvider) -> AsyncIterator[OpenAIChatModel]:
    async with AsyncOpenAI(base_url=f"{provider.url}/v1", api_key="unused", max_retries=0) as client:
        yield OpenAIChatModel("small", provider=OpenAIProvider(openai_client=client))


async def test_the_input_becomes_the_prompt_and_the_text_the_output(ctx):
    model, asked = answering("Looks fine.")

    assert await PydanticAgent(Agent(model), prompt="Review ${path}.")({"path": "src"}, ctx) == "Looks fine."
    assert await PydanticAgent(Agent(model))({"path": "src"}, ctx) == "Looks fine."

    assert asked == ["Review src.", '{\n  "path": "src"\n}']


async def test_a_structured_output_becomes_json(ctx):
    model = TestModel(custom_output_args=[{"line": 3, "text": "long"}])

    output = await PydanticAgent(Agent(model, output_type=list[Finding]))({}, ctx)

    assert output == [{"line": 3, "text": "long"}]


async def test_the_dependencies_reach_the_tools(ctx):
    seen = []
    agent = Agent(TestModel(), deps_type=dict)

    @agent.tool
    def look(run: RunContext[dict]) -> str:
        seen.append(run.deps)
        return "seen"

    await PydanticAgent(agent, deps={"a": 1})({}, ctx)
    await PydanticAgent(agent, make_deps=lambda task_input, ctx: {**task_input, "task": ctx.task_id})({"b": 2}, ctx)

    assert seen == [{"a": 1}, {"b": 2, "task": "t"}]


async def test_what_was_used_is_reported(ctx):
    model, _ = answering("ok", usage=(1000, 7))

    await PydanticAgent(Agent(model), price=Price(3_000_000, 15_000_000))({}, ctx)

    assert ctx.usage == Usage(1, 1000, 7, 3 * 1000 + 15 * 7)


async def test_a_cost_that_pydantic_ai_knows_is_reported_rounded_up(ctx):
    def answer(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        return ModelResponse([TextPart("ok")], usage=RequestUsage(input_tokens=1, cost=Decimal("0.0000012")))

    await PydanticAgent(Agent(FunctionModel(answer)))({}, ctx)

    assert ctx.usage.cost_micros == 2


async def test_what_a_failed_attempt_used_is_reported_too(ctx):
    def call(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        return ModelResponse([ToolCallPart("explode", {})], usage=RequestUsage(input_tokens=10, output_tokens=2))

    agent = Agent(FunctionModel(call))

    @agent.tool_plain
    def explode() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await PydanticAgent(agent)({}, ctx)

    assert ctx.usage == Usage(1, 10, 2)


async def test_a_usage_limit_is_honoured_and_final():
    model = TestModel(call_tools=["look"])
    agent = Agent(model)

    @agent.tool_plain
    def look() -> str:
        return "seen"

    team = Team("t", [Member("a", "x", PydanticAgent(agent, usage_limits=UsageLimits(request_limit=1)))])

    result = await Orchestrator(team).execute_task(Task("t", "x", retry=Retry(base_s=0, cap_s=0)))

    assert (result.state, result.attempts) == ("failed", 1)
    assert result.error.type == "StepFailed"
    assert "used up its limits: The next request would exceed the request_limit of 1" in result.error.message


async def test_nothing_of_the_conversation_is_returned():
    model, _ = answering("ok")
    team = Team("t", [Member("a", "x", PydanticAgent(Agent(model, instructions="top secret")))])

    result = await Orchestrator(team).execute_task(Task("t", "x", input={"a": 1}))

    assert result.output == "ok"
    assert "top secret" not in str(result.to_dict())


async def test_a_model_failure_is_tried_again_by_the_tasks_retry():
    model, asked = answering(ModelHTTPError(503, "small"), "ok")
    team = Team("t", [Member("a", "x", PydanticAgent(Agent(model)))])

    result = await Orchestrator(team).execute_task(Task("t", "x", retry=Retry(base_s=0, cap_s=0)))

    assert (result.output, result.attempts, len(asked)) == ("ok", 2, 2)


# Over HTTP.


async def test_over_http_tokens_are_counted_and_text_comes_back(provider: StubProvider, ctx):
    provider.script(Behaviour(chat="fine", usage=(100, 20)))

    async with behind(provider) as model:
        assert await PydanticAgent(Agent(model))({}, ctx) == "fine"

    assert (ctx.usage.requests, ctx.usage.input_tokens, ctx.usage.output_tokens) == (1, 100, 20)


@pytest.mark.parametrize(
    ("behaviour", "wanted", "wait_s"),
    [
        (Behaviour(status=429, retry_after="17", body={"error": {"message": "slow"}}), AgentThrottled, 17.0),
        (Behaviour(status=503, body={"error": {"message": "down"}}), AgentUnavailable, None),
        (Behaviour(status=500, text="oops", content_type="text/plain"), AgentUnavailable, None),
        (Behaviour(status=408, body={}), AgentUnavailable, None),
        (Behaviour(fault="close"), AgentUnavailable, None),
    ],
    ids=["429", "503", "500", "408", "close"],
)
async def test_over_http_what_may_pass_is_unavailable(provider: StubProvider, ctx, behaviour, wanted, wait_s):
    provider.script(behaviour)

    async with behind(provider) as model:
        with pytest.raises(wanted) as caught:
            await PydanticAgent(Agent(model))({}, ctx)

    assert type(caught.value) is wanted
    assert caught.value.retry_after_s == wait_s
    assert caught.value.status == (None if behaviour.fault else behaviour.status)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
async def test_over_http_a_refused_request_is_final_and_repeats_no_body(provider: StubProvider, ctx, status):
    provider.script(Behaviour(status=status, body={"error": {"message": "the key sk-secret is wrong"}}))

    async with behind(provider) as model:
        with pytest.raises(AgentRejected, match=f"'small' answered with HTTP status {status}") as caught:
            await PydanticAgent(Agent(model))({}, ctx)

    assert "sk-secret" not in str(caught.value)
    assert caught.value.status == status


async def test_an_exhausted_account_is_final_although_it_is_a_429(provider: StubProvider, ctx):
    provider.script(Behaviour(status=429, body={"error": {"message": "no credit", "code": "insufficient_quota"}}))

    async with behind(provider) as model:
        with pytest.raises(AgentRejected, match=r"HTTP status 429 \(insufficient_quota\)"):
            await PydanticAgent(Agent(model))({}, ctx)


# What each error means.


@pytest.mark.parametrize(
    ("error", "wanted", "message"),
    [
        (ModelHTTPError(502, "m"), AgentUnavailable, "the model 'm' answered with HTTP status 502"),
        (ModelHTTPError(429, "m", headers={"retry-after": "3"}), AgentThrottled, "HTTP status 429"),
        (ModelHTTPError(418, "m\x1b", body="secret"), AgentRejected, "^the model 'm' answered with HTTP status 418;"),
        (ModelAPIError("m", "Connection error."), AgentUnavailable, "failed with ModelAPIError"),
        (UnexpectedModelBehavior("Exceeded maximum retries"), BadAnswer, "Exceeded maximum retries; change the prompt"),
        (UserError("Set the key"), Misuse, "cannot be run: Set the key"),
        (TimeoutError(), AgentUnavailable, "did not answer in time"),
        (
            FallbackExceptionGroup("all", [ModelHTTPError(400, "m"), ModelHTTPError(503, "n")]),
            AgentUnavailable,
            "every one of 2 models failed: the model 'm' answered",
        ),
        (FallbackExceptionGroup("all", [ModelHTTPError(400, "m")]), AgentRejected, "every one of 1 models failed"),
    ],
)
def test_an_error_of_the_model_has_one_meaning(error: Exception, wanted: type[CoterieError], message: str):
    known = translated(error)

    assert type(known) is wanted
    with pytest.raises(wanted, match=message):
        raise known


def test_of_several_models_the_shortest_wait_counts():
    errors = [ModelHTTPError(429, "m", headers={"retry-after": wait}) for wait in ("9", "4")]

    known = translated(FallbackExceptionGroup("all", errors))

    assert isinstance(known, AgentThrottled)
    assert known.retry_after_s == 4.0
    mixed = translated(FallbackExceptionGroup("all", [*errors, ModelHTTPError(503, "n")]))
    assert isinstance(mixed, AgentUnavailable)
    assert mixed.retry_after_s is None


@pytest.mark.parametrize("error", [ZeroDivisionError(), KeyError("x"), StepFailed("mine")])
def test_an_error_of_a_tool_is_left_as_it_is(error: Exception):
    assert translated(error) is None


async def test_a_fallback_over_models_that_all_fail_is_unavailable(ctx):
    first, second = (answering(ModelHTTPError(status, "m"))[0] for status in (500, 503))

    with pytest.raises(AgentUnavailable, match="every one of 2 models failed"):
        await PydanticAgent(Agent(FallbackModel(first, second)))({}, ctx)


async def test_an_answer_in_the_wrong_form_to_the_end_is_a_bad_answer(ctx):
    model, _ = answering("I would rather chat.")

    with pytest.raises(BadAnswer):
        await PydanticAgent(Agent(model, output_type=Finding, retries=1))({}, ctx)
    assert ctx.usage.requests == 2


async def test_a_tool_that_waits_for_approval_is_final(ctx):
    agent = Agent(TestModel(), output_type=[str, DeferredToolRequests])

    @agent.tool_plain(requires_approval=True)
    def ship() -> str:
        return "shipped"

    with pytest.raises(StepFailed, match="somebody else must approve"):
        await PydanticAgent(agent)({}, ctx)


async def test_cancelling_is_not_swallowed(ctx):
    started = asyncio.Event()

    async def hang(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        started.set()
        await asyncio.Event().wait()
        raise AssertionError

    work = asyncio.create_task(PydanticAgent(Agent(FunctionModel(hang)))({}, ctx))
    await started.wait()
    work.cancel()

    with pytest.raises(asyncio.CancelledError):
        await work


async def test_an_output_that_is_no_json_is_refused(ctx):
    def lost(x: int) -> Any:
        return object()

    with pytest.raises(Misuse, match="the agent's output is no JSON"):
        await PydanticAgent(Agent(TestModel(), output_type=lost))({}, ctx)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"agent": "openai:gpt"}, "'str' is no pydantic-ai agent"),
        ({"deps": 1, "make_deps": lambda i, c: 1}, "both deps and make_deps"),
        ({"prompt": "$ "}, "names no field"),
        ({"price": 1}, "price is 1"),
    ],
)
def test_settings_that_cannot_work_are_refused(fields: dict[str, Any], message: str):
    with pytest.raises(PolicyError, match=message):
        PydanticAgent(**{"agent": Agent(TestModel()), **fields})


def test_what_is_shown_holds_no_dependencies():
    assert "sk-secret" not in repr(PydanticAgent(Agent(TestModel()), deps="sk-secret"))
