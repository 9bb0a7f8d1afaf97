"""One run in this process: its runtime, its progress, and the signals that end it."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import TypeVar

from coterie._json import JsonValue
from coterie.artifacts import ArtifactStore
from coterie.cli.failure import DEBUG
from coterie.cli.logs import logs_told
from coterie.cli.progress import Progress, progress_for
from coterie.cli.streams import reserved_stdout
from coterie.cli.survivors import kill_children
from coterie.errors import Misuse
from coterie.ids import check_workflow_id, new_workflow_id
from coterie.plan import Plan
from coterie.result import WorkflowResult
from coterie.runtime import Runtime
from coterie.team import Team

__all__ = ["Job", "perform"]

T = TypeVar("T")

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@dataclass(frozen=True, slots=True)
class Job:
    """What to run. `artifacts` is the store's URL."""

    plan: Plan
    team: Team
    params: Mapping[str, JsonValue]
    artifacts: str
    run_id: str | None = None


def perform(
    job: Job, after: Callable[[WorkflowResult, ArtifactStore], Awaitable[T]], *, quiet: bool
) -> tuple[WorkflowResult, T]:
    """Run the plan, then `after` while its artifacts are at hand. Whatever agents print goes to standard error.

    SIGINT or SIGTERM cancels the run, which then ends with status `cancelled`; a second one ends the process.

    Raises:
        KeyboardInterrupt: stopped before or after the run itself.
        Misuse, Unavailable: as `Orchestrator.execute_workflow`.
    """
    job.team.check(job.plan)
    progress = progress_for(job.plan, quiet=quiet)
    with reserved_stdout():
        try:
            return asyncio.run(_perform(job, after, progress))
        except asyncio.CancelledError:
            raise KeyboardInterrupt from None


async def _perform(
    job: Job, after: Callable[[WorkflowResult, ArtifactStore], Awaitable[T]], progress: Progress
) -> tuple[WorkflowResult, T]:
    run_id = check_workflow_id(job.run_id or new_workflow_id(int(time.time() * 1000)))
    async with Runtime(job.team, artifacts=job.artifacts, on_event=progress.on_event) as runtime:
        if runtime.artifacts is None:
            raise Misuse("a run needs an artifact store; give it one with --artifacts URL")
        with _stoppable(runtime, run_id, progress), nullcontext() if DEBUG.get() else logs_told(progress.say):
            async with progress.showing():
                result = await runtime.orchestrator.execute_workflow(job.plan, workflow_id=run_id, params=job.params)
            return result, await after(result, runtime.artifacts)


@contextmanager
def _stoppable(runtime: Runtime, run_id: str, progress: Progress) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    main = asyncio.current_task()
    stopped = False

    def stop() -> None:
        nonlocal stopped
        if stopped:
            progress.abandon()
            kill_children()
            os._exit(130)
        stopped = True
        progress.say("cancelling: agents are ended first; once more to end at once")
        try:
            runtime.orchestrator.cancel(run_id)
        except Misuse:
            # The run has not begun, or is over.
            if main is not None:
                main.cancel()

    for number in _SIGNALS:
        loop.add_signal_handler(number, stop)
    try:
        yield
    finally:
        for number in _SIGNALS:
            loop.remove_signal_handler(number)
