"""Agents of pydantic-ai whose model is protected: with its own test models, and with a service behind HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, closing

import pytest

pytest.importorskip("pydantic_ai")

from openai import AsyncOpenAI
from pydantic_ai import Agent
from pydantic_ai.exceptions import ModelAPIError, ModelHTTPError
from pydantic_ai.messages import ModelMessage, ModelResponse
from pydantic_ai.models.fallback import FallbackModel
from pydantic_ai.models.function import AgentInfo, FunctionModel
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.models.test import TestModel
from pydantic_ai.providers.openai import OpenAIProvider

from coterie import Retry
from coterie._rules.breaker_policy import BreakerPolicy
from coterie._rules.quota import Quota
from coterie.errors import BreakerOpen, BudgetExhausted, PolicyError, QuotaSpent, Refused
from coterie.model_guard import ProtectedModel, ProtectModel
from coterie.policies import Fallback, Policies, Spend
from coterie.usage import Price
from tests.support.stub_provider import Behaviour, StubProvider, serving

TWICE = BreakerPolicy(failure_threshold=2, timeout_s=60, jitter=0.0)
AT_ONCE = Retry(max_attempts=3, base_s=0, cap_s=0)
CHUNK = (
    'data: {"id":"1","object":"chat.completion.chunk","created":1,"model":"small","choices":'
    '[{"index":0,"delta":{"role":"assistant","content":"%s"},"finish_reason":null}]}\n\n'
)
STREAM = (
    CHUNK % "to be"
    + CHUNK % " or not"
    + 'data: {"id":"1","object":"chat.completion.chunk","created":1,"model":"small","choices":[],'
    '"usage":{"prompt_tokens":7,"completion_tokens":3,"total_tokens":10}}\n\ndata: [DONE]\n\n'
)


@pytest.fixture(scope="module")
def server() -> Iterator[StubProvider]:
    with serving() as provider:
        yield provider


@pytest.fixture
def provider(server: StubProvider) -> StubProvider:
    server.heal()
    server.requests.clear()
    return server


@asynccontextmanager
async def behind(provider: StubProvider) -> AsyncIterator[OpenAIChatModel]:
    """A model behind HTTP, whose client tries nothing again by itself."""
    async with AsyncOpenAI(base_url=f"{provider.url}/v1", api_key="secret", max_retries=0) as client:
        yield OpenAIChatModel("small", provider=OpenAIProvider(openai_client=client))


def budget(limit: int, per_call: int) -> Policies:
    return Policies(budgets=[Spend(name="all", limit=limit, per_call=per_call)], max_wait_s=0)


# With the test models


async def test_an_agent_joins_by_its_model(protect):
    agent = Agent(ProtectedModel(TestModel(custom_output_text="calm"), protect()))

    assert (await agent.run("the mood?")).output == "calm"


async def test_a_model_may_be_named(protect):
    agent = Agent(ProtectedModel("test", protect()))

    assert (await agent.run("hello")).output == "success (no tool calls)"


async def test_an_agent_joins_by_a_capability_wherever_its_model_is_from(protect):
    protected = protect(Policies(breaker=TWICE, max_wait_s=0))
    agent = Agent(capabilities=[ProtectModel(protected)])

    assert (await agent.run("hello", model=TestModel(custom_output_text="calm"))).output == "calm"
    for expected in (ZeroDivisionError, ZeroDivisionError, BreakerOpen):
        with pytest.raises(expected):
            await agent.run("hello", model=FunctionModel(_broken))


def _broken(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
    raise ZeroDivisionError


def test_an_agent_that_is_run_without_a_loop_joins_too(protect):
    protected = protect(Policies(breaker=TWICE, max_wait_s=0))
    agent = Agent(ProtectedModel(TestModel(custom_output_text="calm"), protected))

    def run_twice() -> list[str]:
        # It takes the thread's loop, and would leave one of its own open.
        with closing(asyncio.new_event_loop()) as loop:
            asyncio.set_event_loop(loop)
            return [agent.run_sync("hello").output for _ in range(2)]

    with ThreadPoolExecutor(1) as threads:
        assert threads.submit(run_twice).result() == ["calm", "calm"]


async def test_every_request_of_a_run_passes(protect):
    policies = Policies(limits={"requests": Quota(rate_per_s=0.001, burst=3)}, max_wait_s=0, max_hold_s=0)
    agent = Agent(ProtectedModel(TestModel(), protect(policies)))

    @agent.tool_plain
    def look() -> str:
        return "found"

    assert (await agent.run("look")).usage.requests == 2
    with pytest.raises(QuotaSpent):
        await agent.run("look")


async def test_tokens_are_settled_by_what_the_response_says(protect):
    agent = Agent(ProtectedModel(TestModel(custom_output_text="calm"), protect(budget(1100, 1000))))

    used = (await agent.run("hello")).usage
    assert 50 <= used.input_tokens + used.output_tokens <= 100
    await agent.run("hello")

    with pytest.raises(BudgetExhausted):
        await agent.run("hello")


async def test_a_price_turns_tokens_into_money(protect):
    policies = Policies(budgets=[Spend(name="all", limit="1.55", per_call="1.00", unit="money")], max_wait_s=0)
    cent_a_token = Price(input_micros=10_000_000_000, output_micros=0)
    agent = Agent(ProtectedModel(TestModel(custom_output_text="calm"), protect(policies), price=cent_a_token))

    assert 45 < (await agent.run("hello")).usage.input_tokens <= 55
    await agent.run("hello")

    with pytest.raises(BudgetExhausted):
        await agent.run("hello")


async def test_a_stream_is_protected_and_reports_at_its_end(protect):
    protected = protect(budget(1500, 1000))

    async def words(messages: list[ModelMessage], info: AgentInfo) -> AsyncIterator[str]:
        yield "to be "
        yield "or not"

    agent = Agent(ProtectedModel(FunctionModel(stream_function=words), protected))

    async with agent.run_stream("hello") as result:
        assert await result.get_output() == "to be or not"
    # Settled by what was used: else a second one would not be let through.
    async with agent.run_stream("hello") as result:
        assert await result.get_output() == "to be or not"


async def test_a_stream_holds_its_slot_until_it_ends(protect):
    protected = protect(capacity=1)
    agent = Agent(ProtectedModel(TestModel(custom_output_text="to be"), protected))

    async with agent.run_stream("hello") as result:
        with pytest.raises(Refused):
            await agent.run("hello")
        await result.get_output()

    assert (await agent.run("hello")).output == "to be"


async def test_the_reader_of_a_stream_may_fail_without_harm_to_the_model(protect):
    protected = protect(Policies(breaker=TWICE, max_wait_s=0))
    agent = Agent(ProtectedModel(TestModel(custom_output_text="to be"), protected))

    for _ in range(3):
        with pytest.raises(ValueError, match="mine"):
            async with agent.run_stream("hello"):
                raise ValueError("mine")

    assert (await agent.run("hello")).output == "to be"


async def test_a_cancelled_run_gives_its_slot_back(protect):
    started = asyncio.Event()

    async def hang(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        started.set()
        await asyncio.Event().wait()
        raise AssertionError

    protected = protect(capacity=1)
    run = asyncio.ensure_future(Agent(ProtectedModel(FunctionModel(hang), protected)).run("hello"))
    await started.wait()
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run

    assert (await Agent(ProtectedModel("test", protected)).run("hello")).output


def test_a_fallback_cannot_stand_in_for_a_model(protect):
    protected = protect(Policies(fallback=[Fallback(value="none")]))

    for make in (lambda: ProtectedModel("test", protected), lambda: ProtectModel(protected)):
        with pytest.raises(PolicyError, match="FallbackModel"):
            make()


def test_what_protects_nothing_is_refused(protect):
    with pytest.raises(PolicyError, match="protects nothing"):
        ProtectedModel("test", TestModel())  # type: ignore[arg-type]
    with pytest.raises(PolicyError, match="pass a Price"):
        ProtectedModel("test", protect(), price=3)  # type: ignore[arg-type]


# With a service behind HTTP


async def test_a_service_that_is_down_is_asked_again_then_no_longer(protect, provider):
    provider.script(Behaviour(status=503))
    protected = protect(Policies(breaker=BreakerPolicy(failure_threshold=3, timeout_s=60), max_wait_s=0), retry=AT_ONCE)

    async with behind(provider) as model:
        agent = Agent(ProtectedModel(model, protected))
        with pytest.raises(ModelHTTPError, match="503"):
            await agent.run("hello")
        with pytest.raises(BreakerOpen):
            await agent.run("hello")

    assert len(provider.requests) == 3


async def test_a_service_that_recovers_answers_within_one_run(protect, provider):
    provider.script(Behaviour(status=500), Behaviour(fault="reset", times=1), Behaviour(chat="calm"))

    async with behind(provider) as model:
        result = await Agent(ProtectedModel(model, protect(retry=AT_ONCE))).run("hello")

    assert (result.output, result.usage.input_tokens) == ("calm", 100)
    assert len(provider.requests) == 3


async def test_a_429_pauses_the_limit_for_as_long_as_the_service_asks(protect, provider):
    provider.script(Behaviour(status=429, retry_after="45"))
    policies = Policies(breaker=TWICE, limits={"requests": Quota(rate_per_s=100, burst=9)}, max_wait_s=0, max_hold_s=0)
    protected = protect(policies, retry=AT_ONCE)

    async with behind(provider) as model:
        agent = Agent(ProtectedModel(model, protected))
        with pytest.raises(ModelHTTPError, match="429"):
            await agent.run("hello")
        with pytest.raises(QuotaSpent) as refused:
            await agent.run("hello")

    assert 40 < refused.value.retry_after_s <= 45
    assert len(provider.requests) == 1


async def test_what_the_service_refuses_for_good_is_not_repeated_and_does_not_count(protect, provider):
    provider.script(Behaviour(status=401))
    protected = protect(Policies(breaker=TWICE, max_wait_s=0), retry=AT_ONCE)

    async with behind(provider) as model:
        for _ in range(3):
            with pytest.raises(ModelHTTPError, match="401"):
                await Agent(ProtectedModel(model, protected)).run("hello")

    assert len(provider.requests) == 3


async def test_a_fallback_model_leaves_an_open_breaker_at_once(protect, provider):
    provider.script(Behaviour(status=503))
    protected = protect(Policies(breaker=TWICE, max_wait_s=0))

    async with behind(provider) as model:
        both = FallbackModel(
            ProtectedModel(model, protected), TestModel(custom_output_text="b"), fallback_on=(ModelAPIError, Refused)
        )
        outputs = [(await Agent(both).run("hello")).output for _ in range(4)]

    assert outputs == ["b"] * 4
    assert len(provider.requests) == 2


async def test_a_stream_that_cannot_begin_is_tried_again(protect, provider):
    provider.script(Behaviour(status=503), Behaviour(text=STREAM, content_type="text/event-stream"))
    protected = protect(budget(40, 20), retry=AT_ONCE)

    async with behind(provider) as model:
        agent = Agent(ProtectedModel(model, protected))
        for _ in range(3):
            async with agent.run_stream("hello") as result:
                assert await result.get_output() == "to be or not"
        with pytest.raises(BudgetExhausted):
            await agent.run("hello")

    assert len(provider.requests) == 4


async def test_streams_that_break_off_open_the_breaker(protect, provider):
    provider.script(Behaviour(text=STREAM, content_type="text/event-stream", fault="cut"))
    protected = protect(Policies(breaker=TWICE, max_wait_s=0), retry=AT_ONCE)

    async with behind(provider) as model:
        agent = Agent(ProtectedModel(model, protected))
        for _ in range(2):
            with pytest.raises(Exception) as raised:  # noqa: PT011  # the client's own kinds
                async with agent.run_stream("hello") as result:
                    await result.get_output()
            assert not isinstance(raised.value, Refused)
        with pytest.raises(BreakerOpen):
            await agent.run("hello")

    assert len(provider.requests) == 2
