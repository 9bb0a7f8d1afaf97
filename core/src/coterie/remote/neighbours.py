"""Notice that other workers are gone, and let others have what they were at."""

from __future__ import annotations

import asyncio
import logging

from coterie._rules.worker import WorkerRecord
from coterie.errors import Unavailable
from coterie.journal.owner import is_known_dead
from coterie.ports import LogStore
from coterie.remote.announcer import Announcer
from coterie.remote.registry import Registration, bury

__all__ = ["Neighbours"]

_log = logging.getLogger("coterie.remote")

# So often it is looked whether other workers of this machine have ended, and all others are still heard of.
NEIGHBOURS_S = 0.5
SWEEP_S = 5.0


class Neighbours:
    """The other workers of a namespace, as one worker minds them."""

    def __init__(self, log: LogStore, registration: Registration, announcer: Announcer) -> None:
        self._log = log
        self._registration = registration
        self._announcer = announcer
        self._known: dict[str, WorkerRecord] = {}

    async def mind(self) -> None:
        """Notice that they are gone: of this machine at once, of others when their lease is over. It never ends."""
        loop = asyncio.get_running_loop()
        look_at = loop.time()
        while True:
            try:
                if loop.time() >= look_at:
                    look_at = loop.time() + SWEEP_S
                    self._known = await self._registration.others()
                    gone = dict(self._known)
                else:
                    gone = {name: it for name, it in self._known.items() if is_known_dead(it.session)}
                for worker_id, record in gone.items():
                    await self._miss(worker_id, record)
            except Unavailable as error:
                _log.debug("worker.no_sweep: %s", error)
            # Such as a registration that nobody can read: the others are minded all the same.
            except Exception:  # noqa: BLE001  # logged, with its trace
                _log.exception("worker.no_sweep")
            await asyncio.sleep(NEIGHBOURS_S)

    async def _miss(self, worker_id: str, record: WorkerRecord) -> None:
        if not await self._registration.is_first_to_miss(worker_id, record):
            return
        self._known.pop(worker_id, None)
        freed = await bury(self._log, record) if is_known_dead(record.session) else 0
        _log.warning("worker.lost %s: it is not heard of any more; %d tasks go to others", worker_id, freed)
        self._announcer.tell(
            "agent.lost", {"worker": worker_id, "types": list(record.types), "capacity": record.capacity}
        )
