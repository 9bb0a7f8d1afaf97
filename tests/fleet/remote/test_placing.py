"""A task that is placed elsewhere ends as it would have here, to the letter of the run-status JSON."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from coterie import Fallback, ForEach, Orchestrator, Plan, Policies, Retry, Task, TaskContext, Team, When
from coterie.artifacts import ArtifactStore
from coterie.errors import AgentThrottled, StepFailed, UnknownAgentType
from coterie.journal import Intent
from coterie.runtime import Runtime
from coterie.usage import Usage
from tests.fleet.remote.fleet import Fleet

TYPES = ("echo", "flaky", "broken", "slow", "lister", "parity", "fragile", "reader")


def agents() -> Team:  # noqa: C901  # a list of small agents
    """Agents whose ends depend on their input alone, and on how often they were called."""
    team = Team("agents", policies={"fragile": Policies(fallback=[Fallback(value="instead")])})
    calls: dict[str, int] = {}

    @team.agent("echo", capacity=4)
    async def echo(task_input: dict[str, Any], context: TaskContext) -> Any:
        context.report_usage(requests=1, input_tokens=3)
        return {"input": task_input, "key": context.idempotency_key, "run": context.workflow_id}

    @team.agent("flaky", retry=Retry(max_attempts=3, base_s=0.0, cap_s=0.0))
    async def flaky(_: dict[str, Any], context: TaskContext) -> int:
        calls[context.workflow_id] = calls.get(context.workflow_id, 0) + 1
        if context.attempt < 3:
            raise AgentThrottled("too much", retry_after_s=0.0)
        return context.attempt

    @team.agent("broken")
    async def broken(_: dict[str, Any]) -> None:
        raise StepFailed("it is broken: ü")

    @team.agent("slow")
    async def slow(_: dict[str, Any]) -> None:
        await asyncio.sleep(30)

    @team.agent("lister")
    def lister(task_input: dict[str, Any]) -> list[int]:
        return list(range(task_input["n"]))

    @team.agent("parity", capacity=3)
    async def parity(task_input: dict[str, Any], context: TaskContext) -> list[Any]:
        if task_input["number"] % 2:
            raise ValueError(f"{task_input['number']} is odd")
        return [task_input["number"], context.item_index, context.item_key]

    @team.agent("fragile")
    async def fragile(_: dict[str, Any]) -> None:
        raise StepFailed("never mind")

    @team.agent("reader")
    async def reader(_: dict[str, Any], context: TaskContext) -> dict[str, Any]:
        ended = {name: context.upstream[name].state for name in context.upstream}
        outputs = {name: await context.output(name) for name, state in ended.items() if state == "succeeded"}
        items = {name: [item.state for item in await context.items(name)] for name in ended if name == "each"}
        return {"ended": ended, "outputs": outputs, "items": items, "params": context.params}

    return team


def caller() -> Team:
    """The same team, of which everything is done elsewhere."""
    team = agents()
    for name in TYPES:
        team.remote(name)
    return team


PLAN = Plan(
    "everything",
    [
        Task("echo", "echo", input={"p": {"$param": "p"}}),
        Task("flaky", "flaky"),
        Task("broken", "broken"),
        Task("blocked", "echo", depends_on=["broken"]),
        Task("slow", "slow", timeout_s=0.05),
        Task("list", "lister", input={"n": 4}),
        Task("each", "parity", foreach=ForEach(task="list", bind="number", tolerate_failures=2)),
        Task("given", "parity", foreach=ForEach(items=[{"a": 0}], bind="ignored"), input={"number": 2}),
        Task("skipped", "echo", when=When("list", "/9")),
        Task("taken", "echo", when=When("list", "/0", "eq", 0)),
        Task("fragile", "fragile"),
        Task(
            "reader",
            "reader",
            depends_on=["echo", "broken", "each", "skipped", "fragile"],
            trigger_rule="all_done",
        ),
    ],
    params={"p": "default"},
)


async def ended_here(fleet: Fleet) -> Any:
    return await Orchestrator(agents(), artifacts=fleet.artifacts).execute_workflow(
        PLAN, workflow_id="run-1", params={"p": [1, "ü"]}
    )


async def ended_there(fleet: Fleet, *, journal: bool = True) -> Any:
    orchestrator = (await fleet.runtime(caller(), journal=journal)).orchestrator
    async with fleet.worker(agents()):
        return await asyncio.wait_for(
            orchestrator.execute_workflow(PLAN, workflow_id="run-1", params={"p": [1, "ü"]}), 30
        )


@pytest.mark.parametrize("stores", [False, True])
async def test_a_whole_plan_ends_the_same_here_and_there(fleet: Fleet, tmp_path: Path, *, stores: bool):
    fleet.artifacts = ArtifactStore(f"file://{tmp_path}", namespace="default") if stores else None

    here, there = await ended_here(fleet), await ended_there(fleet)

    assert json.dumps(there.status_document()) == json.dumps(here.status_document())
    for task_id in PLAN.graph.ids:
        assert there[task_id].output == here[task_id].output, task_id
        assert there[task_id].agent_id == here[task_id].agent_id, task_id
    assert [item.error for item in there["each"].failed_items] == [item.error for item in here["each"].failed_items]


async def test_without_a_journal_each_run_begins_from_nothing(fleet: Fleet):
    seen: list[int] = []
    team = Team("worker")

    @team.agent("counter")
    async def count(_: dict[str, Any]) -> int:
        seen.append(1)
        return len(seen)

    plan = Plan("p", [Task("count", "counter", placement="remote")])
    orchestrator = (await fleet.runtime(Team("caller"), journal=False)).orchestrator
    async with fleet.worker(team):
        ends = [await orchestrator.execute_workflow(plan, workflow_id="same") for _ in range(2)]

    assert [end["count"].output for end in ends] == [1, 2]


async def test_the_placement_of_a_task_goes_before_that_of_the_team(fleet: Fleet):
    where: list[str] = []

    def team(place: str) -> Team:
        found = Team("t")

        @found.agent("a")
        async def a(_: dict[str, Any]) -> str:
            where.append(place)
            return place

        @found.agent("b")
        @found.agent("c")
        async def b(_: dict[str, Any]) -> str:
            return place

        return found

    mine = team("here")
    mine.remote("a")
    plan = Plan(
        "mixed",
        [
            Task("a", "a"),
            Task("a-local", "a", placement="local"),
            Task("b", "b"),
            Task("b-remote", "b", placement="remote", depends_on=["b"]),
            Task("c-remote", "c", placement="remote"),
            Task("c", "c", depends_on=["c-remote"]),
        ],
    )
    orchestrator = (await fleet.runtime(mine)).orchestrator
    async with fleet.worker(team("there")):
        result = await orchestrator.execute_workflow(plan)

    assert {end.task_id: end.output for end in result} == {
        "a": "there",
        "a-local": "here",
        "b": "here",
        "b-remote": "there",
        "c-remote": "there",
        "c": "here",
    }


async def test_a_type_that_is_only_elsewhere_is_not_performed_here():
    team = Team("t")
    team.remote("a")
    plan = Plan("p", [Task("a", "a", placement="local")])

    with pytest.raises(UnknownAgentType):
        team.check(plan)
    with pytest.raises(UnknownAgentType):
        await Orchestrator(team).execute_workflow(plan)


async def test_usage_that_a_worker_reports_is_recorded_as_the_caller_s(fleet: Fleet):
    await ended_there(fleet)

    texts = await fleet.books.read("run-1")
    record = json.loads(texts["task/echo"])
    assert Usage(1, 3) == Usage.from_dict(next(v for v in record.values() if v == {"requests": 1, "input_tokens": 3}))


async def test_what_is_kept_for_a_call_is_gone_once_it_is_over(fleet: Fleet):
    await ended_there(fleet)

    assert [entry.run for entry in (await fleet.books.runs(limit=100)).runs] == ["run-1"]


async def test_a_failure_that_was_recorded_is_asked_for_anew_when_the_run_is_resumed(fleet: Fleet):

    calls: list[int] = []
    team = Team("worker")

    @team.agent("second")
    async def second(_: dict[str, Any]) -> int:
        calls.append(1)
        if len(calls) == 1:
            raise StepFailed("the first time")
        return len(calls)

    plan = Plan("p", [Task("t", "second", placement="remote")])
    orchestrator = (await fleet.runtime(Team("caller"))).orchestrator
    async with fleet.worker(team):
        first = await orchestrator.execute_workflow(plan, workflow_id="r")
        again = await orchestrator.execute_workflow(plan, workflow_id="r", intent=Intent(goes_on=True))

    assert (first.status, again.status, calls) == ("failed", "succeeded", [1, 1])


async def test_an_agent_publishes_in_the_run_s_name_here_and_there(fleet: Fleet):
    team = Team("t")

    @team.agent("teller")
    async def tell(task_input: dict[str, Any], context: TaskContext) -> None:
        await context.publish("com.example.told", task_input, id=f"{context.task_id}")

    plan = Plan(
        "p",
        [
            Task("here", "teller", input={"n": 1}),
            Task("there", "teller", input={"n": 2}, placement="remote", depends_on=["here"]),
        ],
    )
    runtime = await fleet.runtime(team)
    async with fleet.worker(team):
        await runtime.orchestrator.execute_workflow(plan, workflow_id="r", correlation_id="corr")

    told = [recorded.event async for recorded in runtime.bus.replay("com.example.*")]
    assert [(event.data, event.correlation_id) for event in told] == [({"n": 1}, "corr"), ({"n": 2}, "corr")]


async def test_items_of_a_part_publish_in_the_name_that_the_run_has(fleet: Fleet, tmp_path: Path):
    fleet.artifacts = ArtifactStore(f"file://{tmp_path}", namespace="default")
    team = Team("t")

    @team.agent("teller")
    async def tell(task_input: dict[str, Any], context: TaskContext) -> None:
        await context.publish("com.example.told", task_input["item"])

    runtime = await fleet.runtime(team)
    task = Task("each", "teller", foreach=ForEach(items=["one", "two"]))
    parts = await runtime.orchestrator.split(task, max_parts=1, workflow_id="r")
    assert parts is not None
    for part in parts:
        await runtime.orchestrator.execute_part(task, part, workflow_id="r", correlation_id="corr")

    told = [recorded.event async for recorded in runtime.bus.replay("com.example.*")]
    assert sorted((event.data, event.correlation_id) for event in told) == [("one", "corr"), ("two", "corr")]


async def test_a_plain_function_publishes_too(fleet: Fleet):
    team = Team("t")

    @team.agent("teller")
    def tell(task_input: dict[str, Any], context: Any) -> None:
        context.publish("com.example.told", task_input, key="k")

    runtime = await fleet.runtime(team)
    result = await runtime.orchestrator.execute_task(Task("t", "teller", input={"n": 1}), workflow_id="r")

    (told,) = [recorded.event async for recorded in runtime.bus.replay("com.example.*")]
    assert (result.state, told.data, told.key, told.correlation_id) == ("succeeded", {"n": 1}, "k", "r")


async def test_without_a_bus_publishing_is_misuse():
    team = Team("t")

    @team.agent("teller")
    async def tell(_: dict[str, Any], context: TaskContext) -> None:
        await context.publish("com.example.told")

    result = await Orchestrator(team).execute_task(Task("t", "teller"))

    assert result.error is not None
    assert result.error.type == "Misuse"
    assert "no bus" in result.error.message


async def test_a_runtime_with_an_open_store_needs_a_log_beside_it(fleet: Fleet):
    team = Team("t")
    team.remote("a")
    async with Runtime(team, store=fleet.store) as runtime:
        result = await runtime.orchestrator.execute_task(Task("a", "a"))

    assert "log=" in str(result.error)


async def test_a_worker_stands_in_for_agents_here_and_all_attempts_count(fleet: Fleet):
    async def fail(_: dict[str, Any]) -> None:
        raise StepFailed("never mind")

    def team(*, is_remote: bool) -> Team:
        made = Team("t", policies={"main": Policies(fallback=[Fallback(agent_type="echo")])})
        made.agent("main")(fail)
        if is_remote:
            made.remote("echo")
        else:
            made.agent("echo")(_echo)
        return made

    workers = Team("workers")
    workers.agent("echo")(_echo)
    ends = []
    async with fleet.worker(workers):
        for is_remote in (False, True):
            orchestrator = (await fleet.runtime(team(is_remote=is_remote), journal=False)).orchestrator
            result = await orchestrator.execute_workflow(Plan("p", [Task("t", "main")]), workflow_id="r")
            ends.append((result["t"].state, result["t"].output, result["t"].attempts, result["t"].agent_id))

    assert ends == [("succeeded", "echo", 2, "echo")] * 2


async def _echo(_: dict[str, Any]) -> str:
    return "echo"
