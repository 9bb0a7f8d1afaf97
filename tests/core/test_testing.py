"""The tools for testing do what they say."""

from __future__ import annotations

import io

import pytest

from coterie import ArtifactStore, Plan, Runtime, Task, Team
from coterie.errors import Misuse, Unavailable
from coterie.testing import EngineContract, FaultyBlobs, ManualClock, MemoryBlobs, task
from coterie.testing.engine_team import PATH, team


def test_a_manual_clock_moves_when_told():
    clock = ManualClock(100.0)

    clock.advance(2.5)

    assert (clock.now(), clock.monotonic()) == (102.5, 2.5)
    with pytest.raises(Misuse, match="cannot advance by -1 s"):
        clock.advance(-1)


def test_faults_come_in_turn_and_calls_are_noted():
    blobs = FaultyBlobs(MemoryBlobs(), write=[None, Unavailable("down")], chunks=[OSError("gone")])

    blobs.write("a", io.BytesIO(b"one"))
    with pytest.raises(Unavailable, match="down"):
        blobs.write("a", io.BytesIO(b"two"))
    with pytest.raises(OSError, match="gone"):
        list(blobs.chunks("a"))

    assert b"".join(blobs.chunks("a")) == b"one"
    assert blobs.calls == [("write", "a"), ("write", "a"), ("chunks", "a"), ("chunks", "a")]


async def test_a_broken_store_fails_the_task_and_nothing_else():
    store = ArtifactStore(FaultyBlobs(MemoryBlobs(), write=[Unavailable("down")]))
    plan = Plan("p", [task("a", value="x" * 1000), task("b", value=1)])

    async with Runtime(team, artifacts=store) as runtime:
        result = await runtime.orchestrator.execute_workflow(plan)

    assert result.status == "partial"
    assert result["a"].error is not None
    assert result["a"].error.type == "Unavailable"


async def test_a_single_task_raises_what_a_later_try_may_mend():
    store = ArtifactStore(FaultyBlobs(MemoryBlobs(), write=[Unavailable("down")]))

    async with Runtime(team, artifacts=store) as runtime:
        with pytest.raises(Unavailable):
            await runtime.orchestrator.execute_task(task("a", value="x" * 1000))
        assert (await runtime.orchestrator.execute_task(task("a", value="x" * 1000))).state == "succeeded"


def test_the_contracts_team_is_found_by_its_path():
    assert Team.load(PATH) is team


def test_an_engine_that_does_nothing_does_not_keep_the_contract():
    with pytest.raises(NotImplementedError):
        EngineContract().test_a_hanging_agent_is_cut_off()


def test_a_task_for_the_contract_separates_policies_from_input():
    assert task("a", "give", needs=("b",), value=1, priority=2) == Task(
        "a", "script", input={"do": "give", "value": 1}, depends_on=["b"], priority=2
    )
