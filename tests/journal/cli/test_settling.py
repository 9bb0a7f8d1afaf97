"""What an undone run left: `coterie runs show` and `list` tell it, `coterie runs settle` says who undid it by hand."""

from __future__ import annotations

import asyncio
import getpass
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from coterie import Compensation, Orchestrator, Plan, Retry, Saga, SagaPolicy, Task
from coterie.cli.app import app
from coterie.cli.sources import load_team
from coterie.conclude import lost
from coterie.journal import Intent, Journal
from coterie.stores.opening import open_journal_store

TEAM = """
import asyncio
from pathlib import Path

from coterie import Team

team = Team("cloud")


@team.agent("maker")
def make(task_input, ctx):
    if ctx.task_id == "app" and not Path("room").exists():
        raise ValueError("no room")
    return {"id": f"{ctx.task_id}-7", "tags": ["x"] * task_input.get("tags", 0)}


@team.agent("remover")
def remove(task_input, ctx):
    if ctx.task_id in Path("stuck").read_text().split():
        raise PermissionError(f"may not remove [bold]{ctx.task_id}[/bold]\\n" + "why? " * 200)


@team.agent("torn")
async def torn(task_input):
    Path("begun").touch()
    await asyncio.Event().wait()
"""


@pytest.fixture(autouse=True)
def place(folder, monkeypatch):
    for name in ("COTERIE_NAMESPACE", "COTERIE_JOURNAL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COTERIE_STORE", f"sqlite://{folder}/state.db")
    monkeypatch.syspath_prepend(str(folder))
    (folder / "settled_team.py").write_text(TEAM)
    (folder / "stuck").write_text("undo-net undo-vm")
    return folder


def invoke(*argv: str):
    done = CliRunner().invoke(app, argv, prog_name="coterie")
    assert "Traceback" not in done.output
    assert "error: unexpected" not in done.stderr
    return done


def seen(*argv: str) -> Any:
    done = invoke(*argv, "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def lines(*argv: str) -> list[str]:
    done = invoke(*argv)
    assert done.exit_code == 0, done.output
    return done.stdout.splitlines()


def step(name: str, *needs: str, **fields: Any) -> Task:
    undo = Compensation("remover", input={"of": name}, retry=Retry(max_attempts=2, base_s=0))
    return Task(name, "maker", depends_on=needs, compensation=undo, **fields)


def chain(**saga: Any) -> Plan:
    tasks = [step("net"), step("vm", "net", input={"tags": 40}), step("app", "vm")]
    return Plan("cloud", tasks, saga=SagaPolicy(**saga))


def left(plan: Plan, *, engine_run: str = "local", again: bool = False) -> None:
    """Have a run fail of which not everything can be undone."""

    async def run() -> None:
        journal = Journal(open_journal_store(None, "default"))
        saga = Saga(Orchestrator(load_team("settled_team:team"), journal=journal))
        await saga.run(plan, workflow_id="r1", intent=Intent(engine_run, goes_on=again))
        await journal.aclose()

    asyncio.run(run())


def test_what_stands_is_shown_with_what_it_did_why_it_stands_and_what_to_type():
    left(chain(stop_on_failed_compensation=True))

    shown = lines("runs", "show", "r1")

    first = next(i for i, line in enumerate(shown) if line.startswith("net: not undone"))
    assert shown[0] == "r1  failed, 2 not undone"
    assert shown[first : first + 4] == [
        "net: not undone (blocked): CompensationBlocked: a compensation that had to come before this one failed",
        '  the step succeeded, and gave {"id": "net-7", "tags": []}',
        '  what undoes it: remover, with {"of": "net"}, not tried',
        "  once it is undone by hand: coterie runs settle r1 net --note TEXT",
    ]
    vm = shown[first + 4 :]
    assert vm[0].startswith("vm: not undone (failed): PermissionError: may not remove [bold]undo-vm[/bold] why? why?")
    assert vm[1].startswith('  the step succeeded, and gave {"id": "vm-7", "tags": ["x", "x",')
    assert all(line.endswith("…") and len(line) < 450 for line in vm[:2])
    assert vm[2:] == [
        '  what undoes it: remover, with {"of": "vm"}, tried 2 times',
        "  once it is undone by hand: coterie runs settle r1 vm --note TEXT",
        "to have what is left tried again: coterie runs resume r1",
    ]


@pytest.mark.parametrize(
    ("engine_run", "more"),
    [("airflow.d.r", ", or clear the DAG run's last task"), ("prefect.1", ", or retry the flow run"), ("local", "")],
)
def test_who_can_try_again_is_named_by_the_engine_that_began_the_run(engine_run, more):
    left(chain(), engine_run=engine_run)

    assert lines("runs", "show", "r1")[-1] == f"to have what is left tried again: coterie runs resume r1{more}"


def torn(plan: Plan, place: Path) -> None:
    """Have a worker end in the midst of a task, and its run be undone."""

    async def run() -> None:
        journal = Journal(open_journal_store(None, "default"))
        orchestrator = Orchestrator(load_team("settled_team:team"), journal=journal)
        (task,) = plan.tasks
        working = asyncio.create_task(orchestrator.execute_task(task, upstream={}, workflow_id="r1", plan=plan))
        async with asyncio.timeout(60):
            while not (place / "begun").exists():  # noqa: ASYNC110  # the agent knows nothing of this loop
                await asyncio.sleep(0)
        working.cancel()
        await asyncio.wait([working])
        await Saga(orchestrator).compensate(plan, {task.id: lost(task.id)}, workflow_id="r1")
        await journal.aclose()

    asyncio.run(run())


def test_a_step_of_which_nobody_knows_whether_it_was_done_is_shown_as_that(place):
    torn(Plan("torn", [Task("vm", "torn", input={"size": 3}, compensation=Compensation("remover"))]), place)

    shown = lines("runs", "show", "r1")

    assert shown[-5].startswith(
        "vm: not undone (unclear): StepLost: its process ended in the midst of it: look whether"
    )
    assert shown[-4:-1] == [
        '  nobody knows whether the step had its effect: it began with {"size": 3}, and nobody heard how it ended',
        "  what undoes it: remover, not tried",
        "  once it is undone by hand: coterie runs settle r1 vm --note TEXT",
    ]


def test_of_many_letters_the_first_are_shown_and_all_are_in_json(place):
    names = [f"t{number:02}" for number in range(14)]
    (place / "stuck").write_text(" ".join(f"undo-{name}" for name in names))
    left(Plan("many", [*(step(name) for name in names), step("app", *names)]))

    shown, document = lines("runs", "show", "r1"), seen("runs", "show", "r1")

    assert sum("not undone (failed)" in line for line in shown) == 10
    assert "and 4 more steps not undone; --json tells all" in shown
    assert [letter["task_id"] for letter in document["dead_letters"]] == names


def test_json_tells_of_a_run_what_its_saga_left():
    left(chain())

    document = seen("runs", "show", "r1")

    assert document["saga"] == {"why": "failed", "outcome": "compensation_failed", "open_letters": 2}
    assert [(one["task_id"], one["left"], one["attempts"]) for one in document["dead_letters"]] == [
        ("net", "failed", 2),
        ("vm", "failed", 2),
    ]
    assert document["dead_letters"][0]["error"]["type"] == "PermissionError"
    assert document["dead_letters"][0]["input"] == {"of": "net"}
    assert document["undone_by_hand"] == []


def test_a_run_that_was_never_undone_has_no_letters(place):
    (place / "room").touch()
    left(chain())

    document = seen("runs", "show", "r1")

    assert (document["saga"], document["dead_letters"], document["undone_by_hand"]) == (None, [], [])
    assert "undone" not in invoke("runs", "show", "r1").stdout


def test_a_list_marks_runs_that_have_open_letters():
    left(chain())

    assert lines("runs")[1].startswith("r1   failed, 2 not undone  cloud")
    assert seen("runs")["runs"][0]["saga"]["open_letters"] == 2
    invoke("runs", "settle", "r1", "vm")
    assert lines("runs")[1].startswith("r1   failed, 1 not undone  cloud")
    invoke("runs", "settle", "r1", "net")
    assert lines("runs")[1].startswith("r1   failed  cloud")


def test_who_settled_what_and_when_and_how_is_recorded_and_shown():
    left(chain())

    said = lines("runs", "settle", "r1", "vm", "--by", "ann", "--note", "in the [bold]console[/bold]")
    shown = lines("runs", "show", "r1")
    (kept,) = seen("runs", "show", "r1")["undone_by_hand"]

    assert said == [
        "r1: vm is undone, says ann",
        "1 step left: net (failed)",
        "to have what is left tried again: coterie runs resume r1",
    ]
    (line,) = (line for line in shown if line.startswith("vm: "))
    assert line.startswith("vm: undone by hand by ann at ")
    assert line.endswith(": in the [bold]console[/bold]")
    assert (kept["task"], kept["by"], kept["note"]) == ("vm", "ann", "in the [bold]console[/bold]")
    assert kept["at"] > seen("runs", "show", "r1")["begun_at"]


def test_by_default_one_settles_under_the_login_name():
    left(chain())

    document = seen("runs", "settle", "r1", "vm")

    assert (document["run"], document["task"], document["undone_by_hand"]["by"]) == ("r1", "vm", getpass.getuser())
    assert document["open_letters"] == [{"task": "net", "left": "failed"}]


def test_a_task_without_a_letter_is_refused_and_what_is_open_is_named():
    left(chain())
    before = seen("runs", "show", "r1")

    done = invoke("runs", "settle", "r1", "app")

    assert done.exit_code == 2
    assert done.stderr == (
        "error: the run 'r1' has no dead letter about 'app'; open are: 'net', 'vm'; look with 'coterie runs show r1'\n"
    )
    assert seen("runs", "show", "r1") == before


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--journal", "off"], "what is settled is kept in the journal, which is off"),
        (["--by", ""], "nobody's name is known here; say who has undone it with --by NAME"),
        (["--note", "x" * 2001], "give a text of 0 to 2,000 characters"),
    ],
)
def test_what_cannot_be_kept_is_refused(options, said):
    left(chain())

    done = invoke("runs", "settle", "r1", "vm", *options)

    assert (done.exit_code, said in done.stderr) == (2, True)
    assert len(seen("runs", "show", "r1")["dead_letters"]) == 2


def test_a_run_goes_from_what_stands_to_a_success_by_what_it_says_to_type(place, coterie):
    (place / "cloud.json").write_text(json.dumps(chain().to_dict()))
    first = coterie("run", "cloud.json", "-t", "settled_team:team", "--run-id", "r1", "-q")
    assert (first.returncode, first.stdout.endswith("; what to do: coterie runs show r1\n")) == (1, True)

    assert '  the step succeeded, and gave {"id":"net-7","tags":[]}' in lines("runs", "show", "r1")
    assert invoke("runs", "settle", "r1", "vm").exit_code == 0
    last = lines("runs", "settle", "r1", "net")[-1]
    assert last.startswith("nothing is left; to conclude the run: coterie runs resume r1; ")
    assert last.endswith("; to have it done anew after that: the same again")
    concluded = coterie("runs", "resume", "r1", "-q")
    (place / "room").touch()
    anew = coterie("runs", "resume", "r1", "-q")

    assert (concluded.returncode, concluded.stdout.splitlines()[-1]) == (1, "undone: vm, net")
    assert (anew.returncode, seen("runs", "show", "r1")["state"]) == (0, "succeeded")
    assert "undone by hand" not in invoke("runs", "show", "r1").stdout
