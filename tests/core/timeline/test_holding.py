"""While a run goes on, `coterie trace` says what holds it: what the fleet's stores hold is looked up."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from coterie import BreakerPolicy, Orchestrator, Plan, Retry, Task, Team
from coterie.breaker import CircuitBreaker
from coterie.cli.app import app
from coterie.cli.runs.place import JournalPlace
from coterie.cli.top.blocking import Queued
from coterie.cli.trace.holding import held, timeline_with_holds
from coterie.errors import Unavailable
from coterie.journal import Intent, Journal
from coterie.journal.header import Header
from coterie.journal.place import place_of
from coterie.remote import Call, RemoteCalls
from coterie.stores.opening import open_journal_store, open_log_store, open_state_store
from coterie.timeline import Span

RUN = "r1"
PLAN = Plan("crew", [Task("a", "writer"), Task("b", "writer", depends_on=["a"])])


@pytest.fixture(autouse=True)
def clean(folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    for name in ("COTERIE_NAMESPACE", "COTERIE_JOURNAL", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    url = f"sqlite://{folder}/state.db"
    monkeypatch.setenv("COTERIE_STORE", url)
    return url


def show(*argv: str) -> str:
    done = CliRunner().invoke(app, ["trace", "show", RUN, *argv], prog_name="coterie")
    assert done.exit_code == 0, done.output
    return done.stdout


def line_of(text: str, about: str) -> str:
    return next((line.rstrip() for line in text.splitlines() if line.strip().startswith(about)), "")


async def claimed(url: str) -> None:
    """A run whose first task a scheduler's process has claimed."""
    journal = Journal(open_journal_store(url, "default", durability="relaxed"))
    await journal.begin(
        RUN, Header(PLAN.name, PLAN.hash, document=PLAN.to_dict(), begun_at=time.time() - 60), Intent("prefect.a")
    )
    asked = journal.asked(Intent("prefect.a"), "fp", "process 7 on vm")
    await journal.claim(RUN, place_of("a"), asked, what="a", patience_s=0)
    await journal.aclose()


async def scheduled(url: str) -> None:
    """A run that Airflow has begun, and of which the journal knows nothing else."""
    journal = Journal(open_journal_store(url, "default", durability="relaxed"))
    begun_at = time.time() - 60
    header = Header(PLAN.name, PLAN.hash, document=PLAN.to_dict(), engine_run="airflow.a", begun_at=begun_at)
    await journal.begin(RUN, header, Intent("airflow.a"))
    await journal.aclose()


async def submitted(url: str) -> None:
    """The first task's call, in the queue of workers."""
    store = open_state_store(url, "default")
    log = open_log_store(url, "default", durability="relaxed")
    calls = RemoteCalls(store, log)
    await calls.submit(Call.of(Task("a", "writer"), namespace="default", workflow_id=RUN))
    await calls.aclose()
    await store.aclose()
    await log.aclose()


async def opened_breaker(url: str, name: str) -> None:
    store = open_state_store(url, "default")
    breaker = CircuitBreaker(name, BreakerPolicy(failure_threshold=1, timeout_s=300.0, jitter=0.0), store=store)
    with pytest.raises(OSError, match="down"):
        async with breaker.guard():
            raise OSError("down")
    await breaker.aclose()
    await store.aclose()


def test_work_that_has_not_ended_is_not_said_to_be_at_work(clean: str):
    asyncio.run(claimed(clean))

    text = show()

    assert "not ended, so waiting or at work 100 %" in line_of(text, "time")
    assert "not ended, so waiting or at work: a (at most" in line_of(text, "now")
    assert line_of(text, "held") == ""
    assert text.splitlines()[-1].endswith("▒ waiting or at work")
    assert "agents at work" not in text


def test_the_breaker_that_holds_a_run_is_named_on_the_terminal_and_in_the_document(clean: str):
    async def arranged() -> None:
        await claimed(clean)
        await opened_breaker(clean, "writer")

    asyncio.run(arranged())

    told = line_of(show(), "held")
    (now,) = json.loads(show("--json"))["now"]

    assert re.search(r"a: breaker writer open for \d.* more, after OSError: down$", told), told
    assert now["held_by"].startswith("breaker writer open for")


def test_what_lies_in_the_queue_of_workers_is_said_to_lie_there(clean: str):
    async def arranged() -> None:
        await claimed(clean)
        await submitted(clean)

    asyncio.run(arranged())

    assert line_of(show(), "held").endswith("a: in the queue of workers; no worker serves it")


def test_what_a_scheduler_has_handed_out_and_nobody_has_begun_goes_on(clean: str):
    """As on Airflow, where a deferred task has no process: the journal knows of none until a worker begins it."""

    async def arranged() -> None:
        await scheduled(clean)
        await submitted(clean)

    asyncio.run(arranged())
    text = show()

    assert text.splitlines()[0].split()[:2] == [RUN, "running"]
    assert "a (ready since" in line_of(text, "now")
    assert line_of(text, "held").endswith("a: in the queue of workers; no worker serves it")
    assert (line_of(text, "left"), line_of(text, "no record")) == ("", "")
    assert "b waits for a" in line_of(text, "ahead")
    assert "not ended, so waiting or at work 100 %" in line_of(text, "time")
    assert "no worker serves it" in show("--task", "a")


def test_what_a_scheduler_has_not_handed_out_is_left_as_it_was(clean: str):
    asyncio.run(scheduled(clean))
    text = show()

    assert text.splitlines()[0].split()[:2] == [RUN, "interrupted"]
    assert "If it has given up: coterie runs resume r1" in line_of(text, "left")


def test_a_queue_that_holds_some_of_a_task_s_items_says_how_many():
    items = [
        Span(f"item/each/{n}", "task/each", f"[{n}]", "item", 0, None, "running", "open", {"agent_type": "writer"})
        for n in range(3)
    ]
    queued = Queued({RUN: Counter({"each": 2})}, frozenset())

    found = held(RUN, items, {"writer": "breaker writer open"}, queued)

    assert set(found.values()) == {"2 of 3 in the queue of workers; breaker writer open"}


def test_what_workers_had_begun_that_are_gone_is_told_beside_the_queue():
    task = Span("task/lint", "run", "lint", "task", 0, None, "running", "open", {"agent_type": "linter"})
    queued = Queued({RUN: Counter({"lint": 7})}, frozenset({"linter"}), {RUN: Counter({"lint": 2})})

    found = held(RUN, [task], {}, queued)

    assert found == {
        "task/lint": "7 of 9 in the queue of workers; 2 taken by workers that are gone; no worker serves it"
    }


async def test_a_store_that_does_not_answer_is_a_note(clean: str, monkeypatch: pytest.MonkeyPatch):
    async def away(*_: Any) -> Any:
        raise Unavailable("the store is away")

    await claimed(clean)
    monkeypatch.setattr("coterie.cli.trace.holding._looked", away)
    place = JournalPlace(clean)
    async with place.opened() as journal:
        timeline = await timeline_with_holds(place, journal, RUN)

    assert timeline.held == {}
    assert timeline.notes[-1] == "what holds the work now could not be read: the store is away"


def test_what_failed_and_was_tried_again_is_told_with_its_error(clean: str):
    team = Team("crew")
    left = iter([TimeoutError("no answer"), TimeoutError("no answer")])

    @team.agent("writer")
    async def write(task_input: Any) -> None:
        for error in left:
            raise error

    async def run() -> None:
        journal = Journal(open_journal_store(clean, "default", durability="relaxed"))
        plan = Plan("crew", [Task("a", "writer", retry=Retry(max_attempts=3, base_s=0.01))])
        await Orchestrator(team, journal=journal).execute_workflow(plan, workflow_id=RUN)
        await journal.aclose()

    asyncio.run(run())

    told = line_of(show(), "tried")
    assert told.endswith("2 attempts failed and were followed by another: TimeoutError: no answer (2 times)")
