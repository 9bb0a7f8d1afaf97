"""`coterie machine run`: a machine in this process, until it is over or the process is stopped."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from rich.console import Console

from coterie._json import JsonValue
from coterie.cli.machine.documents import status_document
from coterie.cli.machine.looking import print_status
from coterie.cli.machine.place import written
from coterie.cli.runs.place import JournalPlace
from coterie.cli.session import JournalMode
from coterie.cli.sources import artifacts_url
from coterie.cli.stopping import Stopping
from coterie.cli.streams import reserved_stdout, write_json
from coterie.cli.words import clipped
from coterie.errors import UnknownRun
from coterie.events import Event
from coterie.ids import check_workflow_id, new_workflow_id
from coterie.journal import Intent
from coterie.machine import StateMachine
from coterie.machine_run import MachineStatus, StateMachineRun
from coterie.runtime import Runtime
from coterie.team import Team

__all__ = ["MachineJob", "run_command"]

# Longer errors are in `coterie runs show`.
_ERROR_CHARS = 400


@dataclass(frozen=True, slots=True)
class MachineJob:
    """What to run, or to go on with. artifacts: a URL; None: as `coterie run` has it.

    graceful_shutdown_timeout_s: as of `Runtime`.
    """

    place: JournalPlace
    machine: StateMachine
    team: Team
    params: Mapping[str, JsonValue]
    run_id: str | None = None
    artifacts: str | None = None
    journal: JournalMode = "strict"
    allow_changes: bool = False
    graceful_shutdown_timeout_s: float | None = None


def run_command(job: MachineJob, *, as_json: bool, quiet: bool) -> int:
    """Run a machine to its end, say how it ended, and return the exit code. Stopped, it stays where it is."""
    run = check_workflow_id(job.run_id or new_workflow_id(int(time.time() * 1000)))
    console = Console(stderr=True, quiet=quiet)
    with reserved_stdout():
        try:
            status = asyncio.run(_run(job, run, _Telling(job.machine, run, console)))
        except asyncio.CancelledError:
            _say(Console(stderr=True), f"stopped; the machine stays where it is: --run-id {run} goes on with it")
            raise KeyboardInterrupt from None
    if as_json:
        write_json({**status_document(status), "exit_code": status.exit_code})
    else:
        print_status(status)
    return status.exit_code


async def _run(job: MachineJob, run: str, telling: _Telling) -> MachineStatus:
    async with (
        written(job.place, job.journal) as journal,
        Runtime(
            job.team,
            artifacts=artifacts_url(job.artifacts),
            store=job.place.store,
            store_named_by="--store",
            journal=journal,
            namespace=job.place.name,
            on_event=telling.on_event,
            graceful_shutdown_timeout_s=job.graceful_shutdown_timeout_s,
        ) as runtime,
    ):
        stopping = Stopping(runtime.orchestrator, telling)
        with stopping.heard(), stopping.at_work():
            job.machine.bind(job.params)
            header = await journal.header(run)
            # A run of something else is refused below: then nothing is said of it.
            if header is None or job.allow_changes or header.plan_hash in (None, job.machine.hash):
                await telling.begin(StateMachineRun(journal, run))
            intent = Intent(goes_on=True, allow_changes=job.allow_changes)
            return await runtime.orchestrator.execute_machine(
                job.machine, workflow_id=run, params=job.params, intent=intent
            )


class _Telling:
    """Says on standard error where the machine goes, and what it waits for."""

    def __init__(self, machine: StateMachine, run: str, console: Console) -> None:
        self._machine = machine
        self._run = run
        self._console = console
        self._known = 0

    async def begin(self, run: StateMachineRun) -> None:
        """Say which run it is, and where, if it goes on."""
        state, visit, over = self._machine.initial, 1, False
        with suppress(UnknownRun):
            status = await run.status()
            state, visit, over = status.state, status.visit, status.status is not None
        self._known = visit - 1
        self.say(f"run {self._run} of the machine {self._machine.name!r}")
        if not over:
            self._waits(state, visit)

    def on_event(self, event: Event) -> None:
        """Say where it has gone since."""
        if event.name != "machine.moved" or event.fields["visit"] <= self._known:
            return
        fields = event.fields
        by = f" by {fields['who']}" if fields["who"] else ""
        to = f" -> {fields['to']}" if fields["to"] is not None else ""
        why = f": {clipped(fields['error'], _ERROR_CHARS)}" if fields["error"] else ""
        self.say(f"{fields['visit']}. {fields['state']}: {fields['trigger']}{by}{to}{why}")
        if fields["to"] is not None:
            self._waits(fields["to"], fields["visit"] + 1)

    def say(self, line: str) -> None:
        """See `Teller`."""
        _say(self._console, line)

    def abandon(self) -> None:
        """See `Teller`: nothing of the terminal was changed."""

    def _waits(self, name: str, visit: int) -> None:
        state = self._machine.table.states.get(name)
        if state is None or state.final is not None or state.action is not None or not state.events:
            return
        line = (
            f"waits in {name!r} for {', '.join(state.events)}: coterie machine send {self._run} EVENT --visit {visit}"
        )
        self.say(line)


def _say(console: Console, line: str) -> None:
    console.print(line, markup=False, highlight=False, soft_wrap=True)
