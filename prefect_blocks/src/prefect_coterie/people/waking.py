"""Start suspended flow runs again whose person is not needed any more: nobody else notices while they are suspended."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterState, FlowRunFilterStateName
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.sorting import FlowRunSort

from coterie import StateMachineRun
from coterie.errors import StateFormatError, UnknownRun
from coterie.ids import WorkflowId
from coterie.journal import Journal
from coterie.journal.approval import ApprovalFile
from prefect_coterie.people.approval import still_asked
from prefect_coterie.people.showing import about_of, has_form
from prefect_coterie.people.standstill import start_again
from prefect_coterie.source import store_or_default
from prefect_coterie.state_block import CoterieStore

__all__ = ["needs_somebody", "wake_suspended"]

_log = logging.getLogger("coterie.people")

_PAGE = 200
# After so long nobody is about to show the form any more.
_SHOWN_AFTER = timedelta(minutes=1)


async def wake_suspended(store: CoterieStore | None = None) -> list[UUID]:
    """Start those suspended flow runs again that wait for a person, and need none any more; their ids.

    That is where an event was sent, or an answer given, from elsewhere, such as the command line, and where a time-out
    is due; also where nobody can answer, as the process was lost before the form was shown. Call it from time to time,
    in a flow of its own. store: where their journal lies; by default `COTERIE_STORE`, else a file of this machine. Flow
    runs whose journal is another one are left alone.

    Raises:
        Unavailable: the journal failed. What was started again is.
    """
    journal = Journal(store_or_default(store).get_journal_store())
    woken = []
    try:
        async with get_client() as client:
            for run in await _suspended(client):
                about = await about_of(client, run)
                if about is None or run.state is None:
                    continue
                if await needs_somebody(journal, about) and not await _is_mute(client, journal, run, about):
                    continue
                if await start_again(run.id, run.state):
                    woken.append(run.id)
    finally:
        await journal.aclose()
    return woken


async def _suspended(client: PrefectClient) -> list[FlowRun]:
    # Where it lies in the order does not change while it is looked at.
    is_suspended = FlowRunFilter(state=FlowRunFilterState(name=FlowRunFilterStateName(any_=["Suspended"])))
    found: list[FlowRun] = []
    while True:
        page = await client.read_flow_runs(
            flow_run_filter=is_suspended, sort=FlowRunSort.ID_DESC, limit=_PAGE, offset=len(found)
        )
        found += page
        if len(page) < _PAGE:
            return found


async def needs_somebody(journal: Journal, about: Mapping[str, Any]) -> bool:
    """Whether a person is still needed for what a flow run tells of its question, as far as this journal knows.

    Raises:
        Unavailable: the journal failed.
    """
    run = about["run"]
    try:
        # That of another journal.
        return not await _is_known(journal, run) or await _is_open(journal, run, about)
    except (UnknownRun, StateFormatError) as error:
        # Others are woken all the same.
        _log.warning("suspended.not_seen: left alone: %s", error)
        return True


async def _is_mute(client: PrefectClient, journal: Journal, run: FlowRun, about: Mapping[str, Any]) -> bool:
    """Whether a flow run of this journal asks a person who cannot answer, and never could."""
    if run.state is None or datetime.now(UTC) - run.state.timestamp < _SHOWN_AFTER:
        return False
    return not await has_form(client, run) and await _is_known(journal, about["run"])


async def _is_known(journal: Journal, run: WorkflowId) -> bool:
    known, _ = await journal.store.get(run, ("run",))
    return bool(known)


async def _is_open(journal: Journal, run: WorkflowId, about: Mapping[str, Any]) -> bool:
    if "visit" in about:
        status = await StateMachineRun(journal, run).status()
        return bool(status.visit == about["visit"] and status.phase == "waiting" and status.timeout_in_s != 0)
    asked = [await still_asked(ApprovalFile(journal, run, task_id), name) for task_id, name in about["asked"].items()]
    return all(asked)
