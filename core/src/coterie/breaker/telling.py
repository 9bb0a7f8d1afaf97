"""What a circuit breaker tells of itself: its transitions, in events and words, and what went wrong last."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from coterie._rules.breaker import View
from coterie._rules.timeline import SECOND
from coterie.errors.root import in_words
from coterie.markdown import harmless
from coterie.telemetry import logs

__all__ = ["MOST_CHARS", "LastFailure", "said", "transition"]

# Of what a failure says; more of it is looked at, so that no secret is cut in two before it is found.
MOST_CHARS = 200
_LOOKED_AT = 3_000

_EVENTS = {"open": "breaker.opened", "half_open": "breaker.half_opened", "closed": "breaker.closed"}


class LastFailure:
    """The last end of a call that this process counted as a failure, or as slow. Nothing of the call is kept alive."""

    __slots__ = ("_said",)

    def __init__(self) -> None:
        self._said = ""

    def failed(self, error: BaseException | None) -> None:
        """A call failed. error: None of one that returned what is judged to be a failure."""
        if error is None:
            self._said = "a result that counts as a failure"
        else:
            words = logs.told(error)[:_LOOKED_AT]
            self._said = f"{type(error).__name__}: {words}" if words else type(error).__name__

    def was_slow(self, took_s: float) -> None:
        """A call succeeded, but took too long."""
        self._said = f"a slow call, of {in_words(took_s)}"

    def forget(self) -> None:
        """It is over: the breaker has closed."""
        self._said = ""

    @property
    def text(self) -> str | None:
        """In one line, without secrets; None where nothing has failed since it was forgotten."""
        # Only now: breakers open seldom, and calls fail often.
        told = harmless(" ".join(logs.cleaned(self._said).split()))
        return (told if len(told) <= MOST_CHARS else f"{told[: MOST_CHARS - 1]}…") or None


def transition(view: View, last: LastFailure) -> tuple[str, dict[str, Any]]:
    """The event of a transition, and its fields; `error` where it opened after a failure."""
    before, _, after = (view.changed or "").partition(">")
    fields: dict[str, Any] = {
        "state": after,
        "before": before,
        "generation": view.generation,
        "retry_after_s": view.retry_after_us / SECOND,
        "failures": view.failures,
        "calls": view.calls,
        "slow": view.slow,
        "opened": view.opened,
    }
    if after == "open" and (error := last.text) is not None:
        fields["error"] = error
    return _EVENTS.get(after, "breaker.forced"), fields


def said(fields: Mapping[str, Any]) -> str:
    """A transition for people: `open, calls are refused for 60 s, after ConnectionError: 503`."""
    state, rest_s = fields["state"], fields["retry_after_s"]
    resting = f"{state}, calls are refused for {in_words(rest_s)}" if state == "open" and rest_s else str(state)
    return f"{resting}, after {fields['error']}" if "error" in fields else resting
