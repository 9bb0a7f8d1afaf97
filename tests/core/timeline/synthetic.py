"""Timelines that never happened: seeded, of any size, with failures, retries, refusals, costs, and hostile names."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

from coterie import ForEach, Plan, Task
from coterie.timeline import Span, Timeline, document_of
from coterie.timeline.span import ROOT, Fact, in_order, time_of

__all__ = ["NOW_US", "synthetic_document", "synthetic_spans", "synthetic_timeline"]

NOW_US = 1_795_841_820_000_000
_ERRORS = (
    ("TimeoutError", "no answer in 30 s"),
    ("ProviderError", "503 </script><script>alert(1)</script>"),
    ("ValueError", 'a "quoted" & <b>bold</b> \u202emessage\u2028with everything'),
)
_TYPES = ("search", "read", "write", "review")


def synthetic_document(seed: int, spans: int) -> dict[str, Any]:
    """The document of a timeline with about so many spans; the same seed gives the same."""
    return document_of(synthetic_timeline(seed, spans))


def synthetic_timeline(seed: int, spans: int, *, is_over: bool | None = None) -> Timeline:
    """A timeline with about so many spans, in a plan of some layers. is_over: whether it ended; else chance says."""
    chance = random.Random(seed)
    over = chance.random() < 0.7 if is_over is None else is_over
    grower = _Grower(chance, over=over)
    found = grower.grow(spans)
    root = found[0]
    plan = Plan("synthetic", grower.tasks)
    state = root.state or "running"
    return Timeline(
        f"synthetic-{seed}", state, grower.now_us, tuple(in_order(found)), plan, plan.hash, plan.name, "local"
    )


def synthetic_spans(seed: int, spans: int) -> tuple[Span, ...]:
    """The spans alone."""
    return synthetic_timeline(seed, spans).spans


class _Grower:
    """tasks: of the plan, as it grows. now_us: when it is looked at."""

    def __init__(self, chance: random.Random, *, over: bool) -> None:
        self._chance = chance
        self._over = over
        self._spans: list[Span] = []
        self.tasks: list[Task] = []
        self.now_us = NOW_US

    def grow(self, size: int) -> list[Span]:
        begun_us = NOW_US - 3_600_000_000
        cursor_us, layer, before = begun_us, 0, []
        while not before or len(self._spans) < size - 1:
            width = self._chance.randint(1, 4)
            before = [self._task(f"t{layer}-{n}", cursor_us, before, size) for n in range(width)]
            cursor_us = max(span.until_us(cursor_us) for span in before)
            layer += 1
            if len(self._spans) > size:
                break
        last_us = max((span.until_us(begun_us) for span in self._spans), default=begun_us)
        self.now_us = max(NOW_US, last_us + 1_000_000)
        if not self._over:
            self.now_us = last_us + 60_000_000
            self._open(before)
        ended_us = last_us + self._chance.randint(0, 50_000) if self._over else None
        failed = any(span.state == "failed" and span.kind == "task" for span in self._spans)
        state = ("partial" if failed else "succeeded") if self._over else "running"
        return [Span(ROOT, None, "synthetic", "run", begun_us, ended_us, state, "ready"), *self._spans]

    def _open(self, last: list[Span]) -> None:
        """Let one more task be under way."""
        links = tuple(span.id for span in last)
        begun_us = max(span.until_us(0) for span in last)
        self.tasks.append(Task("last", _TYPES[0], depends_on=[span.name for span in last]))
        facts: dict[str, Fact] = {"agent_type": _TYPES[0], "owner": "process 7 on host-1"}
        self._spans.append(Span("task/last", ROOT, "last", "task", begun_us, None, "running", "open", facts, links))

    def _task(self, name: str, ready_us: int, before: list[Span], size: int) -> Span:
        waits_for = [span for span in before if self._chance.random() < 0.7] or before[:1]
        begun_us = max((span.until_us(0) for span in waits_for), default=ready_us) + self._chance.randint(0, 400_000)
        agent_type = self._chance.choice(_TYPES)
        links = tuple(span.id for span in waits_for)
        depends_on = [span.name for span in waits_for]
        if self._chance.random() < 0.25:
            self.tasks.append(Task(name, agent_type, depends_on=depends_on, foreach=ForEach(items=[1])))
            return self._foreach(name, begun_us, agent_type, links, size)
        self.tasks.append(Task(name, agent_type, depends_on=depends_on))
        own = Span(f"task/{name}", ROOT, name, "task", begun_us, None, links=links)
        unit = self._unit(own, agent_type)
        self._spans += unit
        return unit[0]

    def _foreach(self, name: str, begun_us: int, agent_type: str, links: tuple[str, ...], size: int) -> Span:
        count = max(1, min(self._chance.randint(1, 60), (size - len(self._spans)) // 4))
        slots = [begun_us] * self._chance.randint(1, 6)
        items: list[Span] = []
        failed = 0
        for n in range(count):
            slot = slots.index(min(slots))
            own = Span(f"item/{name}/{n}", f"task/{name}", f"[{n}] <i>{n}</i>", "item", slots[slot], None)
            unit = self._unit(own, agent_type)
            slots[slot] = unit[0].until_us(0)
            failed += unit[0].state == "failed"
            items += unit
        ended_us = max(span.until_us(0) for span in items)
        facts: dict[str, Fact] = {"agent_type": agent_type, "items": count, "failed_items": failed}
        state = "failed" if failed else "succeeded"
        own = Span(f"task/{name}", ROOT, name, "task", begun_us, ended_us, state, "ready", facts, links)
        self._spans += [own, *items]
        return own

    def _unit(self, own: Span, agent_type: str) -> list[Span]:
        """A unit of work, as long as its laps, and these."""
        laps = _Laps(self._chance, own)
        if self._chance.random() < 0.3:
            laps.add("queue", 2, place="local", priority=0)
        attempts = 1 if self._chance.random() < 0.6 else self._chance.randint(1, 5)
        error = self._chance.choice(_ERRORS) if self._chance.random() < 0.08 else None
        for attempt in range(1, attempts + 1):
            laps.add_attempt(attempt, agent_type, error if attempt == attempts else self._chance.choice(_ERRORS))
            if attempt < attempts:
                laps.add("backoff", attempt, attempt=attempt)
        if self._chance.random() < 0.3:
            laps.add("write", 0.2, bytes=self._chance.randint(1, 10**6))
        ended_us = laps.cursor_us + self._chance.randint(0, 900)
        state = "succeeded" if error is None else "failed"
        facts = self._facts(agent_type, attempts, error)
        return [replace(own, ended_us=ended_us, state=state, facts=facts), *laps.spans]

    def _facts(self, agent_type: str, attempts: int, error: tuple[str, str] | None) -> dict[str, Fact]:
        facts: dict[str, Fact] = {"agent_type": agent_type, "agent_id": f"{agent_type}-1", "attempts": attempts}
        if self._chance.random() < 0.7:
            facts |= {"requests": attempts, "input_tokens": self._chance.randint(1, 9000)}
            facts |= {"output_tokens": self._chance.randint(1, 900), "cost_micros": self._chance.randint(1, 90_000)}
        if error is not None:
            facts |= {"error_type": error[0], "error_message": error[1]}
        return facts


class _Laps:
    """The laps of one unit, one after the other. cursor_us: where the next one begins."""

    def __init__(self, chance: random.Random, unit: Span) -> None:
        self._chance = chance
        self._unit = unit
        self.spans: list[Span] = []
        self.cursor_us = unit.begun_us

    def add(self, kind: str, mean_s: float, /, **facts: Fact) -> Span:
        took_us = max(1, round(self._chance.expovariate(1 / mean_s) * 1_000_000)) if mean_s else 0
        return self._add(kind, took_us, facts)

    def add_attempt(self, attempt: int, agent_type: str, error: tuple[str, str] | None) -> None:
        if self._chance.random() < 0.2:
            self.add("refused", 0, by="breaker:openai", error="BreakerOpen", retry_after_s=2.5)
            self.add("wait", 3, **{"for": "refusal"})
        if self._chance.random() < 0.2:
            self.add("limit", 1, quota="60/min")
        told: dict[str, Fact] = {} if error is None else {"error": f"{error[0]}: {error[1]}"}
        call = self.add("call", 8, attempt=attempt, agent=agent_type, **told)
        parts = self._chance.choice([0, 0, 0, 2, 3])
        share_us = (call.until_us(0) - call.begun_us) // max(1, parts)
        for n in range(parts):
            facts: dict[str, Fact] = {"name": f"step {n}", "replayed": False}
            self._within(call, call.begun_us + n * share_us, share_us, facts)

    def _add(self, kind: str, took_us: int, facts: dict[str, Fact]) -> Span:
        name = f"{self._unit.id}!{len(self.spans)}"
        state = None if kind != "call" else "failed" if "error" in facts else "succeeded"
        ended_us = self.cursor_us + took_us
        span = Span(name, self._unit.id, kind, kind, self.cursor_us, ended_us, state, time_of(kind), facts)
        self.spans.append(span)
        self.cursor_us = ended_us
        return span

    def _within(self, call: Span, begun_us: int, took_us: int, facts: dict[str, Fact]) -> None:
        name = f"{self._unit.id}!{len(self.spans)}"
        ended_us = begun_us + took_us
        self.spans.append(Span(name, call.id, str(facts["name"]), "step", begun_us, ended_us, None, "agent", facts))
