"""What a run finds in its journal is not done again: successes and failures, until a person asks for it."""

from __future__ import annotations

from typing import Any

import pytest

from coterie import Plan, Task, When
from coterie.journal.place import place_of
from coterie.task import TriggerRule
from tests.journal.bench import RUN_ID, Bench

CHAIN = Plan("chain", [Task("a", "work"), Task("b", "work", depends_on=["a"]), Task("c", "work", depends_on=["b"])])


def one(**fields: Any) -> Plan:
    return Plan("one", [Task("a", "work", **fields)])


# Replays


async def test_a_finished_run_is_replayed_without_a_call():
    bench = Bench()
    first = await bench.run(CHAIN)
    bench.forget_calls()

    again = await bench.run(CHAIN)

    assert bench.calls == []
    assert again.status_document() == first.status_document()
    assert [(result.replayed, result.output) for result in again] == [(True, "a"), (True, "b"), (True, "c")]


async def test_a_task_that_a_worker_has_finished_is_replayed_in_a_whole_run_and_the_other_way_round():
    bench = Bench()
    a, b, _ = CHAIN.tasks
    done = await bench.task(a)
    await bench.task(b, upstream={"a": done})
    bench.forget_calls()

    whole = await bench.run(CHAIN)
    again = await bench.task(CHAIN.tasks[2], upstream={"b": whole["b"]})

    assert bench.calls == ["c"]
    assert [result.replayed for result in whole] == [True, True, False]
    assert (again.output, again.replayed) == ("c", True)


async def test_another_run_begins_from_nothing():
    bench = Bench()
    await bench.run(CHAIN)
    bench.forget_calls()

    await bench.run(CHAIN, run="another")

    assert bench.calls == ["a", "b", "c"]


async def test_a_replay_is_told_of_with_what_it_spared():
    def spend(task_input: Any, ctx: Any) -> str:
        ctx.report_usage(requests=2, cost_micros=30)
        return "x"

    bench = Bench(a=spend)
    await bench.run(one(), engine_run="airflow.d.r")

    await bench.run(one())

    (told,) = bench.told("task.replayed")
    assert told.task_id == "a"
    assert told.fields["usage"] == {"requests": 2, "cost_micros": 30}
    assert (told.fields["state"], told.fields["by"]) == ("succeeded", "airflow.d.r")
    assert told.fields["at"] > 1.6e9


async def test_a_failure_is_replayed_with_its_error_and_attempts():
    bench = Bench(a=ValueError("no"))
    first = await bench.run(CHAIN)
    bench.forget_calls()

    again = await bench.run(CHAIN)

    assert bench.calls == []
    assert (str(again["a"].error), again["a"].attempts) == ("ValueError: no", 1)
    assert again.status_document() == first.status_document()


# A person asks for it


async def test_what_failed_and_what_follows_is_done_when_a_person_goes_on():
    bench = Bench(b=ValueError("no"))
    await bench.run(CHAIN)
    bench.forget_calls()
    bench.does["b"] = "now"

    result = await bench.run(CHAIN, goes_on=True)

    assert bench.calls == ["b", "c"]
    assert result.status == "succeeded"
    assert [one.replayed for one in result] == [True, False, False]


async def test_a_failure_of_another_engine_is_gone_on_with_once_it_was_given_and_is_cleared():
    bench = Bench(b=ValueError("no"))
    await bench.run(CHAIN, engine_run="first")
    await bench.run(CHAIN, engine_run="second")
    bench.forget_calls()

    for demand in [0, 1, 1]:
        await bench.run(CHAIN, engine_run="second", demand=demand)

    assert bench.calls == ["b"]


async def test_force_does_everything_anew_once_for_each_name():
    bench = Bench()
    await bench.run(CHAIN)
    bench.forget_calls()

    for name in ["x", "x", None, "y", "x", "y"]:
        await bench.run(CHAIN, force=name)

    assert bench.calls == ["a", "b", "c"] * 2
    assert len(set(bench.keys)) == 6


async def test_force_that_was_met_by_workers_is_met_for_the_whole_run():
    bench = Bench()
    await bench.run(CHAIN)
    a, b, c = CHAIN.tasks
    done = await bench.task(a, force="x")
    middle = await bench.task(b, upstream={"a": done}, force="x")
    bench.forget_calls()

    await bench.run(CHAIN, force="x")
    await bench.task(c, upstream={"b": middle}, force="x")

    assert bench.calls == ["c"]


async def test_force_does_the_steps_of_what_was_never_finished_anew():
    log: list[str] = []

    async def work(task_input: Any, ctx: Any) -> str:
        async def step() -> str:
            log.append("step")
            return "s"

        await ctx.step("s", step)
        if len(log) == 1:
            raise KeyboardInterrupt
        return "done"

    bench = Bench(a=work)
    with pytest.raises(KeyboardInterrupt):
        await bench.run(one())
    await bench.run(one(), force="x")

    assert log == ["step", "step"]
    assert len(set(bench.keys)) == 2


async def test_a_task_is_done_anew_once_it_is_forgotten_with_what_follows_if_that_changes():
    bench = Bench()
    await bench.run(CHAIN)
    assert await bench.journal().forget(RUN_ID, place_of("b"))
    bench.forget_calls()
    bench.does["b"] = "another"

    await bench.run(CHAIN)
    await bench.run(CHAIN)

    assert bench.calls == ["b", "c"]


async def test_a_cleared_task_is_done_anew_only_if_the_engine_took_its_success():
    bench = Bench()
    task = CHAIN.tasks[0]
    await bench.task(task, engine_run="e")
    await bench.task(task, engine_run="e", demand=1)
    assert await bench.journal().note_seen(RUN_ID, place_of("a"), _intent(demand=1))

    for demand in [2, 2, 1, 2]:
        await bench.task(task, engine_run="e", demand=demand)

    assert bench.calls == ["a", "a"]
    assert len(set(bench.keys)) == 2


async def test_a_cleared_task_is_replayed_where_that_is_wanted():
    bench = Bench()
    await bench.task(CHAIN.tasks[0], engine_run="e")
    await bench.journal().note_seen(RUN_ID, place_of("a"), _intent())

    again = await bench.task(CHAIN.tasks[0], engine_run="e", demand=1, on_clear="replay")

    assert again.replayed
    assert bench.calls == ["a"]


def _intent(**fields: Any) -> Any:
    from coterie.journal import Intent

    return Intent("e", **fields)


# Other versions


async def test_another_version_runs_the_task_and_what_follows_from_it():
    bench = Bench()
    plan = Plan("p", [Task("a", "work"), Task("b", "other", depends_on=["a"]), Task("c", "work", depends_on=["b"])])
    await bench.run(plan)
    bench.forget_calls()
    bench.does["b"] = "different"

    await bench.run(plan, versions={"other": "2"})

    assert bench.calls == ["b", "c"]


async def test_what_follows_from_an_equal_output_is_not_done_again():
    bench = Bench()
    plan = Plan("p", [Task("a", "work"), Task("b", "other", depends_on=["a"]), Task("c", "work", depends_on=["b"])])
    await bench.run(plan)
    bench.forget_calls()

    result = await bench.run(plan, versions={"other": "2"})

    assert bench.calls == ["b"]
    assert [one.replayed for one in result] == [True, False, True]


async def test_another_input_runs_the_task():
    bench = Bench()
    await bench.run(one(input={"n": 1}))

    await bench.run(one(input={"n": 2}), allow_changes=True)

    assert bench.calls == ["a", "a"]


async def test_another_parameter_runs_the_tasks_that_read_it():
    bench = Bench()
    plan = Plan("p", [Task("a", "work", input={"n": {"$param": "n"}}), Task("b", "work")], params={"n": 1})
    orchestrator = bench.orchestrator()
    await orchestrator.execute_workflow(plan, workflow_id=RUN_ID)

    await orchestrator.execute_workflow(plan, workflow_id=RUN_ID, params={"n": 2})

    assert bench.calls == ["a", "b", "a"]


# Rules and conditions


@pytest.mark.parametrize("rule", ["all_success", "all_done", "none_failed", "one_success"])
@pytest.mark.parametrize("failing", [(), ("a",), ("a", "b")])
async def test_every_trigger_rule_ends_alike_when_it_is_replayed(rule: TriggerRule, failing: tuple[str, ...]):
    tasks = [Task("a", "work"), Task("b", "work"), Task("c", "work", depends_on=["a", "b"], trigger_rule=rule)]
    plan = Plan("p", [*tasks, Task("d", "work", depends_on=["c"])])
    bench = Bench(**{name: ValueError("no") for name in failing})
    first = await bench.run(plan)
    bench.forget_calls()

    again = await bench.run(plan)

    assert bench.calls == []
    assert again.status_document() == first.status_document()


async def test_a_task_that_starts_at_the_first_success_is_replayed_whoever_came_first():
    plan = Plan(
        "p",
        [Task("a", "work"), Task("b", "work"), Task("c", "work", depends_on=["a", "b"], trigger_rule="one_success")],
    )
    bench = Bench(b=ValueError("no"))
    await bench.run(plan)
    bench.does |= {"a": ValueError("no"), "b": "now"}
    bench.forget_calls()

    await bench.run(plan, goes_on=True)

    assert bench.calls == ["b"]


@pytest.mark.parametrize("value", [1, 2])
async def test_a_condition_says_the_same_when_it_is_replayed(value: int):
    plan = Plan("p", [Task("a", "work"), Task("b", "work", when=When("a", "", "eq", 1)), Task("c", "work")])
    bench = Bench(a=value)
    first = await bench.run(plan)
    bench.forget_calls()

    again = await bench.run(plan)

    assert bench.calls == []
    assert again.status_document() == first.status_document()
    assert again["b"].state == ("succeeded" if value == 1 else "skipped")


async def test_a_condition_is_read_again_when_what_it_reads_has_changed():
    plan = Plan("p", [Task("a", "other"), Task("b", "work", when=When("a", "", "eq", 2))])
    bench = Bench(a=1)
    assert (await bench.run(plan))["b"].state == "skipped"
    bench.does["a"] = 2

    result = await bench.run(plan, versions={"other": "2"})

    assert (bench.calls, result["b"].state) == (["a", "a", "b"], "succeeded")
