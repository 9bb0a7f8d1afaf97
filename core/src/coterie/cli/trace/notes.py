"""What is to say beside a row: why it failed, who is at it, what it waited for."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from coterie.cli.trace.words import shortened, took
from coterie.cli.words import clipped
from coterie.timeline.span import Fact, Span

__all__ = ["note_of", "note_of_several"]

_CHARS = 100
_ERRORS = 2


def note_of(span: Span) -> str:
    """Of one span; empty where its name says it all."""
    told = _BY_KIND.get(span.kind, _lap)(span)
    return clipped(told, _CHARS)


def note_of_several(spans: Sequence[Span], now_us: int) -> str:
    """Of spans that share a row: how they ended, how long they took, what went wrong most."""
    times = sorted(span.until_us(now_us) - span.begun_us for span in spans)
    states = Counter(span.state for span in spans if span.state is not None)
    parts = [f"{count:,} {state}" for state, count in states.most_common()]
    wrong = Counter(filter(None, map(_wrong, spans)))
    parts += [name if len(spans) == count else f"{count:,} {name}" for name, count in wrong.most_common(_ERRORS)]
    if times[-1]:
        shortest, middle, longest = took(times[0]), took(round(statistics.median(times))), took(times[-1])
        parts.append(f"{shortest} each" if shortest == longest else f"{shortest} to {longest}, median {middle}")
    return clipped("; ".join(parts), 2 * _CHARS)


def _unit(span: Span) -> str:
    facts, parts = span.facts, []
    if "error_type" in facts:
        parts.append(f"{facts['error_type']}: {facts.get('error_message', '')}")
    attempts = facts.get("attempts", 0)
    if isinstance(attempts, int) and attempts > 1:
        parts.append(f"{attempts} attempts")
    if "items" in facts:
        failed = f", {facts['failed_items']} failed" if facts.get("failed_items") else ""
        ended = f"{facts['ended_items']} of " if "ended_items" in facts else ""
        parts.append(f"{ended}{facts['items']} items{failed}")
    if "worker" in facts:
        parts.append(f"worker {facts['worker']}")
    if "owner" in facts:
        parts.append(shortened(str(facts["owner"])))
    return "; ".join(parts)


def _question(span: Span) -> str:
    asked = f"{span.facts.get('role', 'somebody')}: {span.facts.get('question', '')}"
    by = span.facts.get("by")
    return f"{asked} ({by})" if by else asked


def _visit(span: Span) -> str:
    trigger, to = span.facts.get("trigger"), span.facts.get("to")
    left = f"left by {trigger}{f' for {to}' if to else ''}" if trigger else ""
    return "; ".join(filter(None, [left, _unit(span)]))


def _lap(span: Span) -> str:
    return _wrong(span) or "; ".join(filter(None, (_fact(name, value) for name, value in span.facts.items())))


def _fact(name: str, value: Fact) -> str:
    """One fact of a lap for people; empty where it says nothing more."""
    if (name, value) in _SAID:
        return _SAID[name, value]
    told = f"{value:,}" if isinstance(value, int) else f"{value:.3g}" if isinstance(value, float) else shortened(value)
    return _FACTS[name].format(told) if name in _FACTS else ""


def _wrong(span: Span) -> str:
    """What went wrong in it, in short."""
    if "error_type" in span.facts:
        return str(span.facts["error_type"])
    told = span.facts.get("by") if span.kind == "refused" else span.facts.get("error")
    return "" if told is None else str(told)


# Of laps: what is worth a word. The rest is in the document.
_FACTS: Mapping[str, str] = MappingProxyType(
    {
        "after": "taken over from {}",
        "bytes": "{} bytes",
        "of": "of {}",
        "quota": "quota of {}",
        "retry_after_s": "again in {} s",
        "to": "by {}",
        "why": "{}",
        "worker": "{} took it",
    }
)
_SAID: Mapping[tuple[str, Fact], str] = MappingProxyType(
    {
        ("for", "refusal"): "until it may be better",
        ("for", "store"): "for the store",
        ("place", "local"): "for a slot of its process",
        ("place", "pool"): "for one of the pool",
        ("place", "worker"): "for a worker",
        ("replayed", True): "replayed",
        ("why", "first"): "",
        ("why", "lost"): "not heard of any more",
        ("why", "drained"): "stopped before it was done",
        ("why", "unfinished"): "begun before, and not finished",
        ("why", "goes_on"): "it went on elsewhere",
        ("why", "changed"): "asked with something else than before",
        ("why", "cleared"): "cleared",
        ("why", "forced"): "to be done again",
        ("why", "forgotten"): "forgotten",
        ("why", "output_gone"): "its output was gone",
    }
)
_BY_KIND: Mapping[str, Callable[[Span], str]] = MappingProxyType(
    {"task": _unit, "item": _unit, "undo": _unit, "visit": _visit, "person": _question}
)
