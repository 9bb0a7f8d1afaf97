"""A garbage collection leaves all that a run of the journal refers to, and nothing else."""

from __future__ import annotations

import asyncio
import json

import pytest

from coterie import ArtifactStore, ForEach, Intent, Orchestrator, Plan, Task, TaskContext, Team
from coterie.errors import StateFormatError
from coterie.journal import Journal
from coterie.journal.roots import collect_artifacts
from coterie.journal.tending import erase_run
from coterie.journal.view import view_run
from coterie.stores.journal_memory import MemoryJournalStore

# Longer than what travels in a reference.
LONG = "long " * 1000


class Desk:
    """Runs that keep large outputs and steps. hangs: a task; `hung` when it has done its step."""

    def __init__(self, folder) -> None:
        self.artifacts = ArtifactStore(f"file://{folder}/artifacts")
        self.journal = Journal(MemoryJournalStore("default"))
        self.team = Team("desk")
        self.team.agent("work", version="1")(self._work)
        self.hangs: str | None = None
        self.hung = asyncio.Event()
        self.steps: list[str] = []

    async def _work(self, task_input, ctx: TaskContext):
        name = ctx.task_id if ctx.item_key is None else f"{ctx.task_id}/{ctx.item_key}"

        async def step() -> dict:
            self.steps.append(name)
            return (await self.artifacts.put(f"step of {name} {LONG}")).serialize()

        await ctx.step("large", step)
        if ctx.task_id == self.hangs:
            self.hung.set()
            await asyncio.Event().wait()
        return f"output of {name} {LONG}"

    async def run(self, run: str, plan: Plan):
        orchestrator = Orchestrator(self.team, artifacts=self.artifacts, journal=self.journal)
        return await orchestrator.execute_workflow(plan, workflow_id=run, intent=Intent(goes_on=True))

    async def collect(self):
        return await collect_artifacts(self.journal, self.artifacts, min_age_s=0)


def plan_of(name: str) -> Plan:
    each = Task(f"{name}-each", "work", depends_on=[name], foreach=ForEach(items=["a b", "c"], key=""))
    return Plan(f"plan-{name}", [Task(name, "work", input={"note": LONG}), each])


@pytest.fixture
def desk(tmp_path) -> Desk:
    return Desk(tmp_path)


async def test_what_runs_refer_to_stays_and_they_replay(desk: Desk):
    await desk.run("r1", plan_of("one"))
    await desk.artifacts.put(f"nobody's {LONG}")
    desk.steps.clear()

    collected = await desk.collect()
    again = await desk.run("r1", plan_of("one"))

    assert collected.deleted.objects == 1
    # A plan; three outputs and three steps.
    assert collected.reachable.objects >= 7
    assert collected.unread == 0
    assert (again.status, desk.steps) == ("succeeded", [])
    assert await desk.artifacts.load(again["one"].output) == f"output of one {LONG}"


async def test_what_an_erased_run_alone_referred_to_goes(desk: Desk):
    await desk.run("r1", plan_of("one"))
    kept = await desk.run("r2", plan_of("two"))

    await erase_run(desk.journal, "r1")
    collected = await desk.collect()

    assert collected.deleted.objects >= 7
    assert await desk.artifacts.load(kept["two"].output) == f"output of two {LONG}"
    assert (await desk.collect()).deleted.objects == 0


@pytest.mark.parametrize("interrupted", ["one", "one-each"])
async def test_steps_of_work_that_was_interrupted_stay_and_it_goes_on_from_them(desk: Desk, interrupted):
    desk.hangs = interrupted
    running = asyncio.create_task(desk.run("r1", plan_of("one")))
    await desk.hung.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    done = set(desk.steps)
    named = {unit.task_id for unit in (await view_run(desk.journal, "r1")).units}
    desk.hangs = None
    desk.steps.clear()

    collected = await desk.collect()
    resumed = await desk.run("r1", plan_of("one"))

    assert interrupted not in named
    assert collected.deleted.objects == 0
    assert resumed.status == "succeeded"
    assert done.isdisjoint(desk.steps)


async def test_what_cannot_be_read_stops_the_collection_before_anything_is_deleted(desk: Desk):
    await desk.run("r1", plan_of("one"))
    nobodys = await desk.artifacts.put(f"nobody's {LONG}")
    await desk.journal.store.write("r1", {"task/one": "{"})

    with pytest.raises(StateFormatError, match="'r1'"):
        await desk.collect()

    assert await desk.artifacts.load(nobodys) == f"nobody's {LONG}"


async def test_a_run_whose_plan_is_gone_still_keeps_its_outputs(desk: Desk):
    ended = await desk.run("r1", plan_of("one"))
    other = await desk.run("r2", plan_of("two"))
    texts, _ = await desk.journal.store.get("r2", ["run"])
    digest = json.loads(texts["run"])["document"]["sha256"]
    await desk.journal.store.write("r2", {"run": texts["run"].replace(digest, "0" * 64)})

    await desk.collect()

    assert await desk.artifacts.load(ended["one"].output) == f"output of one {LONG}"
    assert await desk.artifacts.load(other["two"].output) == f"output of two {LONG}"
