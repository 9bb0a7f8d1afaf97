"""What a person finds among the artifacts of a flow run."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest

from coterie import (
    Go,
    Orchestrator,
    Plan,
    State,
    StateMachine,
    StateMachineRun,
    Task,
    TaskResult,
    WorkflowResult,
)
from coterie.journal import Journal
from coterie.machine_run import Shift, execute_machine
from coterie.stores.journal_memory import MemoryJournalStore
from prefect_coterie import plan_to_flow, publication, publish_machine, publish_report
from prefect_coterie.publication import MAX_MARKDOWN_BYTES, bounded
from tests.prefect.runs import artifacts_of, run
from tests.prefect.trial import TEAM

pytestmark = pytest.mark.prefect

written = Plan("Written_Well", [Task("report", "writer")])


async def test_a_report_is_shown_as_markdown_with_a_table_and_a_link(store_url: str):
    ended = await run(plan_to_flow(written, team=TEAM, artifacts=store_url, publish=publish_report), store_url)

    found = await artifacts_of(ended.flow_run_id)

    assert set(found) == {"written-well-result", "written-well-report", "written-well-page"}
    assert str(found["written-well-report"].data).startswith("# All is well")
    assert str(found["written-well-page"].data).endswith(f"/default/pages/prefect.{ended.flow_run_id}.html)")


async def test_the_page_can_be_copied_to_a_folder(store_url: str, tmp_path: Path):
    publish = partial(publish_report, folder=tmp_path / "pages")

    ended = await run(plan_to_flow(written, team=TEAM, artifacts=store_url, publish=publish), store_url)

    page = tmp_path / "pages" / f"prefect.{ended.flow_run_id}.html"
    assert page.read_text().startswith("<!doctype html>")
    assert page.as_uri() in str((await artifacts_of(ended.flow_run_id))["written-well-page"].data)


async def test_without_a_report_there_is_the_table(store_url: str):
    plan = Plan("silent", [Task("report", "broken"), Task("other", "adder")])

    ended = await run(plan_to_flow(plan, team=TEAM, artifacts=store_url, publish=publish_report), store_url)

    assert set(await artifacts_of(ended.flow_run_id)) == {"silent-result"}


async def test_the_table_of_a_machine_has_its_last_visits(monkeypatch: pytest.MonkeyPatch):
    tables: list[list[dict[str, Any]]] = []

    async def noted(*, table: list[dict[str, Any]], **_: Any) -> None:
        tables.append(table)

    monkeypatch.setattr(publication, "acreate_table_artifact", noted)
    monkeypatch.setattr(publication, "MAX_ROWS", 2)
    loop = [State("a", transitions=[Go("b", "on")]), State("b", transitions=[Go("a", "on"), Go("end", "stop")])]
    machine = StateMachine("m", [*loop, State("end", final="succeeded")], initial="a", max_steps=9)
    journal = Journal(MemoryJournalStore())
    run = StateMachineRun(journal, "r1")
    await execute_machine(Orchestrator(journal=journal), machine, workflow_id="r1", shift=Shift())
    for event in ("on", "on", "on", "stop"):
        await publish_machine(await run.status(), machine, run)
        await run.send(event)
    await publish_machine(await run.status(), machine, run)

    assert [[row["visit"] for row in rows] for rows in tables] == [[], [1], [1, 2], [2, 3], [3, 4]]


def test_markdown_within_the_bound_is_left_alone():
    assert bounded("# Short\n", "file:///x") == "# Short\n"


@pytest.mark.parametrize("line", ["a line of text\n", "ä" * 100 + "\n", "no line at all "])
def test_long_markdown_is_cut_at_a_line_and_says_where_the_rest_is(line: str):
    text = line * 30_000

    cut = bounded(text, "file:///whole")

    assert len(cut.encode()) <= MAX_MARKDOWN_BYTES
    assert cut.endswith("lies at `file:///whole`.*\n")
    assert text.startswith(cut.partition("\n\n*Cut here")[0])


def test_a_table_has_a_bounded_number_of_rows():
    from prefect_coterie.publication import MAX_ROWS, rows_of

    tasks = {f"t{i}": TaskResult(f"t{i}", "succeeded") for i in range(MAX_ROWS)}
    tasks["last"] = TaskResult("last", "failed")
    result = WorkflowResult.of("run", "plan", "hash", tasks, ("last",))

    rows = rows_of(result)

    assert len(rows) == MAX_ROWS
    assert rows[0]["task"] == "last"
