"""Where the calls of one `Protected` are let through: one pipeline in this process's background loop."""

from __future__ import annotations

import atexit
import os
from collections.abc import Mapping
from concurrent.futures import wait
from weakref import WeakSet

from coterie import sync
from coterie._json import JsonValue, require_json
from coterie.clock import SystemClock
from coterie.errors import Misuse
from coterie.events import Event, Listener
from coterie.ids import AgentId
from coterie.pipeline import Pipeline
from coterie.pipeline.gate import Gate
from coterie.pipeline.persistence import Persistence
from coterie.pipeline.remembered import recall, remember
from coterie.policies import Policies
from coterie.ports import StateStore
from coterie.protect.visit import Visit
from coterie.ref import Ref
from coterie.stores.opening import open_state_store
from coterie.work import Work
from coterie.workplace import unharming

__all__ = ["Home"]

CLOSE_GRACE_S = 5.0
EXIT_GRACE_S = 10.0

_open: WeakSet[Home] = WeakSet()


class Home:
    """Made with its `Protected`; nothing is opened before the first call, and anew in a forked process."""

    def __init__(
        self,
        name: str,
        policies: Policies,
        *,
        store: StateStore | str | None,
        namespace: str,
        agents: Mapping[AgentId, int],
        on_event: Listener | None,
    ) -> None:
        self.name = name
        self.policies = policies
        self._given = store
        self._namespace = namespace
        self._agents = dict(agents)
        self._on_event = unharming(on_event)
        self._clock = SystemClock()
        # Made here too, so that an address that cannot work is refused now.
        self._store = self._opened()
        self._pid = 0
        self._pipeline: Pipeline | None = None
        self._visits = Work()
        self.closed = False

    def start(self, visit: Visit) -> None:
        """Send a call on its way.

        Raises:
            Misuse: it is closed.
        """
        if self.closed:
            raise Misuse(f"{self.name!r} is closed; make a new one")
        visit.start(self._perform(visit))

    async def stand_in(self, visit: Visit, failure: Exception) -> tuple[JsonValue | Ref] | None:
        """What the policies put in place of a call that has failed for good; None: nothing."""
        for fallback in self.policies.fallback:
            found: tuple[JsonValue | Ref] | None = None
            if fallback.has_value:
                found = (require_json(fallback.value, "the fallback's value"),)
            elif fallback.cached_s is not None and visit.cache_key is not None:
                store = self._gate().tools.store
                found = await recall(visit.cache_key, self.name, store, age_s=fallback.cached_s)
            if found is not None:
                if self._on_event is not None:
                    error = f"{type(failure).__name__}: {failure}"
                    fields = {"agent_type": self.name, "fallback": str(fallback), "error": error}
                    self._on_event(Event("task.fell_back", visit.call.workflow_id, self.name, fields))
                return found
        return None

    async def aclose(self) -> None:
        """Let calls in progress end, within a bound, and give back what is held; safe to call twice."""
        self.closed = True
        if self._pid == os.getpid():
            await self._visits.aclose(CLOSE_GRACE_S)
            if self._pipeline is not None:
                await self._pipeline.aclose()
            if self._owns_store:
                await self._store.aclose()

    async def _perform(self, visit: Visit) -> None:
        gate = self._gate()
        await self._visits.start(self._let_through(visit, gate))

    async def _let_through(self, visit: Visit, gate: Gate) -> None:
        call, manner = visit.call, visit.manner
        again = Persistence(call, gate, self._clock, self._on_event, patience_s=manner.wait_s)
        while True:
            try:
                way = gate.admit(call, wait_s=again.queue_s, priority=manner.priority, key=manner.key)
                async with again.through(way) as admitted:
                    await visit.attempt(admitted)
                break
            # Raised in the end where the call was made, unless it is better later.
            except Exception as error:
                if not await again.goes_on(error, visit.retry):
                    raise
        if gate.remembers_s and visit.cache_key is not None:
            await self._remember(visit, gate)

    async def _remember(self, visit: Visit, gate: Gate) -> None:
        try:
            output = require_json(visit.result, "the result")
        except Misuse:
            # What is no JSON cannot stand in for anything: it is only returned.
            return
        assert visit.cache_key is not None
        await remember(visit.cache_key, self.name, gate.tools.store, output, keep_s=gate.remembers_s)

    def _gate(self) -> Gate:
        if self._pipeline is None or self._pid != os.getpid():
            if self._pid not in (0, os.getpid()) and self._owns_store:
                self._store = self._opened()
            self._pid, self._visits = os.getpid(), Work()
            self._pipeline = Pipeline(
                {self.name: self.policies}, store=self._store, clock=self._clock, on_event=self._on_event
            )
            gate = self._pipeline.gate(self.name)
            assert gate is not None
            for agent_id, capacity in self._agents.items():
                gate.register(agent_id, capacity)
            _close_at_exit(self)
        gate = self._pipeline.gate(self.name)
        assert gate is not None
        return gate

    @property
    def _owns_store(self) -> bool:
        return self._given is None or isinstance(self._given, str)

    def _opened(self) -> StateStore:
        given = self._given
        return open_state_store(given, self._namespace) if given is None or isinstance(given, str) else given


def _close_at_exit(home: Home) -> None:
    if not _open:
        # Before the background loop ends, as it was registered after that.
        atexit.register(_close_all)
    _open.add(home)


def _close_all() -> None:
    left = [home for home in _open if not home.closed]
    if left:
        wait([sync.begin(home.aclose()) for home in left], timeout=EXIT_GRACE_S)
