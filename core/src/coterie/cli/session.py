"""One run in this process: its runtime, its progress, and the signals that end it."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, nullcontext, suppress
from dataclasses import dataclass
from typing import Literal, TypeAlias, TypeVar

from rich.console import Console

from coterie._json import JsonValue
from coterie.approvals import Approvals
from coterie.artifacts import ArtifactStore
from coterie.cli.failure import DEBUG
from coterie.cli.logs import LoggedProgress, json_logs, logs_told, others_told
from coterie.cli.progress import Progress, progress_for
from coterie.cli.stopping import Stopping
from coterie.cli.streams import reserved_stdout
from coterie.errors import CoterieError, Misuse
from coterie.ids import check_workflow_id, new_workflow_id
from coterie.journal import Intent, Journal
from coterie.plan import Plan
from coterie.result import WorkflowResult
from coterie.runtime import Runtime
from coterie.saga import SagaResult
from coterie.stores.opening import open_journal_store
from coterie.team import Team

__all__ = ["Job", "JournalMode", "perform"]

T = TypeVar("T")

# How durable what is finished is kept, if it is: as `coterie.ports.Durability`.
JournalMode: TypeAlias = Literal["strict", "relaxed", "off"]


@dataclass(frozen=True, slots=True)
class Job:
    """What to run. artifacts: the store's URL.

    store, namespace: of the shared state and the journal; None: as the environment says. journal: how durable it is,
    or "off". intent: what is to become of what it has of the run. graceful_shutdown_timeout_s: as of `Runtime`.
    logs_json: whether standard error is for programs.
    """

    plan: Plan
    team: Team
    params: Mapping[str, JsonValue]
    artifacts: str
    run_id: str | None = None
    store: str | None = None
    namespace: str | None = None
    intent: Intent | None = None
    journal: JournalMode = "off"
    graceful_shutdown_timeout_s: float | None = None
    logs_json: bool = False


def perform(
    job: Job, after: Callable[[WorkflowResult, ArtifactStore], Awaitable[T]], *, quiet: bool
) -> tuple[WorkflowResult, T]:
    """Run the plan, then `after` while its artifacts are at hand. Whatever agents print goes to standard error.

    SIGTERM lets agents that are at work finish for a while, and SIGINT cancels the run; see `Stopping`. What is not
    done then ends with status `cancelled`.

    Raises:
        KeyboardInterrupt: stopped before or after the run itself.
        Misuse, Unavailable: as `Orchestrator.execute_workflow`.
    """
    job.team.check(job.plan)
    progress: Progress = LoggedProgress() if job.logs_json else progress_for(job.plan, quiet=quiet)
    with reserved_stdout(), json_logs(quiet=quiet) if job.logs_json else others_told():
        try:
            return asyncio.run(_perform(job, after, progress))
        except asyncio.CancelledError:
            raise KeyboardInterrupt from None


async def _perform(
    job: Job, after: Callable[[WorkflowResult, ArtifactStore], Awaitable[T]], progress: Progress
) -> tuple[WorkflowResult, T]:
    run_id = check_workflow_id(job.run_id or new_workflow_id(int(time.time() * 1000)))
    async with (
        _journal(job, progress) as journal,
        Runtime(
            job.team,
            artifacts=job.artifacts,
            store=job.store,
            store_named_by="--store",
            journal=journal or False,
            namespace=job.namespace,
            on_event=progress.on_event,
            graceful_shutdown_timeout_s=job.graceful_shutdown_timeout_s,
        ) as runtime,
    ):
        if runtime.artifacts is None:
            raise Misuse("a run needs an artifact store; give it one with --artifacts URL")
        stopping = Stopping(runtime.orchestrator, progress, plan_run=run_id)
        with stopping.heard(), nullcontext() if DEBUG.get() or job.logs_json else logs_told(progress.say):
            with stopping.at_work():
                async with progress.showing():
                    result = await runtime.orchestrator.execute_workflow(
                        job.plan, workflow_id=run_id, params=job.params, intent=job.intent
                    )
            undone = isinstance(result, SagaResult) and result.went_back
            if journal is not None and result.status == "cancelled" and not undone:
                await _tell_stopped(journal, run_id, progress if job.logs_json else None)
            return result, await after(result, runtime.artifacts)


async def _tell_stopped(journal: Journal, run: str, logged: Progress | None) -> None:
    """How the run goes on, and whose questions stand meanwhile; also to who wanted no progress."""
    console, asked = Console(stderr=True), []
    # A journal that cannot be read now must not hide how the run ended.
    with suppress(CoterieError):
        asked = [one.task_id for one in await Approvals(journal).of_run(run) if one.is_open]
    stands = f"what {', '.join(asked)} asks can still be answered; " if asked else ""
    line = f"stopped; {stands}the run goes on with: coterie runs resume {run}"
    if logged is not None:
        logged.say(line)
        return
    console.print(line, highlight=False, markup=False, soft_wrap=True)


@asynccontextmanager
async def _journal(job: Job, progress: Progress) -> AsyncIterator[Journal | None]:
    in_memory = (job.store or os.environ.get("COTERIE_STORE") or "").startswith("memory:")
    if job.journal == "off" or in_memory:
        if job.journal != "off":
            progress.say("what is finished is not recorded: the store is in memory")
        yield None
        return
    namespace = job.namespace or os.environ.get("COTERIE_NAMESPACE") or "default"
    journal = Journal(open_journal_store(job.store, namespace, durability=job.journal, named_by="--store"))
    try:
        yield journal
    finally:
        await journal.aclose()
