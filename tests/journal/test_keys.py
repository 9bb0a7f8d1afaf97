"""Idempotency keys: equal for all attempts at the same work, another for any other work."""

from __future__ import annotations

from typing import Any

import pytest

from coterie import ForEach, Orchestrator, Plan, Task, TaskContext, Team
from coterie.errors import Refused
from coterie.journal import Intent, Journal
from coterie.journal.place import place_of
from coterie.policies import Fallback, Policies
from coterie.stores.journal_memory import MemoryJournalStore
from coterie.task import Retry
from tests.journal.bench import RUN_ID, Bench

TASK = Task("a", "work")
LATER = Refused("not now", retry_after_s=1.0)


async def test_attempts_have_one_key_in_whatever_process_and_on_whatever_engine():
    bench = Bench(a=LATER)

    for engine in ["local", "airflow.d.r", "prefect.f"]:
        await bench.task(TASK, engine_run=engine)
    await bench.run([TASK])
    bench.does["a"] = "done"
    await bench.task(TASK)

    assert len(bench.keys) == 5
    assert len(set(bench.keys)) == 1
    assert len(bench.keys[0]) == 64


async def test_attempts_in_one_process_have_one_key():
    bench = Bench(a=ValueError("no"))

    result = await bench.task(Task("a", "work", retry=Retry(max_attempts=3, base_s=0.0)))

    assert result.attempts == 3
    assert len(bench.keys) == 3
    assert len(set(bench.keys)) == 1


async def test_what_failed_and_is_gone_on_with_keeps_its_key():
    bench = Bench(a=ValueError("no"))
    await bench.task(TASK)

    await bench.task(TASK, goes_on=True)

    assert len(bench.keys) == 2
    assert len(set(bench.keys)) == 1


async def test_what_a_person_asks_for_anew_has_another_key_each_time():
    bench = Bench()
    await bench.task(TASK)
    await bench.journal().note_seen(RUN_ID, place_of("a"), Intent("e"))
    await bench.task(TASK, engine_run="e", demand=1)
    await bench.task(TASK, force="x")
    await bench.task(TASK, force="y")
    await bench.journal().forget(RUN_ID, place_of("a"))
    await bench.task(TASK)

    assert len(bench.keys) == 5
    assert len(set(bench.keys)) == 5


async def test_other_work_has_another_key():
    bench = Bench()
    await bench.task(TASK)
    await bench.task(TASK, versions={"work": "2"})
    await bench.task(Task("a", "work", input={"n": 1}))
    await bench.task(Task("b", "work"))
    await bench.run([TASK], run="another")
    await Orchestrator(_team(bench), namespace="other").execute_task(TASK, workflow_id=RUN_ID)

    assert len(bench.keys) == 6
    assert len(set(bench.keys)) == 6


def _team(bench: Bench) -> Team:
    team = Team("bench")
    team.agent("work", version="1")(bench._agent)
    return team


async def test_each_item_has_a_key_of_its_own_wherever_it_stands():
    bench = Bench(m=LATER)
    for items in [[1, 2, 3], [3, 2, 1]]:
        await bench.task(Task("m", "work", foreach=ForEach(items=items)))

    found = dict(zip(bench.calls, bench.keys, strict=True))
    assert len(bench.keys) == 6
    assert len(set(bench.keys)) == len(found) == 3


async def test_with_and_without_a_journal_the_first_attempt_has_the_same_key():
    bench = Bench()

    await bench.task(TASK)
    await bench.run([TASK], run=RUN_ID, force="x")
    await Orchestrator(_team(bench)).execute_task(TASK, workflow_id=RUN_ID)
    await Orchestrator(_team(bench)).execute_task(TASK, workflow_id=RUN_ID, epoch=1)

    first, forced, bare, bare_again = bench.keys
    assert (first, forced) == (bare, bare_again)


async def test_each_step_has_a_key_of_its_own_the_same_in_every_attempt():
    keys: dict[str, list[str]] = {}

    async def work(task_input: Any, ctx: TaskContext) -> Any:
        async def note(name: str) -> None:
            keys.setdefault(name, []).append(ctx.idempotency_key)
            raise LATER

        async def outer(name: str) -> None:
            keys.setdefault(name, []).append(ctx.idempotency_key)
            await tried("inner", note, "inner")
            raise LATER

        async def tried(name: str, function: Any, argument: str, **more: Any) -> None:
            with pytest.raises(Refused):
                await ctx.step(name, function, argument, **more)

        keys.setdefault("task", []).append(ctx.idempotency_key)
        await tried("s", note, "s")
        await tried("s", note, "s again")
        await tried("s", note, "s by key", key="k")
        await tried("s", note, "s by another key", key="l")
        await tried("outer", outer, "outer")
        keys.setdefault("task", []).append(ctx.idempotency_key)
        raise LATER

    bench = Bench(a=work)
    for _ in range(2):
        await bench.task(TASK)

    assert all(len(set(found)) == 1 for found in keys.values()), keys
    assert len({found[0] for found in keys.values()}) == len(keys) == 7


async def test_agents_of_another_type_that_stand_in_have_a_key_of_their_own():
    keys: dict[str, list[str]] = {}

    def agent(name: str) -> Any:
        async def work(task_input: Any, ctx: TaskContext) -> Any:
            keys.setdefault(name, []).append(ctx.idempotency_key)
            raise LATER if name == "spare" else ValueError("no")

        return work

    policies = {"work": Policies(fallback=[Fallback(agent_type="spare")])}
    team = Team("t", policies=policies)
    for name in ("work", "spare"):
        team.agent(name)(agent(name))
    orchestrator = Orchestrator(team, journal=Journal(MemoryJournalStore()))

    for goes_on in (False, True):
        await orchestrator.execute_task(TASK, workflow_id=RUN_ID, intent=Intent(goes_on=goes_on))

    assert {name: len(found) for name, found in keys.items()} == {"work": 2, "spare": 2}
    assert len({*keys["work"], *keys["spare"]}) == 2


async def test_the_key_of_a_plan_s_task_is_the_same_in_a_whole_run_and_alone():
    plan = Plan("p", [Task("a", "work", input={"x": {"$param": "x"}})], params={"x": 3})
    bench = Bench(a=LATER)
    orchestrator = bench.orchestrator()

    await orchestrator.execute_workflow(plan, workflow_id=RUN_ID)
    await orchestrator.execute_task(plan.tasks[0], workflow_id=RUN_ID, params={"x": 3}, plan=plan)

    assert len(bench.keys) == 2
    assert len(set(bench.keys)) == 1
