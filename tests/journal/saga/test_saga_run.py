"""A run that fails is undone, in this process and without a journal."""

from __future__ import annotations

import asyncio
import gc
from collections import Counter
from typing import Any

import pytest

from coterie import Event, ForEach, Plan, Task, When
from coterie._rules.saga import StepRecord
from coterie._rules.saga_policy import SagaPolicy
from coterie.errors import Misuse, Unavailable, UnknownAgentType
from coterie.result import TaskResult
from coterie.saga import Saga, SagaResult
from coterie.saga.back import progress_of
from coterie.saga.undoing import undo_all
from coterie.task import Compensation
from tests.journal.saga.cloud import Cloud, plan_of, step, until

CHAIN = plan_of(step("net"), step("vm", "net"), step("app", "vm"))


async def test_a_run_that_succeeds_undoes_nothing():
    cloud = Cloud()

    result = await cloud.run(CHAIN)

    assert (result.status, result.outcome, result.exit_code) == ("succeeded", "succeeded", 0)
    assert cloud.log == ["+net", "+vm", "+app"]
    assert (result.compensations, result.dead_letters) == ({}, ())


async def test_a_run_that_fails_is_undone_last_first():
    cloud = Cloud(fails=Counter({"+app": 1}))

    result = await cloud.run(CHAIN)

    assert (result.status, result.outcome, result.exit_code) == ("failed", "compensated", 1)
    assert cloud.log == ["+net", "+vm", "+app", "-vm", "-net"]
    assert {name: one.state for name, one in result.compensations.items()} == {"net": "succeeded", "vm": "succeeded"}
    assert result["vm"].state == "succeeded"
    assert result["app"].state == "failed"


async def test_a_compensation_reads_its_own_input_and_what_its_step_returned():
    cloud = Cloud(fails=Counter({"+vm": 1}))

    await cloud.run(CHAIN)

    assert cloud.seen == {"net": ({"of": "net"}, {"made": "net"})}


async def test_no_step_begins_once_one_has_failed_not_even_one_that_waits_for_a_slot():
    cloud = Cloud(fails=Counter({"+a": 1}))
    plan = plan_of(*(step(name) for name in "abcdefgh"), step("z", "h"))

    result = await cloud.run(plan, capacity=1)

    assert cloud.log == ["+a"]
    assert [one.state for one in result] == ["failed", *["cancelled"] * 8]
    assert (result.status, result.outcome) == ("failed", "compensated")


async def test_a_step_that_runs_when_another_fails_is_waited_for_and_undone():
    cloud = Cloud(fails=Counter({"+bad": 1}), gates={"+slow": asyncio.Event()})
    plan = plan_of(step("bad"), step("slow"), step("after", "slow"))
    running = asyncio.create_task(cloud.run(plan))
    await until(lambda: any(event.name == "task.finished" and event.task_id == "bad" for event in cloud.events))
    assert cloud.undone() == []

    cloud.gates["+slow"].set()
    result = await running

    assert cloud.undone() == ["-slow"]
    assert result["slow"].state == "succeeded"
    assert result["after"].state == "cancelled"


async def test_a_compensation_is_tried_again_as_its_policy_says_with_the_same_key():
    cloud = Cloud(fails=Counter({"+vm": 1, "-net": 2}))

    result = await cloud.run(CHAIN)

    assert cloud.undone() == ["-net"] * 3
    assert len(set(cloud.keys["-net"])) == 1
    assert set(cloud.keys["-net"]) != set(cloud.keys["+net"])
    assert result.outcome == "compensated"
    assert result.compensations["net"].attempts == 3


async def test_a_compensation_that_fails_for_good_leaves_a_letter_and_the_others_go_on():
    cloud = Cloud(fails=Counter({"+app": 1, "-vm": 9}))

    result = await cloud.run(CHAIN)

    assert (result.status, result.outcome) == ("failed", "compensation_failed")
    assert cloud.undone() == ["-vm", "-vm", "-vm", "-net"]
    (letter,) = result.dead_letters
    assert (letter.task_id, letter.undo_id, letter.left, letter.attempts) == ("vm", "undo-vm", "failed", 3)
    assert (letter.agent_type, letter.input, letter.output) == ("remover", {"of": "vm"}, {"made": "vm"})
    assert str(letter.error) == "RuntimeError: -vm does not want to"


async def test_a_compensation_that_fails_for_good_can_stop_those_that_come_after_it():
    cloud = Cloud(fails=Counter({"+app": 1, "-vm": 9}))
    plan = plan_of(step("net"), step("vm", "net"), step("app", "vm"), stop_on_failed_compensation=True)

    result = await cloud.run(plan)

    assert cloud.undone() == ["-vm", "-vm", "-vm"]
    assert [(letter.task_id, letter.left) for letter in result.dead_letters] == [("net", "blocked"), ("vm", "failed")]


async def test_branches_are_undone_side_by_side():
    cloud = Cloud(fails=Counter({"+last": 1}), gates={name: asyncio.Event() for name in ("-a", "-b")})
    running = asyncio.create_task(
        cloud.run(plan_of(step("net"), step("a", "net"), step("b", "net"), step("last", "a", "b")))
    )
    await until(lambda: len(cloud.undone()) == 2)

    assert sorted(cloud.undone()) == ["-a", "-b"]
    for gate in cloud.gates.values():
        gate.set()
    await running

    assert cloud.undone()[-1] == "-net"


async def test_a_failed_step_is_undone_if_its_compensation_is_for_what_started():
    cloud = Cloud(fails=Counter({"+a": 1}))

    result = await cloud.run(plan_of(step("a", when="started")))

    assert cloud.log == ["+a", "-a"]
    assert cloud.seen == {"a": ({"of": "a"}, None)}
    assert result.outcome == "compensated"


async def test_a_step_that_ran_out_of_time_is_undone_if_its_compensation_is_for_what_started():
    cloud = Cloud(gates={"+a": asyncio.Event(), "+b": asyncio.Event()})
    plan = plan_of(step("a", when="started", timeout_s=0.01), step("b", timeout_s=0.01))

    result = await cloud.run(plan)

    assert cloud.undone() == ["-a"]
    assert {one.error.type for one in result.failures if one.error} == {"TaskTimedOut"}


async def test_a_foreach_of_which_any_item_succeeded_is_undone():
    cloud = Cloud(fails=Counter({"+each": 1}))
    plan = plan_of(step("each", foreach=ForEach(items=[1, 2, 3])))

    result = await cloud.run(plan)

    assert result["each"].state == "failed"
    assert cloud.undone() == ["-each"]


async def test_a_run_that_may_fail_in_part_is_undone_only_when_no_output_succeeded():
    good, bad = Cloud(fails=Counter({"+b": 1})), Cloud(fails=Counter({"+b": 1, "+c": 1}))
    plan = plan_of(step("a"), step("b", "a"), step("c", "a"), fails_on="outputs")

    partly, wholly = await good.run(plan), await bad.run(plan)

    assert (partly.status, partly.outcome, good.undone()) == ("partial", "succeeded", [])
    assert (wholly.status, wholly.outcome, bad.undone()) == ("failed", "compensated", ["-a"])


async def test_an_output_that_waits_for_a_slot_still_begins_when_other_outputs_have_failed():
    cloud = Cloud(fails=Counter({"+b": 1, "+c": 1}))

    result = await cloud.run(plan_of(step("b"), step("c"), step("d"), fails_on="outputs"), capacity=1)

    assert cloud.log == ["+b", "+c", "+d"]
    assert (result.status, result.outcome) == ("partial", "succeeded")


async def test_a_condition_that_does_not_hold_leaves_nothing_to_undo():
    cloud = Cloud(fails=Counter({"+last": 1}))
    skipped = Task("if", "maker", when=When("a", "/nothing"), compensation=Compensation("remover", when="started"))

    result = await cloud.run(Plan("p", [step("a"), step("b", "a"), step("last", "b"), skipped]))

    assert result["if"].state == "skipped"
    assert cloud.undone() == ["-b", "-a"]


async def test_a_condition_that_waits_for_a_slot_does_not_begin_once_the_run_has_failed():
    cloud = Cloud(fails=Counter({"+bad": 1}))
    waits = Task("waits", "maker", when=When("a", "/made"), compensation=Compensation("remover"))
    plan = Plan("p", [step("a"), step("bad", "a"), step("other", "a"), waits])

    result = await cloud.run(plan, capacity=1)

    assert cloud.log == ["+a", "+bad", "-a"]
    assert result["waits"].state == "cancelled"


async def test_a_step_that_waits_for_a_slot_of_another_s_does_not_begin_once_the_run_has_failed():
    cloud = Cloud(gates={"+slow": asyncio.Event()})
    plan = Plan("p", [step("slow"), step("queued"), Task("bad", "hasty"), step("z", "slow")])
    running = asyncio.create_task(cloud.run(plan, capacity=1))
    await until(lambda: any(event.name == "task.finished" and event.task_id == "bad" for event in cloud.events))

    cloud.gates["+slow"].set()
    result = await running

    assert sorted(cloud.log) == ["+bad", "+slow", "-slow"]
    assert result["queued"].state == "cancelled"


async def test_a_condition_is_not_asked_once_the_run_has_failed():
    cloud = Cloud()
    asks = Task("asks", "maker", when=When("a", "/made"), compensation=Compensation("remover"))
    plan = Plan("p", [step("a"), Task("bad", "hasty", depends_on=["a"]), asks])
    unheard: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, told: unheard.append(told))

    result = await cloud.run(plan)

    assert cloud.log == ["+a", "+bad", "-a"]
    assert result["asks"].state == "cancelled"
    gc.collect()
    assert unheard == []


async def test_a_task_that_runs_after_any_end_does_not_begin_once_the_run_has_failed():
    cloud = Cloud(fails=Counter({"+a": 1}))

    result = await cloud.run(plan_of(step("a"), step("report", "a", trigger_rule="all_done")))

    assert cloud.log == ["+a"]
    assert result["report"].state == "cancelled"


async def test_a_run_that_failed_and_is_then_stopped_by_a_person_is_not_undone_by_itself():
    cloud = Cloud(gates={"+slow": asyncio.Event()})
    orchestrator = cloud.orchestrator()
    plan = Plan("p", [step("slow"), Task("bad", "hasty"), step("z", "slow")])
    running = asyncio.create_task(Saga(orchestrator).run(plan, workflow_id="run"))
    await until(lambda: any(event.name == "task.finished" and event.task_id == "bad" for event in cloud.events))

    orchestrator.cancel("run")
    result = await running

    assert (result.status, result.outcome, cloud.undone()) == ("cancelled", None, [])


async def test_a_run_that_a_person_stops_is_not_undone_by_itself():
    cloud = Cloud(gates={"+vm": asyncio.Event()})
    orchestrator = cloud.orchestrator()
    running = asyncio.create_task(Saga(orchestrator).run(CHAIN, workflow_id="run"))
    await until(lambda: "+vm" in cloud.log)

    orchestrator.cancel("run")
    result = await running

    assert (result.status, result.outcome) == ("cancelled", None)
    assert cloud.undone() == []


async def test_what_is_cancelled_while_it_is_undone_ends_its_agents_first():
    cloud = Cloud(fails=Counter({"+app": 1}), gates={"-vm": asyncio.Event()})
    running = asyncio.create_task(cloud.run(CHAIN))
    await until(lambda: "-vm" in cloud.log)

    running.cancel()
    await asyncio.wait([running])

    assert running.cancelled()
    assert cloud.undone() == ["-vm"]
    assert len(asyncio.all_tasks()) == 1


async def test_after_a_failure_that_is_no_compensation_s_own_no_other_starts_and_those_that_run_end():
    plan = plan_of(step("a"), step("b", "a"), step("c"), step("d", "c"), step("bad", "b", "d"))
    progress = progress_of(plan)
    following = progress.resume({i: StepRecord("succeeded") for i in range(4)} | {4: StepRecord("failed")}, {})
    log = []

    async def perform(i: int) -> TaskResult:
        log.append(plan.tasks[i].id)
        if plan.tasks[i].id == "b":
            raise Unavailable("the journal is away")
        await asyncio.sleep(0)
        log.append(f"{plan.tasks[i].id} ended")
        return TaskResult(plan.tasks[i].undo_id, "succeeded")

    with pytest.raises(Unavailable):
        await undo_all(progress, following, perform)

    assert log == ["b", "d", "d ended"]


async def test_two_runs_of_one_id_at_once_are_refused():
    cloud = Cloud(gates={"+net": asyncio.Event()})
    saga = Saga(cloud.orchestrator())
    running = asyncio.create_task(saga.run(CHAIN, workflow_id="run"))
    await until(lambda: bool(cloud.log))

    with pytest.raises(Misuse, match="the run 'run' is in progress here"):
        await saga.run(CHAIN, workflow_id="run")
    cloud.gates["+net"].set()
    await running


async def test_a_plan_that_could_not_be_undone_is_refused_before_anything_runs():
    cloud = Cloud()

    with pytest.raises(UnknownAgentType, match="'nobody'"):
        await cloud.run(Plan("p", [Task("a", "maker", compensation=Compensation("nobody"))]))

    assert cloud.log == []


async def test_a_plan_without_compensations_runs_as_ever():
    cloud = Cloud(fails=Counter({"+a": 1}))
    plan = Plan("p", [step("a", undo=False), step("b", undo=False), step("c", "b", undo=False)])

    result = await cloud.run(plan, capacity=1)

    assert cloud.log == ["+a", "+b", "+c"]
    assert (result.status, result.outcome) == ("partial", "succeeded")
    concluded = await Saga(cloud.orchestrator()).compensate(plan, result.tasks, workflow_id="run")
    assert concluded.status_document() == result.status_document()


async def test_a_task_that_a_scheduler_lost_has_failed_without_a_journal_too():
    cloud = Cloud()
    results = {name: TaskResult(name, "succeeded", {"made": name}) for name in ("net", "vm")}

    result = await Saga(cloud.orchestrator()).compensate(CHAIN, results, workflow_id="run")

    assert cloud.undone() == ["-vm", "-net"]
    assert (result.status, result.outcome) == ("failed", "compensated")


async def test_what_is_undone_is_told():
    cloud = Cloud(fails=Counter({"+app": 1, "-vm": 9}))

    await cloud.run(CHAIN)

    told = [(event.name, event.task_id, dict(event.fields)) for event in cloud.events]
    ends = [(name, fields) for name, _, fields in told if name.startswith(("run.", "saga."))]
    assert [name for name, _ in ends] == [
        "run.started", "saga.undoing", "saga.left", "saga.finished", "run.finished",
    ]  # fmt: skip
    assert ends[1][1] == {"why": "failed", "tasks": ["net", "vm"]}
    assert ends[3][1] == {"outcome": "compensation_failed", "left": 1}
    assert ends[4][1] == {"status": "failed"}
    assert ("task.started", "undo-net") in [(name, task_id) for name, task_id, _ in told]


async def test_a_result_reads_back_as_it_was_written():
    cloud = Cloud(fails=Counter({"+app": 1, "-vm": 9}))

    result = await cloud.run(CHAIN)

    again = SagaResult.from_dict(result.to_dict())
    assert again == result
    assert repr(again) == (
        "SagaResult('cloud', 'failed', outcome='compensation_failed', workflow_id='run', 3 tasks, 1 dead letters)"
    )
    assert again.status_document()["saga"] == {
        "outcome": "compensation_failed",
        "compensations": [
            {"id": "net", "state": "succeeded", "attempts": 1},
            {
                "id": "vm",
                "state": "failed",
                "attempts": 3,
                "error": {"type": "RuntimeError", "message": "-vm does not want to"},
            },
        ],
        "left": [{"id": "vm", "left": "failed"}],
    }


async def test_many_steps_are_undone():
    size = 300
    cloud = Cloud(fails=Counter({"+last": 1}))
    names = [f"t{i}" for i in range(size)]

    result = await cloud.run(
        Plan("wide", [step("a"), *(step(n, "a") for n in names), step("last", *names)], saga=SagaPolicy())
    )

    assert cloud.undone()[-1] == "-a"
    assert sorted(cloud.undone()) == sorted(f"-{name}" for name in ["a", *names])
    assert result.outcome == "compensated"


async def test_a_listener_that_raises_keeps_nothing_from_being_undone(caplog: pytest.LogCaptureFixture):
    def broken(event: Event) -> None:
        raise ValueError("the listener is broken")

    cloud = Cloud(fails=Counter({"+app": 1}))

    result = await Saga(cloud.orchestrator(), on_event=broken).run(CHAIN)

    assert (result.outcome, cloud.undone()) == ("compensated", ["-vm", "-net"])
    assert "listener.failed at saga.undoing" in caplog.text
