"""A run that has ended and is gone on with: its own span is there once, each further end is a span within it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from coterie import Orchestrator, Plan, Task, TaskResult, Team
from coterie.conclude import conclude
from coterie.journal import Intent, Journal
from coterie.journal.header import Header
from coterie.stores.journal_memory import MemoryJournalStore
from coterie.telemetry import names
from coterie.telemetry.identity import root_span_id
from coterie.telemetry.recording import had_ended, record_run

PLAN = Plan("p", [Task("t", "moody")])


def team_that(*moods: str) -> Team:
    """Its agent fails, or not, one call after another."""
    team, coming = Team("moods"), iter(moods)

    @team.agent("moody")
    async def moody(_: dict[str, Any]) -> str:
        if next(coming) == "cross":
            raise ValueError("not now")
        return "done"

    return team


async def test_a_run_that_is_resumed_has_a_span_within_its_own(spans):
    orchestrator = Orchestrator(team_that("cross", "well"), journal=Journal(MemoryJournalStore()))

    await orchestrator.execute_workflow(PLAN, workflow_id="r")
    await orchestrator.execute_workflow(PLAN, workflow_id="r", intent=Intent(goes_on=True))

    first, second = spans.named("invoke_workflow p")
    assert [span.attributes[names.STATUS] for span in (first, second)] == ["failed", "succeeded"]
    assert first.context.span_id == root_span_id("default", "r") != second.context.span_id
    assert spans.parent(second) is first
    assert [spans.parent(work) for work in spans.named("execute_task t")] == [first, second]


async def test_a_run_that_a_scheduler_concludes_twice_has_a_span_within_its_own(spans):
    journal = Journal(MemoryJournalStore())
    await journal.begin("r", Header("p", PLAN.hash), Intent())

    for state in ("failed", "succeeded"):
        results: Mapping[str, TaskResult] = {"t": TaskResult("t", state)}
        await record_run(conclude(PLAN, results, workflow_id="r"), namespace="default", journal=journal)
        await journal.conclude("r", state, by="engine")

    first, second = spans.named("invoke_workflow p")
    assert first.context.span_id == root_span_id("default", "r") != second.context.span_id
    assert spans.parent(second) is first


async def test_whether_a_run_had_ended_is_asked_by_nobody_who_records_no_spans():
    class Unreadable(MemoryJournalStore):
        async def get(self, *_: object) -> Any:
            raise AssertionError("asked")

    assert await had_ended("r", Journal(Unreadable())) is False
    assert await had_ended("r", None) is False
