"""`coterie runs list` and `show`: which runs, one line each; and that waiting is told from work."""

from __future__ import annotations

import asyncio
import json
from typing import get_args

import pytest
from rich.console import Console
from typer.testing import CliRunner

from coterie import Intent
from coterie._rules.journal_text import Record
from coterie._rules.lap import Lap
from coterie.cli.app import app
from coterie.cli.runs.listing import Wanted, listed, runs_table
from coterie.cli.runs.standing import Standing
from coterie.cli.summary import print_listing
from coterie.journal import Journal
from coterie.journal.header import Header
from coterie.journal.view import RunState, RunView
from coterie.stores.journal_memory import MemoryJournalStore
from coterie.stores.opening import open_journal_store

ENDED_AT = 1_000.0
SECOND = 1_000_000


@pytest.fixture
def store(folder, monkeypatch) -> str:
    url = f"sqlite://{folder}/state.db"
    monkeypatch.setenv("COTERIE_STORE", url)
    monkeypatch.delenv("COTERIE_NAMESPACE", raising=False)
    return url


async def begin(journal: Journal, run: str, engine_run: str = "local") -> None:
    await journal.begin(run, Header("plan", "0" * 64, engine_run=engine_run, begun_at=1.0), Intent(engine_run))


async def many(store: str, ends: dict[str, str]) -> None:
    journal = Journal(open_journal_store(store, "default", durability="relaxed", named_by="a test"))
    for run, status in ends.items():
        await begin(journal, run)
        await journal.conclude(run, status, by="local")
    await journal.aclose()


def command(*argv: str) -> str:
    done = CliRunner().invoke(app, list(argv), prog_name="coterie")
    assert done.exit_code == 0, done.output
    return done.stdout


# Which runs.


def test_runs_can_be_asked_for_by_how_they_stand(store):
    asyncio.run(many(store, {"r1": "failed", "r2": "succeeded", "r3": "partial", "r4": "failed"}))

    def named(*argv: str) -> tuple[list[str], bool]:
        document = json.loads(command("runs", "list", *argv, "--json"))
        return [run["run"] for run in document["runs"]], document["more"]

    assert named("--state", "failed") == (["r4", "r1"], False)
    assert named("--state", "failed", "--state", "partial") == (["r4", "r3", "r1"], False)
    assert named("--state", "failed", "--limit", "1") == (["r4"], True)
    assert "no cancelled or lost runs in sqlite://" in command("runs", "--state", "cancelled", "--state", "lost")


def test_a_state_that_no_run_can_have_is_refused(store):
    done = CliRunner().invoke(app, ["runs", "list", "--state", "red"], prog_name="coterie")

    assert done.exit_code == 2
    assert "interrupted" in done.output


def test_every_state_of_a_run_can_be_asked_for():
    assert {each.value for each in Standing} == set(get_args(RunState))


async def test_runs_that_stand_so_are_found_behind_a_page_of_others():
    journal = Journal(MemoryJournalStore("test"))
    await begin(journal, "old")
    for n in range(250):
        await begin(journal, f"r{n}")
        await journal.conclude(f"r{n}", "succeeded", by="local")

    views, is_more = await listed(journal, Wanted(5, ["interrupted"]))

    assert ([view.workflow_id for view in views], is_more) == (["old"], False)


@pytest.mark.parametrize("width", [80, 100, 140])
def test_a_run_has_one_line_and_its_whole_name_on_a_terminal(width):
    name = "prefect.0193a1b2-1111-2222-3333-444455556666"
    header = Header("a-plan-with-a-long-name-of-its-own", "0" * 64, engine_run=f"{name}-again")
    views = [RunView(name, "interrupted", header, None, None) for _ in range(3)]
    console = Console(force_terminal=True, width=width, no_color=True, record=True)

    print_listing(console, runs_table(views))

    lines = console.export_text().splitlines()
    assert len(lines) == 1 + len(views)
    assert all(line.startswith(f"{name}  interrupted  ") for line in lines[1:])


def test_who_has_begun_a_run_is_not_named_twice(store):
    async def begun() -> None:
        journal = Journal(open_journal_store(store, "default", durability="relaxed", named_by="a test"))
        await begin(journal, "prefect.0193a1b2", "prefect.0193a1b2")
        await journal.aclose()

    asyncio.run(begun())

    assert command("runs").splitlines()[1].split()[-1] == "prefect"


# What it took.


def lap(kind: str, since_s: float, took_s: float, **facts: str) -> Lap:
    return Lap(kind, round(since_s * SECOND), round(took_s * SECOND), facts)


async def waiting_run(store: str) -> None:
    """Twice 50 s in which nobody took it, and twice 2 s of work."""
    journal = Journal(open_journal_store(store, "default", durability="relaxed", named_by="a test"))
    await begin(journal, "r1")
    result = {"state": "succeeded", "attempts": 1, "agent_id": "sum-agent", "duration_s": 52.0}
    laps = (lap("queue", ENDED_AT - 52, 50, place="worker", worker="sum-2"), lap("call", ENDED_AT - 2, 2))
    for name in ("a", "b"):
        record = Record(0, "fp", result, "local", ENDED_AT, laps=laps)
        await journal.store.write("r1", {f"task/{name}": record.text()})
    await journal.conclude("r1", "succeeded", by="local")
    await journal.aclose()


def test_waiting_is_not_counted_as_work(store):
    asyncio.run(waiting_run(store))

    shown = command("runs", "show", "r1")
    units = json.loads(command("runs", "show", "r1", "--json"))["units"]

    assert "so far 2 ends recorded: 4.0 s of work, 1 min 40 s of waiting" in shown
    assert [(unit["duration_s"], unit["work_s"], unit["waited_s"]) for unit in units] == [(52.0, 2.0, 50.0)] * 2


def test_the_worker_that_did_it_is_named(store):
    asyncio.run(waiting_run(store))

    lines = command("runs", "show", "r1").splitlines()
    units = json.loads(command("runs", "show", "r1", "--json"))["units"]

    assert [line.split()[:2] for line in lines if "sum-agent at sum-2" in line] == [
        ["a", "succeeded"],
        ["b", "succeeded"],
    ]
    assert [unit["worker"] for unit in units] == ["sum-2", "sum-2"]


def test_going_on_is_not_foreseen_to_take_what_was_waited_the_last_time(store, folder, monkeypatch):
    monkeypatch.syspath_prepend(str(folder))
    tasks = [{"id": name, "agent_type": "split"} for name in ("a", "b")]
    (folder / "plan.json").write_text(json.dumps({"name": "plan", "tasks": tasks}))
    asyncio.run(waiting_run(store))

    argv = ("runs", "diff", "r1", "--plan", str(folder / "plan.json"), "--team", "work:team")

    assert "would run: 4.0 s of work;" in command(*argv)
    assert json.loads(command(*argv, "--json"))["duration_s"]["runs"] == 4.0
