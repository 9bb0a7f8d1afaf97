"""A circuit breaker that a store shares: what is told to it and when, what is learnt from it, and life without it.

Resident: a shadow of the store's state lets calls pass without a command; ends of calls leave in batches. Transient:
one command before a call, one after it. Away: the store does not answer; this process goes on alone, or refuses, and
looks for the store in the background. What ends meanwhile is never told: late failures would open a healthy breaker.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Literal

from coterie._rules.breaker import Admission, View, admit
from coterie._rules.breaker_policy import BreakerPolicy
from coterie._rules.decided import Operation
from coterie._rules.timeline import SECOND
from coterie.breaker.batch import Batches
from coterie.breaker.ear import Ear
from coterie.breaker.local import LocalRule, Pass, chance, new_permit
from coterie.breaker.note import leave_note
from coterie.breaker.outcome import Outcome
from coterie.breaker.residence import Pace, Residence, Stand, StoreFailure
from coterie.breaker.shadow import Shadow
from coterie.breaker.watch import Watch
from coterie.clock import Clock
from coterie.errors import BreakerOpen, CoterieError, Misuse, StateFormatError, Unavailable
from coterie.ports import StateStore
from coterie.shared_state import warn
from coterie.work import Work, tell_of_forks

__all__ = ["SharedBreaker", "Told"]

_log = logging.getLogger("coterie.breaker")

# Told of what befalls the store: its name, and the error if there is one.
Told = Callable[[Literal["breaker.store_failed", "breaker.store_recovered"], "CoterieError | None"], None]

# A store that does not answer, and one whose state only a newer coterie reads.
FAILURES = (Unavailable, StateFormatError)
# How long a call waits for its report to arrive. It arrives later then, or never: permits expire.
REPORT_S = 2.0
CLOSE_S = 3.0


class SharedBreaker:
    """One breaker of a fleet, as one process sees it."""

    def __init__(
        self,
        name: str,
        policy: BreakerPolicy,
        store: StateStore,
        shadow: Shadow,
        local: LocalRule,
        *,
        clock: Clock,
        pace: Pace,
        residence: Residence,
        on_store_failure: StoreFailure,
        changed: Callable[[View], None],
        told: Told,
    ) -> None:
        self._name = name
        self._key = f"breaker/{name}"
        self._policy = policy
        self._store = store
        self._shadow = shadow
        self._local = local
        self._clock = clock
        self._pace = pace
        self._residence = residence
        self._fail_open = on_store_failure == "fail_open"
        self._changed = changed
        self._told = told
        self.stand: Stand = "new"
        self._born_s: float | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._error: Exception | None = None
        self._batches = Batches(name, policy, store, shadow, pace.flush_s, learned=self._learn_own, lost=self._lose)
        self._inherited: list[Work] = []
        self._settle_in(None)
        tell_of_forks(self)

    # Calls

    async def enter(self) -> Pass:
        """Let one call pass.

        Raises:
            BreakerOpen: it may not.
            Unavailable: the store does not answer, and the policy is "fail_closed".
        """
        self._here()
        if self.stand in {"new", "transient"}:
            await self._take_stand()
        if self.stand == "transient" and not self._by_hand:
            return await self._ask()
        async with self._asking:
            # One at a time: each answer may tell the next caller that asking is no use.
            if self.stand == "away":
                return self._enter_alone()
            tally = self._shadow.tally
            if tally is not None:
                return Pass(self, tally, tally.generation)
            wait_s = self._shadow.refused_s()
            if wait_s is not None:
                raise BreakerOpen(self._name, retry_after_s=wait_s, state=self._shadow.view.state)
            return await self._ask()

    async def leave(self, passed: Pass, code: Outcome) -> None:
        """Tell the store how a call ended that had to ask: one command, waited for, but not for ever.

        Cancelled meanwhile, the report goes on by itself.
        """
        if passed.permit is not None:
            self._shadow.settled(passed.permit, counted=code != "i")
        elif code == "i":
            return
        if self.stand != "away":
            await self._work.within(REPORT_S, self._batches.report(passed, code))

    async def refresh(self) -> None:
        """Tell what waits, and learn what holds now; look for the store if it was away."""
        self._here()
        if self.stand in {"new", "transient"}:
            await self._take_stand()
        if self.stand == "away":
            await self._recover()
        else:
            await self._batches.flush()
            await self._ear.look()

    def lose(self, error: CoterieError) -> None:
        """The store does not answer: go on without it, and look for it in the background."""
        self._here()
        self._lose(error)

    def by_hand(self, operation: Operation[View], pretended: View | None) -> asyncio.Task[None]:
        """A decision by hand: `pretended` holds here at once; the task ends when the store has confirmed it.

        The task raises Unavailable where the store did not: the decision may hold there or not.
        """
        self._here()
        self._by_hand += 1
        if self.stand == "away" and self._fail_open:
            self._local.apply(operation)
        elif pretended is not None:
            self._shadow.pretend(pretended)
        return self._work.start(self._confirm(operation))

    async def _confirm(self, operation: Operation[View]) -> None:
        try:
            view = await self._store.update(self._key, operation)
        except CoterieError as error:
            self._by_hand -= 1
            self._lose(error)
            raise
        except BaseException:
            self._by_hand -= 1
            raise
        self._by_hand -= 1
        if view.changed is not None:
            self._changed(view)
        if self.stand == "away":
            await self._recover()
        elif not self._by_hand:
            self._shadow.take(view)
            self._ear.look_if_passed_over()

    def leave_note(self, error: str) -> None:
        """Say beside the state, in the background, what the breaker was opened after here."""
        if self.stand != "away":
            self._work.start(leave_note(self._store, self._name, error))

    async def aclose(self) -> None:
        """Tell what waits, return what is held, stop listening; at most a few seconds."""
        if self._loop is not asyncio.get_running_loop():
            return
        try:
            await self._work.within(CLOSE_S, self._say_goodbye())
        finally:
            self._watch.stop()
        await self._work.aclose(CLOSE_S)
        self._stop_knowing()

    # One event loop at a time

    def _here(self) -> None:
        """Be of the running loop, anew if that is another one than before.

        Raises:
            Misuse: another loop, in another thread, uses this breaker too.
        """
        loop = asyncio.get_running_loop()
        if loop is self._loop:
            return
        if self._loop is not None and self._loop.is_running():
            raise Misuse(
                f"the circuit breaker {self._name!r} is used by another running event loop; "
                "make one breaker of that name in each loop, on a store of its own"
            )
        self._settle_in(loop)

    def _settle_in(self, loop: asyncio.AbstractEventLoop | None) -> None:
        self._loop = loop
        self._by_hand = 0
        self._work = Work()
        self._asking = asyncio.Lock()
        self._attaching: asyncio.Task[None] | None = None
        self._batches.settle_in(loop, self._work)
        self._ear = Ear(
            self._name,
            self._policy,
            self._store,
            self._shadow,
            self._work,
            attentive=lambda: self.stand == "resident",
            learned=self._learn,
            lost=self._lose,
        )
        self._watch = Watch(
            self._work, self._pace.reconcile_s, look=self._ear.look, recover=self._recover, stopped=self._stop_knowing
        )
        self._stop_knowing()

    async def _take_stand(self) -> None:
        now_s = self._clock.monotonic()
        if self._born_s is None:
            self._born_s = now_s
        soon_gone = self._residence == "auto" and now_s - self._born_s < self._pace.resident_after_s
        if self._residence == "transient" or soon_gone:
            self.stand = "transient"
            self._shadow.asking = True
            return
        if self._attaching is None or self._attaching.done():
            self._attaching = self._work.start(self._attach())
        await asyncio.shield(self._attaching)

    async def _attach(self) -> None:
        try:
            await self._ear.listen()
            view = await self._ear.read()
        except FAILURES as error:
            self._lose(error)
            return
        self._reside(view)

    def _reside(self, view: View) -> None:
        if self._residence == "transient":
            self.stand = "transient"
            self._shadow.asking = True
            self._watch.rest()
        else:
            self.stand = "resident"
            self._shadow.asking = False
            self._watch.keep(away=False)
        self._shadow.follow(view, self._batches.due)
        self._ear.look_if_passed_over()

    # Asking

    async def _ask(self) -> Pass:
        """Ask the store for one call. Cancelled, it leaves no permit behind."""
        permit_id = new_permit()
        operation = admit(self._name, self._policy, permit_id=permit_id, chance=chance())
        asked = self._work.start(self._store.update(self._key, operation))
        try:
            admission = await asyncio.shield(asked)
        except asyncio.CancelledError:
            await self._work.within(REPORT_S, self._give_back(asked))
            raise
        except FAILURES as error:
            self._lose(error)
            return self._enter_alone()
        self._learn_admission(admission)
        if not admission.admitted:
            wait_s = admission.retry_after_us / SECOND
            raise BreakerOpen(self._name, retry_after_s=wait_s, state=admission.state)
        if admission.permit is not None:
            self._shadow.issued(permit_id, admission.holds_us / SECOND)
            return Pass(self, None, admission.generation, permit_id)
        return Pass(self, self._shadow.tally, admission.generation)

    def _enter_alone(self) -> Pass:
        if self._fail_open:
            return self._local.enter_now()
        raise Unavailable(
            f"the circuit breaker {self._name!r} cannot reach its store {self._store.url!r}, and was told to refuse "
            f"then (fail_closed): {self._error}; see that the store runs, or choose on_store_failure='fail_open'"
        ) from self._error

    async def _give_back(self, asked: asyncio.Task[Admission]) -> None:
        try:
            admission = await asked
        except CoterieError:
            # Nothing was granted; or it was, and expires.
            return
        if admission.permit is not None:
            await self._batches.report(Pass(self, None, admission.generation, admission.permit), "i")

    # Learning

    def _learn_own(self, view: View) -> None:
        """Learn what came of a decision made for this process, whose transition nobody else announces."""
        if view.changed is not None:
            self._changed(view)
        self._learn(view)

    def _learn(self, view: View, *, since: int | None = None) -> None:
        """Believe a view, if it is not older than what is known.

        since: the generation known when it was asked for; unchanged since, even a smaller one is news (a store that
            lost its state).
        """
        known = self._shadow.view.generation
        if self._by_hand:
            self._ear.pass_over()
        elif self.stand != "away" and (view.generation >= known or since == known):
            self._shadow.take(view)

    def _learn_admission(self, admission: Admission) -> None:
        known = self._shadow.view
        if admission.changed is not None:
            self._changed(
                replace(known, state=admission.state, generation=admission.generation, changed=admission.changed)
            )
        if self._by_hand:
            self._ear.pass_over()
        elif admission.generation >= known.generation:
            self._shadow.take_admission(admission)

    # The store away, and back

    def _lose(self, error: CoterieError) -> None:
        self._error = error
        if self.stand == "away":
            return
        self.stand = "away"
        if self._fail_open:
            warn(_log, f"breaker.store_failed {self._name}: {error}; this process decides alone until it is back")
        else:
            _log.warning("breaker.store_failed %s: %s; calls are refused until it is back", self._name, error)
        tally = self._shadow.tally
        if tally is not None:
            self._batches.drop(tally)
        self._shadow.asking = False
        if self._fail_open:
            self._local.start(replace(self._shadow.view, retry_after_us=math.ceil(self._shadow.again_s * SECOND)))
        else:
            self._shadow.stop()
        self._watch.keep(away=True)
        self._told("breaker.store_failed", error)

    async def _recover(self) -> bool:
        try:
            if self._residence != "transient":
                await self._ear.listen()
            view = await self._ear.read()
        except CoterieError as error:
            self._error = error
            return False
        if self.stand != "away":
            return True
        self._error = None
        if self._fail_open:
            self._local.refresh()
        lost = self._batches.success_lost or self._local.succeeded
        self._batches.success_lost = self._local.succeeded = False
        self._reside(view)
        if lost and self._policy.mode == "consecutive" and self._shadow.tally is not None:
            # Of what was lost only this matters: failures on either side of a success were not in a row.
            self._shadow.tally.add("s")
        _log.info("breaker.store_recovered %s: %s", self._name, view.state)
        self._told("breaker.store_recovered", None)
        return True

    def _stop_knowing(self) -> None:
        """The loop ends, or the breaker: in another loop everything is asked anew."""
        self.stand = "new"
        self._shadow.stop()

    async def _say_goodbye(self) -> None:
        await self._batches.flush()
        await self._ear.close()

    def forked(self) -> None:
        """In a new process nothing that the old one's loop held goes on; kept, it is not complained of either."""
        self._inherited.append(self._work)
        self._settle_in(None)
