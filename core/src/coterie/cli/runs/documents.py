"""Runs as JSON, and in the words that people are shown."""

from __future__ import annotations

from typing import Any

from rich.text import Text

from coterie._rules.timeline import SECOND
from coterie.cli.fleet.times import instant, span
from coterie.cli.words import STYLES, count_of
from coterie.journal.listing import ListedItem
from coterie.journal.view import ClaimView, RunView, UnitView
from coterie.usage import Usage

__all__ = ["WORTH_TELLING_S", "money", "run_document", "run_state", "spent", "unit_document", "worker_of"]

# Agents take seconds; to wait for less is not worth a word.
WORTH_TELLING_S = 1.0

# From here on, nobody counts fractions of a cent.
_LARGE_MICROS = 100_000_000
_STYLES = {**STYLES, "interrupted": "bold yellow", "lost": "bold red", "waiting": "cyan", "open": "cyan"}


def run_document(view: RunView) -> dict[str, Any]:
    """One run, without its units."""
    header, saga = view.header, view.saga
    return {
        "run": view.workflow_id,
        "state": view.state,
        "plan": {"name": header.plan_name, "hash": header.plan_hash} if header.plan_hash else None,
        "team": header.team,
        "begun_by": header.engine_run,
        "begun_at": instant(round(header.begun_at * SECOND)) if header.begun_at else None,
        "ended_at": instant(round(view.ended_at * SECOND)) if view.ended_at is not None else None,
        "claim": _claim(view.claim),
        "saga": None if saga is None else {"why": saga.why, "outcome": saga.outcome, "open_letters": saga.left},
    }


def unit_document(unit: UnitView, item: ListedItem | None) -> dict[str, Any]:
    """One task or item. item: which it is of its list, if that is known."""
    error = None if unit.error is None else {"type": unit.error.type, "message": unit.error.message}
    return {
        "name": unit.name,
        "item": {"key": item.key, "index": item.index} if item is not None else None,
        "state": unit.state,
        "epoch": unit.epoch,
        "attempts": unit.attempts,
        "agent_id": unit.agent_id,
        "by": unit.by,
        "ended_at": instant(round(unit.ended_at * SECOND)) if unit.ended_at is not None else None,
        "duration_s": unit.duration_s,
        "work_s": unit.work_s,
        "waited_s": unit.waited_s,
        "worker": worker_of(unit),
        "usage": unit.usage.to_dict(),
        "error": error,
        "claim": _claim(unit.claim),
    }


def run_state(state: str | None) -> Text:
    """A state, coloured."""
    return Text(state or "not ended", style=_STYLES.get(state or "", "dim"))


def worker_of(unit: UnitView) -> str | None:
    """The worker that had it last; None: it was done where the run is, or nobody has written who did it."""
    laps = () if unit.record is None else unit.record.laps
    return next((str(lap.facts["worker"]) for lap in reversed(laps) if lap.facts.get("worker")), None)


def spent(usage: Usage, work_s: float, waited_s: float = 0.0) -> str:
    """`12 s of work, 3 min 20 s of waiting, 3,200 tokens, 0.42`."""
    tokens = usage.input_tokens + usage.output_tokens
    parts = [f"{span(round(work_s * SECOND))} of work"]
    if waited_s >= WORTH_TELLING_S:
        parts.append(f"{span(round(waited_s * SECOND))} of waiting")
    if tokens:
        parts.append(count_of(tokens, "token"))
    if usage.cost_micros:
        parts.append(money(usage.cost_micros))
    return ", ".join(parts)


def money(micros: int) -> str:
    """Micro-units as `0.42` or `0.0055`: to the last micro-unit, but for large sums."""
    if micros >= _LARGE_MICROS:
        return f"{(micros + 5_000) // 10_000 / 100:.2f}"
    whole, rest = divmod(micros, 1_000_000)
    return f"{whole}.{f'{rest:06}'.rstrip('0'):0<2}"


def _claim(claim: ClaimView | None) -> dict[str, Any] | None:
    if claim is None:
        return None
    return {"owner": claim.owner, "until": instant(claim.until_us), "alive": claim.alive}
