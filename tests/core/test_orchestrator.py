"""The orchestrator: who may run what when, and what it tells."""

from __future__ import annotations

import asyncio
import logging
from contextvars import ContextVar
from typing import Any

import pytest

from coterie import Agent, Event, ForEach, Orchestrator, Plan, Task, TaskContext, TaskResult, Team, When
from coterie.errors import MissingOutput, Misuse, PlanError, PolicyError, UnknownAgentType
from coterie.testing import ManualClock


async def nothing(task_input: Any, ctx: TaskContext) -> None: ...


class Gate:
    """An agent that notes who came in, and holds everybody until it is opened."""

    def __init__(self) -> None:
        self.came: list[str] = []
        self.busy = 0
        self.most = 0
        self.opened = asyncio.Event()
        self._arrival = asyncio.Event()

    async def __call__(self, task_input: dict[str, Any], ctx: TaskContext) -> str:
        self.came.append(ctx.task_id if ctx.item_index is None else f"{ctx.task_id}/{ctx.item_index}")
        self.busy += 1
        self.most = max(self.most, self.busy)
        self._arrival.set()
        try:
            await self.opened.wait()
        finally:
            self.busy -= 1
        return ctx.agent.id if ctx.agent else ""

    async def has(self, count: int) -> None:
        """Wait until so many have come in."""
        while len(self.came) < count:
            self._arrival.clear()
            await self._arrival.wait()


def orchestrator_with(gate: Any, *, capacity: int = 1, **more: Any) -> Orchestrator:
    orchestrator = Orchestrator(**more)
    orchestrator.register_agent("gate", "gate", capacity, handler=gate)
    return orchestrator


async def test_an_agent_never_gets_more_than_its_capacity():
    gate = Gate()
    orchestrator = orchestrator_with(gate, capacity=3)

    run = asyncio.ensure_future(orchestrator.execute_workflow([Task(f"t{i}", "gate") for i in range(20)]))
    await gate.has(3)
    status = orchestrator.get_status()
    gate.opened.set()
    await run

    assert [(agent.in_use, agent.capacity) for agent in status.agents] == [(3, 3)]
    assert status.waiting == {"gate": 17}
    assert gate.most == 3


async def test_two_runs_and_a_single_task_share_the_capacity():
    gate = Gate()
    orchestrator = orchestrator_with(gate, capacity=2)
    each = ForEach(items=[1, 2, 3, 4])

    work = [
        asyncio.ensure_future(orchestrator.execute_workflow([Task(f"a{i}", "gate") for i in range(4)])),
        asyncio.ensure_future(orchestrator.execute_workflow([Task("each", "gate", foreach=each)])),
        asyncio.ensure_future(orchestrator.execute_task(Task("single", "gate"))),
    ]
    await gate.has(2)
    gate.opened.set()
    await asyncio.gather(*work)

    assert gate.most == 2
    assert len(gate.came) == 9


async def test_the_queue_goes_by_priority_and_then_by_arrival():
    gate = Gate()
    orchestrator = orchestrator_with(gate)
    priorities = {"first": 0, "low": -5, "a": 1, "b": 7, "c": 1, "d": 7}

    run = asyncio.ensure_future(
        orchestrator.execute_workflow([Task(name, "gate", priority=value) for name, value in priorities.items()])
    )
    await gate.has(1)
    gate.opened.set()
    await run

    assert gate.came == ["first", "b", "d", "a", "c", "low"]


async def test_the_items_of_a_long_foreach_take_turns_with_other_tasks():
    gate = Gate()
    orchestrator = orchestrator_with(gate)

    run = asyncio.ensure_future(
        orchestrator.execute_workflow(
            [Task("long", "gate", foreach=ForEach(items=list(range(9)))), Task("short", "gate")]
        )
    )
    await gate.has(1)
    gate.opened.set()
    await run

    assert gate.came.index("short") <= 2


async def test_work_goes_to_the_least_loaded_agent():
    gate = Gate()
    orchestrator = orchestrator_with(gate, capacity=4)
    orchestrator.register_agent("small", "gate", 2, handler=gate)

    run = asyncio.ensure_future(orchestrator.execute_workflow([Task(f"t{i}", "gate") for i in range(3)]))
    await gate.has(3)
    loads = {agent.agent_id: agent.in_use for agent in orchestrator.get_status().agents}
    gate.opened.set()
    result = await run

    assert loads == {"gate": 2, "small": 1}
    assert sorted(str(one.agent_id) for one in result) == ["gate", "gate", "small"]


async def test_an_agent_that_joins_late_takes_over_waiting_work():
    gate = Gate()
    orchestrator = orchestrator_with(gate)

    run = asyncio.ensure_future(orchestrator.execute_workflow([Task("a", "gate"), Task("b", "gate")]))
    await gate.has(1)
    orchestrator.register_agent("late", "gate", handler=gate)
    await gate.has(2)
    gate.opened.set()
    result = await run

    assert {one.agent_id for one in result} == {"gate", "late"}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"capacity": 0}, "'a' has capacity 0; give a whole number >= 1"),
        ({"capacity": 1.5}, "capacity 1.5"),
        ({"capacity": True}, "capacity True"),
        ({"agent_id": "a b"}, "agent id 'a b'"),
        ({"agent_type": ""}, "agent type of 'a' ''"),
        ({"handler": "print"}, "the handler of the agent 'a' is 'print'"),
        ({"handler": lambda: None}, "takes 0 positional arguments; it is called with .input. or .input, context."),
        ({"handler": lambda a, b, c: None}, "takes 3 positional arguments"),
        ({"handler": lambda a, *, b: None}, "needs others by keyword"),
        ({"timeout_s": 0}, "timeout_s 0; give seconds > 0"),
        ({"timeout_s": float("nan")}, "timeout_s nan"),
        ({"retry": 3}, "retry 3; pass a Retry"),
    ],
)
def test_an_agent_that_cannot_work_is_refused(fields: dict[str, Any], message: str):
    given = {"agent_id": "a", "agent_type": "x", "capacity": 1, "handler": nothing, **fields}

    with pytest.raises((Misuse, PolicyError), match=message):
        Orchestrator().register_agent(**given)


def test_an_agent_id_is_taken_once():
    orchestrator = orchestrator_with(nothing)

    with pytest.raises(Misuse, match="an agent 'gate' is already registered; choose another"):
        orchestrator.register_agent("gate", "other", 1, handler=nothing)


async def test_a_type_that_nobody_serves_is_refused_before_anything_runs():
    gate = Gate()
    orchestrator = orchestrator_with(gate)

    with pytest.raises(UnknownAgentType, match=r"type 'gone' .asked for by the task 'b'.; known types: 'gate'"):
        await orchestrator.execute_workflow([Task("a", "gate"), Task("b", "gone", depends_on=["a"])])

    assert gate.came == []
    assert orchestrator.get_status().runs == ()


@pytest.mark.parametrize(
    ("plan", "fields", "error"),
    [
        ([], {}, PlanError),
        ([Task("a", "gate")], {"params": {"n": 1}}, Misuse),
        ([Task("a", "gate")], {"workflow_id": "has space"}, Misuse),
        ([Task("a", "gate")], {"workflow_id": ""}, Misuse),
        ([Task("a", "gate")], {"workflow_id": 7}, Misuse),
        ([{"id": "a"}], {}, PlanError),
        (Plan("p", [Task("a", "gate")], params={"n": 1}), {"params": {"n": {1}}}, Misuse),
    ],
)
async def test_a_wrong_call_is_refused(plan: Any, fields: dict[str, Any], error: type[Exception]):
    with pytest.raises(error):
        await orchestrator_with(nothing).execute_workflow(plan, **fields)


async def test_a_run_in_progress_keeps_its_id_to_itself():
    gate = Gate()
    orchestrator = orchestrator_with(gate)
    run = asyncio.ensure_future(orchestrator.execute_workflow([Task("a", "gate")], workflow_id="one"))
    await gate.has(1)

    with pytest.raises(Misuse, match="the run 'one' is in progress here; give this one another workflow_id"):
        await orchestrator.execute_workflow([Task("a", "gate")], workflow_id="one")

    gate.opened.set()
    assert (await run).status == "succeeded"
    assert (await orchestrator.execute_workflow([Task("a", "gate")], workflow_id="one")).status == "succeeded"


async def test_run_ids_sort_by_time():
    clock = ManualClock()
    orchestrator = orchestrator_with(nothing, clock=clock)

    first = await orchestrator.execute_workflow([Task("a", "gate")])
    clock.advance(1)
    second = await orchestrator.execute_workflow([Task("a", "gate")])

    assert first.workflow_id < second.workflow_id


async def test_results_carry_the_times_of_the_clock():
    clock = ManualClock(1000.0)

    async def work(task_input: Any, ctx: TaskContext) -> None:
        clock.advance(2.5)

    result = await orchestrator_with(work, clock=clock).execute_workflow(
        [Task("a", "gate"), Task("b", "gate", depends_on=["a"])]
    )

    assert [(one.started_at, one.duration_s) for one in result] == [(1000.0, 2.5), (1002.5, 2.5)]
    assert (result.started_at, result.duration_s) == (1000.0, 5.0)


async def test_the_status_shows_runs_and_their_progress():
    gate = Gate()
    orchestrator = orchestrator_with(gate)
    orchestrator.register_agent("quick", "quick", 1, handler=nothing)
    tasks = [Task("a", "quick"), Task("b", "gate", depends_on=["a"]), Task("c", "quick", depends_on=["b"])]

    run = asyncio.ensure_future(orchestrator.execute_workflow(Plan("p", tasks), workflow_id="one"))
    await gate.has(1)
    (progress,) = orchestrator.get_status().runs
    gate.opened.set()
    await run

    assert (progress.workflow_id, progress.plan_name, progress.tasks, progress.done) == ("one", "p", 3, 1)
    assert orchestrator.get_status().runs == ()


async def test_events_tell_the_story_of_a_run_in_order():
    events: list[Event] = []
    orchestrator = orchestrator_with(nothing, on_event=events.append)
    tasks = [
        Task("a", "gate"),
        Task("b", "gate", depends_on=["a"], foreach=ForEach(items=[1])),
        Task("c", "gate", when=When("a", "/no")),
    ]

    await orchestrator.execute_workflow(tasks, workflow_id="one")

    assert [(event.name, event.task_id) for event in events if event.task_id in (None, "a", "b")] == [
        ("run.started", None),
        ("task.started", "a"),
        ("task.finished", "a"),
        ("task.started", "b"),
        ("item.finished", "b"),
        ("task.finished", "b"),
        ("run.finished", None),
    ]
    assert [event.fields["state"] for event in events if event.task_id == "c"] == ["skipped"]
    assert {event.workflow_id for event in events} == {"one"}


async def test_a_listener_that_raises_changes_nothing(caplog: pytest.LogCaptureFixture):
    def broken(event: Event) -> None:
        raise ValueError("the listener is broken")

    orchestrator = orchestrator_with(nothing, on_event=broken)
    tasks = [Task("a", "gate"), Task("b", "gate", foreach=ForEach(items=[1, 2])), Task("c", "gate", when=When("a"))]

    with caplog.at_level(logging.ERROR, "coterie.run"):
        result = await orchestrator.execute_workflow(tasks)

    assert result.status == "succeeded"
    assert any("listener.failed at run.started" in record.getMessage() for record in caplog.records)


# A single task, as schedulers run it.


async def see(task_input: dict[str, Any], ctx: TaskContext) -> dict[str, Any]:
    return {name: [result.state, await ctx.output(name)] for name, result in ctx.upstream.items() if result.output}


async def test_a_task_is_given_the_results_before_it():
    before = {"a": TaskResult("a", "succeeded", {"n": 1}), "other": TaskResult("other", "succeeded", 2)}

    result = await orchestrator_with(see).execute_task(Task("b", "gate", depends_on=["a"]), upstream=before)

    assert result.state == "succeeded"
    assert result.output == {"a": ["succeeded", {"n": 1}]}


async def test_a_condition_is_decided_with_the_results_before_it():
    task = Task("b", "gate", when=When("a", "/go", "eq", value=True))
    orchestrator = orchestrator_with(nothing)

    ends = [
        (await orchestrator.execute_task(task, upstream={"a": before})).state
        for before in (
            TaskResult("a", "succeeded", {"go": True}),
            TaskResult("a", "succeeded", {"go": 1}),
            TaskResult("a", "failed"),
        )
    ]

    assert ends == ["succeeded", "skipped", "skipped"]


async def test_a_single_foreach_that_cannot_be_read_fails_as_in_a_whole_plan():
    tasks = [Task("a", "gate"), Task("each", "gate", foreach=ForEach(task="a", pointer="/files"))]
    orchestrator = orchestrator_with(nothing)

    whole = await orchestrator.execute_workflow(tasks)
    single = await orchestrator.execute_task(tasks[1], upstream={"a": TaskResult("a", "succeeded", None)})

    assert single.status_document() == whole["each"].status_document()
    assert single.error is not None
    assert "nothing lies at '/files'" in single.error.message


@pytest.mark.parametrize(
    ("before", "message"),
    [
        ({}, "'a' has not ended yet"),
        ({"a": TaskResult("a", "failed")}, "'a' ended failed .*check upstream"),
        ({"a": TaskResult("a", "skipped")}, "'a' ended skipped"),
    ],
)
async def test_the_output_of_a_task_that_has_none_is_a_typed_error(before: dict[str, TaskResult], message: str):
    caught: list[MissingOutput] = []

    async def ask(task_input: Any, ctx: TaskContext) -> None:
        for name in ("a", "stranger"):
            try:
                await ctx.output(name)
            except MissingOutput as error:
                caught.append(error)

    await orchestrator_with(ask).execute_task(Task("b", "gate", depends_on=["a"]), upstream=before)

    assert len(caught) == 2
    with pytest.raises(MissingOutput, match=message):
        raise caught[0]
    with pytest.raises(MissingOutput, match="'stranger' is not upstream of 'b'; add it to its depends_on"):
        raise caught[1]


def test_a_team_brings_its_agents():
    team = Team("t", [Agent("a", "x", nothing, capacity=2), Agent("b", "x", nothing)])

    status = Orchestrator(team).get_status()

    assert [(agent.agent_id, agent.agent_type, agent.capacity) for agent in status.agents] == [
        ("a", "x", 2),
        ("b", "x", 1),
    ]


REQUEST: ContextVar[Any] = ContextVar("request", default="nobody's")


async def test_an_agent_sees_the_context_of_its_own_run_and_of_nobody_else():
    seen: dict[str, Any] = {}

    async def agent(task_input: Any, ctx: TaskContext) -> None:
        seen[ctx.task_id] = REQUEST.get()
        REQUEST.set(ctx.task_id)
        await asyncio.sleep(0)

    async def run(name: str) -> None:
        REQUEST.set(name)
        await orchestrator.execute_workflow([Task(f"{name}{n}", "gate") for n in range(3)])

    orchestrator = orchestrator_with(agent, capacity=1)
    await asyncio.gather(run("a"), run("b"))

    assert seen == {"a0": "a", "a1": "a", "a2": "a", "b0": "b", "b1": "b", "b2": "b"}


async def test_context_that_cannot_be_compared_does_not_stop_a_run():
    class Odd:
        __hash__ = None  # type: ignore[assignment]

        def __eq__(self, other: object) -> bool:
            raise ValueError("as arrays of numbers do")

    async def agent(task_input: Any, ctx: TaskContext) -> None:
        REQUEST.set(Odd())

    REQUEST.set(Odd())
    orchestrator = orchestrator_with(agent)
    async with asyncio.timeout(5):
        result = await orchestrator.execute_workflow([Task("a", "gate"), Task("b", "gate", depends_on=["a"])])

    assert result.status == "succeeded"


async def test_a_cancelled_run_leaves_nobody_in_the_queue():
    began = asyncio.Event()

    async def wait(task_input: Any) -> None:
        began.set()
        await asyncio.Event().wait()

    orchestrator = Orchestrator()
    orchestrator.register_agent("a", "x", 1, handler=wait)
    orchestrator.register_agent("b", "y", 1, handler=wait)
    both = [asyncio.create_task(orchestrator.execute_workflow([Task("t", "x")], workflow_id="other"))]
    await began.wait()
    many = [Task(f"t{number}", "x") for number in range(50)]
    both.append(asyncio.create_task(orchestrator.execute_workflow(many, workflow_id="queued")))
    while not orchestrator.get_status().waiting:  # noqa: ASYNC110
        await asyncio.sleep(0)

    orchestrator.cancel("queued")

    assert dict(orchestrator.get_status().waiting) == {}
    orchestrator.cancel("other")
    assert [result.status for result in await asyncio.gather(*both)] == ["cancelled", "cancelled"]


async def test_stopping_ends_single_tasks_too():
    began = asyncio.Event()

    async def wait(task_input: Any) -> None:
        began.set()
        await asyncio.Event().wait()

    orchestrator = Orchestrator()
    orchestrator.register_agent("a", "x", 1, handler=wait)
    call = asyncio.create_task(orchestrator.execute_task(Task("t", "x")))
    await began.wait()

    await orchestrator.stop(grace_s=10)

    assert call.cancelled()
    assert [agent.in_use for agent in orchestrator.get_status().agents] == [0]


async def test_the_end_of_a_single_task_is_told_as_in_a_whole_plan():
    told: list[Any] = []

    async def fail(task_input: Any) -> None:
        raise ValueError("no")

    orchestrator = Orchestrator(on_event=told.append)
    orchestrator.register_agent("a", "x", 1, handler=fail)

    await orchestrator.execute_task(Task("t", "x"))

    fields = next(event.fields for event in told if event.name == "task.finished")
    assert (fields["state"], fields["attempt"], fields["error"]) == ("failed", 1, "ValueError: no")
