"""Turn a state machine into a Prefect flow whose parameters are the machine's."""

from __future__ import annotations

import inspect
from collections.abc import Coroutine, Mapping
from typing import TYPE_CHECKING, Any

from prefect import Flow

from coterie import Field, StateMachine
from prefect_coterie.machine_run import COMMENT, machine_state, run_machine
from prefect_coterie.people.standstill import Person
from prefect_coterie.publication import PublishMachine, publish_machine
from prefect_coterie.shutdown import graceful
from prefect_coterie.signature import FORCE, RUN_ID, check_names, globals_of_caller, pretend, run_name
from prefect_coterie.source import ArtifactsSource, StoreSource, TeamSource

if TYPE_CHECKING:
    from prefect.client.schemas.objects import State

__all__ = ["machine_to_flow"]


def machine_to_flow(
    machine: StateMachine,
    *,
    team: TeamSource,
    artifacts: ArtifactsSource | None = None,
    store: StoreSource | None = None,
    name: str | None = None,
    person: Person = "pause",
    fields: Mapping[str, Field] = COMMENT,
    poll_s: float = 5.0,
    publish: PublishMachine | None = publish_machine,
    timeout_seconds: float | None = None,
    description: str | None = None,
    allow_changes: bool = False,
) -> Flow[..., Coroutine[Any, Any, Any]]:
    """An async flow that runs `machine`: assign it to a module's variable, then call, serve or deploy it.

    Its parameters are the machine's, with their defaults, and two more. `coterie_run_id` is the identity of the run, by
    default `prefect.<flow run id>`: that of a run which another engine began goes on with it. `coterie_force` is the
    `force` of `run_machine`. Each action is one task run, `<state>-<visit>`.

    team, artifacts, store: as for `run_machine`; looked up when the flow runs. person, fields, poll_s, publish,
    allow_changes: as there.
    name: of the flow and of the variable (with `_` for `-`), by default the machine's.
    timeout_seconds: for the whole flow run, with all that it waits for people while it is paused.

    Raises:
        Misuse: a parameter of the machine cannot be a parameter of a flow.
    """
    check_names(machine.params, f"the machine {machine.name!r}")
    title = name or machine.name

    async def run(**parameters: Any) -> State[Any]:  # a machine's parameters are any JSON
        with graceful(ends_flow=True):
            return await perform(parameters)

    async def perform(parameters: dict[str, Any]) -> State[Any]:
        run_id, force = parameters.pop(RUN_ID, None), parameters.pop(FORCE, None)
        status = await run_machine(
            machine,
            team=team,
            artifacts=artifacts,
            store=store,
            params=parameters,
            workflow_id=run_id,
            person=person,
            fields=fields,
            poll_s=poll_s,
            publish=publish,
            force=force,
            allow_changes=allow_changes,
        )
        return machine_state(status)

    run.__doc__ = f"Run the coterie state machine {machine.name!r}."
    pretend(run, machine.params, title=title, caller=globals_of_caller(inspect.currentframe()))
    return Flow(
        run,
        name=title,
        version=machine.hash[:12],
        description=description,
        flow_run_name=run_name(title),
        timeout_seconds=timeout_seconds,
        persist_result=True,
        result_serializer="json",
    )
