"""Run a state machine inside a flow: actions are task runs, and people answer where the flow run waits."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from prefect.states import Completed

from coterie import Field, MachineStatus, StateMachine, StateMachineRun, Task
from coterie.errors import PolicyError
from coterie.ids import check_workflow_id
from prefect_coterie.journalling import intent_here, journal_of
from prefect_coterie.location import check_reach, check_state_reach
from prefect_coterie.people.machine import Attendant, attended
from prefect_coterie.people.standstill import Person, check_person
from prefect_coterie.placing import calls_of
from prefect_coterie.publication import PublishMachine, publish_machine
from prefect_coterie.run_state import cancelled, failed
from prefect_coterie.session import Job, shared_session
from prefect_coterie.shown_orchestrator import ShownOrchestrator
from prefect_coterie.source import (
    ArtifactsSource,
    StoreSource,
    TeamSource,
    artifacts_of,
    namespace_of,
    open_team,
    store_of,
    team_of,
)
from prefect_coterie.tasks import workflow_id_here
from prefect_coterie.trace_artifact import show_trace

if TYPE_CHECKING:
    from prefect.client.schemas.objects import State

    from coterie import JsonValue

__all__ = ["COMMENT", "machine_state", "run_machine"]

# What may be filled in beside an event, where nobody says otherwise; on Airflow too.
COMMENT: Mapping[str, Field] = {"comment": Field(title="Comment")}


async def run_machine(
    machine: StateMachine,
    *,
    team: TeamSource,
    artifacts: ArtifactsSource | None = None,
    store: StoreSource | None = None,
    params: Mapping[str, JsonValue] | None = None,
    workflow_id: str | None = None,
    person: Person = "pause",
    fields: Mapping[str, Field] = COMMENT,
    poll_s: float = 5.0,
    publish: PublishMachine | None = publish_machine,
    force: str | None = None,
    allow_changes: bool = False,
) -> MachineStatus:
    """Run `machine` inside the surrounding flow run to its end, from wherever it is; a failure is in the result.

    team, artifacts, store, params, workflow_id, allow_changes: as for `run_plan`. The store is where the machine is
        kept too: its journal must be on.
    person: what the flow run does where only somebody's event, or the time-out, leads on. `pause`: it waits, and shows
        a form with the events; the process stays. `suspend`: the process ends too, and is started again when a person
        answers, or by `wake_suspended`; needs a deployment. `wait`: it runs on, for events that are sent elsewhere.
    fields: what may be filled in beside the event; it is the event's payload, without what was left empty.
    An event that is sent elsewhere (`StateMachineRun.send`), and the time-out, end the pause. Of an answer and such an
    event the first is taken; whoever comes second is told, in the flow run's log or by the sender's error.
    poll_s: how often a paused flow run asks the server for the answer.
    publish: shows where it is whenever it waits, and its end; by default as a table among the run's artifacts.
    force: have the action at which it stands performed anew, though the journal knows its end; what it has left behind
        stays as it was. A machine that is to begin again is another run, with a workflow id of its own.

    Raises:
        UnknownAgentType, PolicyError, Misuse: nothing has run. PlanChanged, MachineError: it began with another
            definition. Unavailable: the journal failed; what had happened is recorded.
    """
    check_person(person, "person")
    name = check_workflow_id(workflow_id or await workflow_id_here())
    source = await team_of(team)
    intent = await intent_here(force=force, allow_changes=allow_changes)
    journal = await journal_of(store, source, intent, None, kept=True)
    if journal is None:
        raise PolicyError(
            f"the machine {machine.name!r} needs a journal that outlives this process, and there is none here: name a "
            "store that all runs can reach, such as store='redis://host:6379/0' or 'sqlite://' on one machine, and "
            "whose journal is not off"
        )
    open_team(source).check()
    state = await store_of(store, source)
    calls = await calls_of(store, source, [Task(kind, kind) for kind in machine.agent_types], None)
    job = Job(source, await artifacts_of(artifacts), name, machine.bind(params), state, journal, calls)
    await check_reach(job.artifacts, None)
    if job.store is not None:
        await check_state_reach(job.store, None, kept=True)
    async with shared_session(job) as runtime:
        assert runtime.journal is not None
        run = StateMachineRun(runtime.journal, name, store=runtime.store, artifacts=runtime.artifacts)
        work = partial(
            ShownOrchestrator(runtime.orchestrator).execute_machine,
            machine,
            workflow_id=name,
            params=job.params,
            intent=intent,
        )
        attendant = Attendant(machine, run, fields=fields, publish=publish, poll_s=poll_s)
        status = await attended(work, attendant, person)
        await attendant.show(status)
        await show_trace(
            name, machine.name, namespace=namespace_of(source), store=journal.store, journal=runtime.journal
        )
    return status


def machine_state(status: MachineStatus) -> State[Any]:
    """The state for a flow to return: Completed, Failed or Cancelled, as the machine ended.

    Its data is a small JSON object: workflow_id, status, machine (name and hash), the final state and the visits.
    Where it is not Completed, calling the flow raises `RunFailed`; with `return_state=True` it returns this state.
    """
    data = {
        "workflow_id": status.workflow_id,
        "status": status.status,
        "machine": {"name": status.machine_name, "hash": status.machine_hash},
        "state": status.state,
        "visits": status.visit,
    }
    why = f": {status.error}" if status.error is not None else ""
    message = f"the machine ended in the state {status.state!r} after {status.visit} visits{why}"
    if status.status == "succeeded":
        return Completed(message=message, data=data)
    return cancelled(data, message) if status.status == "cancelled" else failed(data, message)
