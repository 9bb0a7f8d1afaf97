"""Who is at work on what: one at a time, seen by all others, given up when it ends, taken over when it is lost."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Any

import pytest

from coterie import ForEach, Plan, Task, TaskContext
from coterie._rules.journal_text import Claim
from coterie._rules.written import Guard
from coterie.errors import ClaimedElsewhere, LeaseLost, Refused, StaleToken
from coterie.stores.journal_memory import MemoryJournalStore
from coterie.task import Retry
from coterie.testing import FaultyJournalStore, ManualClock
from tests.journal.bench import RUN_ID, Bench, Gate, step_of

TASK = Task("a", "work")
CHAIN = Plan("chain", [TASK, Task("b", "work", depends_on=["a"])])
SOON_S = 5.0


async def taken_over(bench: Bench, place: str = "claim/a", *, owner: str = "another") -> None:
    """Have somebody else hold a claim, as if its lease had ended meanwhile."""
    held = Claim.read((await bench.store.read(RUN_ID)).get(place), place)
    pulse = place.replace("claim", "pulse", 1)
    await bench.store.write(RUN_ID, {place: Claim(held.token + 1, held.epoch, owner).text(), pulse: None})


# While somebody is at it


async def test_a_second_process_at_the_same_run_is_refused_and_told_who_is_at_it():
    gate = Gate()
    bench = Bench(a=lambda *_: gate())
    first = asyncio.create_task(bench.run(CHAIN))
    await gate.reached.wait()

    with pytest.raises(ClaimedElsewhere, match="process") as refused:
        await bench.run(CHAIN)

    assert refused.value.owner.startswith(f"process {os.getpid()} on ")
    assert 0 < refused.value.retry_after_s <= 30
    gate.open.set()
    await first
    assert bench.calls == ["a", "b"]


async def test_a_refused_process_leaves_no_word_of_its_plan():
    gate = Gate()
    bench = Bench(a=lambda *_: gate())
    first = asyncio.create_task(bench.run(CHAIN))
    await gate.reached.wait()
    with pytest.raises(ClaimedElsewhere):
        await bench.run(Plan("chain", [*CHAIN.tasks, Task("c", "work")]), allow_changes=True)
    gate.open.set()
    await first

    assert (await bench.run(CHAIN)).status == "succeeded"


async def test_a_second_worker_waits_for_the_first_and_replays_what_it_did():
    gate = Gate()
    bench = Bench(a=lambda *_: gate())
    first = asyncio.create_task(bench.task(TASK))
    await gate.reached.wait()

    second = asyncio.create_task(bench.task(TASK))
    await asyncio.sleep(0.1)
    assert not second.done()
    gate.open.set()

    async with asyncio.timeout(SOON_S):
        results = await asyncio.gather(first, second)
    assert [result.replayed for result in results] == [False, True]
    assert bench.calls == ["a"]


async def test_a_second_worker_that_does_not_wait_is_refused():
    gate = Gate()
    bench = Bench(a=lambda *_: gate())
    first = asyncio.create_task(bench.task(TASK))
    await gate.reached.wait()

    with pytest.raises(ClaimedElsewhere, match="'a'"):
        await bench.task(TASK, waits=False)

    gate.open.set()
    await first


async def test_a_worker_waits_while_a_process_has_the_whole_run():
    gate = Gate()
    bench = Bench(b=lambda *_: gate())
    whole = asyncio.create_task(bench.run(CHAIN))
    await gate.reached.wait()

    assert (await bench.task(TASK, waits=False)).replayed
    with pytest.raises(ClaimedElsewhere):
        await bench.task(Task("c", "work"), waits=False)

    gate.open.set()
    await whole


async def test_a_whole_run_waits_for_the_task_that_a_worker_is_at():
    gate = Gate()
    bench = Bench(a=lambda *_: gate())
    worker = asyncio.create_task(bench.task(TASK))
    await gate.reached.wait()

    whole = asyncio.create_task(bench.run(CHAIN))
    await asyncio.sleep(0.1)
    assert bench.calls == ["a"]
    gate.open.set()

    async with asyncio.timeout(SOON_S):
        await worker
        result = await whole
    assert bench.calls == ["a", "b"]
    assert [one.replayed for one in result] == [True, False]


async def test_a_failure_that_somebody_mends_is_waited_for():
    bench = Bench(a=ValueError("no"))
    await bench.task(TASK)
    gate = Gate()
    bench.does["a"] = lambda *_: gate()
    mending = asyncio.create_task(bench.task(TASK, goes_on=True))
    await gate.reached.wait()

    with pytest.raises(ClaimedElsewhere):
        await bench.task(TASK, waits=False)

    gate.open.set()
    await mending
    assert (await bench.task(TASK)).state == "succeeded"


async def test_items_that_another_worker_is_at_are_waited_for_and_the_others_done():
    gates = {1: Gate(), 2: Gate()}
    bench = Bench(m=lambda _, ctx: gates[ctx.item]() if ctx.item in gates else ctx.item)
    part = Task("m", "work", foreach=ForEach(items=[1, 2]))
    whole = Task("m", "work", foreach=ForEach(items=[1, 2, 3, 4]))
    first = asyncio.create_task(bench.task(part))
    await gates[2].reached.wait()

    second = asyncio.create_task(bench.task(whole))
    while len(bench.calls) < 4:  # noqa: ASYNC110 - four agents, none of whom knows of the others
        await asyncio.sleep(0)
    for gate in gates.values():
        gate.open.set()

    async with asyncio.timeout(SOON_S):
        await first
        result = await second
    assert sorted(bench.calls) == ["m[1]", "m[2]", "m[3]", "m[4]"]
    assert result.output == [None, None, 3, 4]


# When it is lost


@pytest.mark.parametrize("whole", [False, True])
async def test_a_holder_that_lives_says_so_again_and_again(whole: bool):
    clock, gate = ManualClock(), Gate()
    bench = Bench(MemoryJournalStore(clock=clock), a=lambda *_: gate(), lease_s=1.0)
    working = asyncio.create_task(bench.run([TASK]) if whole else bench.task(TASK))
    await gate.reached.wait()

    for _ in range(5):
        said = await bench.store.read(RUN_ID)
        clock.advance(0.9)
        while (await bench.store.read(RUN_ID)) == said:  # noqa: ASYNC110 - nobody tells of a heartbeat
            await asyncio.sleep(0.01)
        with pytest.raises(ClaimedElsewhere):
            await bench.task(TASK, waits=False)

    gate.open.set()
    await working


@pytest.mark.parametrize("whole", [False, True])
async def test_an_outage_is_told_once_and_so_is_its_end(whole: bool, caplog: pytest.LogCaptureFixture):
    caplog.set_level("INFO", "coterie.journal")
    gate, store = Gate(), FaultyJournalStore(MemoryJournalStore())
    bench = Bench(store, each=lambda *_: gate(), lease_s=1.0)
    each = Task("each", "work", foreach=ForEach(items=[1, 2, 3]))
    working = asyncio.create_task(bench.run([each]) if whole else bench.task(each))

    async with asyncio.timeout(30):
        await until(lambda: len(bench.calls) == 3)
        store.down, before = "refusing", len(store.calls)
        await until(lambda: len(store.calls) >= before + (2 if whole else 6))
        store.down = None
        await until(lambda: "journal.renewed" in caplog.text)
        gate.open.set()
        await working

    assert caplog.text.count("journal.not_renewed") == 1
    assert caplog.text.count("journal.renewed") == 1


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - nobody tells of a heartbeat
        await asyncio.sleep(0.01)


async def test_a_holder_that_says_nothing_for_a_lease_is_taken_over_from():
    clock, gate = ManualClock(), Gate()
    bench = Bench(MemoryJournalStore(clock=clock), a=lambda *_: gate())
    first = asyncio.create_task(bench.task(TASK))
    await gate.reached.wait()
    bench.does["a"] = "second"

    clock.advance(30.0)
    assert (await bench.task(TASK, waits=False)).output == "second"

    gate.open.set()
    with pytest.raises(StaleToken):
        await first
    assert (await bench.task(TASK)).output == "second"


async def test_a_stale_worker_s_result_is_refused_and_the_new_one_s_counts():
    gate = Gate()
    bench = Bench(a=lambda *_: gate())
    first = asyncio.create_task(bench.task(TASK))
    await gate.reached.wait()
    await taken_over(bench)

    gate.open.set()
    with pytest.raises(StaleToken):
        await first

    assert "task/a" not in await bench.store.read(RUN_ID)
    bench.does["a"] = "new"
    assert (await bench.task(TASK)).output == "new"


async def test_what_a_worker_wrote_last_comes_too_late_once_a_whole_run_is_at_it():
    bench = Bench(a=Refused("no", retry_after_s=1.0))
    await bench.task(TASK)
    given_up = Guard("claim/a", (await bench.store.read(RUN_ID))["claim/a"])
    gate = Gate()
    bench.does["a"] = lambda *_: gate()
    whole = asyncio.create_task(bench.run(CHAIN))
    await gate.reached.wait()

    with pytest.raises(StaleToken):
        await bench.store.write(RUN_ID, {"task/a": "on its way for long"}, guard=given_up)

    gate.open.set()
    assert (await whole).status == "succeeded"


async def test_a_stale_worker_s_foreach_says_so():
    gate = Gate()
    bench = Bench(m=lambda *_: gate())
    task = Task("m", "work", foreach=ForEach(items=[1]))
    first = asyncio.create_task(bench.task(task))
    await gate.reached.wait()
    (claim,) = [path for path in await bench.store.read(RUN_ID) if path.startswith("claim/m/")]
    await taken_over(bench, claim)

    gate.open.set()

    with pytest.raises(StaleToken):
        await first
    assert asyncio.current_task().cancelling() == 0  # type: ignore[union-attr]


async def test_a_stale_worker_s_step_is_refused_and_its_agent_not_called_again():
    bench = Bench()
    log: list[Any] = []

    async def work(task_input: Any, ctx: TaskContext) -> Any:
        await ctx.step("one", step_of(log), 1)
        await taken_over(bench)
        await ctx.step("two", step_of(log), 2)

    bench.does["a"] = work

    with pytest.raises(LeaseLost):
        await bench.task(Task("a", "work", retry=Retry(max_attempts=3, base_s=0.0)))

    assert bench.calls == ["a"]
    assert log == [1, 2]
    assert set(await bench.store.read(RUN_ID, "a")) == {"one"}


async def test_a_stale_worker_that_hides_it_records_nothing_all_the_same():
    bench = Bench()

    async def work(task_input: Any, ctx: TaskContext) -> Any:
        await taken_over(bench)
        try:
            await ctx.step("s", step_of([]), 1)
        except LeaseLost:
            return "as if nothing had happened"

    bench.does["a"] = work

    with pytest.raises(StaleToken):
        await bench.task(TASK)
    assert "task/a" not in await bench.store.read(RUN_ID)


async def test_a_run_that_was_taken_over_stops_when_it_records():
    gate = Gate()
    bench = Bench(a=lambda *_: gate())
    first = asyncio.create_task(bench.run(CHAIN))
    await gate.reached.wait()
    await taken_over(bench, "claim")

    gate.open.set()

    with pytest.raises(StaleToken):
        await first
    assert bench.calls == ["a"]
    assert "task/a" not in await bench.store.read(RUN_ID)


async def test_a_run_that_was_taken_over_stops_at_its_next_step_with_all_that_runs():
    bench = Bench()
    other = Gate()

    async def work(task_input: Any, ctx: TaskContext) -> Any:
        await other.reached.wait()
        await taken_over(bench, "claim")
        await ctx.step("s", step_of([]), 1)

    bench.does |= {"a": work, "x": lambda *_: other()}
    plan = Plan("p", [TASK, Task("x", "work"), Task("b", "work", depends_on=["a"], trigger_rule="all_done")])

    with pytest.raises(StaleToken):
        await bench.run(plan)

    assert sorted(bench.calls) == ["a", "x"]


async def test_a_run_that_was_taken_over_stops_at_its_next_heartbeat():
    gate = Gate()
    bench = Bench(a=lambda *_: gate(), lease_s=1.0)
    first = asyncio.create_task(bench.run(CHAIN))
    await gate.reached.wait()
    await taken_over(bench, "claim")

    async with asyncio.timeout(SOON_S):
        with pytest.raises(StaleToken):
            await first


async def test_a_run_that_was_erased_stops_at_its_next_heartbeat_and_says_so():
    gate = Gate()
    bench = Bench(a=lambda *_: gate(), lease_s=1.0)
    first = asyncio.create_task(bench.run(CHAIN))
    await gate.reached.wait()
    await bench.store.remove(RUN_ID)

    async with asyncio.timeout(SOON_S):
        with pytest.raises(StaleToken, match="somebody has erased the run"):
            await first
