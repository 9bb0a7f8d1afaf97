"""Random plans end as a slow reading of the rules says, run each task once, in order, and always end."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from coterie import Event, Orchestrator, TaskContext, WorkflowResult
from coterie._rules.progress import Progress
from tests.core.random_plans import Story, stories

EXAMPLES = settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])


class Stage:
    """Runs a story; `choices` say how often each agent lets others go first."""

    def __init__(self, story: Story, choices: list[int]) -> None:
        self.story = story
        self.runs: Counter[tuple[str, int | None]] = Counter()
        self.early: list[tuple[str, str]] = []
        self.busy: Counter[str] = Counter()
        self.most: Counter[str] = Counter()
        self.events: list[Event] = []
        self._ended: set[str] = set()
        self._choices = choices or [0]
        self.orchestrator = Orchestrator(on_event=self._hear)
        self.orchestrator.register_agent("wide", "wide", 3, handler=self._act)
        self.orchestrator.register_agent("narrow", "narrow", 1, handler=self._act)

    async def run(self) -> WorkflowResult:
        async with asyncio.timeout(20):
            return await self.orchestrator.execute_workflow(self.story.plan, workflow_id="random")

    def _hear(self, event: Event) -> None:
        self.events.append(event)
        if event.name == "task.finished":
            assert event.task_id is not None
            self._ended.add(event.task_id)

    async def _act(self, task_input: dict[str, object], ctx: TaskContext) -> str:
        agent_type = ctx.task.agent_type
        self.runs[ctx.task_id, ctx.item_index] += 1
        self.busy[agent_type] += 1
        self.most[agent_type] = max(self.most[agent_type], self.busy[agent_type])
        if ctx.task.trigger_rule != "one_success":
            self.early += [(ctx.task_id, name) for name in ctx.task.upstream if name not in self._ended]
        for _ in range(self._choices[len(self.runs) % len(self._choices)]):
            await asyncio.sleep(0)
        self.busy[agent_type] -= 1
        if self.story.outcomes[ctx.task_id] == "failed":
            raise RuntimeError("as the story tells")
        return ctx.task_id


@EXAMPLES
@given(stories(), st.lists(st.integers(0, 3), max_size=6))
def test_every_task_ends_as_the_rules_say(story: Story, choices: list[int]):
    stage = Stage(story, choices)

    result = asyncio.run(stage.run())

    expected = story.expected()
    assert {one.task_id: one.state for one in result} == expected
    assert stage.runs == Counter(
        (task.id, item)
        for task in story.plan.tasks
        if expected[task.id] in ("succeeded", "failed")
        for item in (range(2) if task.foreach else [None])
    )
    assert stage.early == []
    assert stage.most["wide"] <= 3
    assert stage.most["narrow"] <= 1
    assert Counter(event.task_id for event in stage.events if event.name == "task.finished") == Counter(expected.keys())
    status = stage.orchestrator.get_status()
    assert (status.runs, status.waiting, {agent.in_use for agent in status.agents}) == ((), {}, {0})


@EXAMPLES
@given(stories(), st.integers(0, 40), st.lists(st.integers(0, 3), max_size=6))
def test_a_run_cancelled_at_any_moment_ends_and_gives_every_slot_back(story: Story, moment: int, choices: list[int]):
    stage = Stage(story, choices)

    async def scenario() -> WorkflowResult:
        run = asyncio.ensure_future(stage.run())
        for _ in range(moment):
            await asyncio.sleep(0)
        if stage.orchestrator.get_status().runs:
            stage.orchestrator.cancel("random")
        return await run

    result = asyncio.run(scenario())

    expected = story.expected()
    assert all(one.state in ("cancelled", expected[one.task_id]) for one in result)
    assert all(count == 1 for count in stage.runs.values())
    assert {agent.in_use for agent in stage.orchestrator.get_status().agents} == {0}
    assert result.status == "cancelled" or {one.task_id: one.state for one in result} == expected


@EXAMPLES
@given(stories(), st.integers(0, 40), st.lists(st.integers(0, 3), max_size=6))
def test_a_run_whose_caller_is_cancelled_at_any_moment_leaves_nothing_behind(
    story: Story, moment: int, choices: list[int]
):
    stage = Stage(story, choices)

    async def scenario() -> int:
        run = asyncio.ensure_future(stage.run())
        for _ in range(moment):
            await asyncio.sleep(0)
        run.cancel()
        await asyncio.wait([run])
        return len(asyncio.all_tasks())

    tasks_left = asyncio.run(scenario())

    assert tasks_left == 1
    assert {agent.in_use for agent in stage.orchestrator.get_status().agents} == {0}
    assert stage.orchestrator.get_status().runs == ()


@EXAMPLES
@given(stories(), st.randoms(use_true_random=False))
def test_the_verdict_never_depends_on_who_ends_first(story: Story, random):
    plan = story.plan
    progress = Progress(plan.graph, [task.trigger_rule for task in plan.tasks])
    ready = progress.start()

    while ready:
        position = ready.pop(random.randrange(len(ready)))
        ready += progress.settle(position, story.outcomes[plan.tasks[position].id])[0]

    assert progress.unsettled == 0
    assert dict(zip(plan.graph.ids, progress.states, strict=True)) == story.expected()


@pytest.mark.full
@settings(max_examples=3000, deadline=None, suppress_health_check=list(HealthCheck))
@given(stories(most=40), st.integers(0, 300), st.lists(st.integers(0, 3), max_size=12))
def test_large_plans_end_as_the_rules_say_cancelled_or_not(story: Story, moment: int, choices: list[int]):
    test_every_task_ends_as_the_rules_say.hypothesis.inner_test(story, choices)
    test_a_run_cancelled_at_any_moment_ends_and_gives_every_slot_back.hypothesis.inner_test(story, moment, choices)
    test_a_run_whose_caller_is_cancelled_at_any_moment_leaves_nothing_behind.hypothesis.inner_test(
        story, moment, choices
    )
