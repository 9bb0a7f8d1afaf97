"""What is foreseen of a run that goes on is what then happens."""

from __future__ import annotations

import asyncio
import tempfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from coterie import ArtifactStore, ForEach, Intent, Orchestrator, Plan, Task, TaskContext, Team, Usage, When
from coterie._rules.saga_text import MARKER, Marker
from coterie.errors import Misuse, UnknownAgentType
from coterie.journal import Journal
from coterie.journal.forecast import Forecast, ForecastTask, forecast
from coterie.journal.tending import forget_run
from coterie.journal.view import view_run
from coterie.stores.journal_memory import MemoryJournalStore
from tests.core.random_plans import Story, stories

RUN = "run-1"


@dataclass
class World:
    """One journal, and agents that note whom they worked for. failing: tasks; answers: what others than their own
    names tasks say.
    """

    plan: Plan
    failing: set[str] = field(default_factory=set)
    answers: dict[str, object] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    artifacts: ArtifactStore | None = None
    calls: Counter[str] = field(default_factory=Counter)
    journal: Journal = field(default_factory=lambda: Journal(MemoryJournalStore("test")))

    @property
    def team(self) -> Team:
        team = Team("world")
        for number, agent_type in enumerate(("wide", "narrow")):
            version = self.versions.get(agent_type, "1")
            team.agent(agent_type, version=version, capacity=3 - 2 * number)(self._work)
        return team

    async def _work(self, task_input: dict[str, object], ctx: TaskContext) -> object:
        name = ctx.task_id if ctx.item_key is None else f"{ctx.task_id}/{ctx.item_key}"
        self.calls[name] += 1
        ctx.report_usage(input_tokens=self.price(name))
        if ctx.task_id in self.failing:
            raise RuntimeError("as the story tells")
        return self.answers.get(ctx.task_id, ctx.task_id)

    @staticmethod
    def price(name: str) -> int:
        return 1 + sum(map(ord, name)) ** 2

    async def run(self, intent: Intent | None = None):
        self.calls.clear()
        orchestrator = Orchestrator(self.team, artifacts=self.artifacts, journal=self.journal)
        return await orchestrator.execute_workflow(self.plan, workflow_id=RUN, intent=intent)

    async def resume(self):
        return await self.run(Intent(goes_on=True, allow_changes=True))

    async def foreseen(self, *, goes_on: bool = True) -> Forecast:
        view = await view_run(self.journal, RUN)
        return await forecast(view, self.plan, self.team, artifacts=self.artifacts, goes_on=goes_on)

    async def told(self) -> dict[str, ForecastTask]:
        return {task.task_id: task for task in (await self.foreseen()).tasks}


def test_what_is_finished_replays_and_what_failed_runs_and_what_follows_may():
    async def seen():
        world = World(
            Plan("p", [Task("a", "wide"), Task("b", "wide", depends_on=["a"]), Task("c", "wide", depends_on=["b"])]),
            failing={"b"},
        )
        await world.run()
        return await world.told()

    told = asyncio.run(seen())

    assert {name: (task.prospect, task.why, task.after) for name, task in told.items()} == {
        "a": ("replays", None, ()),
        "b": ("runs", "goes_on", ()),
        "c": ("may_run", "first", ("b",)),
    }
    assert told["a"].spared == Usage(input_tokens=World.price("a"))
    assert told["b"].usage == Usage(input_tokens=World.price("b"))
    assert told["c"].known is False


@pytest.mark.parametrize(
    ("forgotten", "failing", "why"), [("a", {"b"}, "goes_on"), (None, set(), "forgotten"), ("a", set(), None)]
)
def test_after_what_was_forgotten_it_is_told_what_runs_for_a_reason_of_its_own(forgotten, failing, why):
    """The output before it is the same as ever: only where that alone would change it, it does not run."""

    async def seen():
        plan = Plan("p", [Task("a", "wide"), Task("b", "wide", depends_on=["a"])])
        world = World(plan, failing=set(failing))
        await world.run()
        await forget_run(world.journal, RUN, forgotten)
        told = await world.told()
        await world.resume()
        return told, world.calls

    told, calls = asyncio.run(seen())

    assert (told["a"].prospect, told["a"].why) == ("runs", "forgotten")
    assert (told["b"].prospect, told["b"].why, told["b"].after) == ("may_run", why, ("a",))
    assert calls["b"] == (why is not None)


@pytest.mark.parametrize(("forgotten", "why"), [("each/y", "forgotten"), (None, None)])
def test_of_a_foreach_behind_what_runs_its_items_tell_why(forgotten, why):
    async def seen():
        each = Task("each", "wide", depends_on=["a"], foreach=ForEach(items=["x", "y"], key=""))
        world = World(Plan("p", [Task("a", "wide"), each]))
        await world.run()
        for name in filter(None, ("a", forgotten)):
            await forget_run(world.journal, RUN, name)
        told = await world.told()
        await world.resume()
        return told["each"], world.calls

    told, calls = asyncio.run(seen())

    assert (told.prospect, told.why, told.after) == ("may_run", why, ("a",))
    assert calls == {"a": 1, **({"each/y": 1} if forgotten else {})}


def test_without_going_on_a_failure_replays_and_blocks_what_follows():
    async def seen():
        world = World(Plan("p", [Task("a", "wide"), Task("b", "wide", depends_on=["a"])]), failing={"a"})
        await world.run()
        return await world.foreseen(goes_on=False)

    assert [task.prospect for task in asyncio.run(seen()).tasks] == ["replays", "skips"]


def test_an_output_that_stays_the_same_cuts_off_what_follows():
    async def seen():
        world = World(Plan("p", [Task("a", "wide"), Task("b", "narrow", depends_on=["a"])]))
        await world.run()
        world.versions["wide"] = "2"
        told = await world.told()
        await world.resume()
        return told, world.calls

    told, calls = asyncio.run(seen())

    assert (told["a"].prospect, told["a"].why, told["b"].prospect) == ("runs", "changed", "may_run")
    assert calls == {"a": 1}


def test_of_a_foreach_only_the_items_that_run_are_paid_again():
    async def seen():
        world = World(Plan("p", [Task("each", "wide", foreach=ForEach(items=["x", "y", "z"], key=""))]))
        await world.run()
        await forget_run(world.journal, RUN, "each/y")
        told = await world.told()
        await world.resume()
        return told["each"], world.calls

    told, calls = asyncio.run(seen())

    assert (told.prospect, told.why, told.items) == ("runs", "forgotten", (3, 1))
    assert told.usage == Usage(input_tokens=World.price("each/y"))
    assert told.spared == Usage(input_tokens=World.price("each/x") + World.price("each/z"))
    assert calls == {"each/y": 1}


@pytest.mark.parametrize(("answer", "prospect"), [("go", "replays"), ("stay", "skips")])
def test_a_condition_is_read_as_the_run_reads_it(answer, prospect):
    async def seen():
        tasks = [Task("a", "wide"), Task("b", "wide", when=When("a", "", "eq", "go"))]
        world = World(Plan("p", tasks), answers={"a": answer})
        await world.run()
        told = await world.told()
        await world.resume()
        return told["b"], world.calls

    told, calls = asyncio.run(seen())

    assert told.prospect == prospect
    assert calls == {}


def test_a_foreach_without_a_list_is_tried_and_nothing_is_called():
    async def seen():
        each, after = Task("each", "wide", foreach=ForEach(task="a")), Task("b", "wide", depends_on=["each"])
        world = World(Plan("p", [Task("a", "wide"), each, after]), answers={"a": "no list"})
        first = await world.run()
        told = await world.told()
        await world.resume()
        return first, told, world.calls

    first, told, calls = asyncio.run(seen())

    assert first["each"].state == "failed"
    assert [task.prospect for task in told.values()] == ["replays", "runs", "may_run"]
    assert calls == {}


def test_a_list_that_got_longer_runs_its_new_items_alone():
    async def seen():
        def listed(*items: str) -> Plan:
            return Plan("p", [Task("each", "wide", foreach=ForEach(items=list(items), key=""))])

        world = World(listed("x", "y"))
        await world.run()
        world.plan = listed("y", "z")
        told = await world.told()
        await world.resume()
        return told["each"], world.calls

    told, calls = asyncio.run(seen())

    assert (told.why, told.items, told.known) == ("first", (2, 1), False)
    assert told.usage == Usage()
    assert told.spared == Usage(input_tokens=World.price("each/y"))
    assert calls == {"each/z": 1}


def test_a_list_that_lies_elsewhere_leaves_it_open(tmp_path):
    async def seen():
        tasks = [Task("a", "wide"), Task("each", "wide", foreach=ForEach(task="a"))]
        world = World(Plan("p", tasks), answers={"a": ["long " * 1000]})
        world.artifacts = ArtifactStore(f"file://{tmp_path}/there")
        await world.run()
        world.artifacts = None
        without = await world.told()
        world.artifacts = ArtifactStore(f"file://{tmp_path}/elsewhere")
        return without["each"], (await world.told())["each"]

    for told in asyncio.run(seen()):
        assert (told.prospect, told.why, told.after) == ("may_run", None, ())
        assert told.known


def test_a_team_that_cannot_run_the_plan_is_refused():
    async def seen():
        world = World(Plan("p", [Task("a", "wide")]))
        await world.run()
        await forecast(await view_run(world.journal, RUN), world.plan, Team("nobody"))

    with pytest.raises(UnknownAgentType):
        asyncio.run(seen())


def test_of_a_run_that_its_saga_undoes_nothing_is_foreseen():
    async def seen():
        world = World(Plan("p", [Task("a", "wide")]))
        await world.run()
        await world.journal.store.write(RUN, {MARKER: Marker("failed").text()})
        await world.foreseen()

    with pytest.raises(Misuse, match="undone by its saga"):
        asyncio.run(seen())


def test_a_task_that_starts_as_others_are_skipped_replays_wherever_it_is_asked_for():
    async def seen():
        tasks = [
            Task("a", "wide"),
            Task("b", "wide", when=When("a", "", "eq", "never")),
            Task("c", "wide", depends_on=["a", "b"]),
            Task("d", "wide", depends_on=["c"], trigger_rule="all_done"),
        ]
        world = World(Plan("p", tasks))
        await world.run()
        return await world.told()

    assert [task.prospect for task in asyncio.run(seen()).values()] == ["replays", "skips", "skips", "replays"]


@st.composite
def changes(draw: st.DrawFn, story: Story) -> Mapping[str, object]:
    """What becomes of a run between its first time and the next."""
    names = [task.id for task in story.plan.tasks]
    some = st.sets(st.sampled_from(names))
    # Of a foreach, which of its two items.
    some_units = st.sets(st.tuples(st.sampled_from(names), st.sampled_from([0, 1])))
    return {
        "fail_now": draw(some),
        "say_else": draw(some),
        "versions": draw(st.dictionaries(st.sampled_from(["wide", "narrow"]), st.just("2"))),
        "forgotten": draw(some_units),
        "never_ended": draw(some_units),
    }


async def _went_on(story: Story, changed: Mapping[str, object], artifacts: ArtifactStore | None):
    """A first run, changes, what is foreseen, and what then happens."""
    fails = {name for name, outcome in story.outcomes.items() if outcome == "failed"}
    world = World(story.plan, fails, artifacts=artifacts)
    await world.run()
    paid = {name: World.price(name) * count for name, count in world.calls.items()}
    seen_before: Counter[str] = Counter()
    for unit in (await view_run(world.journal, RUN)).units:
        which = (unit.task_id, seen_before[unit.task_id])
        seen_before[unit.task_id] += 1
        if which in changed["forgotten"]:
            await forget_run(world.journal, RUN, unit.name)
        if which in changed["never_ended"]:
            kind = "item" if "/" in unit.name else "task"
            await world.journal.store.write(RUN, {f"{kind}/{unit.name}": None})
            paid.pop(unit.name)
    world.failing, world.versions = set(changed["fail_now"]), dict(changed["versions"])
    world.answers = {name: f"{name}, but else" for name in changed["say_else"]}
    seen = await world.foreseen()
    result = await world.resume()
    alone = {task.id for task in story.plan.tasks if task.foreach is None}
    return seen, result, world.calls, paid, alone


def _check(seen: Forecast, result, calls: Counter[str], paid: Mapping[str, int], alone: set[str]) -> None:
    of = {
        task.task_id: [name for name in {*calls, *paid} if name.partition("/")[0] == task.task_id]
        for task in seen.tasks
    }
    for task in seen.tasks:
        called = [name for name in of[task.task_id] if calls[name]]
        ended = result[task.task_id]
        if task.prospect in ("replays", "skips"):
            assert called == [], task
            assert (ended.state in ("skipped", "upstream_failed")) is (task.prospect == "skips")
            if task.items is None and task.prospect == "replays":
                assert ended.replayed, task
        elif task.prospect == "runs":
            assert called, task
            assert task.items is None or task.items[1] == len(called)
            assert task.usage.input_tokens == sum(paid.get(name, 0) for name in called)
        else:
            assert sum(paid.get(name, 0) for name in called) <= task.usage.input_tokens
            # Of a foreach, the list may come out without the items that have a reason.
            if task.why is not None and task.task_id in alone and ended.state in ("succeeded", "failed"):
                assert called, task
        if task.prospect in ("replays", "runs"):
            assert task.spared.input_tokens == sum(paid[name] for name in of[task.task_id] if not calls[name])
    sure = [name for task in seen.tasks if task.prospect == "runs" for name in of[task.task_id] if calls[name]]
    assert seen.cost("runs")[0].input_tokens == sum(paid.get(name, 0) for name in sure)
    assert seen.spared()[0] == sum((task.spared for task in seen.tasks), Usage())


def _settings(examples: int) -> settings:
    return settings(max_examples=examples, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@_settings(150)
@given(st.data())
def test_what_is_foreseen_of_any_run_is_what_then_happens(data: st.DataObject):
    story = data.draw(stories(most=8))

    _check(*asyncio.run(_went_on(story, data.draw(changes(story)), None)))


@_settings(25)
@given(st.data())
def test_with_an_artifact_store_too(data: st.DataObject):
    story = data.draw(stories(most=6))
    with tempfile.TemporaryDirectory() as folder:
        _check(*asyncio.run(_went_on(story, data.draw(changes(story)), ArtifactStore(f"file://{folder}"))))


@pytest.mark.full
@_settings(3000)
@given(st.data())
def test_what_is_foreseen_is_what_happens_many_times(data: st.DataObject):
    story = data.draw(stories(most=12))

    _check(*asyncio.run(_went_on(story, data.draw(changes(story)), None)))
