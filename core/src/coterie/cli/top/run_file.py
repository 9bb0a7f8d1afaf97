"""What is known of one run, read piece by piece: a task that is known to have ended is never asked for again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from coterie._rules.approval import sheet_path
from coterie._rules.foreach import tolerated
from coterie._rules.machine_record import Head
from coterie._rules.machine_texts import HEAD
from coterie._rules.refusal import refused_path
from coterie._rules.saga_text import MARKER as SAGA
from coterie._rules.written import RunEntry
from coterie.artifacts import ArtifactStore
from coterie.cli.top.run_words import is_between_tasks, now_words
from coterie.cli.top.snapshot import At, Due, RunRow
from coterie.errors import CoterieError, Unavailable
from coterie.ids import TaskId, TaskState
from coterie.journal import Journal
from coterie.journal.header import Header, read_header
from coterie.journal.listing import listed_items, plan_of
from coterie.journal.place import RUN
from coterie.journal.view import RunView, UnitView, view_of
from coterie.plan import Plan
from coterie.task import Task
from coterie.timeline.standing import Standing, standing_of

__all__ = ["Done", "RunFile"]

# So many tasks or items are asked for at once; those first that can end next.
_MOST_UNITS = 1000
# So many tasks that could have begun are named.
_NAMED = 3
_NOT_OVER = ("running", "waiting", "interrupted", "open")


@dataclass(frozen=True, slots=True)
class Done:
    """One task or item that ended. at: seconds since the epoch."""

    state: str
    at: float
    attempts: int
    cost_micros: int
    tokens: int
    error: str | None


class RunFile:
    """One run. `look` reads what may have changed since the last look; `row` shows what is known then.

    done: the tasks and items that are known to have ended. is_gone: whether there is no such run any more.
    """

    def __init__(self, entry: RunEntry) -> None:
        self.entry = entry
        self.done: dict[str, Done] = {}
        self.row: RunRow | None = None
        self.is_gone = False
        self._header: Header | None = None
        self._plan: Plan | None = None
        self._claim = 0
        self._is_held = False
        self._undoes = False
        self._ended_as: dict[str, str | None] = {}
        self._turn = 0
        self._moved_us = entry.begun_at
        # What foreaches run over: by task the names of its items, and what people call these; and the ends that these
        # lists came out of.
        self._items: dict[TaskId, list[str]] = {}
        self._called: dict[str, str] = {}
        self._sources: dict[str, UnitView] = {}
        self._listed_at = -1
        self._misses_lists = False
        self._standing: tuple[int, Standing] | None = None

    @property
    def is_over(self) -> bool:
        """Whether it ended."""
        return self.row is not None and self.row.state not in _NOT_OVER

    @property
    def is_active(self) -> bool:
        """Whether somebody is at it, or is asked; or that is not known yet."""
        return self.row is None or self.row.state in ("running", "waiting")

    @property
    def needs_all(self) -> bool:
        """Whether a look has to read all texts: of a run without a plan, nobody knows which there are."""
        return self._header is not None and self._plan is None

    async def look(self, journal: Journal, artifacts: ArtifactStore | None) -> None:
        """Read on.

        Raises:
            Unavailable, StateFormatError: as the journal's store.
        """
        if self._header is None:
            await self._begin(journal, artifacts)
        elif self.is_over and not self._misses_lists and not await self._has_moved(journal):
            return
        before = len(self.done)
        await self._read(journal, all_of_it=before == 0)
        while self._plan is not None and await self._list(artifacts):
            # The items that are known now may have ended long ago; others may run over what came of them.
            await self._read(journal, all_of_it=True)

    async def ended_long_ago(self, journal: Journal, before_s: float) -> bool:
        """Whether it ended before `before_s` seconds since the epoch: then no more of it needs to be read.

        Raises:
            Unavailable, StateFormatError: as the journal's store.
        """
        texts, _ = await journal.store.get(self.entry.run, RUN)
        view = view_of(self.entry, texts, 0)
        return view.ended_at is not None and view.state not in _NOT_OVER and view.ended_at < before_s

    async def _has_moved(self, journal: Journal) -> bool:
        """Whether a run that had ended goes on."""
        texts, _ = await journal.store.get(self.entry.run, RUN)
        moved = {path: texts.get(path) for path in (RUN.record, RUN.claim)} != self._ended_as
        if moved:
            self._forget()
        return moved

    async def _read(self, journal: Journal, *, all_of_it: bool) -> None:
        run = self.entry.run
        if self.needs_all:
            texts = await journal.store.read(run)
            _, now_us = await journal.store.get(run, ())
            self.is_gone = not texts
            self._take(texts, now_us)
            return
        claim, undid = self._claim, self._undoes
        for names in self._parts(all_of_it=all_of_it):
            await self._read_part(journal, names)
        # It may be over by now: then nobody looks again at what was forgotten, nor at what was undone.
        if claim not in (0, self._claim):
            for names in self._parts(all_of_it=True):
                await self._read_part(journal, names)
        elif self._undoes and not undid and self._plan is not None:
            await self._read_part(journal, self._undoing(self._plan))

    async def _read_part(self, journal: Journal, names: Sequence[str]) -> None:
        texts, now_us = await journal.store.get(self.entry.run, tuple(self._paths(names)))
        self.is_gone = not texts and not (await journal.store.get(self.entry.run, ("run",)))[0]
        self._take(texts, now_us)

    async def _begin(self, journal: Journal, artifacts: ArtifactStore | None) -> None:
        texts, _ = await journal.store.get(self.entry.run, ("run",))
        self._header = read_header(texts["run"]) if "run" in texts else Header()
        try:
            self._plan = await plan_of(self._header, artifacts)
        except CoterieError:
            # What the plan would tell is not known, then; the rest is.
            self._plan = None

    def _take(self, texts: dict[str, str], now_us: int) -> None:
        header = self._header or Header()
        if header.plan_hash is not None or "run" in texts:
            # The plan in it is long, and known.
            texts = {**texts, "run": replace(header, document=None, params={}).text()}
        view = view_of(self.entry, texts, now_us)
        if view.held.token != self._claim:
            # Whoever has the run now may do anew what was done: it is read again.
            self._claim = view.held.token
            self._forget()
        self._is_held = view.claim is not None and view.claim.alive
        self._undoes = SAGA in texts
        self._ended_as = {path: texts.get(path) for path in (RUN.record, RUN.claim)}
        for unit in view.units:
            self._note(unit)
        self.row = self._row(view, texts, now_us)

    def _forget(self) -> None:
        self.done.clear()
        self._sources.clear()
        self._listed_at = -1
        self._standing = None

    def _note(self, unit: UnitView) -> None:
        if unit.state is None or unit.name in self.done:
            return
        usage = unit.usage
        error = None if unit.error is None else f"{unit.error.type}: {unit.error.message}"
        self.done[unit.name] = Done(
            unit.state, unit.ended_at or 0.0, unit.attempts, usage.cost_micros,
            usage.input_tokens + usage.output_tokens, error,
        )  # fmt: skip
        if self._plan is not None and any(unit.task_id == source for source in _sources(self._plan)):
            self._sources[unit.name] = unit

    async def _list(self, artifacts: ArtifactStore | None) -> bool:
        """Find out what foreaches run over, once what they run over has come out; whether that is new."""
        plan = self._plan
        unlisted = [] if plan is None else [task.id for task in plan.tasks if task.foreach is not None]
        if plan is None or len(self._items) == len(unlisted) or self._listed_at == len(self._sources):
            return False
        self._listed_at = len(self._sources)
        header = self._header or Header()
        view = RunView(self.entry.run, "running", header, None, None, units=tuple(self._sources.values()))
        self._misses_lists = False
        try:
            found = await listed_items(view, plan, artifacts)
        except Unavailable:
            # The next look asks again, also of a run that has ended.
            self._listed_at, self._misses_lists = -1, True
            return False
        except CoterieError:
            # Without its list, how many items there are is not known; the rest is.
            return False
        before, self._items = len(self._items), {}
        for name, item in found.items():
            self._items.setdefault(item.task_id, []).append(name)
            self._called[name] = item.shown
        return len(self._items) > before

    def _paths(self, names: Sequence[str]) -> Iterator[str]:
        """How the run stands, and these tasks and items."""
        yield from RUN
        yield SAGA
        yield HEAD
        asking = {task.id for task in self._plan.tasks if task.approval is not None} if self._plan is not None else ()
        for name in names:
            yield f"item/{name}" if "/" in name else f"task/{name}"
            yield refused_path(name)
            if not self._is_held:
                yield f"claim/{name}"
                yield f"pulse/{name}"
            if name in asking:
                yield sheet_path(name)

    def _undoing(self, plan: Plan) -> list[str]:
        """What is recorded of compensations, once the run is undone: they cost too."""
        names = [task.undo_id for task in plan.tasks if task.compensation is not None] if self._undoes else []
        return [name for name in names if name not in self.done]

    def _parts(self, *, all_of_it: bool) -> Iterator[Sequence[str]]:
        """What has not ended, some at a time: what can end next each time, and of the rest, a part in its turn."""
        plan = self._plan
        if plan is None:
            yield ()
            return
        due = [name for task_id in self._stands(plan).due for name in self._open(plan.task(task_id))][:_MOST_UNITS]
        first = frozenset(due)
        rest = [name for task in plan.tasks for name in self._open(task) if name not in first]
        rest += self._undoing(plan)
        if all_of_it:
            names = [*due, *rest]
            yield from (names[i : i + _MOST_UNITS] for i in range(0, max(1, len(names)), _MOST_UNITS))
            return
        self._turn = self._turn if self._turn < len(rest) else 0
        room = _MOST_UNITS - len(due)
        yield [*due, *rest[self._turn : self._turn + room]]
        self._turn += room

    def _open(self, task: Task) -> Iterator[str]:
        return (name for name in self._names(task) if name not in self.done)

    def _names(self, task: Task) -> Sequence[str]:
        """The names of what is recorded of a task."""
        if task.foreach is None:
            return (task.id,)
        return (task.id, *self._items.get(task.id, ()))

    def _row(self, view: RunView, texts: Mapping[str, str], now_us: int) -> RunRow:
        states = self._states()
        working = [unit for unit in view.units if unit.claim is not None and unit.claim.alive]
        plan, due = self._plan, [] if working else self._due(view)
        head = Head.read(texts[HEAD], HEAD) if HEAD in texts else None
        between = is_between_tasks(view, self._moved(working, now_us), now_us)
        return RunRow(
            run=view.workflow_id,
            state="running" if between else view.state,
            plan=view.header.plan_name,
            total=None if plan is None else len(plan.tasks),
            done=sum(state == "succeeded" for state in states.values()),
            failed=sum(state == "failed" for state in states.values()),
            running=len(working) if working or not self._is_held else None,
            items=self._item_counts(),
            begun_us=self.entry.begun_at or round(view.header.begun_at * 1e6),
            ended_us=None if view.ended_at is None or view.state in _NOT_OVER else round(view.ended_at * 1e6),
            cost_micros=sum(done.cost_micros for done in self.done.values()),
            tokens=sum(done.tokens for done in self.done.values()),
            now=now_words(
                view, between=between, machine=None if head is None else head.state, failed=self._why_failed()
            ),
            at=tuple(self._at(working)),
            due=tuple(Due(self._shown(task.id), task.agent_type, task.id) for task in due[:_NAMED]),
            more_due=max(0, len(due) - _NAMED),
        )

    def _moved(self, working: Sequence[UnitView], now_us: int) -> int:
        """When the run was last seen to be at work, or a step further."""
        ended_s = max((done.at for done in self.done.values()), default=0.0)
        self._moved_us = now_us if working else max(self._moved_us, round(ended_s * 1e6))
        return self._moved_us

    def _at(self, working: Iterable[UnitView]) -> Iterator[At]:
        names: dict[TaskId, list[str]] = {}
        for unit in working:
            names.setdefault(unit.task_id, []).append(self._called.get(unit.name, unit.name))
        plan = self._plan
        for task_id, found in names.items():
            agent_type = None if plan is None or task_id not in plan.graph.position else plan.task(task_id).agent_type
            yield At(task_id, agent_type, tuple(found))

    def _due(self, view: RunView) -> list[Task]:
        """What the process that has the run is at, or could be."""
        plan = self._plan
        if plan is None or not self._is_held:
            return []
        return [plan.task(name) for name in self._stands(plan).due if name not in view.asks]

    def _states(self) -> dict[TaskId, str]:
        """How the tasks ended that did."""
        plan = self._plan
        if plan is None:
            return {name: done.state for name, done in self.done.items() if "/" not in name}
        found: dict[TaskId, str] = {}
        for task in plan.tasks:
            state = self._state(task)
            if state is not None:
                found[task.id] = state
        return found

    def _state(self, task: Task) -> TaskState | None:
        own = self.done.get(task.id)
        if own is not None:
            return "succeeded" if own.state == "succeeded" else "failed"
        if task.foreach is None or task.id not in self._items:
            return None
        ends = [self.done[name] for name in self._items[task.id] if name in self.done]
        total = len(self._items[task.id])
        if len(ends) < total:
            return None
        failed = sum(end.state != "succeeded" for end in ends)
        return "succeeded" if tolerated(task.foreach, failed, total) else "failed"

    def _stands(self, plan: Plan) -> Standing:
        if self._standing is None or self._standing[0] != len(self.done):
            ended = {task.id: state for task in plan.tasks if (state := self._state(task)) is not None}
            self._standing = (len(self.done), standing_of(plan, ended, ended.keys()))
        return self._standing[1]

    def _shown(self, task_id: TaskId) -> str:
        """A task's id, and how far it is, if it has items."""
        names = self._items.get(task_id)
        if not names:
            return task_id
        return f"{task_id} {sum(name in self.done for name in names):,}/{len(names):,}"

    def _item_counts(self) -> tuple[int, int] | None:
        names = [name for each in self._items.values() for name in each]
        return (sum(name in self.done for name in names), len(names)) if names else None

    def _why_failed(self) -> str | None:
        """What failed first; or what should have been done and left no record, as what an older coterie refused."""
        failed = [(done.at, name, done) for name, done in self.done.items() if done.state == "failed"]
        if failed:
            _, name, done = min(failed, key=lambda each: each[:2])
            name = self._called.get(name, name)
            return f"{name}: {done.error}" if done.error else name
        undone = () if self._plan is None else self._stands(self._plan).due
        return f"no record of {', '.join(self._shown(name) for name in undone[:_NAMED])}" if undone else None


def _sources(plan: Plan) -> Iterable[TaskId]:
    return {task.foreach.task for task in plan.tasks if task.foreach is not None and task.foreach.task is not None}
