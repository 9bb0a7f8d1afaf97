"""What this process knows of a circuit breaker: who may pass without asking, and what it has not told yet.

Nothing is awaited here. While calls pass freely there is a `Tally` of the current generation, and counting a success
on it is all that a call costs; else there is none, and `refused_s` tells whether asking can help.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

from coterie._rules.breaker import Admission, View
from coterie._rules.timeline import SECOND
from coterie.breaker.outcome import Outcome

__all__ = ["FREE", "NOTHING_KNOWN", "Due", "Shadow", "Tally"]

# States in which every call passes.
FREE = frozenset({"closed", "metrics_only", "disabled"})
NOTHING_KNOWN = View("closed", 0, 0, 0, 0, 0, 0, 0, 0, 0, None)
# Of calls that wait to be told, so many runs at most: beyond that the store has stopped answering.
MAX_RUNS = 1_024
# Of a tally that nobody reads: it is emptied now and then.
_UNHEARD = 1_000_000

# Called when a tally wants to be told: at once if it is `urgent`, else soon.
Due = Callable[["Tally"], None]


class Tally:
    """Calls of one generation that have ended, in order of arrival, as runs of equal ones; successes first cost least.

    ok: plain successes since the last run. Whoever counts one does `ok += 1`, and calls `due(tally)` once `ok >= limit`
        or the monotonic clock has reached `until_s`.
    urgent: a failure is among them.
    """

    __slots__ = ("due", "generation", "limit", "ok", "runs", "until_s", "urgent")

    def __init__(self, generation: int, due: Due, *, limit: int = 1, until_s: float = math.inf) -> None:
        self.generation = generation
        self.due = due
        self.limit = limit
        self.until_s = until_s
        self.ok = 0
        self.urgent = False
        self.runs: list[tuple[str, int]] = []

    def add(self, code: Outcome) -> None:
        """Count an end other than a plain success; failures are due at once, with all that came before them."""
        if self.ok:
            self._append("s", self.ok)
            self.ok = 0
        self._append(code, 1)
        self.urgent = self.urgent or code in "fg"
        self.due(self)

    def take(self) -> list[tuple[str, int]]:
        """All that is counted, which is now the caller's to tell."""
        if self.ok:
            self._append("s", self.ok)
            self.ok = 0
        runs, self.runs = self.runs, []
        self.urgent = False
        return runs

    @property
    def full(self) -> bool:
        """Whether it holds as much as it may."""
        return len(self.runs) >= MAX_RUNS

    def _append(self, code: str, count: int) -> None:
        runs = self.runs
        if runs and runs[-1][0] == code:
            runs[-1] = (code, runs[-1][1] + count)
        else:
            runs.append((code, count))


class Shadow:
    """The local view. `tally` is set while calls pass freely, and replaced with each generation.

    probes: permits of one trial, in the whole fleet.
    asking: every call has to ask, even where it would pass freely: there is never a tally.
    """

    __slots__ = ("_again_s", "_due", "_monotonic", "_probes", "_round", "asking", "tally", "view")

    def __init__(self, monotonic: Callable[[], float], probes: int) -> None:
        self._monotonic = monotonic
        self._probes = probes
        self._round: dict[str, float] = {}
        self._again_s = 0.0
        self._due: Due = _forget
        self.asking = False
        self.view = NOTHING_KNOWN
        self.tally: Tally | None = None

    def follow(self, view: View, due: Due) -> None:
        """Begin anew from what somebody else knows; `due` is called by the tallies from now on."""
        self._due = due
        self.tally = None
        self.view = NOTHING_KNOWN
        self.take(view)

    def take(self, view: View) -> None:
        """Believe a newer view: of a new generation, or newer counts of the same."""
        known, self.view = self.view, view
        if view.generation != known.generation or view.state != known.state:
            self._round.clear()
        self._again_s = self._monotonic() + view.retry_after_us / SECOND if view.retry_after_us else 0.0
        if self.asking or view.state not in FREE:
            self.tally = None
        elif self.tally is None or view.state != known.state or view.generation != self.tally.generation:
            self.tally = self._new_tally(view)

    def take_admission(self, admission: Admission) -> None:
        """Believe what an answer about one call tells of all: less than a view, since counts are not in it."""
        known = self.view
        if (admission.generation, admission.state) != (known.generation, known.state):
            known = replace(NOTHING_KNOWN, state=admission.state, generation=admission.generation, opened=known.opened)
        self.take(replace(known, retry_after_us=admission.retry_after_us, changed=None))

    def pretend(self, view: View) -> None:
        """Act upon a state that the store has yet to confirm, also where every call has to ask."""
        self.take(view)
        if self.tally is None and view.state in FREE:
            self.tally = self._new_tally(view)

    def stop(self) -> None:
        """Nothing is known any more: every call has to ask."""
        self.asking = True
        self.tally = None
        self._again_s = 0.0

    @property
    def again_s(self) -> float:
        """Seconds until asking can help; 0: it can now."""
        return max(0.0, self._again_s - self._monotonic()) if self._again_s else 0.0

    def refused_s(self) -> float | None:
        """How long a call must wait at least, if that is known without asking; None: ask.

        An open breaker says until when. In a trial, this process's own permits may be all there are.
        """
        wait_s = self.again_s
        if self.view.state == "forced_open":
            return wait_s or self.view.retry_after_us / SECOND
        if wait_s > 0.0:
            return wait_s
        if self.view.state == "half_open" and len(self._round) >= self._probes:
            out = [until_s for until_s in self._round.values() if until_s < math.inf]
            wait_s = min(out, default=0.0) - self._monotonic()
            return wait_s if wait_s > 0.0 else None
        return None

    def refuse_for(self, seconds: float) -> None:
        """An admission was refused: asking again is no use before."""
        self._again_s = self._monotonic() + seconds

    def issued(self, permit_id: str, holds_s: float) -> None:
        """A permit of the present trial was given to this process."""
        self._round[permit_id] = self._monotonic() + holds_s

    def settled(self, permit_id: str, *, counted: bool) -> None:
        """Such a permit came back: for good if its call counted, else to be given anew."""
        if permit_id in self._round:
            if counted:
                self._round[permit_id] = math.inf
            else:
                del self._round[permit_id]
                self._again_s = 0.0

    def _new_tally(self, view: View) -> Tally:
        if view.state == "disabled":
            return Tally(view.generation, _forget, limit=_UNHEARD)
        return Tally(view.generation, self._due)


def _forget(tally: Tally) -> None:
    tally.take()
