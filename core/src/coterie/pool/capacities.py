"""Whether the processes of a fleet give their agents the same capacity: each heartbeat undoes what others said."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping

from coterie._rules.pool_status import PoolStatus
from coterie.ids import AgentId

__all__ = ["Capacities"]

_log = logging.getLogger("coterie.pool")

# So often a process looks at what others say, if their heartbeats do not come more often.
EVERY_S = 60.0
_LOOKS = 3


class Capacities:
    """What one process has said. first_s: seconds until it first looks; others' heartbeats come by then."""

    def __init__(self, first_s: float) -> None:
        self._every_s = min(EVERY_S, _LOOKS * first_s)
        self._due_s = time.monotonic() + first_s
        self._differing: set[AgentId] = set()

    def is_due(self) -> bool:
        """Whether it is time to compare; true once."""
        now_s = time.monotonic()
        if now_s < self._due_s:
            return False
        self._due_s = now_s + self._every_s
        return True

    def compare(self, own: Mapping[AgentId, tuple[int, int]], status: PoolStatus) -> None:
        """Warn, once for each agent. own: (capacity, weight) of those that this process registers."""
        for one in status.agents:
            here, _ = own.get(one.agent_id, (one.capacity, 0))
            if here != one.capacity and one.agent_id not in self._differing:
                self._differing.add(one.agent_id)
                _log.warning(
                    "pool.capacities_differ %r: here %d, elsewhere %d; the last heartbeat counts, so give all the same",
                    one.agent_id,
                    here,
                    one.capacity,
                )
