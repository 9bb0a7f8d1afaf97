"""What the spans of a run come to: where the time went, what it cost, what failed first, what is going on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from coterie.errors import BreakerOpen
from coterie.ids import TaskId, TaskState
from coterie.plan import Plan
from coterie.timeline.critical import Piece
from coterie.timeline.span import Span, Time, children_of
from coterie.timeline.standing import standing_of
from coterie.usage import Usage

__all__ = [
    "Failure",
    "Spending",
    "TriedAgain",
    "cause_of",
    "first_failure",
    "spending",
    "time_of_path",
    "time_of_work",
    "tried_again",
]

_UNITS = ("task", "item", "undo")


class Failure(NamedTuple):
    """What failed first. blocked: tasks of the plan that never began because of it.

    cause: where a breaker refused it, with what the last call of an agent of its type had failed before; None where no
    such call is recorded.
    """

    span: Span
    task_id: TaskId
    type: str
    message: str
    blocked: int
    cause: str | None = None


class Spending(NamedTuple):
    """What agents used: in all, by task, and by the type of agent."""

    total: Usage
    by_task: Mapping[TaskId, Usage]
    by_agent_type: Mapping[str, Usage]


class TriedAgain(NamedTuple):
    """attempts: how many were followed by another, or by refusals alone. refusals: how often work was told not now, and
    by whom.

    errors: with what these attempts failed, as far as their calls are recorded, the most frequent first. lost: how many
    came to nothing because of their worker, by the worker. given_up: of the attempts, those after which nobody was
    called any more.
    """

    attempts: int
    refusals: Mapping[str, int]
    errors: Mapping[str, int]
    lost: Mapping[str, int]
    given_up: int = 0


def time_of_path(pieces: Iterable[Piece]) -> dict[Time, int]:
    """Microseconds of the critical path by what they went to, the most first: they add up to the run's length."""
    return _most_first((piece.kind, piece.ended_us - piece.begun_us) for piece in pieces)


def time_of_work(spans: Sequence[Span], now_us: int) -> dict[Time, int]:
    """Microseconds that all spans took by themselves, by what they went to, the most first.

    What went on side by side counts twice; what only holds other work does not count.
    """
    within = children_of(spans)
    alone = ((span.time, _own_us(span, within.get(span.id, ()), now_us)) for span in spans if span.time != "ready")
    return _most_first(alone)


def spending(spans: Iterable[Span]) -> Spending:
    """What agents used, as the units' records have it."""
    by_task: dict[TaskId, Usage] = {}
    by_type: dict[str, Usage] = {}
    for span in spans:
        usage = _usage(span) if span.kind in _UNITS else None
        if usage:
            task_id, agent_type = task_of(span), str(span.facts.get("agent_type") or span.facts.get("agent_id") or "?")
            by_task[task_id] = by_task.get(task_id, Usage()) + usage
            by_type[agent_type] = by_type.get(agent_type, Usage()) + usage
    return Spending(sum(by_task.values(), Usage()), by_task, by_type)


def first_failure(spans: Iterable[Span], plan: Plan | None) -> Failure | None:
    """What failed first of all that did."""
    known = list(spans)
    failed = [span for span in known if span.kind in _UNITS and span.state == "failed" and "error_type" in span.facts]
    first = min(failed, key=lambda span: (span.ended_us or 0, span.id), default=None)
    if first is None:
        return None
    task_id = task_of(first)
    error, message = str(first.facts["error_type"]), str(first.facts.get("error_message", ""))
    return Failure(first, task_id, error, message, _blocked(known, plan, task_id), cause_of(first, known))


def tried_again(spans: Iterable[Span]) -> TriedAgain:
    """What went wrong on the way, and was tried again."""
    attempts, failed = dict[str, int](), set[str]()
    calls: dict[str, list[Span]] = {}
    refused: dict[str, int] = {}
    refusals, lost = Counter[str](), Counter[str]()
    for span in spans:
        if span.kind in _UNITS:
            attempts[span.id] = max(0, int(span.facts.get("attempts", 0)) - 1)
            failed |= {span.id} if span.state == "failed" else set()
        elif span.kind == "call":
            calls.setdefault(_unit_of(span), []).append(span)
        elif span.kind == "refused":
            refusals[str(span.facts.get("by", "?"))] += 1
            refused[_unit_of(span)] = max(refused.get(_unit_of(span), 0), span.begun_us)
        elif span.kind == "lost":
            lost[str(span.facts.get("worker", "?"))] += 1
    errors, given_up = Counter[str](), 0
    for unit, each in calls.items():
        last = each[-1]
        is_refused = "error" in last.facts and refused.get(unit, 0) >= last.until_us(0)
        given_up += is_refused
        # Of a worker that was refused after it had failed, the next counts anew.
        ends = sum("error" in call.facts for call in each if is_refused or call is not last)
        attempts[unit] = max(attempts.get(unit, 0), ends)
        errors.update(_followed(each, is_end=unit in failed and not is_refused))
    by_whom, wrong, gone = (dict(counted.most_common()) for counted in (refusals, errors, lost))
    return TriedAgain(sum(attempts.values()), by_whom, wrong, gone, given_up)


def _followed(calls: Sequence[Span], *, is_end: bool) -> Iterable[str]:
    """The errors of a unit's calls that were followed by something. is_end: whether the last of them was the end."""
    wrong = [str(call.facts["error"]) for call in calls if "error" in call.facts]
    return wrong[:-1] if is_end else wrong


def cause_of(refused: Span, spans: Iterable[Span]) -> str | None:
    """Where a breaker refused it for good: the error of the last call before, of whatever task of its type of agent."""
    if refused.facts.get("error_type") != BreakerOpen.__name__:
        return None
    agent_type, ended_us = refused.facts.get("agent_type"), refused.until_us(0)
    failed = [
        span
        for span in spans
        if span.kind == "call" and "error" in span.facts and span.until_us(0) <= ended_us
        if agent_type in (None, span.facts.get("type"))
    ]
    last = max(failed, key=lambda span: (span.until_us(0), span.id), default=None)
    return None if last is None else str(last.facts["error"])


def _unit_of(lap: Span) -> str:
    """The id of the span of the unit that a lap is of."""
    return lap.id.rpartition("!")[0]


def task_of(span: Span) -> TaskId:
    """The task that a span of a task, an item or a compensation is of."""
    return span.id.partition("/")[2].partition("/")[0] if span.kind == "item" else span.name


def _own_us(span: Span, children: Sequence[Span], now_us: int) -> int:
    """What a span took while none of its children did."""
    left_us = span.until_us(now_us) - span.begun_us
    covered_us = span.begun_us
    for child in sorted(children, key=lambda child: child.begun_us):
        ended_us = child.until_us(now_us)
        left_us -= max(0, ended_us - max(covered_us, child.begun_us))
        covered_us = max(covered_us, ended_us)
    return left_us


def _usage(span: Span) -> Usage:
    return Usage(
        *(int(span.facts.get(name, 0)) for name in ("requests", "input_tokens", "output_tokens", "cost_micros"))
    )


def _blocked(spans: Sequence[Span], plan: Plan | None, task_id: TaskId) -> int:
    if plan is None or task_id not in plan.graph.position:
        return 0
    graph, tasks = plan.graph, {span.name: span for span in spans if span.kind == "task"}
    ended: dict[TaskId, TaskState] = {
        name: "failed" if span.state == "failed" else "succeeded"
        for name, span in tasks.items()
        if span.state in ("failed", "succeeded") and span.ended_us is not None
    }
    never = {one.task_id for one in standing_of(plan, ended, tasks.keys()).ahead if one.because is not None}
    after: set[int] = set()
    pending = [graph.position[task_id]]
    while pending:
        for i in graph.dependents[pending.pop()]:
            if i not in after and graph.ids[i] in never:
                after.add(i)
                pending.append(i)
    return len(after)


def _most_first(times: Iterable[tuple[Time, int]]) -> dict[Time, int]:
    sums: Counter[Time] = Counter()
    for kind, took_us in times:
        sums[kind] += took_us
    return {kind: took_us for kind, took_us in sums.most_common() if took_us}
