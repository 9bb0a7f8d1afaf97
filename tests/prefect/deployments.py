"""Serve deployments by a process, begin flow runs of them, and see how those end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from prefect import get_client
from prefect.client.schemas.objects import FlowRun
from prefect.exceptions import ObjectNotFound

from tests.prefect import billed
from tests.prefect.runs import eventually, flow_run

__all__ = ["REPOSITORY", "billed_folder", "final", "prefect", "started"]

REPOSITORY = Path(__file__).resolve().parents[2]


@contextmanager
def prefect(*arguments: str, cwd: Path = REPOSITORY) -> Iterator[subprocess.Popen[bytes]]:
    """A Prefect command that goes on until the block ends, then is interrupted."""
    environment = {**os.environ, "PREFECT_WORKER_QUERY_SECONDS": "1", "PREFECT_RUNNER_POLL_FREQUENCY": "1"}
    process = subprocess.Popen([sys.executable, *arguments], cwd=cwd, env=environment, start_new_session=True)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(timeout=30)
        finally:
            _kill_group(process)
            process.wait()


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return


@contextmanager
def billed_folder(factory: pytest.TempPathFactory, name: str) -> Iterator[Path]:
    """Where the agents of `tests.prefect.billed` and the artifacts of processes that are started meanwhile are."""
    found = factory.mktemp(name)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(billed.FOLDER, str(found))
        patch.setenv("COTERIE_ARTIFACTS", f"file://{found}/artifacts")
        yield found


async def started(deployment: str, **parameters: Any) -> UUID:
    """A new flow run of `flow/deployment`, as soon as the server knows that."""
    async with get_client() as client:

        async def deployed() -> UUID | None:
            try:
                return (await client.read_deployment_by_name(deployment)).id
            except ObjectNotFound:
                return None

        found = await eventually(deployed, lambda found: found is not None)
        assert found is not None
        return (await client.create_flow_run_from_deployment(found, parameters=parameters)).id


async def final(flow_run_id: UUID) -> FlowRun:
    """The flow run, once it has ended."""

    def ended(found: FlowRun) -> bool:
        return found.state is not None and found.state.is_final()

    return await eventually(lambda: flow_run(flow_run_id), ended)
