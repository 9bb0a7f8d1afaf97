"""People who answer flow runs, over the server's own API or by the command line."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple
from uuid import UUID

from prefect import Flow, get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterName
from prefect.client.schemas.objects import FlowRun, State
from prefect.flow_runs import aresume_flow_run

from prefect_coterie.people.showing import has_form
from tests.prefect.runs import PATIENCE_S, eventually, flow_run

__all__ = ["Said", "answer", "answerable", "asked_in", "begun", "coterie", "named", "question", "until"]


@asynccontextmanager
async def begun(
    flow: Flow[..., Any], run_id: str, *, besides: UUID | None = None
) -> AsyncIterator[tuple[UUID, asyncio.Task[State[Any]]]]:
    """A flow run of the identity `run_id`, and what will be its end: it is waited for."""
    running = asyncio.create_task(flow(coterie_run_id=run_id, return_state=True))
    try:
        yield (await named(f"{flow.name}/{run_id}", besides=besides)).id, running
        # So long that only a run that waits for nothing is ended by it.
        await asyncio.wait_for(running, 2 * PATIENCE_S)
    finally:
        running.cancel()
        await asyncio.wait({running})


async def named(name: str, *, besides: UUID | None = None) -> FlowRun:
    """The flow run of that name, once it is there."""

    async def ask() -> list[FlowRun]:
        async with get_client() as client:
            found = await client.read_flow_runs(flow_run_filter=FlowRunFilter(name=FlowRunFilterName(any_=[name])))
        return [one for one in found if one.id != besides]

    return (await eventually(ask, bool))[0]


async def until(flow_run_id: UUID, state: str, *, besides: UUID | None = None) -> FlowRun:
    """The flow run, once it is in a state of that name, other than `besides`; if it asks, once it can be answered."""
    run = await eventually(
        lambda: flow_run(flow_run_id),
        lambda run: run.state is not None and run.state.name == state and run.state_id != besides,
    )
    return await answerable(run)


async def answerable(run: FlowRun) -> FlowRun:
    """The flow run, once the server has its form: since Prefect 3.9 that is a moment after it begins to wait."""

    async def shown() -> bool:
        async with get_client() as client:
            return await has_form(client, run)

    if run.state is not None and run.state.state_details.run_input_keyset:
        await eventually(shown, bool)
    return run


async def asked_in(flow_run_id: UUID, visit: int, *, again: int = 0, state: str = "Paused") -> FlowRun:
    """The flow run, once it asks about this visit, for the `again`-th time after the first."""

    def asks(run: FlowRun) -> bool:
        keyset = run.state.state_details.run_input_keyset if run.state is not None else None
        shown = run.state is not None and run.state.name == state
        return shown and bool(keyset) and keyset["schema"].endswith(f"-visit-{visit}-{again}-schema")

    return await answerable(await eventually(lambda: flow_run(flow_run_id), asks))


async def question(run: FlowRun) -> tuple[dict[str, Any], str]:
    """The form that a flow run shows, and its text."""
    assert run.state is not None
    keyset = run.state.state_details.run_input_keyset
    assert keyset is not None
    async with get_client() as client:
        return tuple(  # type: ignore[return-value]  # of two
            [json.loads(await client.read_flow_run_input(run.id, keyset[what])) for what in ("schema", "description")]
        )


async def answer(flow_run_id: UUID, **values: Any) -> None:
    """Fill in the form. Raises RuntimeError: the server does not take it."""
    await aresume_flow_run(flow_run_id, run_input=values)


class Said(NamedTuple):
    code: int | None
    output: str


async def coterie(*arguments: str) -> Said:
    """What the command line says, in a process of its own."""
    pipe, both = asyncio.subprocess.PIPE, asyncio.subprocess.STDOUT
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "coterie", *arguments, stdout=pipe, stderr=both
    )
    output, _ = await process.communicate()
    return Said(process.returncode, output.decode())
