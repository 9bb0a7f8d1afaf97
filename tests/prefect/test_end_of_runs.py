"""However a run is ended, its agents end with it, and their child processes."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from prefect import Flow, flow
from prefect.task_runners import ThreadPoolTaskRunner

from coterie import Plan, Task, Team
from prefect_coterie import arun_agent, plan_to_flow
from tests.prefect.runs import child_group, group_ends
from tests.prefect.trial import nursery

pytestmark = pytest.mark.prefect

REPOSITORY = Path(__file__).resolve().parents[2]

plan = Plan("nursing", [Task("nurse", "nurse")])


def nursing(folder: Path, **options: Any) -> Flow[..., Any]:
    return plan_to_flow(plan, team=nursery(folder), artifacts=f"file://{folder}/artifacts", **options)


async def children_end(folder: Path) -> None:
    """Where the time was over before the child had started, there is nothing to end."""
    if (folder / "group").exists():
        await group_ends(await child_group(folder))


@pytest.mark.parametrize("runner", [None, ThreadPoolTaskRunner(max_workers=2)], ids=["own loop", "thread pool"])
async def test_a_cancelled_flow_ends_its_agents_children(tmp_path: Path, runner: ThreadPoolTaskRunner[Any] | None):
    running = asyncio.create_task(nursing(tmp_path, task_runner=runner)())
    group = await child_group(tmp_path)

    running.cancel()
    await asyncio.wait([running])

    await group_ends(group)
    assert running.cancelled() or running.exception() is not None


async def test_a_flow_that_takes_too_long_ends_its_agents_children(tmp_path: Path):
    state = await nursing(tmp_path, timeout_seconds=3)(return_state=True)

    assert state.name == "TimedOut"
    await children_end(tmp_path)


async def test_a_task_that_takes_too_long_ends_its_agents_children(tmp_path: Path):
    hasty = arun_agent.with_options(timeout_seconds=3)

    state = await hasty("nurse", team=nursery(tmp_path), artifacts=f"file://{tmp_path}/artifacts", return_state=True)

    assert state.name == "TimedOut"
    await children_end(tmp_path)


async def test_a_terminated_process_ends_its_agents_children(tmp_path: Path):
    program = (
        "import asyncio, sys\n"
        "from pathlib import Path\n"
        "from tests.prefect.test_end_of_runs import nursing\n"
        "asyncio.run(nursing(Path(sys.argv[1]))())\n"
    )
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", program, str(tmp_path), cwd=REPOSITORY)
    try:
        group = await child_group(tmp_path)

        process.send_signal(signal.SIGTERM)

        assert await process.wait() != 0
        await group_ends(group)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_control_flow_of_the_scheduler_passes_untouched(tmp_path: Path):
    class Stop(BaseException):
        """As a scheduler's signals are no errors."""

    own = Team("own")

    @own.agent("stopper")
    async def stop(_: dict[str, Any]) -> None:
        raise Stop

    stopping = Plan("stopping", [Task("stop", "stopper"), Task("other", "stopper", depends_on=("stop",))])

    @flow
    async def around() -> None:
        await plan_to_flow(stopping, team=own, artifacts=f"file://{tmp_path}")()

    with pytest.raises(Stop):
        await around()
