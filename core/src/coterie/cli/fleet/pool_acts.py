"""Drain and resume agents of a fleet's pools."""

from __future__ import annotations

import secrets
from functools import partial
from typing import Literal, NamedTuple

from rich.text import Text

from coterie._rules.balance import CHANCES
from coterie._rules.decided import Decided, Operation, State
from coterie._rules.pool import set_agent
from coterie._rules.pool_policy import PoolPolicy
from coterie.cli.fleet.acting import Done, act
from coterie.cli.fleet.drawing import state_text
from coterie.cli.fleet.known import Known
from coterie.cli.fleet.pools import AgentRow, pool_row, terms_of
from coterie.cli.fleet.reach import Reach
from coterie.cli.fleet.snapshot import names_of
from coterie.cli.words import count_of
from coterie.errors import Misuse, UnknownAgent, UnknownAgentType
from coterie.ids import AgentId, AgentType, check_name
from coterie.pool.lane import KEEP_S
from coterie.ports import StateStore

__all__ = ["change_agent"]


class _Changed(NamedTuple):
    before: AgentRow
    after: AgentRow


def change_agent(
    reach: Reach, agent_type: AgentType | None, agent_id: AgentId, change: Literal["drain", "resume"], *, as_json: bool
) -> int:
    """Drain or resume an agent for the whole fleet, and say how it was. agent_type: may be left out if it is clear.

    Raises:
        UnknownAgent, UnknownAgentType: there is none. Misuse: pools of several types have an agent of that id.
    """
    check_name(agent_id, "agent id")
    if agent_type is not None:
        check_name(agent_type, "agent type")
    return act(reach, partial(_change, agent_type=agent_type, agent_id=agent_id, change=change), as_json=as_json)


async def _change(
    store: StateStore,
    known: Known,
    *,
    agent_type: AgentType | None,
    agent_id: AgentId,
    change: Literal["drain", "resume"],
) -> Done:
    agents = await _agents(store, known)
    kind = _type_of(agent_id, agent_type, agents)
    policy = known.pool(kind)
    operation = set_agent(terms_of(kind, policy), agent_id, change, chance=secrets.randbelow(CHANCES))
    decide = partial(_decide, kind, agent_id, policy, operation)
    changed = await store.update(f"pool/{kind}", decide, keep_s=KEEP_S)
    if changed is None:
        raise UnknownAgent(agent_id, agents[kind] - {agent_id})
    line = Text.assemble(
        f"{agent_id} ({kind}): ",
        state_text(changed.after.condition),
        " (was ",
        state_text(changed.before.condition),
        ")",
    )
    if change == "drain" and changed.after.in_use:
        line.append(f"; {count_of(changed.after.in_use, 'lease')} still to end")
    document = {
        "agent_type": kind,
        "agent_id": agent_id,
        "before": changed.before.document(),
        "after": changed.after.document(),
    }
    return Done(document, [line])


async def _agents(store: StateStore, known: Known) -> dict[AgentType, set[AgentId]]:
    found = {}
    for kind in await names_of(store, "pools"):
        seen = pool_row(kind, known.pool(kind), *await store.read(f"pool/{kind}"))
        found[kind] = {agent.agent_id for agent in seen.agents}
    return found


def _type_of(agent_id: AgentId, agent_type: AgentType | None, agents: dict[AgentType, set[AgentId]]) -> AgentType:
    if agent_type is not None:
        if agent_type not in agents:
            raise UnknownAgentType(agent_type, agents)
        if agent_id not in agents[agent_type]:
            raise UnknownAgent(agent_id, agents[agent_type])
        return agent_type
    having = sorted(kind for kind, ids in agents.items() if agent_id in ids)
    if not having:
        raise UnknownAgent(agent_id, set().union(*agents.values()))
    if len(having) > 1:
        types = ", ".join(map(repr, having))
        raise Misuse(f"there are agents {agent_id!r} of the types {types}; name the type before the agent")
    return having[0]


def _decide(  # noqa: PLR0917  # filled in by places, but for the last two
    kind: AgentType,
    agent_id: AgentId,
    policy: PoolPolicy | None,
    operation: Operation[bool],
    state: State | None,
    now: int,
) -> Decided[_Changed | None]:
    """See how the agent is and change it, in one decision; None: it has gone."""
    before = {agent.agent_id: agent for agent in pool_row(kind, policy, state, now).agents}
    if agent_id not in before:
        return Decided(state, None)
    decided = operation(state, now)
    after = {agent.agent_id: agent for agent in pool_row(kind, policy, decided.state, now).agents}
    return Decided(decided.state, _Changed(before[agent_id], after[agent_id]), decided.signals)
