"""What a check finds, and what is to be done about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from coterie.telemetry.logs import cleaned, told

__all__ = ["Finding", "State", "because", "fault", "ok", "skipped", "warning", "worst"]

State: TypeAlias = Literal["ok", "warning", "fault", "skipped"]

_MOST_CHARS = 1200
_BY_WEIGHT: tuple[State, ...] = ("skipped", "ok", "warning", "fault")


@dataclass(frozen=True, slots=True)
class Finding:
    """state: "fault": work fails, or is lost; "warning": it may, or is slower. remedy: what to do; empty if nothing."""

    state: State
    found: str
    remedy: str = ""


def ok(found: str) -> Finding:
    """Nothing is wrong."""
    return Finding("ok", found)


def warning(found: str, remedy: str) -> Finding:
    """Something may go wrong."""
    return Finding("warning", found, remedy)


def fault(found: str, remedy: str) -> Finding:
    """Something is wrong."""
    return Finding("fault", found, remedy)


def skipped(why: str, remedy: str = "") -> Finding:
    """It could not be looked at, or there is nothing to look at."""
    return Finding("skipped", why, remedy)


def because(error: BaseException, remedy: str, *, state: State = "fault") -> Finding:
    """What an error says. Ours name the next step behind their last semicolon; without one there is `remedy`."""
    text = cleaned(told(error) or type(error).__name__)
    found, semicolon, step = text.rpartition("; ")
    return Finding(state, _cut(found), _cut(step)) if semicolon and step else Finding(state, _cut(text), remedy)


def worst(findings: list[Finding]) -> State:
    """The state of the worst of them; "ok" of none."""
    return max((each.state for each in findings), key=_BY_WEIGHT.index, default="ok")


def _cut(text: str) -> str:
    return text if len(text) <= _MOST_CHARS else f"{text[: _MOST_CHARS - 1]}…"
