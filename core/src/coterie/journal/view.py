"""What a journal holds of a run, as people look at it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias

from coterie._json import JsonValue
from coterie._rules.approval import is_over, sheet_path
from coterie._rules.journal import RUN
from coterie._rules.journal_text import Claim, Record, parsed
from coterie._rules.lap import Lap
from coterie._rules.machine_texts import HEAD as MACHINE
from coterie._rules.refusal import KIND as REFUSED
from coterie._rules.refusal import Refusal, refused_path
from coterie._rules.saga_text import MARKER as SAGA
from coterie._rules.saga_text import Marker
from coterie._rules.written import RunEntry
from coterie.errors import StateFormatError, UnknownRun
from coterie.ids import TaskId, WorkflowId
from coterie.journal.approval import questions_in
from coterie.journal.header import Header, read_header
from coterie.journal.journal import Journal
from coterie.journal.owner import is_known_dead, told
from coterie.journal.place import is_book_of_call
from coterie.journal.work import effort_of
from coterie.result import ErrorInfo
from coterie.usage import Usage

__all__ = ["ClaimView", "RunState", "RunView", "UnitView", "list_runs", "view_of", "view_run"]

# How a run stands: as it ended; at work; one that waits for a person, or a machine for an event or an instant; single
# tasks without a plan, of which none was left unfinished, so that nobody but their scheduler knows whether more are to
# come; or none of these, so that it may be resumed.
RunState: TypeAlias = Literal[
    "succeeded", "partial", "failed", "cancelled", "lost", "running", "waiting", "open", "interrupted"
]


@dataclass(frozen=True, slots=True)
class ClaimView:
    """Who is at a unit of work, or the run as a whole. until_us: on the store's clock. alive: whether he still is."""

    owner: str
    until_us: int
    alive: bool


@dataclass(frozen=True, slots=True)
class UnitView:
    """One task, or one item of a foreach. name: the task's id, and behind a slash the item's name.

    state: how it ended; None if it has not. ended_at: seconds since the epoch. by: the run of an engine that did it.
    refused: how it was given up, where nobody has begun it since, and nothing is replayed from; then that is how it
    ended if nobody is to begin it any more. earlier: the last refusal that it got over.
    asked: whether a person was asked: what it took is then how long nobody answered.
    """

    name: str
    state: str | None
    epoch: int = 0
    attempts: int = 0
    agent_id: str | None = None
    by: str | None = None
    ended_at: float | None = None
    duration_s: float = 0.0
    usage: Usage = field(default_factory=Usage)
    error: ErrorInfo | None = None
    claim: ClaimView | None = None
    record: Record | None = field(default=None, repr=False, compare=False)
    held: Claim = field(default=Claim(), repr=False, compare=False)
    asked: bool = False
    refused: Record | None = field(default=None, repr=False, compare=False)
    earlier: Refusal | None = field(default=None, repr=False, compare=False)

    @property
    def told(self) -> Record | None:
        """What is known of its end, whether it is one to replay or not."""
        return self.refused or self.record

    @property
    def laps(self) -> tuple[Lap, ...]:
        """What it went through up to that end."""
        told = self.told
        if told is None:
            return ()
        return told.laps if self.earlier is None else self.earlier.followed_by(told)

    @property
    def work_s(self) -> float:
        """For how many seconds somebody worked: nobody does while a person thinks, or while it waits."""
        never = self.refused is not None and not self.attempts
        return 0.0 if self.asked or never or self.told is None else effort_of(self.told).work_s

    @property
    def waited_s(self) -> float:
        """For how many seconds it waited, and not for a person."""
        return 0.0 if self.asked or self.told is None else effort_of(self.told).waited_s

    @property
    def task_id(self) -> TaskId:
        """The task, or that of the item."""
        return self.name.partition("/")[0]


@dataclass(frozen=True, slots=True)
class RunView:
    """One run.

    begun_us, changed_us: microseconds since the epoch; None where the run was not found in a list. units: of tasks and
    items, in the order of their names; empty where only a list was asked for. saga: that its saga undoes it, or has,
    and what that left; None: neither. asks: tasks whose questions a person can still answer.
    """

    workflow_id: WorkflowId
    state: RunState
    header: Header
    begun_us: int | None
    changed_us: int | None
    ended_at: float | None = None
    claim: ClaimView | None = None
    units: tuple[UnitView, ...] = ()
    saga: Marker | None = None
    held: Claim = field(default=Claim(), repr=False, compare=False)
    asks: tuple[TaskId, ...] = ()

    @property
    def undone(self) -> bool:
        """Whether its saga undoes it, or has."""
        return self.saga is not None

    def unit(self, name: str) -> UnitView | None:
        """The unit of that name."""
        return next((unit for unit in self.units if unit.name == name), None)

    @property
    def usage(self) -> Usage:
        """What all that ended has used."""
        return sum((unit.usage for unit in self.units), Usage())


async def view_run(journal: Journal, run: WorkflowId) -> RunView:
    """Everything about a run.

    Raises:
        UnknownRun: the journal does not know it. StateFormatError: what it has cannot be read.
    """
    texts = await journal.store.read(run)
    if not texts:
        raise UnknownRun(run, journal.store.url)
    _, now = await journal.store.get(run, ())
    return replace(view_of(RunEntry(run, 0, 0), texts, now), begun_us=None, changed_us=None)


async def list_runs(
    journal: Journal, *, limit: int, after: str | None = None, with_calls: bool = True
) -> tuple[list[RunView], str | None]:
    """Runs, the one begun last first, and the cursor behind them.

    with_calls: also those under which workers keep the steps of their calls; without them, a page may hold fewer.

    Of those that nobody has ended, the units are there too. Those that ended stand as they ended, even where a worker
    does a task of theirs anew; `view_run` tells.
    """
    page = await journal.store.runs(limit=limit, after=after)
    views = []
    for entry in page.runs:
        if not with_calls and is_book_of_call(entry.run):
            continue
        texts, now = await journal.store.get(entry.run, ("run", *RUN, SAGA))
        whole = _claim(texts, RUN.claim, RUN.pulse, now)
        if RUN.record not in texts and not (whole is not None and whole.alive):
            # Whether workers are at it, their own claims tell.
            texts = await journal.store.read(entry.run)
        if texts:
            views.append(view_of(entry, texts, now))
    return views, page.after


def view_of(entry: RunEntry, texts: Mapping[str, str], now: int) -> RunView:
    """The run behind its texts, at an instant of the store's clock, in microseconds.

    Raises:
        StateFormatError: one of them cannot be read; it says of which run.
    """
    try:
        return _view_of(entry, texts, now)
    except StateFormatError as error:
        raise StateFormatError(f"of the run {entry.run!r}, {error}") from error
    except (KeyError, TypeError, ValueError) as error:
        raise StateFormatError(
            f"of the run {entry.run!r}, the journal's texts are not whole: {error!r}; look at them before they are used"
        ) from error


def _view_of(entry: RunEntry, texts: Mapping[str, str], now: int) -> RunView:
    claim = _claim(texts, RUN.claim, RUN.pulse, now)
    whole = Claim.read(texts.get(RUN.claim), RUN.claim)
    has_ended = RUN.record in texts
    found = (_told(unit, texts, whole, has_ended=has_ended) for unit in _units(texts, now))
    # Of what was refused before the run was gone on with, and not come to since, there is nothing to tell.
    units = tuple(unit for unit in found if unit.told is not None or unit.held.token)
    end = parsed(texts[RUN.record], RUN.record) if RUN.record in texts else None
    at_work = any(unit.claim is not None and unit.claim.alive for unit in units) or (claim is not None and claim.alive)
    asks = _asks(texts, now)
    header = read_header(texts["run"]) if "run" in texts else None
    has_end = header is None or header.plan_hash is not None
    left = _left_as(units, claim, asks, is_machine=MACHINE in texts, has_end=has_end)
    state: RunState = "running" if at_work else left if end is None else end["status"]
    ended_at = end["at"] if end is not None else None
    saga = Marker.read(texts.get(SAGA))
    header = header or Header()
    return RunView(
        entry.run, state, header, entry.begun_at, entry.changed_at, ended_at, claim, units, saga, whole, asks
    )


def _asks(texts: Mapping[str, str], now: int) -> tuple[TaskId, ...]:
    """Whose questions are open. What a scheduler asks, it times out itself; of others, time alone tells."""
    if is_over(texts):
        return ()
    open_ones = {task_id: sheet.asked for task_id, sheet in questions_in(texts).items() if sheet.end is None}
    late = [
        task_id
        for task_id, asked in open_ones.items()
        if asked.place == "process" and asked.until is not None and now / 1e6 >= asked.until
    ]
    return tuple(sorted(open_ones.keys() - late))


def _left_as(
    units: tuple[UnitView, ...], claim: ClaimView | None, asks: tuple[TaskId, ...], *, is_machine: bool, has_end: bool
) -> Literal["waiting", "open", "interrupted"]:
    """How a run stands that did not end, and that nobody is at. has_end: whether anybody says so once it has ended."""
    # Where somebody died at work, his claim is left. A question stands without whoever asked it; a machine between two
    # states is nobody's.
    died = any(unit.claim is not None and unit.task_id not in asks for unit in units)
    waits = bool(asks) or (is_machine and claim is None)
    if died or not (waits or (claim is None and not has_end)):
        return "interrupted"
    return "waiting" if waits else "open"


def _units(texts: Mapping[str, str], now: int) -> Iterator[UnitView]:
    kinds = ("task", "item", "claim", REFUSED)
    names = {name for kind, slash, name in (path.partition("/") for path in texts) if slash and kind in kinds}
    for name in sorted(names):
        path = next((path for path in (f"task/{name}", f"item/{name}") if path in texts), None)
        held = Claim.read(texts.get(f"claim/{name}"), f"claim/{name}")
        claim = _claim(texts, f"claim/{name}", f"pulse/{name}", now)
        if path is None:
            yield UnitView(name, None, claim=claim, held=held)
        else:
            unit = _unit(name, Record.read(texts[path], path))
            yield replace(unit, claim=claim, held=held, asked=sheet_path(name) in texts)


def _told(unit: UnitView, texts: Mapping[str, str], whole: Claim, *, has_ended: bool) -> UnitView:
    """The unit, with how it was refused. whole: the claim of the run; has_ended: whether that has."""
    path = refused_path(unit.name)
    if path not in texts:
        return unit
    refusal = Refusal.read(texts[path], path)
    is_final = has_ended or refusal.final
    is_at_it = unit.claim is not None and unit.claim.alive
    is_last = refusal.is_last_word(unit.record, unit.held, whole) and (is_final or unit.record is None)
    if is_at_it or not is_last:
        return replace(unit, earlier=refusal)
    ended = _unit(unit.name, refusal.record)
    return replace(
        ended, state=ended.state if is_final else None, record=unit.record, refused=refusal.record,
        claim=unit.claim, held=unit.held, asked=unit.asked,
    )  # fmt: skip


def _unit(name: str, record: Record) -> UnitView:
    result: Mapping[str, JsonValue] = record.result
    error = record.result.get("error")
    return UnitView(
        name,
        str(result["state"]),
        record.epoch,
        record.result.get("attempts", 0),
        record.result.get("agent_id"),
        record.by,
        record.at,
        record.result.get("duration_s", 0.0),
        Usage(**record.usage),
        ErrorInfo(**error) if error else None,
        record=record,
    )


def _claim(texts: Mapping[str, str], path: str, pulse: str, now: int) -> ClaimView | None:
    held = Claim.read(texts.get(path), path)
    until = int(texts.get(pulse) or 0)
    if not held.owner or not until:
        return None
    return ClaimView(told(held.owner), until, until > now and not is_known_dead(held.owner))
