"""Have the flow run wait for a person, paused or suspended, with a form that the server shows.

Not by Prefect's `pause_flow_run`: that cannot be left when the answer came from elsewhere, ends the run where the
server is away for a while, fails it when its time is over, and gives None for what was answered before a process was
lost.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Literal, NoReturn, TypeAlias, get_args
from uuid import UUID, uuid4

from httpx import HTTPError, HTTPStatusError
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.responses import SetStateStatus
from prefect.context import FlowRunContext
from prefect.exceptions import Abort
from prefect.input import keyset_from_base_key
from prefect.logging import get_run_logger
from prefect.states import Cancelled, Paused, Running, Scheduled, Suspended

from coterie.errors import Misuse, PolicyError
from prefect_coterie.people.showing import Question, show_again

if TYPE_CHECKING:
    from prefect.client.schemas.objects import FlowRun, State

__all__ = ["Person", "check_person", "flow_run_here", "pause", "start_again", "suspend"]

# How a flow run waits for a person. pause: with a form; the process stays. suspend: with a form; the process ends, and
# another one goes on with the answer. wait: without a form, for what is decided elsewhere.
Person: TypeAlias = Literal["pause", "suspend", "wait"]

_LEAVE_S = 10.0
# Between two attempts while the server is away.
_AGAIN_S = 2.0


def check_person(how: str, what: str) -> None:
    """Do nothing if the surrounding flow run can wait so.

    Raises:
        Misuse: `how` is unknown. PolicyError: the flow run can be paused, but not suspended.
    """
    if how not in get_args(Person):
        raise Misuse(f"{what} is {how!r}; choose 'pause', 'suspend' or 'wait'")
    run = flow_run_here()
    if how == "suspend" and (run.deployment_id is None or run.parent_task_run_id is not None):
        why = "is called by another flow" if run.parent_task_run_id is not None else "has no deployment"
        raise PolicyError(
            f"{what} is 'suspend', and the flow run {run.name!r} {why}, so that Prefect could not start it again; "
            "deploy or serve the flow, or choose 'pause'"
        )


def flow_run_here() -> FlowRun:
    """The surrounding flow run.

    Raises:
        Misuse: there is none.
    """
    context = FlowRunContext.get()
    if context is None or context.flow_run is None:
        raise Misuse("this was called outside of a flow run; call it in a flow")
    return context.flow_run


async def pause(name: str, question: Question, *, poll_s: float) -> None:
    """Pause the flow run with this question, which was shown by this name, until it is resumed.

    Cancelled, it ends the pause.

    Raises:
        Abort: somebody ended the flow run, or started it again elsewhere.
    """
    run_id, mark = flow_run_here().id, str(uuid4())
    state: State[Any] = Paused(pause_key=mark, state_details=_details(name))
    async with get_client() as client:
        # Never given up halfway: a pause that the server knows of must be left.
        proposing = asyncio.ensure_future(_propose(client, run_id, state))
        try:
            await asyncio.shield(proposing)
            await _keep_shown(client, run_id, name, question)
            get_run_logger().info("paused: %s; resume the flow run with the answer", question.line)
            await _resumed(client, run_id, mark, poll_s)
        except asyncio.CancelledError:
            await asyncio.wait({proposing})
            if proposing.exception() is None:
                await _leave(client, run_id, mark)
            raise


async def suspend(name: str, question: Question) -> State[Any]:
    """Suspend the flow run with this question, shown by this name: for whoever raises `Pause` with this state then.

    Not to be cancelled: a flow run that the server takes for suspended must end.

    Raises:
        Abort: as `pause`.
    """
    state: State[Any] = Suspended(pause_key=str(uuid4()), state_details=_details(name))
    run_id = flow_run_here().id
    async with get_client() as client:
        await _propose(client, run_id, state)
        await _keep_shown(client, run_id, name, question)
    get_run_logger().info("suspended: %s; resume the flow run with the answer", question.line)
    return state


async def start_again(run_id: UUID, suspended: State[Any]) -> bool:
    """Have a flow run that is suspended in this state started again, without an answer. False: it is not any more."""
    resuming: State[Any] = Scheduled(name="Resuming")
    async with get_client() as client:
        # The server takes it in any state: of one that somebody has resumed, a second process would be started.
        found = (await client.read_flow_run(run_id)).state
        if found is None or found.state_details.pause_key != suspended.state_details.pause_key:
            return False
        answer = await client.set_flow_run_state(run_id, resuming)
    return answer.status == SetStateStatus.ACCEPT


async def _keep_shown(client: PrefectClient, run_id: UUID, name: str, question: Question) -> None:
    """Once the flow run waits, nobody could answer without the form: tried until the server has it."""
    away = False
    while True:
        try:
            await show_again(client, run_id, name, question)
        except HTTPError as error:
            if isinstance(error, HTTPStatusError) and not error.response.is_server_error:
                raise
            if not away:
                get_run_logger().warning("the server is away, shown the form as soon as it answers: %s", error)
            away = True
            await asyncio.sleep(_AGAIN_S)
        else:
            return


async def _resumed(client: PrefectClient, run_id: UUID, mark: str, poll_s: float) -> None:
    away = False
    while True:
        await asyncio.sleep(poll_s)
        try:
            state = (await client.read_flow_run(run_id)).state
        except HTTPError as error:
            # People think for days, and servers are restarted meanwhile.
            if not away:
                get_run_logger().warning("the server is away, looked for again until it answers: %s", error)
            away = True
            continue
        away = False
        if state is not None and state.is_running():
            return
        if state is None or state.state_details.pause_key != mark:
            await _end(client, run_id, state)


async def _propose(client: PrefectClient, run_id: UUID, state: State[Any]) -> None:
    """Have the flow run wait; by the state's `pause_key` this very waiting is known."""
    found = (await client.set_flow_run_state(run_id, state)).state
    if found is None or found.state_details.pause_key != state.state_details.pause_key:
        await _end(client, run_id, (await client.read_flow_run(run_id)).state)


async def _leave(client: PrefectClient, run_id: UUID, mark: str) -> None:
    """End the pause without an answer. If it cannot be, the state that the flow run ends in does."""
    try:
        async with asyncio.timeout(_LEAVE_S):
            state = (await client.read_flow_run(run_id)).state
            # Not one that somebody ended in the meantime.
            if state is not None and state.state_details.pause_key == mark:
                await client.set_flow_run_state(run_id, Running())
    except (HTTPError, TimeoutError) as error:
        get_run_logger().warning("the pause could not be ended: %s", error)


async def _end(client: PrefectClient, run_id: UUID, state: State[Any] | None) -> NoReturn:
    """End this process' part in a flow run that somebody ended, or started again elsewhere."""
    if state is not None and state.is_cancelling():
        await client.set_flow_run_state(run_id, Cancelled(message="it was cancelled while it waited for a person"))
    raise Abort(f"the flow run does not wait for a person: it is {state.name if state is not None else 'gone'!r}")


def _details(name: str) -> dict[str, Any]:
    return {"run_input_keyset": keyset_from_base_key(name)}
