"""Whether a person has asked for a flow run to be done again.

The history of its states tells: a run that had ended, and is scheduled again, was asked for by somebody, on the
server's page or by `prefect flow-run retry`. What Prefect does by itself (a flow's own retries, a run whose process was
stopped or lost, one that goes on after it was suspended) leaves a run that has not ended. The server's own note,
`retry_type`, is not made for the command, which forces the state; and it is made for paused runs that lost their
process.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from uuid import UUID

from httpx import HTTPError
from prefect.client.orchestration import get_client

from coterie.errors import Unavailable
from prefect_coterie.lineage import callers_of

if TYPE_CHECKING:
    from prefect.client.schemas.objects import FlowRun, State

__all__ = ["demand_of", "last_demand"]

# By the state in which an attempt began: asked once for all that is journalled in it.
_known: dict[UUID, int] = {}
_MOST = 1_000
_MOST_STATES = 100_000


async def demand_of(flow_run: FlowRun) -> int:
    """Which demand of a person a flow run answers, as the surrounding context has it; 0: nobody has asked for it again,
    or for the flow run that called it.

    The same for all of a demand's attempts; of a later demand, a higher number.

    Raises:
        Unavailable: the server does not answer.
    """
    began = flow_run.state_id
    if began is None:
        return 0
    if began not in _known:
        try:
            async with get_client() as client:
                demand = 0
                # Of runs that others called, people retry the outermost.
                for run in (*await callers_of(client, flow_run), flow_run.id):
                    demand = demand * _MOST_STATES + last_demand(await client.read_flow_run_states(run))
        except HTTPError as error:
            raise Unavailable(f"the Prefect server does not tell who asked for this flow run: {error}") from error
        if len(_known) >= _MOST:
            _known.clear()
        _known[began] = demand
    return _known[began]


def last_demand(states: Sequence[State[Any]]) -> int:
    """The place of the last state among these, from the first on, by which a run that had ended was scheduled again."""
    places = range(len(states) - 1, 0, -1)
    return next((n for n in places if states[n].is_scheduled() and states[n - 1].is_final()), 0)
