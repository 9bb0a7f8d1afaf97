"""Which machine a task works for, by what Airflow was told and what a person asked for."""

from __future__ import annotations

import pytest

from airflow_provider_coterie.identity import RunIdentity
from airflow_provider_coterie.machine_runs import note_told, run_of
from coterie import Orchestrator, State, StateMachine, StateMachineRun
from coterie.journal import Intent, Journal
from coterie.machine_run import Shift, execute_machine
from coterie.state import Go
from coterie.stores.journal_memory import MemoryJournalStore

BASE = "airflow.d.r.t"
MACHINE = StateMachine(
    "m",
    [
        State("wait", transitions=[Go("good", "approve"), Go("bad", "reject")]),
        State("good", final="succeeded"),
        State("bad", final="failed"),
    ],
    initial="wait",
)


@pytest.fixture
async def journal():
    journal = Journal(MemoryJournalStore())
    yield journal
    await journal.aclose()


def asked(*, cleared=0, on_clear="run", force=None, engine_run="airflow.d.r"):
    return RunIdentity(BASE, cleared, Intent(engine_run, cleared, on_clear, force))


async def ended(journal, event="approve", *, run=BASE, told=True):
    """A machine that is over, and of whose end Airflow was told."""
    await execute_machine(Orchestrator(journal=journal), MACHINE, workflow_id=run, shift=Shift())
    await StateMachineRun(journal, run).send(event)
    if told:
        await note_told(journal, run, asked().intent)


async def test_the_first_run_is_called_like_the_task(journal):
    assert await run_of(journal, asked()) == BASE


async def test_a_machine_that_is_not_over_is_gone_on_with_however_often_its_task_is_cleared(journal):
    await execute_machine(Orchestrator(journal=journal), MACHINE, workflow_id=BASE, shift=Shift())
    await note_told(journal, BASE, asked().intent)

    assert await run_of(journal, asked(cleared=3)) == BASE


async def test_a_retry_of_what_is_over_tells_its_end(journal):
    await ended(journal)

    assert await run_of(journal, asked()) == BASE


async def test_an_end_that_airflow_never_heard_of_is_told_when_its_task_is_cleared(journal):
    await ended(journal, told=False)

    assert await run_of(journal, asked(cleared=1)) == BASE


@pytest.mark.parametrize("event", ["approve", "reject"])
async def test_a_task_that_is_cleared_after_the_end_begins_another_machine_each_time(journal, event):
    await ended(journal, event)
    second = await run_of(journal, asked(cleared=1))
    await ended(journal, event, run=second)

    third = await run_of(journal, asked(cleared=2))

    assert (second, third) == (f"{BASE}.2", f"{BASE}.3")


@pytest.mark.parametrize(("event", "run"), [("approve", BASE), ("reject", f"{BASE}.2")])
async def test_a_success_that_is_to_be_replayed_is_and_a_failure_is_not(journal, event, run):
    await ended(journal, event)

    assert await run_of(journal, asked(cleared=1, on_clear="replay")) == run


async def test_what_another_engine_s_run_ended_is_told_however_often_this_one_was_cleared(journal):
    await ended(journal)

    assert await run_of(journal, asked(cleared=5, engine_run="airflow.other.r")) == BASE


async def test_a_demand_to_do_it_anew_is_a_machine_of_its_own_the_same_in_each_try(journal):
    await ended(journal)

    first, again = await run_of(journal, asked(force="f")), await run_of(journal, asked(force="f"))

    assert first == again
    assert first.startswith(f"{BASE}.")
    assert first != await run_of(journal, asked(force="g"))
