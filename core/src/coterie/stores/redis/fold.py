"""Folds the decisions of several callers over one state, so that they are stored together, in the order of arrival."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from coterie._rules.decided import Decide, Signal, State
from coterie.errors import CoterieError, Misuse
from coterie.stores.states import check_channel, check_message, to_text

__all__ = ["Ask", "Folded", "Outcome", "fold"]


class Ask(NamedTuple):
    """One caller's decision. keep_s: as in `StateStore.update`."""

    decide: Decide[Any]
    keep_s: float | None


class Outcome(NamedTuple):
    """What one caller gets: `error` to raise, else `result`."""

    result: Any
    error: Exception | None


class Folded(NamedTuple):
    """outcomes: one for each caller, in order. text: what to store, None to remove. changed: whether to store at all.

    keep_s: the longest that any caller asked for whose decision changed something; None for ever.
    """

    outcomes: tuple[Outcome, ...]
    changed: bool
    text: str | None
    keep_s: float | None
    signals: tuple[Signal, ...]


def fold(asks: Sequence[Ask], state: State | None, now: int, *, key: str) -> Folded:
    """Decide one after the other. What raises, or returns what cannot be stored, fails its own caller alone."""
    try:
        return _folded(asks, state, now, key=key, one_by_one=False)
    except CoterieError:
        # Somebody's state is no JSON. Whose it is shows only when each is looked at by itself.
        return _folded(asks, state, now, key=key, one_by_one=True)


def _folded(asks: Sequence[Ask], state: State | None, now: int, *, key: str, one_by_one: bool) -> Folded:
    outcomes: list[Outcome] = []
    keeps: list[float | None] = []
    signals: list[Signal] = []
    for decide, keep_s in asks:
        try:
            decided = decide(state, now)
            changed = decided.state is not state
            if changed:
                _check_signals(decided.signals)
                if one_by_one and decided.state is not None:
                    to_text(decided.state, key)
        # Raised at the caller's, by the flight.
        except Exception as error:  # noqa: BLE001
            outcomes.append(Outcome(None, error))
            continue
        outcomes.append(Outcome(decided.result, None))
        if changed:
            state = decided.state
            keeps.append(keep_s)
            signals.extend(decided.signals)
    text = to_text(state, key) if keeps and state is not None else None
    longest = None if None in keeps else max((keep for keep in keeps if keep is not None), default=None)
    return Folded(tuple(outcomes), bool(keeps), text, longest, tuple(signals))


def _check_signals(signals: Sequence[Signal]) -> None:
    for signal in signals:
        if not isinstance(signal, tuple):
            raise Misuse(f"a decision's signals are Signal(channel, message), got {signal!r}")
        check_channel(signal[0])
        check_message(signal[1])
