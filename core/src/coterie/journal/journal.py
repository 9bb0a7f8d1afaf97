"""The journal: what was finished is never done again, whoever asks, until a person wants it so."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import replace
from functools import partial
from typing import TypeVar

from coterie._rules import journal as rule
from coterie._rules.journal import RUN, Asked, Busy, Granted, Place, Replayed
from coterie._rules.journal_text import FORMAT, Claim, dumped
from coterie._rules.refusal import RefusalText
from coterie._rules.timeline import SECOND, micros
from coterie._rules.written import Change, Changed, Guard
from coterie.clock import Clock, SystemClock
from coterie.errors import ClaimedElsewhere, PolicyError
from coterie.ids import RunStatus, WorkflowId
from coterie.journal.header import Header, check_header, read_header
from coterie.journal.insisting import InsistingStore
from coterie.journal.intent import Intent
from coterie.journal.left import LeftClaim, LeftClaims
from coterie.journal.outage import Outage
from coterie.journal.owner import is_known_dead, new_owner, told
from coterie.ports import JournalStore

__all__ = ["Journal", "status_text"]

T = TypeVar("T")

_log = logging.getLogger("coterie.journal")

LEASE_S = 30.0
# Between two looks at a claim that somebody else holds; doubled each time, with jitter.
_FIRST_LOOK_S, _LONGEST_LOOK_S = 0.05, 1.0
# So many records are noted in one go at most.
_TOGETHER = 256


class Journal:
    """What runs have finished, in a store that outlives them.

    lease_s: for how long a claim is believed without a word from who holds it, in seconds; he says so three times in
    that time. A process of the same machine that is known to have ended is not waited for.
    outage: of its store, as far as it is insisted on.

    Raises:
        PolicyError: a lease too short to be renewed.
    """

    def __init__(self, store: JournalStore, *, lease_s: float = LEASE_S, clock: Clock | None = None) -> None:
        if not 1.0 <= lease_s <= 86_400.0:
            raise PolicyError(f"the journal has lease_s {lease_s!r}; give 1 to 86400 seconds")
        self.store: JournalStore = store
        self.lease_s = lease_s
        self.clock: Clock = clock or SystemClock()
        self.outage = Outage(_log, "journal.store_away", "journal.store_back", now=self.clock.now)
        self._left = LeftClaims(lease_s)

    def __repr__(self) -> str:
        return f"Journal({self.store!r}, lease_s={self.lease_s:g})"

    def insisting(self, seconds: float) -> Journal:
        """The same, for work that writes what it did for as long as `seconds`, though the store be away."""
        same = copy(self)
        same.store = InsistingStore(self.store, seconds, self.outage)
        return same

    def asked(self, intent: Intent, fingerprint: str = "", owner: str | None = None) -> Asked:
        """Who asks, as the rule wants to know it."""
        return Asked(
            owner or new_owner(),
            fingerprint,
            intent.engine_run,
            micros(self.lease_s),
            intent.demand,
            intent.on_clear,
            intent.force,
            intent.goes_on,
        )

    async def begin(self, run: WorkflowId, header: Header, intent: Intent) -> Header:
        """Have the run in the journal, as whoever came first described it.

        Raises:
            PlanChanged: it began with another plan, and may not go on with this one.
        """
        return await self.store.change(run, ("run",), partial(check_header, run=run, given=header, intent=intent))

    async def claim(
        self, run: WorkflowId, place: Place, asked: Asked, *, what: str, patience_s: float | None
    ) -> Granted | Replayed:
        """Have a unit of work granted or replayed; while somebody else is at it, wait.

        patience_s: how long at most, in seconds; None: as long as he is.

        Raises:
            ClaimedElsewhere: he still is.
        """

        def decision(now: Asked) -> Change[Granted | Replayed | Busy]:
            return partial(rule.claim, place=place, asked=now)

        paths = (*place, RUN.claim, RUN.pulse)
        return await self._have(run, paths, asked, decision, what=what, patience_s=patience_s)

    async def claim_run(self, run: WorkflowId, asked: Asked, *, patience_s: float | None) -> Granted:
        """Have a whole run granted; as `claim`."""

        def decision(now: Asked) -> Change[Granted | Busy]:
            return partial(rule.claim_run, asked=now)

        return await self._have(run, tuple(RUN), asked, decision, what=f"the run {run!r}", patience_s=patience_s)

    async def open_run(self, run: WorkflowId, header: Header, intent: Intent, asked: Asked) -> Granted:
        """Have the run in the journal and claim the whole of it, in one step: who is refused leaves no word there.

        Raises:
            PlanChanged: as `begin`. ClaimedElsewhere: another process is at it.
        """

        def decision(now: Asked) -> Change[Granted | Busy]:
            return partial(_opened, run=run, given=header, intent=intent, asked=now)

        return await self._have(run, ("run", *RUN), asked, decision, what=f"the run {run!r}", patience_s=0.0)

    async def renew(self, run: WorkflowId, pulse: str, guard: Guard) -> bool:
        """Hold a claim for another lease; whether it is still held. pulse: where that is said."""
        decide = partial(rule.renew, pulse=pulse, guard=guard, lease_us=micros(self.lease_s))
        return await self.store.change(run, (guard.path, pulse), decide)

    async def hand_back(
        self, run: WorkflowId, pulse: str, guard: Guard, *, is_all: bool = False, refusal: RefusalText | None = None
    ) -> None:
        """Let others have it at once. Nothing happens where it is somebody else's by now.

        is_all: its owner has nothing else, so that in this process nobody waits for him, even where this fails.
        refusal: what made him give it up.
        """
        owner = Claim.read(guard.text, guard.path).owner if is_all else ""
        if owner:
            self._left.add(LeftClaim(run, Place(guard.path, pulse, ""), owner))

        def decide(texts: Mapping[str, str | None], _: int) -> Changed[None]:
            if texts[guard.path] != guard.text:
                return Changed({}, None)
            told = {} if refusal is None else {refusal.path: refusal.after(texts[refusal.path])}
            return Changed({pulse: None, **told}, None)

        paths = (guard.path, pulse) if refusal is None else (guard.path, pulse, refusal.path)
        await self.store.change(run, paths, decide)
        self._left.drop(owner)

    async def take_back(self, run: WorkflowId, place: Place, owner: str, *, is_all: bool = False) -> None:
        """Hand back what may have been granted to one who will never hear of it. is_all: as of `hand_back`."""
        if is_all:
            self._left.add(LeftClaim(run, place, owner))

        def decide(texts: Mapping[str, str | None], _: int) -> Changed[None]:
            held = Claim.read(texts[place.claim], place.claim)
            return Changed({place.pulse: None} if held.owner == owner else {}, None)

        await self.store.change(run, (place.claim, place.pulse), decide)
        self._left.drop(owner)

    def give_up(self, run: WorkflowId, place: Place, owner: str) -> None:
        """Have nobody in this process wait for one who acts no more, and could not hand back what he had."""
        self._left.add(LeftClaim(run, place, owner))

    async def hand_back_left(self) -> None:
        """Hand back what this process gave up while the store was away.

        Raises:
            Unavailable: it still is; they lapse with their leases.
        """
        for run, place, owner in self._left.claims():
            await self.take_back(run, place, owner)

    async def note_seen(self, run: WorkflowId, place: Place, intent: Intent) -> bool:
        """Remember that the engine took a success for one: only then does a clear mean that it is to run again."""

        def decide(texts: Mapping[str, str | None], _: int) -> Changed[bool]:
            return rule.note_seen(texts, place, intent.engine_run, intent.demand)

        return await self.store.change(run, (place.record,), decide)

    async def note_all_seen(self, run: WorkflowId, places: Sequence[Place], intent: Intent) -> int:
        """As `note_seen`, of many, in as few writes as may be; how many of them the journal has as successes."""
        found = 0
        for first in range(0, len(places), _TOGETHER):
            these = places[first : first + _TOGETHER]
            decide = partial(_note_seen, places=these, intent=intent)
            found += await self.store.change(run, [place.record for place in these], decide)
        return found

    async def held_s(self, run: WorkflowId, place: Place) -> float:
        """For how many seconds a unit of work, or the run around it, is somebody's unless he says so again; 0: free."""
        texts, now = await self.store.get(run, (place.pulse, RUN.pulse))
        return max(0, *(int(text) - now for text in texts.values()), 0) / SECOND

    async def conclude(self, run: WorkflowId, status: RunStatus, *, by: str) -> None:
        """Record how a run ended whose tasks were claimed one by one; nothing happens where nobody began it."""
        ended = status_text(status, self.clock.now(), by)

        def decide(texts: Mapping[str, str | None], _: int) -> Changed[None]:
            return Changed({RUN.record: ended} if texts["run"] is not None else {}, None)

        await self.store.change(run, ("run", RUN.record), decide)

    async def forget(self, run: WorkflowId, place: Place) -> bool:
        """Have a unit of work done anew by whoever asks next; whether there was any."""

        def decide(texts: Mapping[str, str | None], _: int) -> Changed[bool]:
            return rule.forget(texts, place)

        return await self.store.change(run, (*place, RUN.claim), decide)

    async def header(self, run: WorkflowId) -> Header | None:
        """How the run was begun; None if the journal does not know it."""
        texts, _ = await self.store.get(run, ("run",))
        return read_header(texts["run"]) if "run" in texts else None

    async def is_concluded(self, run: WorkflowId) -> bool:
        """Whether the run has ended, and nobody has the whole of it anew."""
        texts, _ = await self.store.get(run, (RUN.record,))
        return RUN.record in texts

    async def aclose(self) -> None:
        """Close the store."""
        await self.store.aclose()

    async def _have(
        self,
        run: WorkflowId,
        paths: tuple[str, ...],
        asked: Asked,
        decision: Callable[[Asked], Change[T | Busy]],
        *,
        what: str,
        patience_s: float | None,
    ) -> T:
        look_s, waited_s = _FIRST_LOOK_S, 0.0
        while True:
            found = await self.store.change(run, paths, decision(asked))
            if not isinstance(found, Busy):
                return found
            if found.owner not in asked.dead and (found.owner in self._left or is_known_dead(found.owner)):
                asked = replace(asked, dead=asked.dead | {found.owner})
                continue
            left_s = max(0.0, (found.until - found.now) / SECOND)
            if patience_s is not None and waited_s >= patience_s:
                raise ClaimedElsewhere(what, owner=told(found.owner), retry_after_s=max(left_s, _FIRST_LOOK_S))
            pause_s = min(look_s, left_s + _FIRST_LOOK_S) * random.uniform(0.5, 1.0)  # noqa: S311  # spreads looks
            await asyncio.sleep(pause_s)
            waited_s, look_s = waited_s + pause_s, min(look_s * 2, _LONGEST_LOOK_S)


def _opened(
    texts: Mapping[str, str | None], now: int, *, run: WorkflowId, given: Header, intent: Intent, asked: Asked
) -> Changed[Granted | Busy]:
    headed = check_header(texts, now, run=run, given=given, intent=intent)
    claimed = rule.claim_run(texts, now, asked)
    return claimed if isinstance(claimed.result, Busy) else claimed._replace(texts={**headed.texts, **claimed.texts})


def status_text(status: RunStatus, at: float, by: str) -> str:
    """What is stored of how a run ended. at: seconds since the epoch. by: the run of an engine that says so."""
    return dumped({"v": FORMAT, "status": status, "at": round(at, 3), "by": by})


def _note_seen(texts: Mapping[str, str | None], _: int, *, places: Sequence[Place], intent: Intent) -> Changed[int]:
    noted = [rule.note_seen(texts, place, intent.engine_run, intent.demand) for place in places]
    written = {path: text for each in noted for path, text in each.texts.items()}
    return Changed(written, sum(each.result for each in noted))
