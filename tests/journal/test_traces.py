"""A run whose process is killed goes on in the same trace, in another process that knows only the journal."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from coterie.telemetry.identity import root_span_id, run_trace_id

REPOSITORY = Path(__file__).resolve().parents[2]


async def begun(url: str, spans: Path, *, hangs: bool, outer: bool) -> asyncio.subprocess.Process:
    arguments = (url, str(spans), "hang" if hangs else "go", "outer" if outer else "alone")
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.journal.tracing", *arguments),
        cwd=REPOSITORY,
        stdout=asyncio.subprocess.PIPE,
    )


def read(spans: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in spans.read_text().splitlines()]


async def killed_and_gone_on_with(tmp_path: Path, *, outer: bool) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The spans of the process that was killed at its second task, and of the one that went on."""
    url = f"sqlite:///{tmp_path / 'journal.db'}"
    first, second = tmp_path / "first.jsonl", tmp_path / "second.jsonl"
    process = await begun(url, first, hangs=True, outer=outer)
    assert process.stdout is not None
    async with asyncio.timeout(60):
        assert await process.stdout.readline() == b"hanging\n"
        os.kill(process.pid, signal.SIGKILL)
        await process.communicate()
        process = await begun(url, second, hangs=False, outer=False)
        await process.communicate()
    assert process.returncode == 0
    return read(first), read(second)


async def test_a_run_that_was_killed_goes_on_in_its_trace(tmp_path: Path):
    before, after = await killed_and_gone_on_with(tmp_path, outer=False)

    trace_id, root_id = f"{run_trace_id('default', 'r'):032x}", f"{root_span_id('default', 'r'):016x}"
    assert {span["trace"] for span in before + after} == {trace_id}
    assert {span["name"]: span["parent"] for span in before}["execute_task a"] == root_id
    ends = {span["name"]: span for span in after}
    assert (ends["invoke_workflow p"]["span"], ends["invoke_workflow p"]["parent"]) == (root_id, None)
    assert (ends["execute_task a"]["parent"], ends["execute_task a"]["replayed"]) == (root_id, True)
    assert (ends["execute_task b"]["parent"], ends["execute_task b"]["replayed"]) == (root_id, None)


async def test_the_context_that_it_was_begun_in_outlives_the_process(tmp_path: Path):
    before, after = await killed_and_gone_on_with(tmp_path, outer=True)

    (trace_id,) = {span["trace"] for span in before}
    assert trace_id != f"{run_trace_id('default', 'r'):032x}"
    assert {span["trace"] for span in after} == {trace_id}
