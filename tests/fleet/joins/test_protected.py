"""Any code behind the gate that tasks pass: what is let through, what is told, what comes out."""

from __future__ import annotations

import asyncio
import functools
from contextlib import asynccontextmanager
from typing import Any

import pytest

from coterie import Event, Retry
from coterie._rules.breaker_policy import BreakerPolicy
from coterie._rules.quota import Quota
from coterie._rules.retry_budget import RetryAllowance
from coterie.errors import (
    AgentThrottled,
    BreakerOpen,
    BudgetExhausted,
    Misuse,
    PolicyError,
    PoolBusy,
    QuotaSpent,
    StepFailed,
)
from coterie.policies import Fallback, Policies, Spend
from coterie.protect import Protected, this_call
from coterie.usage import Usage
from tests.fleet.joins.flaky import AT_ONCE, TWICE, Flaky, opened, queued

# Forms


async def test_a_call_returns_what_the_code_returns(protect):
    assert await protect().call(Flaky(), 1, of=2) == {"args": [1], "of": 2}


async def test_arguments_may_have_the_names_of_settings(protect):
    assert await protect().call(Flaky(), priority=1, key="k") == {"args": [], "priority": 1, "key": "k"}


async def test_a_failure_comes_out_as_it_is(protect):
    failure = ValueError("down")

    with pytest.raises(ValueError, match="down") as raised:
        await protect().call(Flaky(failure))

    assert raised.value is failure


async def test_a_decorator_protects_every_call(protect):
    protected = protect(Policies(breaker=TWICE, max_wait_s=0))

    @protected
    async def ask(question: str) -> str:
        """Ask."""
        raise ValueError(question)

    for expected in (ValueError, ValueError, BreakerOpen):
        with pytest.raises(expected):
            await ask("why?")
    assert (ask.__name__, ask.__doc__) == ("ask", "Ask.")


def test_a_decorator_of_the_wrong_kind_is_refused(protect):
    with pytest.raises(Misuse, match="blocking"):
        protect()(lambda: None)
    with pytest.raises(Misuse, match="coroutine function"):
        protect().blocking()(Flaky().__call__)


async def test_a_block_is_admitted_and_its_failure_counts(protect):
    protected = protect(Policies(breaker=TWICE, max_wait_s=0))

    for _ in range(2):
        with pytest.raises(ValueError, match="down"):
            async with protected.admit():
                raise ValueError("down")

    with pytest.raises(BreakerOpen):
        async with protected.admit():
            pytest.fail("the block ran")


async def test_a_block_is_not_tried_again(protect):
    entered = []

    async def enter() -> None:
        async with protect(retry=AT_ONCE).admit() as call:
            entered.append(call.attempt)
            raise ValueError("down")

    with pytest.raises(ValueError, match="down"):
        await enter()

    assert entered == [1]


async def test_what_fails_while_it_is_entered_is_tried_again_and_its_block_is_not(protect):
    tries = []

    @asynccontextmanager
    async def stream(name: str):
        tries.append(this_call().attempt)
        if len(tries) == 1:
            raise ConnectionError(name)
        yield name

    protected = protect(retry=AT_ONCE)
    async with protected.enter(stream, "news") as entered:
        assert entered == "news"
    with pytest.raises(ValueError, match="mine"):
        async with protected.enter(stream, "news"):
            raise ValueError("mine")

    assert tries == [1, 2, 1]


# Retries, refusals, fallbacks


async def test_a_failed_call_is_tried_again_by_the_same_call(protect):
    flaky = Flaky(ValueError("1"), ValueError("2"))

    assert await protect(retry=AT_ONCE).call(flaky, "x") == {"args": ["x"]}

    assert len(flaky.calls) == 3
    assert len(set(map(id, flaky.calls))) == 1
    assert flaky.calls[0].attempt == 3


async def test_attempts_end_and_the_last_failure_comes_out(protect):
    flaky = Flaky(*(ValueError(str(n)) for n in range(9)))

    with pytest.raises(ValueError, match="2"):
        await protect(retry=AT_ONCE).call(flaky)

    assert len(flaky.calls) == 3


async def test_what_is_final_is_not_tried_again(protect):
    flaky = Flaky(StepFailed("useless"))

    with pytest.raises(StepFailed):
        await protect(retry=AT_ONCE).call(flaky)

    assert len(flaky.calls) == 1


async def test_the_fleets_retry_budget_ends_retries(protect):
    policies = Policies(retries=RetryAllowance(share=0.01, floor_per_s=0, cap=2), max_wait_s=0)
    flaky = Flaky(*(ValueError(str(n)) for n in range(9)))

    with pytest.raises(ValueError, match="2"):
        await protect(policies, retry=Retry(max_attempts=9, base_s=0, cap_s=0)).call(flaky)

    assert len(flaky.calls) == 3


async def test_retry_after_is_waited_for_or_the_failure_comes_out(protect):
    events: list[Event] = []
    protected = protect(Policies(max_wait_s=5), retry=AT_ONCE, on_event=events.append)
    flaky = Flaky(AgentThrottled("slow", retry_after_s=0.05), AgentThrottled("slower", retry_after_s=60))

    with pytest.raises(AgentThrottled, match="slower"):
        await protected.call(flaky)

    assert [event.fields["wait_s"] for event in events if event.name == "task.retrying"] == [0.05]
    assert len(flaky.calls) == 2


async def test_meaning_decides_what_an_exception_means_and_the_caller_sees_the_exception(protect):
    def meaning(error: Exception) -> Exception | None:
        return StepFailed("useless") if str(error) == "bad request" else None

    protected = protect(Policies(breaker=TWICE, max_wait_s=0), retry=AT_ONCE, meaning=meaning)
    refused = Flaky(*(LookupError("bad request") for _ in range(5)))

    for _ in range(5):
        with pytest.raises(LookupError, match="bad request"):
            await protected.call(refused)

    assert len(refused.calls) == 5


async def test_ignored_exceptions_count_neither_way_and_are_not_tried_again(protect):
    protected = protect(Policies(breaker=TWICE, max_wait_s=0), retry=AT_ONCE, ignored=(LookupError,))
    missing = Flaky(*(KeyError("404") for _ in range(5)))

    for _ in range(5):
        with pytest.raises(KeyError):
            await protected.call(missing)

    assert len(missing.calls) == 5
    assert not await opened(protected)


async def test_a_refusal_is_waited_for_as_long_as_the_policies_allow(protect):
    policies = Policies(breaker=BreakerPolicy(failure_threshold=1, success_threshold=1, timeout_s=0.05, jitter=0.0))
    protected = protect(policies)
    with pytest.raises(ValueError, match="down"):
        await protected.call(Flaky(ValueError("down")))

    assert await protected.call(Flaky(), "after") == {"args": ["after"]}


async def test_wait_s_shortens_the_wait(protect):
    protected = protect(Policies(breaker=BreakerPolicy(failure_threshold=1, timeout_s=60)))
    with pytest.raises(ValueError, match="down"):
        await protected.call(Flaky(ValueError("down")))

    with pytest.raises(BreakerOpen) as refused:
        await protected.asking(wait_s=0).call(Flaky())

    assert refused.value.retry_after_s > 0


async def test_capacity_bounds_calls_of_every_thread_and_loop(protect):
    protected = protect(Policies(max_wait_s=30), capacity=2)
    running, most = 0, 0

    async def work() -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.005)
        running -= 1

    async def several() -> None:
        await asyncio.gather(*(protected.call(work) for _ in range(4)))

    await asyncio.gather(*(asyncio.to_thread(asyncio.run, several()) for _ in range(3)))

    assert most == 2


async def test_higher_priority_goes_first(protect):
    protected = protect(Policies(max_wait_s=30), capacity=1)
    order: list[int] = []

    async def note(priority: int) -> None:
        order.append(priority)

    async with protected.admit():
        waiting = []
        for priority in (0, 5, 9):
            waiting.append(asyncio.ensure_future(protected.asking(priority=priority).call(note, priority)))
            await queued(protected, len(waiting))
    await asyncio.gather(*waiting)

    assert order == [9, 5, 0]


async def test_a_full_house_refuses_at_once_without_patience(protect):
    protected = protect(capacity=1)

    async with protected.admit():
        with pytest.raises(PoolBusy):
            await protected.call(Flaky())


async def test_an_agent_that_fails_is_passed_over_for_another(protect):
    protected = protect(
        Policies(breaker=BreakerPolicy(failure_threshold=1, timeout_s=60), max_wait_s=0),
        agents={"key-1": 1, "key-2": 1},
    )
    seen = []

    async def ask() -> None:
        seen.append(this_call().agent_id)
        if seen[-1] == "key-1":
            raise ValueError("revoked")

    for _ in range(6):
        try:
            await protected.call(ask)
        except ValueError:
            continue

    assert seen.count("key-1") == 1
    assert seen.count("key-2") == 5


async def test_a_value_stands_in_for_a_call_that_fails_for_good(protect):
    events: list[Event] = []
    policies = Policies(fallback=[Fallback(value={"mood": "unknown"})], max_wait_s=0)

    found = await protect(policies, on_event=events.append).call(Flaky(ValueError("down")))

    assert found == {"mood": "unknown"}
    assert [event.name for event in events] == ["task.fell_back"]


async def test_the_last_result_to_the_same_arguments_stands_in(protect):
    protected = protect(Policies(fallback=[Fallback(cached_s=60)], max_wait_s=0))
    down = False

    async def ask(city: str) -> dict[str, str]:
        if down:
            raise ValueError("down")
        return {"city": city}

    assert await protected.call(ask, "Rome") == {"city": "Rome"}
    down = True

    assert await protected.call(ask, "Rome") == {"city": "Rome"}
    with pytest.raises(ValueError, match="down"):
        await protected.call(ask, "Oslo")


async def test_what_is_no_json_is_returned_and_not_remembered(protect):
    protected = protect(Policies(fallback=[Fallback(cached_s=60)], max_wait_s=0))
    thing = object()

    assert await protected.call(asyncio.sleep, 0, thing) is thing


class Client:
    """Of one customer."""

    def __init__(self, customer: str) -> None:
        self.customer = customer
        self.down = False

    async def balance(self) -> str:
        if self.down:
            raise ValueError("down")
        return self.customer

    async def __call__(self) -> str:
        return await self.balance()


@pytest.mark.parametrize("way", ["balance", "__call__", "itself"])
async def test_what_an_object_answered_does_not_stand_in_for_another_objects_answer(protect, way: str):
    protected = protect(Policies(fallback=[Fallback(cached_s=60)], max_wait_s=0))
    one, other = Client("one"), Client("other")
    other.down = True

    def of(client: Client) -> Any:
        return client if way == "itself" else getattr(client, way)

    assert await protected.call(of(one)) == "one"
    with pytest.raises(ValueError, match="down"):
        await protected.call(of(other))


async def test_arguments_that_are_bound_before_count_as_arguments(protect):
    protected = protect(Policies(fallback=[Fallback(cached_s=60)], max_wait_s=0))
    down = False

    async def ask(city: str) -> str:
        if down:
            raise ValueError("down")
        return city

    assert await protected.call(functools.partial(ask, "Rome")) == "Rome"
    down = True

    assert await protected.call(functools.partial(ask, "Rome")) == "Rome"
    with pytest.raises(ValueError, match="down"):
        await protected.call(functools.partial(ask, "Oslo"))


@pytest.mark.parametrize(
    ("policies", "found"),
    [
        (Policies(max_wait_s=1), "answered"),
        (Policies(fallback=[Fallback(value="instead")], max_wait_s=0), "instead"),
    ],
)
async def test_a_listener_that_fails_ends_no_call(protect, policies: Policies, found: str):
    def broken(_: object) -> None:
        raise RuntimeError("nobody can be told")

    calls = 0

    async def flaky() -> str:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise ValueError("once")
        return "answered"

    protected = protect(policies, retry=None if policies.fallback else AT_ONCE, on_event=broken)

    assert await protected.call(flaky) == found


def test_fallbacks_that_only_a_team_has_are_refused():
    with pytest.raises(PolicyError, match="only a team has"):
        Protected("svc", Policies(fallback=[Fallback(agent_type="cheap")]), store="memory://")


# One inside another


async def test_a_refusal_within_a_call_is_that_calls_failure_and_not_waited_for(protect):
    crew = protect(Policies(breaker=TWICE, max_wait_s=60), name="crew")
    model = protect(Policies(max_wait_s=0), name="model")
    runs = []

    async def work() -> None:
        runs.append(1)
        await model.call(Flaky())

    async with model.admit():
        with pytest.raises(PoolBusy, match="'model'"):
            await crew.call(work)

    assert len(runs) == 1
    # It says nothing about the crew.
    assert not await opened(crew)


async def test_a_refusal_within_a_call_is_tried_again_like_other_failures(protect):
    flaky = Flaky(*(PoolBusy("full", retry_after_s=0) for _ in range(9)))

    with pytest.raises(PoolBusy, match="full"):
        await protect(Policies(max_wait_s=60), retry=AT_ONCE).call(flaky)

    assert len(flaky.calls) == 3


async def test_a_refusal_within_a_blocking_call_is_that_calls_failure(protect):
    crew = protect(Policies(max_wait_s=60), name="crew").blocking()
    model = protect(Policies(max_wait_s=0), name="model")
    runs = []

    def work() -> None:
        runs.append(1)
        model.blocking().call(lambda: None)

    async with model.admit():
        with pytest.raises(PoolBusy, match="'model'"):
            await asyncio.to_thread(crew.call, work)

    assert len(runs) == 1


# Settings that cannot act


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"capacity": 2, "agents": {"key-1": 1}}, "a capacity and agents"),
        ({"capacity": 0}, "capacity 0"),
        ({"agents": {}}, "agents is empty"),
        ({"retry": 3}, "retry is 3; give a Retry"),
        ({"ignored": (1,)}, "ignored is"),
    ],
)
def test_settings_that_cannot_act_are_refused(settings: dict[str, Any], message: str):
    with pytest.raises(PolicyError, match=message):
        Protected("svc", Policies(), store="memory://", **settings)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"wait_s": "2"}, "wait_s is '2'"),
        ({"wait_s": -1}, "wait_s is -1"),
        ({"wait_s": float("nan")}, "wait_s is nan"),
        ({"priority": "high"}, "priority is 'high'; give a whole number"),
        ({"priority": 1.5}, "priority is 1.5"),
        ({"key": 7}, "key is 7"),
        ({"retry": 3}, "retry is 3"),
    ],
)
def test_a_manner_of_asking_that_cannot_be_is_refused(protect, asked: dict[str, Any], message: str):
    with pytest.raises(PolicyError, match=message):
        protect().asking(**asked)


# What is used


async def test_reported_usage_is_what_a_budget_pays(protect):
    policies = Policies(budgets=[Spend(name="all", limit=100, per_call=60)], max_wait_s=0)
    protected = protect(policies)

    async def ask(tokens: int) -> None:
        this_call().report_usage(Usage(1, tokens, 0, 0))

    for _ in range(5):
        await protected.call(ask, 10)

    with pytest.raises(BudgetExhausted):
        await protected.call(ask, 10)


async def test_a_block_reports_through_its_call(protect):
    protected = protect(Policies(budgets=[Spend(name="all", limit=100, per_call=50)], max_wait_s=0), capacity=2)

    async with protected.admit() as call:
        call.report_usage(input_tokens=30, output_tokens=30)

    with pytest.raises(BudgetExhausted):
        await protected.call(Flaky())


async def test_a_throttled_call_pauses_the_limit_and_leaves_the_breaker_alone(protect):
    policies = Policies(breaker=TWICE, limits={"requests": Quota(rate_per_s=100, burst=10)}, max_wait_s=0, max_hold_s=0)
    protected = protect(policies)

    with pytest.raises(AgentThrottled):
        await protected.call(Flaky(AgentThrottled("slow down", status=429, retry_after_s=60)))

    with pytest.raises(QuotaSpent) as refused:
        await protected.call(Flaky())
    assert refused.value.retry_after_s > 50


def test_this_call_is_of_no_use_outside_a_call():
    with pytest.raises(Misuse, match="not part of a protected call"):
        this_call()
