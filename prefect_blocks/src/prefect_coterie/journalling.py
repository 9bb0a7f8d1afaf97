"""What the journal is asked for on behalf of a flow run: where it lies, and what is to become of what is finished."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from prefect.context import FlowRunContext, TaskRunContext
from prefect.exceptions import MissingContextError
from prefect.logging import get_logger, get_run_logger

from coterie.errors import PolicyError
from coterie.journal import Intent
from prefect_coterie.demand import demand_of
from prefect_coterie.lineage import first_try_of
from prefect_coterie.location import check_state_reach
from prefect_coterie.source import StoreSource, block_of_store, namespace_of, store_or_default
from prefect_coterie.state_block import CoterieStore

if TYPE_CHECKING:
    from prefect.task_runners import TaskRunner

    from coterie import Team
    from prefect_coterie.blocks import CoterieTeam

__all__ = ["Journalled", "intent_here", "journal_of"]

_Logger: TypeAlias = "logging.Logger | logging.LoggerAdapter[logging.Logger]"


@dataclass(frozen=True, slots=True)
class Journalled:
    """A journal, and what it is asked for. It travels to other processes."""

    store: CoterieStore
    intent: Intent


async def intent_here(*, force: str | None = None, allow_changes: bool = False) -> Intent:
    """That of the surrounding run.

    Prefect's own retries, and a flow run that is started again after its process was lost, are told of what is finished
    and of what failed. Only where a person retries a failed flow run is what failed tried again.

    force: a demand to do everything anew, whoever finished it; the same in every retry of the run.

    Raises:
        Unavailable: Prefect's server does not tell whether a person has.
    """
    flow, task = FlowRunContext.get(), TaskRunContext.get()
    if flow is not None and flow.flow_run is not None:
        name, demand = f"prefect.{await first_try_of(flow.flow_run)}", await demand_of(flow.flow_run)
    elif task is not None:
        name, demand = f"prefect.{task.task_run.flow_run_id or task.task_run.id}", 0
    else:
        name, demand = "prefect", 0
    forced = None if force is None else f"{name}/{force}"
    return Intent(name, demand, force=forced, allow_changes=allow_changes)


async def journal_of(
    source: StoreSource | None,
    team: CoterieTeam | Team,
    intent: Intent,
    runner: TaskRunner[Any] | None,
    *,
    kept: bool,
) -> Journalled | None:
    """The journal that lies with the state behind `source`; None where it is off.

    Where nobody names a store, it is a file of this machine, and off where tasks leave that. runner, kept: as for
    `check_state_reach`.

    Raises:
        PolicyError: a store was named that not all tasks can reach. Misuse: it is none.
    """
    named = source is not None or getattr(team, "store", None) is not None or bool(os.environ.get("COTERIE_STORE"))
    store = await block_of_store(source, team) if source is not None else _by_default(team)
    if store.journal == "off" or store.scope == "process":
        # What ends with its process could spare nobody anything.
        return None
    try:
        await check_state_reach(store, runner, kept=kept)
    except PolicyError as error:
        if named:
            raise
        _logger().warning("nothing is journalled, so that a retry pays again for what was finished: %s", error)
        return None
    return Journalled(store, intent)


def _by_default(team: CoterieTeam | Team) -> CoterieStore:
    own: CoterieStore | None = getattr(team, "store", None)
    return store_or_default(own, namespace_of(team))


def _logger() -> _Logger:
    try:
        return get_run_logger()
    except MissingContextError:
        return get_logger("coterie")
