"""Several processes, forked ones and ended ones included, share what protects them."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from coterie import sync
from coterie._rules.breaker_policy import BreakerPolicy
from coterie._rules.pool_policy import PoolPolicy
from coterie.budget import Budget
from coterie.errors import BreakerOpen, PoolBusy
from coterie.policies import Policies, Spend
from coterie.stores.opening import open_state_store

SHARED = Policies(
    breaker=BreakerPolicy(failure_threshold=2, timeout_s=60),
    pool=PoolPolicy(),
    budgets=[Spend(name="all", limit=1000, per_call=10)],
    max_wait_s=0,
)
HEAD = """
import asyncio, sys
from tests.fleet.joins.test_processes import SHARED
from coterie.protect import Protected, this_call

protected = Protected("svc", SHARED, store=sys.argv[1], capacity=1)

async def fail():
    raise ValueError("down")
"""


def start(store_url: str, body: str) -> subprocess.Popen[str]:
    """Another process that runs the body; what it prints is read by the caller."""
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(HEAD) + textwrap.dedent(body), store_url],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[3],
    )


def run(store_url: str, body: str) -> str:
    process = start(store_url, body)
    printed, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert errors == ""
    return printed.strip()


def test_a_breaker_that_one_process_opens_refuses_in_another(protect, store_url):
    failing = """
    for _ in range(2):
        try:
            asyncio.run(protected.call(fail))
        except ValueError:
            print("failed")
    """

    assert run(store_url, failing).split() == ["failed", "failed"]

    with pytest.raises(BreakerOpen):
        protect(SHARED, store=store_url).blocking().call(lambda: pytest.fail("called"))


def test_a_slot_that_one_process_holds_is_taken_in_another(protect, store_url):
    here = protect(SHARED, store=store_url, capacity=1).blocking()
    holding = """
    with protected.blocking().admit() as call:
        call.report_usage(input_tokens=1)
        print("held", flush=True)
        sys.stdin.readline()
    """
    process = start(store_url, holding)
    assert process.stdout is not None
    assert process.stdout.readline().strip() == "held"

    with pytest.raises(PoolBusy):
        here.call(lambda: pytest.fail("called"))
    _, errors = process.communicate("go on\n", timeout=60)

    assert (process.returncode, errors) == (0, "")
    assert here.call(lambda: 1) == 1


def test_tokens_reported_in_one_process_are_spent_in_all(store_url):
    spending = """
    async def spend():
        this_call().report_usage(input_tokens=7)
    asyncio.run(protected.call(spend))
    """

    run(store_url, spending)

    assert sync.run(_spent(store_url)) == 7


async def _spent(store_url: str) -> int:
    store = open_state_store(store_url, "default")
    budget = Budget("all", 1000, store=store)
    try:
        return (await budget.status()).spent
    finally:
        await budget.aclose()
        await store.aclose()


def test_what_was_used_before_a_fork_works_after_it(store_url):
    forking = """
    import os
    blocking = protected.blocking()
    print(blocking.call(lambda: "parent"), flush=True)
    child = os.fork()
    if child == 0:
        print(blocking.call(lambda: this_call().agent_id), flush=True)
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
    print(blocking.call(lambda: "parent again"))
    """

    assert run(store_url, forking).splitlines() == ["parent", "svc", "0", "parent again"]


def test_a_process_may_end_without_closing_it(store_url):
    ending = """
    async def main():
        for n in range(5):
            await protected.call(asyncio.sleep, 0, n)
    asyncio.run(main())
    print("ended")
    """

    assert run(store_url, ending) == "ended"


def test_importing_it_loads_nothing_heavy():
    heavy = ("redis", "pydantic_ai", "httpx", "openai")
    body = f"import sys, coterie.protect; print([name for name in {heavy!r} if name in sys.modules])"

    done = subprocess.run([sys.executable, "-c", body], capture_output=True, text=True, check=True, timeout=60)

    assert done.stdout.strip() == "[]"


def test_models_without_their_package_say_what_to_install():
    body = "import sys; sys.modules['pydantic_ai'] = None\nimport coterie.model_guard"

    done = subprocess.run([sys.executable, "-c", body], capture_output=True, text=True, check=False, timeout=60)

    assert "pip install 'coterie[llm]'" in done.stderr.splitlines()[-1]
