"""Say that no worker serves a type that somebody waits for."""

from __future__ import annotations

import asyncio
import logging

from coterie.errors import Unavailable
from coterie.ids import AgentType
from coterie.ports import StateStore
from coterie.remote.registry import list_workers

__all__ = ["Absence"]

_log = logging.getLogger("coterie.remote")

# So often it is looked whether there is one, and said if not; of each type, however many wait.
AGAIN_S = 60.0


class Absence:
    """For all who wait in this process."""

    def __init__(self, store: StateStore) -> None:
        self._store = store
        self._looked: dict[AgentType, float] = {}

    async def notice(self, agent_type: AgentType) -> None:
        """A call of the type is still waiting to be begun.

        Raises:
            Unavailable: the store failed.
        """
        now_s = asyncio.get_running_loop().time()
        before_s = self._looked.get(agent_type)
        if before_s is not None and now_s - before_s < AGAIN_S:
            return
        self._looked[agent_type] = now_s
        try:
            workers = await list_workers(self._store)
        except Unavailable:
            del self._looked[agent_type]
            raise
        if not any(agent_type in worker.types and worker.state != "lost" for worker in workers):
            _log.warning(
                "call.no_worker: tasks of the type %r wait, and no worker serves it; start one: "
                "coterie worker --team package.module:team --types %s (those there are: coterie workers)",
                agent_type,
                agent_type,
            )
