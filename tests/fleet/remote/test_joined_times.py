"""Whoever joins a call that another process had asked for tells when its worker was at it, and when nobody was."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from coterie.journal.view import view_run
from coterie.remote import Call
from coterie.runtime import Runtime
from coterie.timeline import timeline_of
from coterie.timeline.sums import time_of_path
from tests.fleet.remote.caller_process import WORKFLOW_ID, ask, caller, plan
from tests.fleet.remote.fleet import Fleet, call_of, eventually, until
from tests.fleet.remote.processes import REPOSITORY, Workers, environment, notes_of, workers
from tests.support.redis_servers import SYNCED, valkey

LONG_S = 60.0
# Longer than a stretch in which nobody was at a run has to be.
ALONE_S = 1.2


@pytest.fixture
def fleet(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Workers]:
    if request.param == "sqlite":
        with workers(f"sqlite://{tmp_path}/state.db", tmp_path) as found:
            yield found
        return
    with valkey(arguments=SYNCED) as server, workers(server.url, tmp_path) as found:
        yield found


@pytest.mark.parametrize(
    ("fleet", "whole", "is_over"),
    [
        pytest.param("sqlite", True, False, id="run-going-on"),
        pytest.param("sqlite", False, True, id="task-over"),
        pytest.param("valkey", True, True, id="run-over"),
        pytest.param("valkey", False, False, id="task-going-on"),
    ],
    indirect=["fleet"],
)
async def test_who_joins_a_call_says_when_its_worker_was_at_it(
    fleet: Workers, tmp_path: Path, whole: bool, is_over: bool
):
    notes, go = tmp_path / "notes", tmp_path / "go"
    fleet.start("w1")
    script, given = Path(__file__).with_name("caller_process.py"), [fleet.url, str(notes), str(go)]
    command = [sys.executable, str(script), *given, "whole" if whole else ""]
    first = subprocess.Popen(command, cwd=REPOSITORY, env=environment(tmp_path))  # noqa: ASYNC220
    try:
        await until(lambda: any(line[0] == "begun" for line in notes_of(notes)), LONG_S)
    finally:
        first.kill()
        first.wait(LONG_S)
    async with Runtime(caller(), store=fleet.url, journal=True) as runtime:
        journal = runtime.journal
        assert journal is not None
        if is_over:
            go.touch()
            await ended(runtime)
            await asyncio.sleep(ALONE_S)
        asked = asyncio.create_task(ask(runtime, plan(str(notes), str(go)), whole=whole))
        if not is_over:
            await asyncio.sleep(ALONE_S)
            go.touch()
        await asyncio.wait_for(asked, LONG_S)
        unit = (await view_run(journal, WORKFLOW_ID)).unit("step")
        timeline = await timeline_of(journal, WORKFLOW_ID)

    assert unit is not None
    assert sum(line[0] == "begun" for line in notes_of(notes)) == 1
    call = next(lap for lap in unit.laps if lap.kind == "call")
    claim = next(lap for lap in unit.laps if lap.kind == "claim")
    assert (call.facts["worker"], claim.facts["why"]) == ("w1", "unfinished")
    assert str(first.pid) in str(claim.facts["after"])
    assert unit.work_s == call.took_us / 1e6
    times = time_of_path(timeline.critical_path().pieces)
    # Its durable step lies in it.
    assert times["agent"] == pytest.approx(call.took_us, abs=1000)
    gaps = [span for span in timeline.spans if span.kind == "gap"]
    if is_over:
        assert call.ended_us < claim.at_us
        assert [(gap.begun_us, gap.ended_us) for gap in gaps] == [(call.ended_us, claim.at_us)]
        assert times["nobody"] >= gaps[0].until_us(0) - gaps[0].begun_us
    else:
        assert call.at_us < claim.at_us < call.ended_us
        assert gaps == []


async def ended(runtime: Runtime) -> None:
    """The only call that there is has ended, though nobody waits for it."""

    async def is_over() -> bool:
        (name,) = await runtime.remote.store.keys("call")
        status = await runtime.remote.look(name.removeprefix("call/"))
        return status is not None and status.is_over

    await eventually(is_over, LONG_S)


async def test_who_submits_what_another_had_asked_for_is_told_whose_it_was(fleet_here: Fleet):
    call: Call = call_of(plan("n", "g").tasks[0])

    asked = [await fleet_here.calls.submit(call, owner=owner) for owner in ("anna", "anna", "bert")]

    assert [status.joined for status in asked] == ["", "", "anna"]


@pytest.fixture
def fleet_here() -> Fleet:
    return Fleet()
