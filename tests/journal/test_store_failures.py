"""A store that fails in the midst: the run says so and ends, and what was recorded is there when it is back."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from typing import Any

import pytest

from coterie import Agent, ForEach, Orchestrator, Plan, Task, TaskContext, Team
from coterie._rules.written import Guard
from coterie.errors import CoterieError, StateFormatError, Unavailable
from coterie.ids import item_keys
from coterie.journal import Journal
from coterie.stores.journal_memory import MemoryJournalStore
from coterie.task import Retry
from coterie.testing import ManualClock
from coterie.testing.faults_journal import FaultyJournalStore, When
from tests.journal.bench import RUN_ID, Bench, Gate, step_of

LAYERS = 4
PLAN = Plan(
    "layers",
    [
        Task(f"t{layer}-{n}", "work", depends_on=[f"t{layer - 1}-{m}" for m in range(3)] if layer else [])
        for layer in range(LAYERS)
        for n in range(3)
    ],
)
MAPPED = Plan("mapped", [Task("m", "work", foreach=ForEach(items=[1, 2, 3])), Task("z", "work", depends_on=["m"])])
SOON_S = 20.0


class Selective(MemoryJournalStore):
    """Fails the writes of texts whose paths begin with one of these."""

    def __init__(self) -> None:
        super().__init__()
        self.fails: tuple[str, ...] = ()

    async def write(
        self, run: str, texts: Mapping[str, str | None], *, guard: Guard | None = None, shelf: str = ""
    ) -> None:
        # As every store that is one: whoever else may go on, does.
        await asyncio.sleep(0)
        if any(path.startswith(self.fails) for path in texts):
            raise Unavailable("the store is down; wait for it")
        await super().write(run, texts, guard=guard, shelf=shelf)


async def ended(bench: Bench, plan: Any) -> str:
    async with asyncio.timeout(SOON_S):
        try:
            return (await bench.run(plan)).status
        except CoterieError as error:
            return type(error).__name__


@pytest.mark.parametrize("plan", [PLAN, MAPPED], ids=["tasks", "items"])
@pytest.mark.parametrize("when", ["before", "after"])
async def test_whichever_write_fails_the_run_says_so_and_goes_on_from_what_was_recorded(plan: Plan, when: When):
    whole = Bench()
    expected = await whole.run(plan)
    writes = await _writes_of(plan)

    for number in range(1, writes + 1):
        store = MemoryJournalStore()
        bench = Bench(FaultyJournalStore(store, {(number, when): Unavailable("down")}))

        end = await ended(bench, plan)

        # The last one says how it ended, and gives it up: nobody waits for that.
        assert end == ("Unavailable" if number < writes else "succeeded"), number
        recorded = {path for path in await store.read(RUN_ID) if path.startswith(("task/", "item/"))}
        before = list(bench.calls)
        bench.forget_calls()
        bench.store = store
        if (number, when) == (writes, "before"):
            # It could not be given up: it is this process's until its lease ends.
            assert await ended(bench, plan) == "ClaimedElsewhere"
            continue
        result = await bench.run(plan)
        assert result.status_document() == expected.status_document(), number
        units = [f"item/m/{_key(call)}" if "[" in call else f"task/{call}" for call in bench.calls]
        assert not recorded & set(units), f"{number}: done again though recorded"
        assert Counter(before + bench.calls) >= Counter(whole.calls)


async def _writes_of(plan: Plan) -> int:
    store = FaultyJournalStore(MemoryJournalStore())
    await Bench(store).run(plan)
    return store.writes


def _key(call: str) -> str:
    return item_keys([int(call[2:-1])])[0]


@pytest.mark.parametrize(
    ("plan", "fails"),
    [(PLAN, "task/"), (MAPPED, "item/"), (MAPPED, "task/"), (Plan("last", MAPPED.tasks[:1]), "item/")],
    ids=["tasks", "items", "behind items", "items at the end"],
)
async def test_a_run_whose_records_cannot_be_written_ends_with_the_store_s_error(plan: Plan, fails: str):
    store = Selective()
    store.fails = (fails,)

    assert await ended(Bench(store), plan) == "Unavailable"


async def test_nothing_starts_after_a_task_whose_record_is_not_durable():
    store = Selective()
    store.fails = ("task/a",)
    bench = Bench(store)

    assert await ended(bench, Plan("p", [Task("a", "work"), Task("b", "work", depends_on=["a"])])) == "Unavailable"

    assert bench.calls == ["a"]


async def test_a_task_is_settled_only_when_its_record_is_durable():
    wrapped = FaultyJournalStore(MemoryJournalStore())
    bench = Bench(wrapped)
    gate = Gate()
    bench.does["a"] = lambda *_: gate()
    running = asyncio.create_task(bench.run(Plan("p", [Task("a", "work"), Task("b", "work", depends_on=["a"])])))
    await gate.reached.wait()
    wrapped.gate.clear()

    gate.open.set()
    for _ in range(50):
        await asyncio.sleep(0)
    assert bench.calls == ["a"]
    wrapped.gate.set()

    assert (await running).status == "succeeded"
    assert bench.calls == ["a", "b"]


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("what", ["claim", "step", "record"])
async def test_a_worker_whose_store_fails_says_so_and_another_try_goes_on(what: str, when: When):
    log: list[Any] = []

    async def work(task_input: Any, ctx: TaskContext) -> Any:
        return await ctx.step("s", step_of(log), 1)

    store = MemoryJournalStore()
    # The header, the claim, the step, the record.
    number = {"claim": 2, "step": 3, "record": 4}[what]
    bench = Bench(FaultyJournalStore(store, {(number, when): Unavailable("down")}), a=work)
    with pytest.raises(Unavailable):
        await bench.task(Task("a", "work"))
    bench.store = store

    result = await bench.task(Task("a", "work"), waits=False)

    assert result.output == 1
    assert result.replayed == ((what, when) == ("record", "after"))
    # A step that may not have been recorded is done again, unless it turns out that it was.
    assert log == ([1, 1] if (what, when) == ("step", "before") else [1])


async def test_a_step_that_was_recorded_although_nobody_heard_of_it_is_not_done_again_by_the_next_attempt():
    log: list[Any] = []

    async def work(task_input: Any, ctx: TaskContext) -> Any:
        return await ctx.step("s", step_of(log), 1)

    store = FaultyJournalStore(MemoryJournalStore(), {(3, "after"): Unavailable("down")})
    team = Team("t", [Agent("a", "work", work, retry=Retry(max_attempts=2, base_s=0.0))])

    result = await Orchestrator(team, journal=Journal(store)).execute_task(Task("a", "work"), workflow_id=RUN_ID)

    assert (result.output, result.attempts, log) == (1, 2, [1])


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_run_whose_steps_cannot_be_kept_ends_with_the_store_s_error_before_anything_follows(when: When):
    log: list[Any] = []

    async def work(task_input: Any, ctx: TaskContext) -> Any:
        return await ctx.step("s", step_of(log), 1)

    plan = Plan("p", [Task("a", "work"), Task("z", "work", depends_on=["a"], trigger_rule="all_done")])
    store = MemoryJournalStore()
    # The claim of the run, the step.
    bench = Bench(FaultyJournalStore(store, {(2, when): Unavailable("down")}), a=work)

    assert await ended(bench, plan) == "Unavailable"

    assert bench.calls == ["a"]
    bench.store = store
    assert await ended(bench, plan) == "succeeded"
    assert log == ([1, 1] if when == "before" else [1])


async def test_a_worker_s_items_say_it_too():
    store = Selective()
    store.fails = ("item/",)
    bench = Bench(store)

    with pytest.raises(Unavailable):
        await bench.task(MAPPED.tasks[0])

    store.fails = ()
    assert (await bench.task(MAPPED.tasks[0], waits=False)).state == "succeeded"


@pytest.mark.parametrize("down", ["refusing", "mute"])
async def test_a_store_that_is_down_from_the_beginning_lets_nothing_be_done(down: Any):
    store = FaultyJournalStore(MemoryJournalStore())
    store.down = down
    bench = Bench(store)

    assert await ended(bench, PLAN) == "Unavailable"
    with pytest.raises(Unavailable):
        await bench.task(Task("a", "work"))

    assert bench.calls == []


async def test_one_who_was_cancelled_while_he_claimed_holds_nothing():
    wrapped = FaultyJournalStore(MemoryJournalStore())
    bench = Bench(wrapped)
    await bench.task(Task("z", "work"))
    wrapped.gate.clear()
    claiming = asyncio.create_task(bench.task(Task("a", "work")))
    for _ in range(20):
        await asyncio.sleep(0)

    claiming.cancel()
    wrapped.gate.set()
    with pytest.raises(asyncio.CancelledError):
        await claiming

    assert (await bench.task(Task("a", "work"), waits=False)).state == "succeeded"


async def test_a_store_that_fails_for_a_moment_between_heartbeats_is_borne():
    clock, gate = ManualClock(), Gate()
    wrapped = FaultyJournalStore(MemoryJournalStore(clock=clock))
    bench = Bench(wrapped, lease_s=1.0, a=lambda *_: gate())
    running = asyncio.create_task(bench.run([Task("a", "work")]))
    await gate.reached.wait()

    wrapped.down = "refusing"
    before = len(wrapped.calls)
    while len(wrapped.calls) == before:  # noqa: ASYNC110 - nobody tells of a heartbeat
        await asyncio.sleep(0.01)
    wrapped.down = None
    gate.open.set()

    assert (await running).status == "succeeded"


# What lies there


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"v":2}', '{"v":1}', '{"v":1,"e":0,"fp":"x","at":0,"r":{}}', '{"v":"1"}', "null"]
)
@pytest.mark.parametrize("path", ["task/t1-0", "claim/t1-0"])
async def test_a_text_that_cannot_be_read_fails_its_task_and_is_left_as_it_is(path: str, text: str):
    bench = Bench()
    await bench.store.write(RUN_ID, {path: text})

    async with asyncio.timeout(SOON_S):
        result = await bench.run(PLAN)

    assert result["t1-0"].error is not None
    assert result["t1-0"].error.type == "StateFormatError"
    assert [result[name].state for name in ("t1-1", "t2-0")] == ["succeeded", "upstream_failed"]
    assert (await bench.store.read(RUN_ID))[path] == text


@pytest.mark.parametrize("path", ["run", "claim"])
async def test_a_run_whose_own_texts_cannot_be_read_is_refused(path: str):
    bench = Bench()
    await bench.store.write(RUN_ID, {path: '{"v":99}'})

    with pytest.raises(StateFormatError, match="99"):
        await bench.run(PLAN)
    assert bench.calls == []
