"""Usage: whole numbers that add up over attempts and threads; prices are exact."""

from __future__ import annotations

import asyncio
import json
import threading
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coterie import Orchestrator, Retry, Task
from coterie.errors import Misuse, PolicyError
from coterie.usage import Price, Usage
from tests.fleet.agents.conftest import context_of

counts = st.integers(0, 10**12)
usages = st.builds(Usage, counts, counts, counts, counts)


def test_usages_add_up_field_by_field():
    assert Usage(1, 20, 3, 4) + Usage(1, 1, 1, 1) == Usage(2, 21, 4, 5)
    assert sum([Usage(1), Usage(0, 2)]) == Usage(1, 2)
    with pytest.raises(TypeError):
        Usage() + 1  # type: ignore[operator]
    with pytest.raises(TypeError):
        1 + Usage()  # type: ignore[operator]
    assert not Usage()
    assert Usage(cost_micros=1)


@settings(deadline=None)
@given(usages)
def test_a_usage_survives_json(usage: Usage):
    assert Usage.from_dict(json.loads(json.dumps(usage.to_dict()))) == usage


@pytest.mark.parametrize("wrong", [-1, 1.0, True, "1", None])
def test_a_usage_of_anything_but_a_count_is_refused(wrong: object):
    with pytest.raises(Misuse, match="the usage has input_tokens"):
        Usage(input_tokens=wrong)  # type: ignore[arg-type]
    with pytest.raises(Misuse, match="the usage has input_tokens"):
        Usage.from_dict({"input_tokens": wrong})  # type: ignore[dict-item]


def test_an_unknown_part_of_a_usage_is_named():
    with pytest.raises(Misuse, match="unknown field 'tokens'; fields: cost_micros, input_tokens"):
        Usage.from_dict({"tokens": 1})


def test_a_price_is_exact_and_rounded_up():
    price = Price(3_000_000, Decimal("0.5"))

    assert price.cost_micros(input_tokens=7, output_tokens=0) == 21
    assert price.cost_micros(input_tokens=0, output_tokens=1) == 1
    assert price.cost_micros(input_tokens=0, output_tokens=2_000_000) == 1
    assert price.cost_micros(input_tokens=0, output_tokens=0) == 0


@settings(deadline=None)
@given(st.integers(0, 10**9), counts, counts)
def test_a_cost_is_the_least_whole_number_that_is_enough(price: int, asked: int, written: int):
    cost = Price(price, price).cost_micros(input_tokens=asked, output_tokens=written)

    assert (cost - 1) * 10**6 < price * (asked + written) <= cost * 10**6


@pytest.mark.parametrize("wrong", [0.5, -1, True, Decimal("NaN"), Decimal(-1), "1"])
def test_a_price_that_is_not_exact_is_refused(wrong: object):
    with pytest.raises(PolicyError, match="a price is"):
        Price(1, wrong)  # type: ignore[arg-type]


def test_a_context_sums_what_is_reported_as_a_whole_or_in_parts():
    ctx = context_of({})
    assert ctx.usage == Usage()

    ctx.report_usage(Usage(1, 10, 5, 100))
    ctx.report_usage(input_tokens=1)
    ctx.report_usage(Usage(requests=1), cost_micros=7)

    assert ctx.usage == Usage(2, 11, 5, 107)
    assert context_of({}).usage == Usage()


def test_a_report_that_is_no_count_changes_nothing():
    ctx = context_of({})

    with pytest.raises(Misuse):
        ctx.report_usage(input_tokens=-1)

    assert ctx.usage == Usage()


def test_no_report_of_many_threads_is_lost():
    ctx = context_of({})
    threads = [
        threading.Thread(target=lambda: [ctx.report_usage(input_tokens=1) for _ in range(2000)]) for _ in range(8)
    ]

    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert ctx.usage == Usage(input_tokens=16_000)


def test_the_usage_of_failed_attempts_counts_too():
    seen = []

    async def work(task_input, ctx):
        ctx.report_usage(requests=1, input_tokens=10)
        seen.append(ctx)
        if ctx.attempt < 3:
            raise RuntimeError("again")

    orchestrator = Orchestrator()
    orchestrator.register_agent("a", "x", 1, handler=work)
    result = asyncio.run(orchestrator.execute_task(Task("t", "x", retry=Retry(base_s=0, cap_s=0))))

    assert result.state == "succeeded"
    assert seen[-1].usage == Usage(3, 30)


def test_a_blocking_agent_reports_from_its_thread():
    seen = []

    def work(task_input, ctx):
        ctx.report_usage(output_tokens=4)
        seen.append(ctx.usage)

    orchestrator = Orchestrator()
    orchestrator.register_agent("a", "x", 1, handler=work)
    result = asyncio.run(orchestrator.execute_task(Task("t", "x")))

    assert result.state == "succeeded"
    assert seen == [Usage(output_tokens=4)]
