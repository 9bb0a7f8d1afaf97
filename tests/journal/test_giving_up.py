"""What ends without a record is given up: whoever asks next has it at once, and goes on behind what was done."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from coterie import Plan, Task
from coterie._rules.journal import RUN
from coterie.errors import LeaseLost, Refused, Unavailable
from tests.journal.bench import RUN_ID, Bench, Busy, Gate, cancelled_at

TASK = Task("a", "work")
CHAIN = Plan("chain", [TASK, Task("b", "work", depends_on=["a"])])


async def test_what_is_cancelled_is_free_at_once():
    gate = Gate()
    bench = Bench(a=lambda *_: gate())
    first = asyncio.create_task(bench.task(TASK))
    await gate.reached.wait()

    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    bench.does["a"] = "done"

    assert (await bench.task(TASK, waits=False)).output == "done"


@pytest.mark.parametrize("error", [Refused("no", retry_after_s=1.0), Unavailable("down"), LeaseLost("gone")])
async def test_what_nobody_came_to_do_is_free_at_once(error: Exception):
    bench = Bench(a=error)
    with suppress(type(error)):
        await bench.task(TASK)
    bench.does["a"] = "done"

    assert (await bench.task(TASK, waits=False)).output == "done"


async def test_what_a_dying_process_leaves_in_good_order_is_free_at_once():
    bench = Bench(a=KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        await bench.task(TASK)
    bench.does["a"] = "done"

    assert (await bench.task(TASK, waits=False)).output == "done"


async def test_a_run_that_is_cancelled_is_free_at_once_and_goes_on_behind_what_it_did():
    gate = Gate()
    bench = Bench(b=lambda *_: gate())
    first = asyncio.create_task(bench.run(CHAIN))
    await gate.reached.wait()
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    bench.does["b"] = "done"

    result = await bench.run(CHAIN)

    assert bench.calls == ["a", "b", "b"]
    assert result.status == "succeeded"


async def test_a_run_is_cancelled_at_any_moment_and_free_at_once():
    for tick in range(200):
        bench = Bench(Busy())

        if not await cancelled_at(tick, bench.run(CHAIN)):
            break
        assert RUN.pulse not in await bench.store.read(RUN_ID), tick
        assert (await bench.run(CHAIN)).status == "succeeded", tick
    assert 10 < tick < 199


async def test_a_run_that_is_stopped_is_recorded_as_cancelled_and_can_go_on():
    gate = Gate()
    bench = Bench(b=lambda *_: gate())
    orchestrator = bench.orchestrator()
    running = asyncio.create_task(orchestrator.execute_workflow(CHAIN, workflow_id=RUN_ID))
    await gate.reached.wait()

    orchestrator.cancel(RUN_ID)
    result = await running

    assert result.status == "cancelled"
    assert '"cancelled"' in (await bench.store.read(RUN_ID))[RUN.record]
    bench.does["b"] = "done"
    assert (await bench.run(CHAIN)).status == "succeeded"


async def test_one_who_is_cancelled_while_he_waits_leaves_no_claim():
    gate = Gate()
    bench = Bench(a=lambda *_: gate())
    first = asyncio.create_task(bench.task(TASK))
    await gate.reached.wait()
    second = asyncio.create_task(bench.task(TASK))
    await asyncio.sleep(0.05)

    second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second

    gate.open.set()
    assert (await first).state == "succeeded"


async def test_nothing_beats_on_once_a_run_is_over():
    bench = Bench(lease_s=1.0)
    await bench.run(CHAIN)
    await bench.task(Task("c", "work"))

    await asyncio.sleep(0)
    assert [task for task in asyncio.all_tasks() if "journal" in task.get_name()] == []
    texts = await bench.store.read(RUN_ID)
    assert [path for path in texts if path.startswith("pulse")] == []
