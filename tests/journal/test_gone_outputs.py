"""Outputs that were deleted under a journal's feet: the work is done again, and nobody is given a dead reference."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from coterie import ForEach, Plan, Ref, Task, TaskContext, TaskResult, Team, WorkflowResult
from coterie.artifacts import ArtifactStore
from coterie.errors import ClaimedElsewhere, MissingArtifact, Unavailable
from coterie.journal import Intent
from coterie.journal.forecast import forecast
from coterie.journal.view import view_run
from tests.journal.bench import RUN_ID, Bench, step_of

# Longer than what a reference carries itself.
LONG = "x" * 1000
PLAN = Plan(
    "p",
    [
        Task("a", "work"),
        Task("b", "work", depends_on=["a"]),
        Task("each", "work", foreach=ForEach(items=[1, 2]), depends_on=["b"]),
    ],
)


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(f"file://{tmp_path}/artifacts")


def of_its_own(task_input: Any, ctx: TaskContext) -> str:
    return f"{ctx.task_id} {ctx.item} {LONG}"


@pytest.fixture
def bench() -> Bench:
    return Bench(a=of_its_own, b=of_its_own, each=of_its_own)


async def run(bench: Bench, store: ArtifactStore | None) -> WorkflowResult:
    return await bench.orchestrator(artifacts=store).execute_workflow(PLAN, workflow_id=RUN_ID)


async def task(bench: Bench, store: ArtifactStore | None, one: Task) -> TaskResult:
    return await bench.orchestrator(artifacts=store).execute_task(one, workflow_id=RUN_ID)


def delete(store: ArtifactStore, output: Any) -> None:
    assert isinstance(output, Ref)
    assert not output.is_inline
    Path(output.uri.removeprefix("file://")).unlink()


def gone(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.args[0] for record in caplog.records if record.msg.startswith("journal.output_gone")]


async def test_of_a_whole_run_what_is_gone_is_done_again_and_nothing_else(bench: Bench, store: ArtifactStore, caplog):
    first = await run(bench, store)
    keys = dict(zip(bench.calls, bench.keys, strict=True))
    bench.forget_calls()
    delete(store, first["b"].output)
    delete(store, first["each"].item_results[1].output)

    again = await run(bench, store)

    assert sorted(bench.calls) == ["b", "each[2]"]
    assert [keys[name] for name in bench.calls] == bench.keys, "with the same key: whoever knows it, bills it once"
    assert sorted(gone(caplog)) == ["b", "each"]
    assert await store.load(again["b"].output) == of_its_own({}, _like("b"))
    assert [one.replayed for one in (again["a"], again["b"])] == [True, False]


async def test_that_is_foreseen(bench: Bench, store: ArtifactStore):
    team = Team("bench")
    team.agent("work", version="1")(of_its_own)
    delete(store, (await run(bench, store))["b"].output)

    view = await view_run(bench.journal(), RUN_ID)
    told = {
        task.task_id: (task.prospect, task.why) for task in (await forecast(view, PLAN, team, artifacts=store)).tasks
    }
    unlooked = {task.prospect for task in (await forecast(view, PLAN, team)).tasks}

    assert told["a"] == ("replays", None)
    assert told["b"] == ("runs", "output_gone")
    assert unlooked == {"replays"}, "of a store that it does not know, nothing is known"


async def test_of_a_worker_s_task_too(bench: Bench, store: ArtifactStore, caplog):
    one = Task("a", "work")
    first = await task(bench, store, one)
    delete(store, first.output)

    again = await task(bench, store, one)
    third = await task(bench, store, one)

    assert bench.calls == ["a", "a"]
    assert (again.replayed, third.replayed) == (False, True)
    assert gone(caplog) == ["a"]
    assert isinstance(third.output, Ref)
    assert await store.missing([third.output]) == []


async def test_its_steps_are_not_done_again_but_those_whose_values_are_gone(store: ArtifactStore):
    log: list[Any] = []

    async def work(task_input: Any, ctx: TaskContext) -> Any:
        parts = [await ctx.step(name, step_of(log, f"{name} {LONG}"), name) for name in ("kept", "lost")]
        return [*parts, LONG]

    bench, one = Bench(a=work), Task("a", "work")
    first = await task(bench, store, one)
    delete(store, first.output)
    delete(store, await store.put(f"lost {LONG}"))

    again = await task(bench, store, one)

    assert log == ["kept", "lost", "lost"]
    assert again.state == "succeeded"


async def test_who_has_no_store_or_another_is_told_what_is_recorded(bench: Bench, store: ArtifactStore, tmp_path: Path):
    one = Task("a", "work")
    first = await task(bench, store, one)
    delete(store, first.output)

    without = await task(bench, None, one)
    elsewhere = await task(bench, ArtifactStore(f"file://{tmp_path}/elsewhere"), one)

    assert without.output == elsewhere.output == first.output
    assert bench.calls == ["a"]


async def test_a_store_that_does_not_answer_says_nothing_of_what_is_there(
    bench: Bench, store: ArtifactStore, monkeypatch, caplog
):
    first = await run(bench, store)

    async def away(refs: Any) -> Any:
        raise Unavailable("away")

    monkeypatch.setattr(store, "missing", away)
    again = await run(bench, store)

    assert [one.output for one in again if one.items is None] == [one.output for one in first if one.items is None]
    assert "journal.outputs_not_looked_at" in caplog.text


async def test_the_run_is_claimed_however_long_the_store_takes_to_say_what_is_there(
    bench: Bench, store: ArtifactStore, monkeypatch
):
    bench.lease_s = 1.0
    bench.does["each"] = RuntimeError("broken")
    await run(bench, store)
    bench.does["each"] = of_its_own
    bench.forget_calls()
    asked, answers = asyncio.Event(), asyncio.Event()
    missing = store.missing

    async def slow(refs: Any) -> Any:
        asked.set()
        await answers.wait()
        return await missing(refs)

    monkeypatch.setattr(store, "missing", slow)
    goes_on = Intent(goes_on=True)
    first = asyncio.ensure_future(
        bench.orchestrator(artifacts=store).execute_workflow(PLAN, workflow_id=RUN_ID, intent=goes_on)
    )
    await asked.wait()
    # Longer than the claim is believed without a word.
    await asyncio.sleep(1.5)
    with pytest.raises(ClaimedElsewhere):
        await bench.orchestrator().execute_workflow(PLAN, workflow_id=RUN_ID, intent=goes_on)
    answers.set()

    assert (await first).status == "succeeded"
    assert sorted(bench.calls) == ["each[1]", "each[2]"]


async def test_a_process_that_dies_at_it_leaves_it_to_be_done(bench: Bench, store: ArtifactStore):
    one = Task("a", "work")
    first = await task(bench, store, one)
    delete(store, first.output)
    with pytest.raises(asyncio.CancelledError):
        await _cancelled(bench, store, one)
    bench.does["a"] = of_its_own

    again = await task(bench, store, one)

    assert isinstance(again.output, Ref)
    assert not again.replayed
    assert await store.load(again.output) == of_its_own({}, _like("a"))


async def test_missing_is_what_would_be_refused_as_missing(store: ArtifactStore, tmp_path: Path):
    refs = [await store.put(f"{n} {LONG}") for n in range(40)]
    small = await store.put("small")
    elsewhere = await ArtifactStore(f"file://{tmp_path}/elsewhere").put(LONG)
    for ref in refs[::3]:
        delete(store, ref)

    found = await store.missing([*refs, small, elsewhere, refs[0]])

    assert sorted(ref.uri for ref in found) == sorted(ref.uri for ref in refs[::3])
    with pytest.raises(MissingArtifact):
        await store.load(found[0])


class _Like:
    item = None

    def __init__(self, task_id: str) -> None:
        self.task_id = task_id


def _like(task_id: str) -> Any:
    return _Like(task_id)


async def _cancelled(bench: Bench, store: ArtifactStore, one: Task) -> None:
    reached = asyncio.Event()

    async def wait(task_input: Any, ctx: TaskContext) -> None:
        reached.set()
        await asyncio.Event().wait()

    bench.does["a"] = wait
    orchestrator = bench.orchestrator(artifacts=store)
    working = asyncio.ensure_future(orchestrator.execute_task(one, workflow_id=RUN_ID, intent=Intent()))
    await reached.wait()
    working.cancel()
    await working
