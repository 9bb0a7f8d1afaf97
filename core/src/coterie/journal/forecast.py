"""What a run would do if it went on now, with a plan and a team, and what that would cost: before it does."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias

from coterie._rules.journal import Asked, Reason, judge
from coterie._rules.params import bind_params, fill
from coterie._rules.progress import Decision, decide
from coterie.approvals.question import slots_for
from coterie.artifacts import ArtifactStore
from coterie.conclude import never_ran
from coterie.context import Run, TaskContext
from coterie.errors import ArtifactError, MissingOutput, Misuse
from coterie.foreach import condition_says_run, gather_items, item_context, load_list
from coterie.ids import ItemKey, TaskId
from coterie.journal.outputs import gone_outputs
from coterie.journal.place import unit_name
from coterie.journal.results import result_of
from coterie.journal.view import RunView, UnitView
from coterie.plan import Plan
from coterie.result import ItemResult, TaskResult
from coterie.slots import Slots
from coterie.task import Task
from coterie.team import Team
from coterie.usage import Usage

__all__ = ["Forecast", "ForecastTask", "forecast"]

# replays: as it is; skips: its condition, or what came before it, keeps it from running; runs: for sure; may_run: that
# depends on what comes out of a task before it, or on whoever is at it now, or cannot be seen from here.
Prospect: TypeAlias = Literal["replays", "skips", "runs", "may_run"]


@dataclass(frozen=True, slots=True)
class ForecastTask:
    """One task. why: it runs; of one that may run: why it does if it gets that far, whatever it is given by then.
    after: the tasks whose ends, and outputs, decide whether it does.

    usage, duration_s: what that of it which runs, or may, took the last time; known: whether that ever ended. spared,
    spared_s: what that of it which replays took. items: of a foreach whose list is known, how many there are, and
    how many of them run.
    """

    task_id: TaskId
    prospect: Prospect
    why: Reason | None = None
    after: tuple[TaskId, ...] = ()
    usage: Usage = field(default_factory=Usage)
    duration_s: float = 0.0
    known: bool = False
    spared: Usage = field(default_factory=Usage)
    spared_s: float = 0.0
    items: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Forecast:
    """In the plan's order."""

    tasks: tuple[ForecastTask, ...]

    def cost(self, prospect: Literal["runs", "may_run"]) -> tuple[Usage, float]:
        """What those that will run, or may, took the last time: usage, and seconds of work."""
        found = [task for task in self.tasks if task.prospect == prospect]
        return _total(task.usage for task in found), sum(task.duration_s for task in found)

    def spared(self) -> tuple[Usage, float]:
        """What all that replays took, items of a foreach included: usage, and seconds of work."""
        return _total(task.spared for task in self.tasks), sum(task.spared_s for task in self.tasks)


async def forecast(
    view: RunView, plan: Plan, team: Team, *, artifacts: ArtifactStore | None = None, goes_on: bool = True
) -> Forecast:
    """What would be done if the run went on with this plan and team. Nothing is performed.

    What a task that runs gives, and whether it fails, nobody knows: what comes after it may run at most, even where it
    failed the last time or was forgotten; then `why` says so.

    artifacts: the run's; lists that a foreach runs over, and conditions, are read from it. goes_on: whether what failed
    is tried again, as `coterie runs resume` does.

    Raises:
        UnknownAgentType: the team cannot run the plan. Misuse: a saga undoes the run, or has: that is not foreseen.
        Unavailable: the artifact store failed.
    """
    if view.undone:
        raise Misuse(
            f"the run {view.workflow_id!r} is undone by its saga, or was: it does not go forward from here, and what "
            "it does next is not foreseen; look at it with 'coterie runs show'"
        )
    team.check(plan)
    gone = await gone_outputs(artifacts, (unit.record for unit in view.units if unit.record is not None))
    look = _Look(view, plan, team, artifacts, goes_on=goes_on, gone=gone)
    for position in plan.graph.order:
        await look.at(plan.tasks[position])
    return Forecast(tuple(look.found[task.id] for task in plan.tasks))


class _Look:
    """Goes through the tasks in an order in which each comes after those that it waits for."""

    def __init__(
        self,
        view: RunView,
        plan: Plan,
        team: Team,
        artifacts: ArtifactStore | None,
        *,
        goes_on: bool,
        gone: frozenset[str],
    ) -> None:
        self.found: dict[TaskId, ForecastTask] = {}
        self._units = {unit.name: unit for unit in view.units}
        self._of_task: dict[TaskId, list[UnitView]] = {}
        for unit in view.units:
            self._of_task.setdefault(unit.task_id, []).append(unit)
        self._slots = Slots(team.agents.values())
        self._asked = Asked("forecast", "", "forecast", 1, goes_on=goes_on, gone=gone)
        self._results: dict[TaskId, TaskResult] = {}
        params = {name: value for name, value in view.header.params.items() if name in plan.params}
        bound = bind_params(plan.params, params)
        self._run = Run(view.workflow_id, artifacts=artifacts, params=bound, results=self._results)

    async def at(self, task: Task) -> None:
        """Find out about one task."""
        unsure = tuple(name for name in task.upstream if self.found[name].prospect not in ("replays", "skips"))
        if unsure:
            self.found[task.id] = self._may_run(task, after=unsure)
            return
        context = TaskContext(self._run, task, fill(task.input, self._run.params))
        try:
            self.found[task.id] = await self._seen(context)
        except (ArtifactError, MissingOutput):
            # A list or a condition cannot be read from here.
            self.found[task.id] = self._may_run(task)

    async def _seen(self, context: TaskContext) -> ForecastTask:
        task = context.task
        verdict = self._verdict(task)
        if verdict == "run" and not await condition_says_run(context):
            verdict = "skip"
        if verdict != "run":
            self._results[task.id] = never_ran(task.id, "skipped" if verdict == "skip" else "upstream_failed")
            return ForecastTask(task.id, "skips")
        if task.foreach is not None:
            return await self._foreach(context)
        look = self._judged(context, task.id)
        if look.ended is not None:
            self._results[task.id] = look.ended
        return _costs(ForecastTask(task.id, look.prospect, look.why), [look])

    def _verdict(self, task: Task) -> Decision:
        states = [self._results[name].state for name in task.upstream]
        succeeded, skipped = states.count("succeeded"), states.count("skipped")
        return decide(task.trigger_rule, len(states), succeeded, skipped, len(states) - succeeded - skipped)

    async def _foreach(self, context: TaskContext) -> ForecastTask:
        """Of its items, some may replay; it does itself where all do."""
        task, run = context.task, self._run
        try:
            keys, items = await load_list(context)
        except MissingOutput:
            if run.artifacts is None:
                return self._may_run(task)
            return ForecastTask(task.id, "runs")
        except Misuse:
            # No list is there: the task is begun, and fails of it.
            return ForecastTask(task.id, "runs")
        looks = [
            self._judged(item_context(run, task, index, key, item), unit_name(task.id, key))
            for index, (key, item) in enumerate(zip(keys, items, strict=True))
        ]
        left = [look for look in looks if look.ended is None]
        if not left:
            self._results[task.id] = await gather_items(context, _done(keys, looks), len(items))
            return _costs(ForecastTask(task.id, "replays", items=(len(items), 0)), looks)
        surely = [look for look in left if look.prospect == "runs"]
        first = (surely or left)[0]
        seen = ForecastTask(task.id, first.prospect, first.why, items=(len(items), len(left)))
        return _costs(seen, looks)

    def _judged(self, context: TaskContext, name: str) -> _Unit:
        """One unit of work, as it would be begun now."""
        unit = self._units.get(name)
        context.pool = slots_for(context.task, self._slots)
        if unit is None:
            return _Unit(None, "runs", "first")
        why = judge(unit.record, unit.held, replace(self._asked, fingerprint=context.fingerprint)).why
        record = unit.record
        if unit.claim is not None and unit.claim.alive and (why is not None or record is None or not record.succeeded):
            # Whoever is at it ends it first.
            return _Unit(unit, "may_run", None)
        if why is not None or record is None:
            return _Unit(unit, "runs", _told(why, unit))
        return _Unit(unit, "replays", None, result_of(context.task_id, record))

    def _may_run(self, task: Task, after: tuple[TaskId, ...] = ()) -> ForecastTask:
        """All of it may, as far as it is known."""
        units = self._of_task.get(task.id, [])
        looks = [_Unit(unit, "may_run", None) for unit in units]
        why: Reason | None = None
        if after:
            # Of a foreach, the items; the task itself is only what they come to.
            works = [unit for unit in units if (unit.name != task.id) is (task.foreach is not None)]
            why = next(filter(None, map(self._due, works)), None) if works else "first"
        return _costs(ForecastTask(task.id, "may_run", why, after), looks)

    def _due(self, unit: UnitView) -> Reason | None:
        """Why a unit of work is done again if it is asked for, even if it is given what it was given before."""
        if unit.claim is not None and unit.claim.alive:
            return None
        given = "" if unit.record is None else unit.record.fingerprint
        return _told(judge(unit.record, unit.held, replace(self._asked, fingerprint=given)).why, unit)


@dataclass(frozen=True, slots=True)
class _Unit:
    """What would become of a task or an item. ended: how, where it replays."""

    unit: UnitView | None
    prospect: Prospect
    why: Reason | None
    ended: TaskResult | None = None


def _told(why: Reason | None, unit: UnitView) -> Reason | None:
    """The same; of what was refused, that."""
    return "refused" if why in ("first", "unfinished") and unit.refused is not None else why


def _costs(task: ForecastTask, looks: Sequence[_Unit]) -> ForecastTask:
    again = [look.unit for look in looks if look.ended is None and look.unit is not None]
    spared = [look.unit for look in looks if look.ended is not None and look.unit is not None]
    return replace(
        task,
        usage=_total(unit.usage for unit in again),
        duration_s=sum(unit.work_s for unit in again),
        known=any(unit.record is not None for unit in again),
        spared=_total(unit.usage for unit in spared),
        spared_s=sum(unit.work_s for unit in spared),
    )


def _done(keys: Sequence[ItemKey], looks: Sequence[_Unit]) -> list[ItemResult]:
    ended = [(index, key, look.ended) for index, (key, look) in enumerate(zip(keys, looks, strict=True))]
    return [
        ItemResult(key, index, one.state, one.output, one.error, one.attempts)
        for index, key, one in ended
        if one is not None
    ]


def _total(usages: Iterable[Usage]) -> Usage:
    return sum(usages, Usage())
