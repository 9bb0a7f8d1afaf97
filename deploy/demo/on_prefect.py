"""The review on a real Prefect server, started for it."""

from __future__ import annotations

import json
import signal
import subprocess
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from deploy.demo.outcome import Outcome, read_outcome
from deploy.demo.prefect_server import PrefectServer
from deploy.demo.process_group import end_group

from coterie import Ref, WorkflowResult, sync

__all__ = ["review_on_prefect"]

ENGINE = "Prefect"
EXAMPLE = "code_review"
POLL_S = 1.0
TIMEOUT_S = 900.0
STOP_S = 20.0
PAGE_ROWS = 200
TERMINAL = frozenset({"COMPLETED", "FAILED", "CRASHED", "CANCELLED"})


def review_on_prefect(
    source: str,
    *,
    python: Path,
    flows: Path,
    state: Path,
    output: Path,
    say: Callable[[str], None],
    flow: str = EXAMPLE,
) -> Outcome:
    """Start a server, run a flow of a folder against it in a process of its own, wait, read, stop."""
    began = time.monotonic()
    artifacts = f"file://{state / 'artifacts'}"
    say("starting a Prefect server")
    with PrefectServer(state / "home", python=python.absolute()) as server:
        say(f"healthy at {server.url}")
        answer = _run_flow(server, [str(python.absolute()), *_script(flows, flow, source)], artifacts, say)
        store = sync.ArtifactStore(artifacts)
        result: Any = store.load(Ref.deserialize(answer["data"]["stored"]))
        return read_outcome(
            ENGINE,
            WorkflowResult.from_dict(result),
            store,
            folder=output,
            tasks=len(_task_runs(server)),
            processes=1,
            wall_s=time.monotonic() - began,
        )


def _script(flows: Path, flow: str, source: str) -> list[str]:
    return [str(Path(__file__).with_name("run_flow.py")), str(flows), flow, source]


def _run_flow(server: PrefectServer, command: list[str], artifacts: str, say: Callable[[str], None]) -> dict[str, Any]:
    environment = {**server.environment(), "COTERIE_ARTIFACTS": artifacts}
    log, output = server.home / "flow.log", server.home / "flow.out"
    with (
        log.open("wb") as errors,
        # Not a pipe: nobody reads before the end, and one that is full would stop the flow.
        output.open("wb") as written,
        subprocess.Popen(command, env=environment, stdout=written, stderr=errors, start_new_session=True) as process,
    ):
        try:
            _follow(server, process, say)
        finally:
            end_group(process, first=signal.SIGINT, patience_s=STOP_S)
    if process.returncode:
        raise RuntimeError(f"the flow ended with {process.returncode}: {log.read_text()[-1500:]}")
    answer: dict[str, Any] = json.loads(output.read_text().splitlines()[-1])
    say(f"the flow {answer['state']}")
    return answer


def _follow(server: PrefectServer, process: subprocess.Popen[bytes], say: Callable[[str], None]) -> None:
    """Say what ends, until the flow's process has."""
    told: set[str] = set()
    deadline = time.monotonic() + TIMEOUT_S
    while process.poll() is None:
        if time.monotonic() > deadline:
            raise RuntimeError(f"the review on Prefect did not end within {TIMEOUT_S:g} s")
        for run in _task_runs(server):
            if run["id"] not in told and run["state_type"] in TERMINAL:
                told.add(run["id"])
                say(f"{run['name']} {run['state_name'].lower()}")
        time.sleep(POLL_S)


def _task_runs(server: PrefectServer) -> list[dict[str, Any]]:
    runs: list[dict[str, Any]] = []
    while True:
        body = json.dumps({"limit": PAGE_ROWS, "offset": len(runs), "sort": "END_TIME_DESC"}).encode()
        request = urllib.request.Request(
            f"{server.api_url}/task_runs/filter", body, {"Content-Type": "application/json"}, method="POST"
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            page = json.load(answer)
        runs.extend(page)
        if len(page) < PAGE_ROWS:
            return runs
