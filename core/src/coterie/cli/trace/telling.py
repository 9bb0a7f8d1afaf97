"""The lines above the tree: how long it took, what the time went to, what failed first, and what is going on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from coterie.cli.fleet.times import clock_time
from coterie.cli.runs.documents import money
from coterie.cli.trace.words import TIME_WORDS, share, shortened, took
from coterie.cli.words import clipped, count_of
from coterie.timeline.critical import Critical, Piece
from coterie.timeline.span import Span, Time
from coterie.timeline.sums import cause_of, first_failure, spending, task_of, time_of_path, time_of_work, tried_again
from coterie.timeline.tree import Timeline

__all__ = ["Told", "lines_of", "lines_of_span"]

_MESSAGE_CHARS = 300
_KINDS = 4
_ERRORS, _ERROR_CHARS = 2, 120
_NAMES = 3
_GOING_ON = 5
_NOT_GOOD = ("failed", "partial", "cancelled", "lost")
_ANSWER = "coterie approve, or reject"
_AT_ONCE_US = 20_000
# Of one task alone, all time is.
_FEWEST = 2


class Told(NamedTuple):
    """One line: what it is about, and what it says. bad: it is what somebody looks for."""

    about: str
    text: str
    bad: bool = False


def lines_of(timeline: Timeline, critical: Critical) -> list[Told]:
    """What a person wants to know first."""
    found = [Told("took", _took(timeline)), Told("time", _time(timeline, critical))]
    found += [*_failed(timeline), *_longest(timeline, critical), *_tried_again(timeline.spans)]
    for told in (_going_on, _held, _left, _ahead, _used):
        found += told(timeline)
    found += [Told("note", note) for note in timeline.notes]
    return [*found, Told("trace", timeline.trace_id)] if timeline.trace_id else found


def lines_of_span(timeline: Timeline, critical: Critical, top: Span) -> list[Told]:
    """What is to say about one task or item."""
    within = _below(timeline.spans, top)
    length_us = top.until_us(timeline.now_us) - top.begun_us
    so_far = " so far" if top.ended_us is None else ""
    attempts = f", {count_of(int(top.facts['attempts']), 'attempt')}" if top.facts.get("attempts") else ""
    found = [Told("took", f"{took(length_us)}{so_far}{attempts}; begun {clock_time(top.begun_us)}")]
    times = time_of_work(within, timeline.now_us)
    beside = ", side by side" if sum(times.values()) > length_us else ""
    found.append(Told("time", _shares(times, max(length_us, sum(times.values()))) + beside))
    if "error_type" in top.facts:
        error = clipped(f"{top.facts['error_type']}: {top.facts.get('error_message', '')}", _MESSAGE_CHARS)
        found.append(Told("failed", error + _caused(cause_of(top, timeline.spans)), bad=True))
    found += _waited_for(timeline, top)
    if top.id in critical.slack:
        slack_us = critical.slack[top.id]
        spare = f"could have ended {took(slack_us)} later" if slack_us else "the run's end waited for it"
        found.append(Told("slack", spare))
    found += _tried_again(within)
    whys = dict.fromkeys(timeline.held[span.id] for span in within if span.id in timeline.held)
    found += [Told("held", ". ".join(list(whys)[:_NAMES]), bad=True)] if whys else []
    return found


def _below(spans: Sequence[Span], top: Span) -> list[Span]:
    ids = {top.id}
    found = [top]
    for span in spans:
        if span.parent in ids:
            ids.add(span.id)
            found.append(span)
    return found


def _waited_for(timeline: Timeline, top: Span) -> Iterator[Told]:
    before = [span for span in timeline.spans if span.id in top.links]
    if not before:
        return
    last = max(before, key=lambda span: span.until_us(timeline.now_us))
    waited_us = max(0, top.begun_us - last.until_us(timeline.now_us))
    begun = "began at once" if waited_us < _AT_ONCE_US else f"began {took(waited_us)} after it could have"
    others = f", last for {last.name}" if len(before) > 1 else ""
    named = ", ".join(span.name for span in before[:_NAMES]) + (" …" if len(before) > _NAMES else "")
    yield Told("waited", f"for {named}{others}; {begun}")


def _shares(times: Mapping[Time, int], whole_us: int) -> str:
    parts = [
        f"{TIME_WORDS[kind]} {share(took_us, whole_us)} ({took(took_us)})"
        for kind, took_us in times.items()
        if took_us * 100 >= whole_us
    ]
    return ", ".join(parts[:_KINDS]) if parts else "nothing yet"


def _took(timeline: Timeline) -> str:
    root, counts = timeline.root, timeline.counts
    tasks = f"{counts.ended:,} of {counts.total:,} tasks ended" if counts.total else f"{count_of(counts.ended, 'task')}"
    parts = [f"begun {clock_time(root.begun_us)}", tasks]
    if counts.failed:
        parts.append(f"{counts.failed:,} failed")
    so_far = {"running": " so far", "waiting": " so far, and it waits", "interrupted": " so far"}
    return f"{took(timeline.length_us)}{so_far.get(timeline.state, '')}; {', '.join(parts)}"


def _time(timeline: Timeline, critical: Critical) -> str:
    return _shares(time_of_path(critical.pieces), timeline.length_us)


def _longest(timeline: Timeline, critical: Critical) -> Iterator[Told]:
    """Which tasks the end waited for most, and what these did meanwhile."""
    tops = _tops(timeline.spans)
    pieces: dict[str, list[Piece]] = {}
    for piece in critical.pieces:
        if piece.span != timeline.root.id:
            pieces.setdefault(tops[piece.span], []).append(piece)
    times = {name: time_of_path(each) for name, each in pieces.items()}
    if len(times) < _FEWEST:
        return
    ranked = sorted(times, key=lambda name: -sum(times[name].values()))
    parts = [
        f"{name} {share(sum(times[name].values()), timeline.length_us)} ({TIME_WORDS[next(iter(times[name]))]})"
        for name in ranked[:_NAMES]
    ]
    yield Told("longest", f"{', '.join(parts)}; {count_of(len(times), 'task')} on the critical path")


def _tops(spans: Sequence[Span]) -> dict[str, str]:
    """By the ids of spans: the name of what they lie in, right below the run."""
    found: dict[str, str] = {}
    for span in spans:
        if span.parent is not None:
            found[span.id] = found.get(span.parent, span.name)
    return found


def _failed(timeline: Timeline) -> Iterator[Told]:
    first = first_failure(timeline.spans, timeline.plan)
    if first is None:
        yield Told("failed", "nothing that is recorded" if timeline.state in _NOT_GOOD else "nothing")
        return
    after = took(max(0, (first.span.ended_us or 0) - timeline.root.begun_us))
    name = first.task_id if first.span.name == first.task_id else f"{first.task_id} {first.span.name}"
    error = clipped(f"{first.type}: {first.message}", _MESSAGE_CHARS)
    error += _caused(first.cause)
    blocked = f"; {count_of(first.blocked, 'task')} never began because of it" if first.blocked else ""
    yield Told("failed", f"{name} first, after {after}: {error}{blocked}", bad=True)


def _caused(cause: str | None) -> str:
    return "" if cause is None else f"; the last call before it: {clipped(cause, _MESSAGE_CHARS)}"


def _tried_again(spans: Sequence[Span]) -> Iterator[Told]:
    again = tried_again(spans)
    parts = []
    if again.attempts:
        were = "attempt failed and was" if again.attempts == 1 else "attempts failed and were"
        by_what = "refusals alone" if again.given_up == again.attempts else "another"
        by_what += " or a refusal" if 0 < again.given_up < again.attempts else ""
        parts.append(f"{again.attempts:,} {were} followed by {by_what}{_errors(again.errors)}")
    if again.refusals:
        by = ", ".join(f"{name} {count:,}" for name, count in list(again.refusals.items())[:_NAMES])
        parts.append(f"{count_of(sum(again.refusals.values()), 'refusal')} ({by})")
    if again.lost:
        lost, workers = sum(again.lost.values()), ", ".join(list(again.lost)[:_NAMES])
        whose = "its worker" if lost == 1 else "their worker" if len(again.lost) == 1 else "their workers"
        parts.append(f"{count_of(lost, 'attempt')} lost with {whose} ({workers})")
    if parts:
        yield Told("tried", "; ".join(parts))


def _errors(errors: Mapping[str, int]) -> str:
    """With what attempts failed, the most frequent first."""
    named = [
        clipped(error, _ERROR_CHARS) + (f" ({count:,} times)" if count > 1 else "")
        for error, count in list(errors.items())[:_ERRORS]
    ]
    more = f", and {count_of(len(errors) - _ERRORS, 'other error')}" if len(errors) > _ERRORS else ""
    return f": {', '.join(named)}{more}" if named else ""


def _going_on(timeline: Timeline) -> Iterator[Told]:
    spans = timeline.going_on
    if not spans:
        return
    questions = {span.parent: span for span in timeline.spans if span.kind == "person" and span.ended_us is None}
    parts = [_at(span, questions.get(span.id), timeline.now_us) for span in spans[:_GOING_ON]]
    more = f" and {len(spans) - _GOING_ON:,} more" if len(spans) > _GOING_ON else ""
    # Only of what somebody is asked, or a machine waits for, it is known what it waits for.
    open_ones = "not ended, so waiting or at work: " if timeline.unended else ""
    yield Told("now", open_ones + ", ".join(parts) + more)


def _held(timeline: Timeline) -> Iterator[Told]:
    """What keeps that from going on, as far as the fleet's state tells."""
    tasks: dict[str, dict[str, None]] = {}
    for span in timeline.spans:
        if span.id in timeline.held:
            tasks.setdefault(timeline.held[span.id], {})[task_of(span)] = None
    if tasks:
        parts = [f"{', '.join(list(names)[:_NAMES])}: {why}" for why, names in list(tasks.items())[:_NAMES]]
        yield Told("held", ". ".join(parts), bad=True)


def _left(timeline: Timeline) -> Iterator[Told]:
    """What nobody does unless a person has it done."""
    left = timeline.root.facts.get("not_undone")
    if left:
        yield Told("not undone", f"{count_of(int(left), 'task')}: coterie runs show {timeline.run}", bad=True)
    resume = f"coterie runs resume {timeline.run}"
    if any(span.kind == "visit" for span in timeline.spans):
        resume = f"coterie machine run MACHINE --team TEAM --run-id {timeline.run}"
    if timeline.state == "interrupted" and timeline.scheduler is None:
        yield Told("left", f"nobody is at it; it goes on with: {resume}", bad=True)
    elif timeline.state == "interrupted":
        goes_on = f"its scheduler ({timeline.scheduler}) goes on with it, or has given up: look at it there"
        yield Told("left", f"nobody is at it now; {goes_on}. If it has given up: {resume}")


def _at(span: Span, question: Span | None, now_us: int) -> str:
    name = span.name if span.kind != "item" else f"{task_of(span)} {span.name}"
    since_us = span.begun_us if question is None else question.begun_us
    age = took(now_us - since_us)
    if question is not None:
        return f"{name} waits for {clipped(str(question.facts.get('role', 'a person')), 60)} since {age} ({_ANSWER})"
    if span.kind == "visit":
        return f"{name} ({span.state} since {age})"
    if span.state == "due":
        parts = [f"ready since {age}", _steps(span)]
        return f"{name} ({', '.join(filter(None, parts))})"
    parts = [f"at most {age}", shortened(str(span.facts.get("owner", ""))), _steps(span)]
    return f"{name} ({', '.join(filter(None, parts))})"


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMES:,} more" if len(names) > _NAMES else ""
    return ", ".join(names[:_NAMES]) + more


def _steps(span: Span) -> str:
    steps = span.facts.get("steps")
    return f"{count_of(int(steps), 'step')} kept" if steps else ""


def _ahead(timeline: Timeline) -> Iterator[Told]:
    unrecorded = [one.task_id for one in timeline.ahead if not one.waits_for]
    waiting = [one for one in timeline.ahead if one.waits_for and one.because is None]
    if waiting and not timeline.is_over:
        named = "; ".join(f"{one.task_id} waits for {_listed(one.waits_for)}" for one in waiting[:_NAMES])
        more = f"; and {len(waiting) - _NAMES:,} more" if len(waiting) > _NAMES else ""
        yield Told("ahead", f"{count_of(len(waiting), 'task')} not begun: {named}{more}")
    if unrecorded:
        more = f" and {len(unrecorded) - _NAMES:,} more" if len(unrecorded) > _NAMES else ""
        why = "cancelled, skipped or not begun: the journal keeps what was done, what failed, and what was refused"
        yield Told("no record", f"{', '.join(unrecorded[:_NAMES])}{more}; {why}", bad=timeline.state == "failed")


def _used(timeline: Timeline) -> Iterator[Told]:
    used = spending(timeline.spans)
    if not used.total:
        return
    tokens = used.total.input_tokens + used.total.output_tokens
    parts = [count_of(tokens, "token")] if tokens else []
    if used.total.cost_micros:
        costly = max(used.by_task, key=lambda name: used.by_task[name].cost_micros)
        most = used.by_task[costly].cost_micros
        parts.append(f"{money(used.total.cost_micros)}, most by {costly}: {money(most)}")
    yield Told("used", "; ".join(parts) or count_of(used.total.requests, "request"))
