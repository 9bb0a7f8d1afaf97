"""Which tasks are performed by workers elsewhere, and where those are asked."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from coterie import Task
from coterie.remote import RemoteAgent
from prefect_coterie.location import check_state_reach
from prefect_coterie.source import block_of_store, namespace_of, open_team, store_or_default

if TYPE_CHECKING:
    from prefect.task_runners import TaskRunner

    from coterie import Team
    from prefect_coterie.blocks import CoterieTeam
    from prefect_coterie.source import StoreSource
    from prefect_coterie.state_block import CoterieStore

__all__ = ["calls_of", "is_remote"]


def is_remote(task: Task, team: Team) -> bool:
    """Whether workers perform it, or undo it: as the task says, or as the team has agents that stand for workers.

    A person's role is no type of agents; that a type has none at all, others say.
    """
    types = {task.agent_type} if task.placement is None and task.approval is None else set()
    if task.compensation is not None:
        types.add(task.compensation.agent_type)
    elsewhere = (isinstance(agent.handler, RemoteAgent) for agent in team.agents.values() if agent.type in types)
    return task.placement == "remote" or any(elsewhere)


async def calls_of(
    source: StoreSource | None, team: CoterieTeam | Team, tasks: Iterable[Task], runner: TaskRunner[Any] | None
) -> CoterieStore | None:
    """The store by which workers are asked; None where no task is for one.

    Raises:
        PolicyError: workers, or the task runs that ask them, cannot reach it. Misuse: it is none.
    """
    known = open_team(team)
    if not any(is_remote(task, known) for task in tasks):
        return None
    if source is not None:
        store = await block_of_store(source, team)
    else:
        store = store_or_default(getattr(team, "store", None), namespace_of(team))
    await check_state_reach(store, runner, kept=False)
    return store
