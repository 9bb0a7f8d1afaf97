"""As schedulers do it: task by task, each in a process of its own, and one last task that undoes."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest

from coterie import Agent, ForEach, Orchestrator, Policies, Quota, Team
from coterie.conclude import lost
from coterie.errors import ClaimedElsewhere, LeaseLost, PlanChanged, QuotaSpent
from coterie.journal import Intent, Journal
from coterie.result import ErrorInfo, TaskResult
from coterie.saga import Saga
from coterie.stores.journal_memory import MemoryJournalStore
from tests.journal.saga.cloud import Cloud, lost_in, performed, plan_of, step, until

CHAIN = plan_of(step("net"), step("vm", "net"), step("app", "vm"))
AGAIN = Intent(goes_on=True)


@pytest.fixture
def journal() -> Journal:
    return Journal(MemoryJournalStore())


async def test_the_last_task_of_a_scheduler_s_run_undoes_it(journal: Journal):
    cloud = Cloud(fails=Counter({"+app": 1}))
    results = await performed(cloud, CHAIN, journal, "net", "vm", "app")

    result = await Saga(cloud.orchestrator(journal)).compensate(CHAIN, results, workflow_id="run")

    assert cloud.undone() == ["-vm", "-net"]
    assert (result.status, result.outcome) == ("failed", "compensated")


async def test_the_last_task_of_a_scheduler_s_run_that_succeeded_only_says_so(journal: Journal):
    cloud = Cloud()
    results = await performed(cloud, CHAIN, journal, "net", "vm", "app")

    result = await Saga(cloud.orchestrator(journal)).compensate(CHAIN, results, workflow_id="run")

    assert (result.status, result.outcome, cloud.undone()) == ("succeeded", "succeeded", [])
    assert "saga" not in await journal.store.read("run")


async def test_a_foreach_of_nothing_that_never_began_is_not_undone(journal: Journal):
    cloud = Cloud(fails=Counter({"+bad": 1}))
    plan = plan_of(step("a"), step("bad", "a"), step("each", "a", foreach=ForEach(items=[])))
    results = await performed(cloud, plan, journal, "a", "bad")

    result = await Saga(cloud.orchestrator(journal)).compensate(plan, results, workflow_id="run")

    assert cloud.undone() == ["-a"]
    assert result["each"].state == "cancelled"


async def test_what_the_scheduler_lost_is_looked_up_in_the_journal(journal: Journal):
    cloud = Cloud(fails=Counter({"+app": 1}))
    await performed(cloud, CHAIN, journal, "net", "vm", "app")

    result = await Saga(cloud.orchestrator(journal)).compensate(CHAIN, {}, workflow_id="run")

    assert cloud.undone() == ["-vm", "-net"]
    assert cloud.seen["net"] == ({"of": "net"}, {"made": "net"})
    assert result.outcome == "compensated"


async def test_what_the_journal_knows_to_be_done_is_undone_though_the_scheduler_takes_it_for_failed(journal: Journal):
    cloud = Cloud()
    results = await performed(cloud, CHAIN, journal, "net", "vm", "app")
    # Its worker was lost after the record.
    results["app"] = TaskResult("app", "failed", error=ErrorInfo("Killed", "by the scheduler"), attempts=1)

    result = await Saga(cloud.orchestrator(journal)).compensate(CHAIN, results, workflow_id="run")

    assert cloud.undone() == ["-app", "-vm", "-net"]
    assert cloud.seen["app"] == ({"of": "app"}, {"made": "app"})
    assert (result["app"].state, result.outcome) == ("failed", "compensated")


async def test_a_run_is_not_undone_by_another_plan_than_it_began_with(journal: Journal):
    cloud = Cloud()
    await performed(cloud, CHAIN, journal, "net")
    other = plan_of(step("net"), step("another", "net"))

    with pytest.raises(PlanChanged):
        await Saga(cloud.orchestrator(journal)).compensate(other, workflow_id="run")
    with pytest.raises(PlanChanged):
        await cloud.run(other, journal)

    assert cloud.log == ["+net"]
    assert "saga" not in await journal.store.read("run")


async def test_a_foreach_that_was_undone_is_done_anew_and_undone_again(journal: Journal):
    cloud = Cloud(fails=Counter({"+bad": 2}))
    plan = plan_of(step("each", foreach=ForEach(items=[1, 2])), step("bad", "each"))
    await cloud.run(plan, journal)
    cloud.log.clear()

    await cloud.run(plan, journal, intent=AGAIN)

    assert cloud.log == ["+each", "+each", "+bad", "-each"]
    assert len(set(cloud.keys["+each"])) == 4


async def test_a_foreach_that_was_undone_and_did_not_begin_again_is_not_undone_again(journal: Journal):
    cloud = Cloud(fails=Counter({"+bad": 1, "+net": 1}))
    plan = plan_of(step("net"), step("each", "net", foreach=ForEach(items=[1, 2])), step("bad", "each"))
    cloud.fails["+net"] = 0
    await cloud.run(plan, journal)
    cloud.log.clear()
    cloud.fails["+net"] = 1

    result = await cloud.run(plan, journal, intent=AGAIN)

    assert cloud.log == ["+net"]
    assert result["each"].state == "upstream_failed"
    assert result.outcome == "compensated"


@pytest.mark.parametrize(("when", "undone"), [("started", ["-app", "-vm", "-net"]), ("succeeded", ["-vm", "-net"])])
async def test_a_step_that_a_worker_was_lost_in_makes_the_run_fail(journal: Journal, when: Any, undone: list[str]):
    cloud = Cloud()
    plan = plan_of(step("net"), step("vm", "net"), step("app", "vm", when=when))
    results = await performed(cloud, plan, journal, "net", "vm")
    await lost_in(cloud, plan, journal, "app", results)

    result = await Saga(cloud.orchestrator(journal)).compensate(plan, results, workflow_id="run")

    assert result["app"].state == "failed"
    assert result["app"].error is not None
    assert result["app"].error.type == "WorkerLost"
    assert cloud.undone() == undone
    assert result.outcome == ("compensated" if when == "started" else "compensation_failed")


async def test_a_failure_that_nobody_recorded_is_a_lost_worker_s_unless_no_agent_came_to_do_it(journal: Journal):
    cloud = Cloud()
    results = await performed(cloud, CHAIN, journal, "net", "vm")
    await lost_in(cloud, CHAIN, journal, "app", results)
    refused = TaskResult("app", "failed", error=ErrorInfo("PoolBusy", "nobody came"))

    told = [
        await Saga(cloud.orchestrator(journal)).compensate(CHAIN, results | {"app": app}, workflow_id="run")
        for app in (refused, lost("app"))
    ]

    assert [[(letter.task_id, letter.left) for letter in one.dead_letters] for one in told] == [
        [],
        [("app", "unclear")],
    ]
    assert cloud.undone() == ["-vm", "-net"]


async def test_without_a_journal_a_lost_worker_s_step_is_for_a_person_too():
    cloud = Cloud()
    results = {"net": TaskResult("net", "succeeded", output={"made": "net"}), "vm": lost("vm")}

    told = await Saga(cloud.orchestrator()).compensate(CHAIN, results, workflow_id="run")

    assert cloud.undone() == ["-net"]
    assert [(letter.task_id, letter.left) for letter in told.dead_letters] == [("vm", "unclear")]


async def test_a_lost_worker_fails_its_step_only_where_the_plan_undoes_runs_without_outputs(journal: Journal):
    cloud = Cloud()
    plan = plan_of(step("net"), step("vm"), fails_on="outputs")
    results = await performed(cloud, plan, journal, "net")
    await lost_in(cloud, plan, journal, "vm", results)

    told = await Saga(cloud.orchestrator(journal)).compensate(plan, results | {"vm": lost("vm")}, workflow_id="run")

    assert (told.status, told.outcome, cloud.undone()) == ("partial", "succeeded", [])


async def test_items_that_were_done_before_a_person_ended_the_run_are_undone(journal: Journal):
    cloud = Cloud()
    plan = plan_of(step("each", foreach=ForEach(items=[1, 2])), step("app", "each"))
    await performed(cloud, plan, journal, "each")
    (item, _) = [path for path in await journal.store.read("run") if path.startswith("item/each/")]
    # Its worker was stopped before the second item; and Airflow never came to gather them.
    await journal.store.write("run", {item: None, item.replace("item/", "claim/"): None})
    results = {name: TaskResult(name, "skipped") for name in ("each", "app")}

    told = await Saga(cloud.orchestrator(journal)).compensate(plan, results, workflow_id="run")

    assert cloud.undone() == ["-each"]
    assert [one.state for one in told] == ["failed", "skipped"]
    assert told.outcome == "compensated"


async def test_a_worker_that_wakes_up_after_its_step_was_given_up_is_refused(journal: Journal):
    cloud = Cloud(gates={"+app": asyncio.Event()})
    plan = plan_of(step("net"), step("vm", "net"), step("app", "vm", when="started"))
    results = await performed(cloud, plan, journal, "net", "vm")
    work = cloud.orchestrator(journal).execute_task(
        plan.task("app"), upstream={"vm": results["vm"]}, workflow_id="run", plan=plan
    )
    zombie = asyncio.create_task(work)
    await until(lambda: "+app" in cloud.log)
    # It has not been heard of for a lease.
    await journal.store.write("run", {"pulse/app": "1"})

    await Saga(cloud.orchestrator(journal)).compensate(plan, results, workflow_id="run")
    cloud.gates["+app"].set()

    with pytest.raises(LeaseLost):
        await zombie
    assert cloud.undone() == ["-app", "-vm", "-net"]
    texts = await journal.store.read("run")
    assert "task/app" not in texts
    assert "pulse/app" not in texts


async def test_a_step_that_another_process_is_at_is_waited_for(journal: Journal):
    cloud = Cloud(fails=Counter({"+bad": 1}), gates={"+slow": asyncio.Event()})
    plan = plan_of(step("bad"), step("slow"))
    work = cloud.orchestrator(journal).execute_task(plan.task("slow"), workflow_id="run", plan=plan)
    worker = asyncio.create_task(work)
    await until(lambda: "+slow" in cloud.log)
    results = await performed(cloud, plan, journal, "bad")
    saga = Saga(cloud.orchestrator(journal))

    with pytest.raises(ClaimedElsewhere, match="is at work on"):
        await saga.compensate(plan, results, workflow_id="run", waits=False)
    undoing = asyncio.create_task(saga.compensate(plan, results, workflow_id="run"))
    await asyncio.sleep(0)
    cloud.gates["+slow"].set()
    await worker
    result = await undoing

    assert cloud.undone() == ["-slow"]
    assert result["slow"].state == "succeeded"


async def test_who_waits_for_another_process_is_ended_by_a_shutdown(journal: Journal):
    cloud = Cloud(fails=Counter({"+bad": 1}), gates={"+slow": asyncio.Event()})
    plan = plan_of(step("bad"), step("slow"))
    work = cloud.orchestrator(journal).execute_task(plan.task("slow"), workflow_id="run", plan=plan)
    worker = asyncio.create_task(work)
    await until(lambda: "+slow" in cloud.log)
    results = await performed(cloud, plan, journal, "bad")
    orchestrator = cloud.orchestrator(journal)
    undoing = asyncio.create_task(Saga(orchestrator).compensate(plan, results, workflow_id="run"))
    # Until it has looked, and waits.
    await asyncio.sleep(0.1)

    async with asyncio.timeout(20):
        await orchestrator.shut_down(timeout_s=0)

    assert undoing.cancelled()
    cloud.gates["+slow"].set()
    assert (await worker).state == "succeeded"
    assert cloud.undone() == []


async def test_a_run_that_another_process_runs_as_a_whole_is_waited_for(journal: Journal):
    cloud = Cloud(fails=Counter({"+b": 1}), gates={"+b": asyncio.Event()})
    plan = plan_of(step("a"), step("b", "a"))
    running = asyncio.create_task(cloud.run(plan, journal))
    await until(lambda: "+b" in cloud.log)

    with pytest.raises(ClaimedElsewhere, match="the run 'run'"):
        await Saga(cloud.orchestrator(journal)).compensate(plan, workflow_id="run", waits=False)
    cloud.gates["+b"].set()

    assert (await running).outcome == "compensated"


class Asked(MemoryJournalStore):
    """Counts how often each path was asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.count: Counter[str] = Counter()

    async def change(self, run: str, paths: Sequence[str], decide: Any) -> Any:
        self.count.update(paths)
        return await super().change(run, paths, decide)


async def test_processes_that_undo_a_run_at_once_undo_each_step_once():
    store = Asked()
    journal = Journal(store)
    cloud = Cloud(fails=Counter({"+last": 1}), gates={"-t0": asyncio.Event()})
    names = [f"t{i}" for i in range(4)]
    plan = plan_of(step("a"), *(step(name, "a") for name in names), step("last", *names))
    results = await performed(cloud, plan, journal, "a", *names, "last")
    intents = [Intent(), Intent(force="now"), AGAIN]

    undoing = [
        asyncio.create_task(
            Saga(cloud.orchestrator(journal)).compensate(plan, results, workflow_id="run", intent=intent)
        )
        for intent in intents
    ]
    await until(lambda: store.count["claim/undo-t0"] >= len(intents))
    cloud.gates["-t0"].set()
    told = await asyncio.gather(*undoing)

    assert sorted(cloud.undone()) == sorted(f"-{name}" for name in ["a", *names])
    assert cloud.undone()[-1] == "-a"
    assert {one.outcome for one in told} == {"compensated"}


async def test_a_scheduler_s_task_may_begin_unless_its_run_was_undone(journal: Journal):
    cloud = Cloud(fails=Counter({"+app": 1}))
    saga, engine = Saga(cloud.orchestrator(journal)), Intent(engine_run="airflow.d.r")
    results = await performed(cloud, CHAIN, journal, "net", "vm")
    assert await saga.admits(CHAIN, workflow_id="run", intent=engine)
    results |= {
        "app": (await cloud.orchestrator(journal).execute_task(CHAIN.task("app"), upstream={"vm": results["vm"]}))
    }
    await saga.compensate(CHAIN, results, workflow_id="run", intent=engine)

    assert not await saga.admits(CHAIN, workflow_id="run", intent=engine)
    assert await saga.admits(CHAIN, workflow_id="run", intent=Intent(engine_run="airflow.d.r", demand=1))
    assert await saga.admits(CHAIN, workflow_id="run", intent=engine)


async def test_a_run_that_succeeded_is_undone_if_a_person_wants_it_so(journal: Journal):
    cloud = Cloud()
    await cloud.run(CHAIN, journal)

    result = await Saga(cloud.orchestrator(journal)).compensate(CHAIN, workflow_id="run", why="cancelled")

    assert cloud.undone() == ["-app", "-vm", "-net"]
    assert (result.status, result.outcome, result.exit_code) == ("cancelled", "compensated", 130)


async def test_a_refusal_is_the_caller_s_if_it_wants_it_and_what_is_done_stays_done(journal: Journal):
    cloud = Cloud(fails=Counter({"+app": 1}))
    results = await performed(cloud, CHAIN, journal, "net", "vm", "app")
    once_a_minute = Policies(limits={"requests": Quota(rate_per_s=1 / 60, burst=1)})
    team = Team("t", [Agent("remover", "remover", cloud.remove)], policies={"remover": once_a_minute})

    with pytest.raises(QuotaSpent) as refusal:
        await Saga(Orchestrator(team, journal=journal)).compensate(CHAIN, results, workflow_id="run", waits=False)
    again = await Saga(cloud.orchestrator(journal)).compensate(CHAIN, results, workflow_id="run", waits=False)

    assert refusal.value.retry_after_s > 1
    assert cloud.undone() == ["-vm", "-net"]
    assert again.outcome == "compensated"
