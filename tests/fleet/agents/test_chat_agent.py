"""Chat agents against a server that speaks chat completions: request, output, usage, failures."""

from __future__ import annotations

from typing import Any

import pytest

from coterie import Orchestrator, Retry, Task, Team
from coterie.agents import AgentRejected, AgentThrottled, BadAnswer, ChatAgent
from coterie.errors import Misuse, PolicyError, StepFailed
from coterie.usage import Price, Usage
from tests.support.stub_provider import Behaviour, StubProvider

DOLLARS = Price(3_000_000, 15_000_000)


def agent_of(provider: StubProvider, **fields: Any) -> ChatAgent:
    return ChatAgent(f"{provider.url}/v1", "small", **fields)


async def test_the_models_text_is_the_output(provider: StubProvider, ctx):
    provider.script(Behaviour(chat="Looks fine."))
    agent = agent_of(provider, prompt="Review ${path}.", system="You review $code.", max_tokens=50, temperature=0)

    assert await agent({"path": "src"}, ctx) == "Looks fine."

    (seen,) = provider.requests
    assert (seen.method, seen.path) == ("POST", "/v1/chat/completions")
    assert seen.json == {
        "model": "small",
        "messages": [
            {"role": "system", "content": "You review $code."},
            {"role": "user", "content": "Review src."},
        ],
        "stream": False,
        "max_tokens": 50,
        "temperature": 0,
    }
    assert seen.headers["idempotency-key"] == ctx.idempotency_key
    assert "authorization" not in seen.headers


async def test_without_a_prompt_the_input_is_asked_as_json(provider: StubProvider, ctx):
    assert await agent_of(provider, response_format="json")({"a": [1, "ü"]}, ctx) == {"a": [1, "ü"]}
    assert provider.requests[0].json["response_format"] == {"type": "json_object"}


async def test_more_settings_go_along(provider: StubProvider, ctx):
    await agent_of(provider, settings={"seed": 1, "max_completion_tokens": 9})({}, ctx)

    assert provider.requests[0].json["seed"] == 1
    assert provider.requests[0].json["max_completion_tokens"] == 9


@pytest.mark.parametrize(
    ("base", "path"),
    [
        ("/v1/", "/v1/chat/completions"),
        ("", "/chat/completions"),
        ("/d?api-version=2", "/d/chat/completions?api-version=2"),
    ],
)
async def test_the_address_is_completed(provider: StubProvider, ctx, base, path):
    provider.script(Behaviour(chat="ok"))

    await ChatAgent(f"{provider.url}{base}", "small")({}, ctx)

    assert provider.requests[0].path == path


async def test_the_key_comes_from_the_environment_and_stays_unknown(provider: StubProvider, ctx, monkeypatch):
    monkeypatch.setenv("MODEL_KEY", "sk-very-secret")
    provider.script(Behaviour(status=401, body={"error": "Incorrect API key provided: sk-very-secret"}))
    agent = agent_of(provider, api_key_env="MODEL_KEY")

    with pytest.raises(AgentRejected, match="HTTP status 401") as caught:
        await agent({}, ctx)

    assert provider.requests[0].headers["authorization"] == "Bearer sk-very-secret"
    assert "sk-very-secret" not in f"{caught.value} {agent!r}"
    monkeypatch.delenv("MODEL_KEY")
    with pytest.raises(Misuse, match="'MODEL_KEY' is not set"):
        await agent({}, ctx)


async def test_tokens_and_their_price_are_reported(provider: StubProvider, ctx):
    provider.script(Behaviour(chat="ok", usage=(1000, 7)))

    await agent_of(provider, price=DOLLARS)({}, ctx)

    assert ctx.usage == Usage(1, 1000, 7, 3 * 1000 + 15 * 7)


async def test_without_a_price_the_tokens_are_reported_alone(provider: StubProvider, ctx):
    provider.script(Behaviour(chat="ok", usage=(5, 6)))

    await agent_of(provider)({}, ctx)

    assert ctx.usage == Usage(1, 5, 6, 0)


@pytest.mark.parametrize(
    "usage", [None, {}, [], {"prompt_tokens": -1}, {"prompt_tokens": "9", "completion_tokens": 1.5}]
)
async def test_a_service_that_counts_nothing_is_counted_as_one_request(provider: StubProvider, ctx, usage):
    message = {"choices": [{"message": {"content": "ok"}}], "usage": usage}
    provider.script(Behaviour(body=message))

    assert await agent_of(provider, price=DOLLARS)({}, ctx) == "ok"

    assert ctx.usage == Usage(1)


async def test_answers_that_failed_are_paid_for_too(provider: StubProvider):
    seen = []

    class Watched:
        def __init__(self, agent):
            self.agent = agent

        async def __call__(self, task_input, ctx):
            seen.append(ctx)
            return await self.agent(task_input, ctx)

    provider.script(
        Behaviour(chat="no JSON", usage=(10, 1), times=1),
        Behaviour(status=503, times=1),
        Behaviour(chat="[1]", usage=(10, 2)),
    )
    orchestrator = Orchestrator()
    agent = agent_of(provider, response_format="json", price=DOLLARS)
    orchestrator.register_agent("a", "x", 1, handler=Watched(agent))

    result = await orchestrator.execute_task(Task("t", "x", retry=Retry(base_s=0, cap_s=0)))

    assert (result.output, result.attempts) == ([1], 3)
    assert seen[-1].usage == Usage(2, 20, 3, 3 * 20 + 15 * 3)


@pytest.mark.parametrize(
    ("document", "error", "message"),
    [
        ({"choices": []}, BadAnswer, "no choice with a message"),
        ([], BadAnswer, "no choice with a message"),
        ({"choices": ["x"]}, BadAnswer, "no choice with a message"),
        ({"error": {"message": "overloaded"}}, BadAnswer, "no choice with a message"),
        ({"choices": [{"message": {"content": None, "refusal": "no"}}]}, BadAnswer, "answered without text"),
        ({"choices": [{"message": {"content": "x"}, "finish_reason": "length"}]}, StepFailed, "raise max_tokens"),
        ({"choices": [{"message": {"content": ""}, "finish_reason": "content_filter"}]}, StepFailed, "content filter"),
    ],
)
async def test_an_answer_that_is_none_is_typed(provider: StubProvider, ctx, document, error, message):
    provider.script(Behaviour(body=document))

    with pytest.raises(error, match=message):
        await agent_of(provider)({}, ctx)
    assert ctx.usage.requests == 1


@pytest.mark.parametrize("text", ["no JSON", '{"a": 1', "NaN", "[" * 5000])
async def test_text_where_json_was_asked_for_is_a_bad_answer(provider: StubProvider, ctx, text):
    provider.script(Behaviour(chat=text))

    with pytest.raises(BadAnswer, match=r"the model 'small' at 'http.*' wrote no JSON"):
        await agent_of(provider, response_format="json")({}, ctx)


async def test_a_model_that_is_asked_too_often_says_how_long(provider: StubProvider, ctx):
    provider.script(Behaviour(status=429, retry_after="2.5"))

    with pytest.raises(AgentThrottled) as caught:
        await agent_of(provider)({}, ctx)

    assert caught.value.retry_after_s == 2.5
    assert ctx.usage == Usage()


async def test_a_field_that_the_input_lacks_is_found_before_anything_is_sent(provider: StubProvider, ctx):
    with pytest.raises(Misuse, match="asks for 'path'"):
        await agent_of(provider, prompt="${path}")({}, ctx)
    assert not provider.requests


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"model": ""}, "the model is ''"),
        ({"base_url": "ftp://host"}, "the agent's url"),
        ({"base_url": None}, "base_url is None"),
        ({"base_url": "http://[::1"}, "the agent's url cannot be read"),
        ({"prompt": "$ 5"}, "names no field"),
        ({"system": 5}, "system is 5"),
        ({"response_format": "xml"}, "response_format is 'xml'"),
        ({"max_tokens": 0}, "max_tokens is 0"),
        ({"temperature": -1}, "temperature is -1"),
        ({"temperature": True}, "temperature is True"),
        ({"price": 3}, "price is 3"),
        ({"settings": {"stream": True}}, "settings sets 'stream'"),
    ],
)
def test_settings_that_cannot_work_are_refused(fields: dict[str, Any], message: str):
    with pytest.raises(PolicyError, match=message):
        ChatAgent(**{"base_url": "http://host/v1", "model": "small", **fields})


def test_settings_that_are_no_json_are_refused():
    with pytest.raises(Misuse, match="settings/seed"):
        ChatAgent("http://host/v1", "small", settings={"seed": object()})  # type: ignore[dict-item]


async def test_a_team_adds_a_chat_agent_that_a_model_may_plan_with(provider: StubProvider):
    provider.script(Behaviour(chat="fine"))
    team = Team("t")
    team.chat("reviewer", agent_of(provider), capacity=4)
    team.chat("other", agent_of(provider), plannable=False)

    assert team.plannable_types == ("reviewer",)
    assert (await Orchestrator(team).execute_task(Task("t", "reviewer"))).output == "fine"
