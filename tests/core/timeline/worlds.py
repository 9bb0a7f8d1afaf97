"""Journals as they could be: any plan, any part of it recorded, laps anywhere, clocks that differ, claims."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from coterie import Approval, Decision, ForEach, Plan, Task
from coterie._rules.approval import Ask, Sheet, sheet_path
from coterie._rules.approval_answer import Expired
from coterie._rules.foreach import keys_of
from coterie._rules.journal import RUN
from coterie._rules.journal_text import Claim, Record
from coterie._rules.lap import KINDS, Lap
from coterie.journal.header import Header
from coterie.journal.journal import status_text
from coterie.journal.place import place_of

__all__ = ["NOW_S", "World", "schedules", "worlds"]

NOW_S = 1_800_000_000.0
_LENGTH_US = 1_000_000_000
# A worker's claim is over long before that, or long after.
_LEASES_US = st.sampled_from([-3_600_000_000, 3_600_000_000])


@dataclass(frozen=True)
class World:
    """The texts of a run; laps: how many its records have; units: the names of those with a record or a claim."""

    plan: Plan
    texts: dict[str, str]
    laps: int
    units: frozenset[str]


@st.composite
def worlds(draw: st.DrawFn) -> World:
    """A run of a plan of up to eight tasks at any time, whoever wrote what."""
    tasks = draw(_tasks())
    plan = Plan("world", tasks)
    header = Header(plan.name, plan.hash, begun_at=NOW_S - draw(st.integers(0, 900)), document=plan.to_dict())
    headers = [header.text(), header.text(), Header(begun_at=header.begun_at).text(), None]
    text = draw(st.sampled_from(headers))
    # The steps of a call are kept in a book that nobody began.
    texts = {} if text is None else {"run": text}
    laps, units = 0, set()
    for task in tasks:
        keys = [None] if task.foreach is None else keys_of(task.foreach, list(task.foreach.items or ()), task.id)
        for key in keys:
            place, what = place_of(task.id, key), draw(st.sampled_from(["record", "claim", "both", "nothing"]))
            name = place.claim.partition("/")[2]
            if what in ("record", "both"):
                record = draw(_records())
                laps += len(record.laps)
                texts[place.record] = record.text()
            if what in ("claim", "both"):
                texts[place.claim] = Claim(1, 0, f"worker {name}").text()
                texts[place.pulse] = str(round(NOW_S * 1e6) + draw(_LEASES_US))
            if what != "nothing":
                units.add(name)
        if task.approval is not None and draw(st.booleans()):
            texts[sheet_path(task.id)] = draw(_sheets(task.approval))
            units.add(task.id)
    texts |= draw(_whole())
    if not texts:
        texts = {"run": header.text()}
    return World(plan, texts, laps, frozenset(units))


@st.composite
def schedules(draw: st.DrawFn) -> tuple[list[list[int]], list[int], list[int]]:
    """Of some tasks: which each waits for (by number, smaller), how long it takes, how late it begins."""
    count = draw(st.integers(1, 9))
    before = [sorted(draw(st.sets(st.integers(0, n - 1), max_size=3))) if n else [] for n in range(count)]
    times = [draw(st.integers(50_000, 900_000)) for _ in range(count)]
    lags = [draw(st.sampled_from([0, 0, 300, 700_000])) for _ in range(count)]
    return before, times, lags


@st.composite
def _tasks(draw: st.DrawFn) -> list[Task]:
    tasks: list[Task] = []
    for n in range(draw(st.integers(1, 8))):
        after = sorted(draw(st.sets(st.sampled_from([task.id for task in tasks]), max_size=3))) if tasks else []
        kind = draw(st.sampled_from(["plain", "plain", "foreach", "person"]))
        more: dict[str, Any] = {}
        if kind == "foreach":
            more["foreach"] = ForEach(items=list(range(draw(st.integers(1, 4)))))
        if kind == "person":
            more["approval"] = Approval("Go on?")
        tasks.append(Task(f"t{n}", "work", depends_on=after, **more))
    return tasks


@st.composite
def _records(draw: st.DrawFn) -> Record:
    took_us = draw(st.integers(0, _LENGTH_US))
    # Also of the future: clocks differ.
    ended_us = round(NOW_S * 1e6) - draw(st.integers(-5_000_000, _LENGTH_US))
    state = draw(st.sampled_from(["succeeded", "succeeded", "failed"]))
    result: dict[str, Any] = {"state": state, "attempts": draw(st.integers(1, 3)), "duration_s": took_us / 1e6}
    result |= {"output": {"value": None}} if state == "succeeded" else {"error": {"type": "E", "message": "m"}}
    laps = draw(st.lists(_laps(ended_us - took_us, took_us), max_size=5))
    usage = draw(st.sampled_from([{}, {"cost_micros": 7, "input_tokens": 3}]))
    return Record(0, "0" * 32, result, "local", ended_us / 1e6, usage, laps=tuple(laps))


@st.composite
def _laps(draw: st.DrawFn, begun_us: int, took_us: int) -> Lap:
    kind = draw(st.sampled_from([*KINDS, "of a newer coterie"]))
    # Also before and behind the work itself.
    at_us = begun_us + draw(st.integers(-1_000, took_us + 1_000))
    facts = draw(st.sampled_from([{}, {"error": "E: m"}, {"name": "step 1"}]))
    return Lap(kind, at_us, draw(st.integers(0, max(1, took_us // 2))), facts)


@st.composite
def _sheets(draw: st.DrawFn, approval: Approval) -> str:
    decided = Decision("approve", "ann", NOW_S - draw(st.integers(0, 900)))
    asked = Ask(approval, "boss", "0" * 64, at=NOW_S - draw(st.integers(0, 900)))
    return Sheet(asked, draw(st.sampled_from([None, decided, Expired(NOW_S)]))).text()


@st.composite
def _whole(draw: st.DrawFn) -> dict[str, str]:
    """Of the run as a whole: nothing, that somebody has it, that he had it, that it ended."""
    what = draw(st.sampled_from(["nothing", "held", "lost", "ended"]))
    if what == "ended":
        return {RUN.record: status_text(draw(st.sampled_from(["succeeded", "failed", "cancelled"])), NOW_S, "local")}
    if what == "nothing":
        return {}
    until_us = round(NOW_S * 1e6) + (3_600_000_000 if what == "held" else -3_600_000_000)
    return {RUN.claim: Claim(1, 0, "whoever").text(), RUN.pulse: str(until_us)}
