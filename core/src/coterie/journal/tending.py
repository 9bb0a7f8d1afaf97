"""What people do to runs in a journal: have work done anew, end what nobody does any more, remove what is old."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from functools import partial
from typing import NamedTuple

from coterie._rules.journal import RUN, Place
from coterie._rules.journal_text import FORMAT, Claim, dumped
from coterie._rules.machine_record import Head
from coterie._rules.machine_texts import HEAD as MACHINE
from coterie._rules.saga_text import MARKER as SAGA
from coterie._rules.timeline import SECOND
from coterie._rules.written import Changed, RunEntry
from coterie.errors import ClaimedElsewhere, Misuse, StateFormatError, UnknownRun
from coterie.ids import WorkflowId
from coterie.journal.approval import questions_in
from coterie.journal.header import read_header
from coterie.journal.journal import Journal
from coterie.journal.owner import is_known_dead, told
from coterie.journal.place import is_book_of_call, unit_name
from coterie.journal.view import RunView, view_of, view_run

__all__ = ["erase_run", "forget_run", "prune_runs", "reap_runs", "unended_runs"]

_PAGE = 200


async def forget_run(journal: Journal, run: WorkflowId, unit: str | None = None) -> list[str]:
    """Have a unit of work done anew by whoever asks next, or all that the run has; their names.

    Of a whole run it is forgotten too that it was undone, and what was left then.

    unit: a task's id, with all the items of its foreach; or `task/item`: the item's name, or its own key, or the first
    characters of its name, if they are no other's. Who is at it now is refused when he is done.

    Raises:
        UnknownRun: the journal does not know the run. Misuse: nothing of that name was done in it, or it is several; or
            it is a state machine that is over.
    """
    view = await view_run(journal, run)
    # What is asked, or answered and not taken so far, is nobody's work as yet, and can be forgotten like it.
    texts = await journal.store.read(run)
    if MACHINE in texts and Head.read(texts[MACHINE], MACHINE).phase == "over":
        raise Misuse(f"the run {run!r} is a state machine that is over: none of it is ever done again; begin another")
    asked = questions_in(texts)
    there = list(dict.fromkeys([*(each.name for each in view.units), *asked]))
    names = _named(there, unit)
    if unit is not None and not names:
        known = ", ".join(there[:20]) or "nothing yet"
        raise Misuse(f"the run {run!r} has done nothing called {unit!r}; it has: {known}")
    if unit is not None and "/" in unit and len(names) > 1:
        raise Misuse(f"{unit!r} begins the names of several items of {run!r}; it may be {', '.join(names[:20])}")
    for name in names:
        await journal.forget(run, _place(name))
    if unit is None:
        await _drop_saga(journal, run)
    return names


async def _drop_saga(journal: Journal, run: WorkflowId) -> None:
    """Have nobody be told that the run was undone, as it is to be done anew; nor of what was left of it."""
    noted = [path for path in await journal.store.read(run) if path == SAGA or path.startswith(f"{SAGA}/")]
    if noted:
        await journal.store.write(run, dict.fromkeys(noted))


def _named(names: list[str], unit: str | None) -> list[str]:
    """Those that are meant; of an item, more than one where that is not clear."""
    if unit is None:
        return names
    task_id, slash, key = unit.partition("/")
    if not slash:
        return [name for name in names if name == unit or name.startswith(f"{unit}/")]
    for exact in (unit, unit_name(task_id, key)):
        if exact in names:
            return [exact]
    return [name for name in names if key and name.startswith(unit)]


async def erase_run(journal: Journal, run: WorkflowId) -> None:
    """Remove all that the journal holds of a run. Its artifacts go with the next garbage collection.

    One that asks a person, and that nobody is at, goes with its question. What cannot be read goes too.

    Raises:
        UnknownRun: it does not know the run. ClaimedElsewhere: a process, or a scheduler's worker, is at it.
    """
    # Looked at just before it is removed, as a person does this, once.
    texts = await journal.store.read(run)
    _, now = await journal.store.get(run, ())
    for path in texts:
        held_until = _held_until(texts, now, path)
        if held_until is not None:
            owner, until = held_until
            raise ClaimedElsewhere(
                f"the run {run!r}",
                owner=told(owner),
                retry_after_s=(until - now) / SECOND,
                instead="end it first, with Ctrl-C or SIGTERM there, or on the scheduler that runs it; then erase it",
            )
    if not await journal.store.remove(run):
        raise UnknownRun(run, journal.store.url)


def _held_until(texts: Mapping[str, str], now: int, path: str) -> tuple[str, int] | None:
    """Who is alive and holds the claim at a path, and until when; None: nobody, or it is no claim that can be read."""
    if path.partition("/")[0] != RUN.claim:
        return None
    try:
        owner, until = Claim.read(texts[path], path).owner, int(texts.get(f"{RUN.pulse}{path[len(RUN.claim) :]}") or 0)
    except (StateFormatError, KeyError, TypeError, ValueError):
        return None
    return (owner, until) if owner and until > now and not is_known_dead(owner) else None


async def prune_runs(journal: Journal, *, older_than_s: float, dry_run: bool = False) -> list[WorkflowId]:
    """Remove runs that ended and have not changed for so long, in seconds; their ids.

    Runs that did not end stay, and so do ended ones that somebody is at, or whose dead letters are open; and those that
    were stopped while they asked a person, who can answer still. Of single tasks without a plan, and of what workers
    keep of a call, nothing says that they ended: they go if nobody is at them.
    """
    pruned = []
    async for entry in _entries(journal):
        if await _is_old(journal, entry, older_than_s):
            if not dry_run:
                await journal.store.remove(entry.run)
            pruned.append(entry.run)
    return pruned


async def _is_old(journal: Journal, entry: RunEntry, older_than_s: float) -> bool:
    """Looked at again just before it is removed: somebody may have gone on with it since it was listed."""
    texts, now = await journal.store.get(entry.run, (RUN.record, "run"))
    is_call = is_book_of_call(entry.run)
    has_plan = "run" not in texts or read_header(texts["run"]).plan_hash is not None
    if (RUN.record not in texts and has_plan and not is_call) or now - entry.changed_at <= older_than_s * SECOND:
        return False
    texts = await journal.store.read(entry.run)
    view = view_of(entry, texts, now)
    # While something of it stands that was to be undone, it is what people know that by.
    is_needed = bool(view.asks) or (view.saga is not None and view.saga.left > 0)
    is_over = is_call or RUN.record in texts or view.state == "open"
    return is_over and view.state != "running" and not is_needed


async def unended_runs(journal: Journal, *, idle_s: float) -> AsyncIterator[RunView]:
    """Runs that nobody has ended, and nobody is at: no claim is alive, and nothing has changed for so long.

    What waits for a person, or a machine for an event or an instant, is none of them, however long it waits. Nor are
    single tasks without a plan that are done, and what workers keep of a call: nobody would say that they ended.
    """
    async for entry in _entries(journal):
        if is_book_of_call(entry.run):
            continue
        texts, now = await journal.store.get(entry.run, (RUN.record, RUN.pulse))
        if RUN.record in texts or now - entry.changed_at < idle_s * SECOND:
            continue
        view = view_of(entry, await journal.store.read(entry.run), now)
        if view.state == "interrupted":
            yield view


async def reap_runs(journal: Journal, *, idle_s: float, dry_run: bool = False) -> list[WorkflowId]:
    """End runs that nobody has ended, and nobody is at: they are `lost`, until somebody resumes them; their ids.

    Whoever wakes up and was at one of them is refused when he is done. What he finished before stays as it is.
    """
    unended = unended_runs(journal, idle_s=idle_s)
    return [view.workflow_id async for view in unended if dry_run or await _reap(journal, view)]


async def _reap(journal: Journal, view: RunView) -> bool:
    """Whether it ended so: not if somebody has begun to go on with it meanwhile."""
    run, left = view.workflow_id, [unit for unit in view.units if unit.claim is not None]
    for unit in left:
        place = _place(unit.name)
        await journal.store.change(run, tuple(place), partial(_fenced, place=place, gone=_Gone.of(unit.held)))
    end = dumped({"v": FORMAT, "status": "lost", "at": round(journal.clock.now(), 3), "by": "reap"})
    pulses = [_place(unit.name).pulse for unit in left]
    decide = partial(_ended, end=end, gone=_Gone.of(view.held), pulses=pulses)
    return await journal.store.change(run, (*RUN, *pulses), decide)


class _Gone(NamedTuple):
    """Whoever seemed to be at something no more. dead: that is known, whatever his pulse says."""

    claim: Claim
    dead: bool

    @staticmethod
    def of(claim: Claim) -> _Gone:
        return _Gone(claim, is_known_dead(claim.owner))

    def is_back(self, texts: Mapping[str, str | None], now: int, place: Place) -> bool:
        """Whether he, or somebody else, is at it after all."""
        if Claim.read(texts[place.claim], place.claim) != self.claim:
            return True
        return not self.dead and int(texts[place.pulse] or 0) > now


def _fenced(texts: Mapping[str, str | None], now: int, *, place: Place, gone: _Gone) -> Changed[None]:
    """He holds it no more; the work itself is as done, and as asked for, as it was."""
    if not gone.claim.owner or gone.is_back(texts, now, place):
        return Changed({}, None)
    left = gone.claim._replace(token=gone.claim.token + 1, owner="")
    return Changed({place.claim: left.text(), place.pulse: None}, None)


def _ended(texts: Mapping[str, str | None], now: int, *, end: str, gone: _Gone, pulses: Sequence[str]) -> Changed[bool]:
    at_work = gone.is_back(texts, now, RUN) or any(int(texts[pulse] or 0) > now for pulse in pulses)
    if texts[RUN.record] is not None or at_work:
        return Changed({}, result=False)
    return Changed({**_fenced(texts, now, place=RUN, gone=gone).texts, RUN.record: end}, result=True)


def _place(name: str) -> Place:
    kind = "item" if "/" in name else "task"
    return Place(f"claim/{name}", f"pulse/{name}", f"{kind}/{name}")


async def _entries(journal: Journal) -> AsyncIterator[RunEntry]:
    after: str | None = None
    while True:
        page = await journal.store.runs(limit=_PAGE, after=after)
        for entry in page.runs:
            yield entry
        if page.after is None:
            return
        after = page.after
