"""What holds work that has not ended: looked up in what the fleet shares, as the journal cannot tell."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import AsyncExitStack
from dataclasses import replace

from coterie.artifacts import ArtifactStore
from coterie.cli.events.place import EventPlace
from coterie.cli.fleet.breakers import BreakerRow
from coterie.cli.fleet.known import Known
from coterie.cli.fleet.reach import Reach
from coterie.cli.fleet.times import span as lasting
from coterie.cli.runs.place import JournalPlace
from coterie.cli.top.blocking import Queued, blocked, in_queues, taken_by_lost
from coterie.cli.top.names import Names, Remembering
from coterie.cli.top.queues import Queues, with_workers
from coterie.cli.top.shared import Shared, trip
from coterie.errors import CoterieError, Misuse
from coterie.ids import AgentId, AgentType, WorkflowId
from coterie.journal import Journal
from coterie.remote.registry import list_workers
from coterie.timeline import Span, Timeline, timeline_of
from coterie.timeline.sums import task_of

__all__ = ["held", "timeline_with_holds"]

_PATIENCE_S = 10.0
_AWAY = ("open", "forced_open")


async def timeline_with_holds(
    place: JournalPlace, journal: Journal, run: WorkflowId, artifacts: ArtifactStore | None = None
) -> Timeline:
    """The timeline of a run, with what was found now to hold what has not ended: breakers, limits, lines and queues.

    A store that does not answer is a note. Of a run that is over nothing is looked up.

    Raises:
        As `timeline_of`.
    """
    timeline = await timeline_of(journal, run, artifacts=artifacts)
    # A scheduler may have handed out all that goes on: of what lies in a queue, its journal knows nothing.
    is_left = timeline.state == "interrupted" and timeline.scheduler is not None
    if timeline.is_over or not (timeline.unended or is_left):
        return timeline
    try:
        async with asyncio.timeout(_PATIENCE_S):
            reasons, queued = await _looked(place, _agents_of(timeline.spans))
    except Misuse:
        # State of one process: there is nothing to look up.
        return timeline
    except (CoterieError, TimeoutError) as error:
        why = str(error) or f"no answer within {_PATIENCE_S:g} s"
        return replace(timeline, notes=(*timeline.notes, f"what holds the work now could not be read: {why}"))
    if is_left and (handed_out := queued.calls.get(run, Counter()).keys() | queued.lost.get(run, Counter()).keys()):
        timeline = await timeline_of(journal, run, artifacts=artifacts, handed_out=handed_out)
    return replace(timeline, held=held(run, timeline.unended, reasons, queued))


def held(run: str, waiting: Sequence[Span], reasons: Mapping[AgentType, str], queued: Queued) -> dict[str, str]:
    """By the ids of spans that go on, what holds them. reasons: by agent type. queued: calls that nobody is at."""
    calls, lost = queued.calls.get(run, Counter[str]()), queued.lost.get(run, Counter[str]())
    of_task = Counter[str]()
    for span in waiting:
        of_task[task_of(span)] += max(1, int(span.facts.get("items", 1)) - int(span.facts.get("ended_items", 0)))
    found: dict[str, str] = {}
    for span in waiting:
        agent_type, count = str(span.facts.get("agent_type", "")), calls[task_of(span)]
        lying, gone = _lying(count, of_task[task_of(span)], lost[task_of(span)]), taken_by_lost(lost[task_of(span)])
        unserved = "no worker serves it" if (lying or gone) and agent_type in queued.unserved else ""
        if told := "; ".join(filter(None, (lying, gone, unserved, reasons.get(agent_type, "")))):
            found[span.id] = told
    return found


def _lying(count: int, total: int, lost: int) -> str:
    if not count:
        return ""
    # Of a foreach whose items are not known, all there is to count is what was handed to workers.
    total = max(total, count + lost)
    return "in the queue of workers" if count == total else f"{count:,} of {total:,} in the queue of workers"


async def _looked(
    place: JournalPlace, agents: Mapping[AgentType, Sequence[AgentId]]
) -> tuple[dict[AgentType, str], Queued]:
    async with AsyncExitStack() as stores:
        reach = await stores.enter_async_context(Reach(place.store, place.namespace).opened())
        log = await stores.enter_async_context(EventPlace(place.store, place.namespace).opened())
        store = Remembering(reach, Names(time.monotonic))
        shared = Shared(store, Known())
        pools, breakers, limits = await shared.pools(), await shared.breakers(), await shared.limits()
        queues = await Queues(store, log).read()
        workers = await list_workers(store)
        now_us = (await trip(store)).clock_us
    serving = Counter(name for each in workers if each.state == "alive" for name in each.types)
    reasons = blocked(breakers.rows, pools.rows, limits.rows, agents)
    for agent_type, why in reasons.items():
        reasons[agent_type] = why + _open_for(breakers.rows, {agent_type, *agents.get(agent_type, ())}, now_us)
    lost = frozenset(each.id for each in workers if each.state == "lost")
    return reasons, in_queues(with_workers(queues.rows, serving), lost)


def _open_for(breakers: Iterable[BreakerRow], names: AbstractSet[str], now_us: int) -> str:
    """For how much longer the first of these breakers is open, and after which error."""
    away = [row for row in breakers if row.state in _AWAY and row.name in names]
    ends = [row for row in away if row.until_us is not None]
    first = min(ends, key=lambda row: row.until_us or 0, default=None)
    if first is None:
        return ""
    after = f", after {first.error}" if first.error is not None else ""
    return f" for {lasting((first.until_us or 0) - now_us)} more{after}"


def _agents_of(spans: Iterable[Span]) -> dict[AgentType, list[AgentId]]:
    """The agents of each type that the run has called so far."""
    found: dict[AgentType, dict[AgentId, None]] = {}
    for span in spans:
        agent_type = span.facts.get("type" if span.kind == "call" else "agent_type")
        agent_id = span.facts.get("agent" if span.kind == "call" else "agent_id")
        if agent_type and agent_id:
            found.setdefault(str(agent_type), {})[str(agent_id)] = None
    return {agent_type: list(ids) for agent_type, ids in found.items()}
