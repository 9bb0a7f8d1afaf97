"""`coterie runs` and `coterie reap`: what they show, and what they refuse."""

from __future__ import annotations

import json
import sqlite3

import pytest
from typer.testing import CliRunner

from coterie import ForEach, Plan, Task
from coterie.cli.app import app
from coterie.cli.board import Board
from coterie.events import Event
from coterie.ids import item_keys

COMMANDS = {
    "list": ["runs", "list"],
    "show": ["runs", "show", "r1"],
    "diff": ["runs", "diff", "r1"],
    "resume": ["runs", "resume", "r1"],
    "settle": ["runs", "settle", "r1", "split"],
    "forget": ["runs", "forget", "r1"],
    "erase": ["runs", "erase", "r1"],
    "prune": ["runs", "prune"],
    "reap": ["reap"],
}


@pytest.fixture(autouse=True)
def clean(folder, monkeypatch):
    for name in ("COTERIE_STORE", "COTERIE_NAMESPACE", "COTERIE_JOURNAL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.syspath_prepend(str(folder))


@pytest.fixture
def invoke(folder):
    """Run a command in this process."""

    def run(*argv: str):
        done = CliRunner().invoke(app, list(argv), prog_name="coterie")
        assert "Traceback" not in done.output
        assert "error: unexpected" not in done.stderr
        return done

    return run


@pytest.fixture
def seen(invoke):
    """The JSON document that a command writes."""

    def read(*argv: str, code: int = 0):
        done = invoke(*argv, "--json")
        assert done.exit_code == code, done.output
        return json.loads(done.stdout)

    return read


@pytest.fixture
def shown(invoke):
    """What a command shows people, one blank for several."""

    def read(*argv: str, code: int = 0) -> str:
        done = invoke(*argv)
        assert done.exit_code == code, done.output
        return "\n".join(" ".join(line.split()) for line in done.stdout.splitlines())

    return read


@pytest.fixture
def finished(coterie):
    """A run `r1` that succeeded, one of its items failed."""
    done = coterie("run", "work:good", "--team", "work:team", "--run-id", "r1", "--quiet")
    assert done.returncode == 0, done.stderr


def key_of(item: object) -> str:
    return item_keys([item])[0]


def test_where_nothing_has_run_there_are_no_runs_and_no_file_is_made(shown, invoke, folder):
    assert shown("runs").startswith("no runs in sqlite:///")
    for command in ("show", "diff", "settle", "forget", "erase", "prune", "reap"):
        invoke(*COMMANDS[command])
    assert not list((folder / "home").rglob("*.db"))


@pytest.mark.usefixtures("finished")
def test_a_run_is_listed_with_its_plan_and_how_it_ended(shown, seen):
    assert "r1 succeeded three" in shown("runs")
    assert seen("runs", "--limit", "5") == seen("runs", "list", "--limit", "5")
    document = seen("runs")

    assert document["more"] is False
    (run,) = document["runs"]
    assert (run["run"], run["state"], run["plan"]["name"], run["team"]) == ("r1", "succeeded", "three", "work:team")
    assert run["begun_at"] < run["ended_at"]
    assert run["claim"] is None


@pytest.mark.usefixtures("finished")
def test_more_runs_than_were_asked_for_are_announced(coterie, shown, seen):
    coterie("run", "work:failed", "-t", "work:team", "--run-id", "r2", "-q")

    assert shown("runs", "--limit", "1").endswith("and more; --limit 2 shows them")
    assert seen("runs", "--limit", "1")["more"] is True
    assert [run["run"] for run in seen("runs", "--limit", "2")["runs"]] == ["r2", "r1"]


@pytest.mark.usefixtures("finished")
def test_a_run_is_shown_with_each_task_and_its_items_in_order(shown, seen):
    text = shown("runs", "show", "r1")
    units = seen("runs", "show", "r1")["units"]

    names = [f"double/[{index}] ({key_of(item)[:8]}…)" for index, item in enumerate([1, 2, 3])]
    lines = [line for line in text.splitlines() if line.startswith("double")]
    assert [line.partition(")")[0] + ")" for line in lines] == names
    assert "ValueError: two is [bold]bad[/bold]" in text
    assert {unit["name"]: unit["item"] for unit in units} == {
        "join": None,
        "split": None,
        **{f"double/{key_of(item)}": {"key": key_of(item), "index": item - 1} for item in (1, 2, 3)},
    }
    assert [unit["state"] for unit in units if unit["name"].endswith(key_of(2))] == ["failed"]


def test_items_are_called_by_the_keys_that_they_were_given(coterie, shown, folder):
    plan = {
        "name": "files",
        "tasks": [
            {"id": "names", "agent_type": "names"},
            {"id": "each", "agent_type": "split", "foreach": {"task": "names", "key": "/path"}},
        ],
    }
    (folder / "plan.json").write_text(json.dumps(plan))
    (folder / "names.py").write_text(
        "from work import team\n"
        "@team.agent('names')\n"
        "def names(task_input):\n"
        "    return [{'path': path} for path in ('src/a b.py', 'readable.py', 'two\\nlines')]\n"
    )
    done = coterie("run", "plan.json", "-t", "names:team", "--run-id", "r1", "-q")
    assert done.returncode == 0, done.stderr

    text = shown("runs", "show", "r1")

    assert [line.partition(" succeeded")[0] for line in text.splitlines() if line.startswith("each")] == [
        "each/src/a b.py",
        "each/readable.py",
        r"each/'two\nlines'",
    ]
    assert "each/~" in shown("runs", "forget", "r1", "each/src/a b.py")


def test_items_whose_plan_is_out_of_reach_keep_the_names_that_they_have(coterie, shown, folder):
    task = {"id": "each", "agent_type": "double", "input": {"note": "long " * 1000}, "foreach": {"items": [7]}}
    (folder / "plan.json").write_text(json.dumps({"name": "large", "tasks": [task]}))
    coterie("run", "plan.json", "-t", "work:team", "--run-id", "r1", "-q")

    assert f"each/[0] ({key_of(7)[:8]}…) succeeded" in shown("runs", "show", "r1")
    assert f"each/{key_of(7)} succeeded" in shown("runs", "show", "r1", "--artifacts", str(folder / "elsewhere"))


@pytest.mark.usefixtures("finished")
def test_what_was_forgotten_is_done_anew_by_whoever_asks_next(coterie, seen, invoke):
    assert seen("runs", "forget", "r1", f"double/{key_of(3)[:8]}")["forgotten"] == [f"double/{key_of(3)}"]

    again = coterie("run", "work:good", "-t", "work:team", "--run-id", "r1")

    assert "split: replayed, succeeded" in again.stderr
    assert "double: succeeded 3/3 items, 1 failed, 2 replayed" in again.stderr
    assert "join: replayed, succeeded" in again.stderr
    assert len(seen("runs", "forget", "r1")["forgotten"]) == 5
    unknown = invoke("runs", "forget", "r1", "nope")
    assert unknown.exit_code == 2
    assert "the run 'r1' has done nothing called 'nope'; it has: double/" in unknown.stderr


@pytest.mark.usefixtures("finished")
def test_a_run_is_erased_once(seen, invoke):
    assert seen("runs", "erase", "r1") == {"run": "r1", "erased": True}

    again = invoke("runs", "erase", "r1")

    assert again.exit_code == 2
    assert "there is no run 'r1'" in again.stderr


@pytest.mark.usefixtures("finished")
def test_pruning_says_what_it_would_do_and_does_it(seen, shown):
    assert seen("runs", "prune", "--older-than", "1h") == {"runs": [], "dry_run": False}
    assert seen("runs", "prune", "--older-than", "0s", "--dry-run") == {"runs": ["r1"], "dry_run": True}
    assert shown("runs", "prune", "--older-than", "0s") == "1 run pruned\nr1"
    assert seen("runs")["runs"] == []


@pytest.mark.usefixtures("finished")
def test_a_run_that_ended_is_not_reaped(seen):
    assert seen("reap", "--idle", "0s") == {"runs": [], "dry_run": False}


@pytest.mark.parametrize("age", ["3x", "d", "-1d", "1.5h", "", "30", "٣d", "9" * 30 + "d", " 1d"])
@pytest.mark.parametrize("command", [["runs", "prune", "--older-than"], ["reap", "--idle"]])
def test_an_age_that_is_none_is_refused_in_one_line(invoke, command, age):
    done = invoke(*command, age)

    assert done.exit_code == 2
    assert done.stderr == f"error: {age!r} is no age; write a whole number and s, m, h or d, as in 30d\n"


@pytest.mark.parametrize("command", COMMANDS)
def test_no_command_looks_into_the_memory_of_another_process(invoke, monkeypatch, command):
    monkeypatch.setenv("COTERIE_STORE", "memory://")

    done = invoke(*COMMANDS[command])

    assert done.exit_code == 2
    assert done.stderr.startswith("error: a journal in memory is seen by its own process alone; name the fleet's store")


@pytest.mark.parametrize("command", ["show", "diff", "resume", "settle", "forget", "erase"])
def test_a_run_that_the_journal_does_not_know_is_refused(invoke, command):
    done = invoke(*COMMANDS[command])

    assert done.exit_code == 2
    assert "error: there is no run 'r1' in the journal 'sqlite:///" in done.stderr
    assert "coterie runs list" in done.stderr


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--store", "ftp://host"], "error: no journal store has URLs with the scheme 'ftp'"),
        (["--namespace", "a b"], "error: the namespace 'a b' is not a usable name"),
    ],
)
def test_a_store_or_namespace_that_cannot_be_is_refused(invoke, command, options, said):
    done = invoke(*COMMANDS[command], *options)

    assert done.exit_code == 2
    assert done.stderr.startswith(said)


@pytest.mark.parametrize("argv", [["runs", "nope"], ["runs", "--limit", "0"], ["runs", "show"], ["runs", "--nope"]])
def test_other_words_are_refused_as_everywhere(invoke, argv):
    assert invoke(*argv).exit_code == 2


def test_another_namespace_has_other_runs(coterie, seen):
    coterie("run", "work:failed", "-t", "work:team", "--run-id", "r1", "-q")

    assert seen("runs", "--namespace", "other")["runs"] == []
    assert len(seen("runs", "--namespace", "default")["runs"]) == 1


def test_a_run_of_another_namespace_finds_its_plan_and_lists_there(coterie, seen, monkeypatch):
    monkeypatch.setenv("COTERIE_NAMESPACE", "mine")
    coterie("run", "work:good", "-t", "work:team", "--run-id", "r1", "-q")

    assert [task["would"] for task in seen("runs", "diff", "r1")["tasks"]] == ["replays", "runs", "may_run"]


@pytest.mark.parametrize("mode", ["off", "relaxed", "strict"])
def test_a_run_is_recorded_as_it_was_asked_for(coterie, seen, folder, mode):
    done = coterie("run", "work:good", "-t", "work:team", "--run-id", "r1", "--journal", mode, "-q")

    assert done.returncode == 0
    assert [run["run"] for run in seen("runs")["runs"]] == ([] if mode == "off" else ["r1"])
    assert list((folder / "home").glob("*.journal.db")) == ([] if mode == "off" else [folder / "home/state.journal.db"])


def test_with_a_store_in_memory_a_run_goes_on_and_says_that_nothing_is_recorded(coterie, monkeypatch):
    monkeypatch.setenv("COTERIE_STORE", "memory://")

    done = coterie("run", "work:good", "-t", "work:team")

    assert done.returncode == 0, done.stderr
    assert "what is finished is not recorded: the store is in memory" in done.stderr


@pytest.mark.usefixtures("finished")
def test_a_run_does_not_go_on_with_another_plan(coterie):
    again = coterie("run", "work:failed", "-t", "work:team", "--run-id", "r1", "-q")

    assert again.returncode == 2
    assert "the run 'r1' began with 'three' (" in again.stderr


@pytest.mark.usefixtures("finished")
def test_a_damaged_run_is_named(invoke, folder):
    with sqlite3.connect(folder / "home/state.journal.db") as database:
        database.execute("UPDATE texts SET text = '{' WHERE path = 'task/split'")
    database.close()

    done = invoke("runs", "show", "r1")

    assert done.exit_code == 1
    assert "error: of the run 'r1', the journal's text 'task/split' is not JSON" in done.stderr
    assert invoke("runs", "erase", "r1").exit_code == 0


def test_progress_tells_what_was_replayed_from_what_was_done():
    plan = Plan("p", [Task("a", "x"), Task("each", "x", foreach=ForEach(items=[1, 2])), Task("b", "x")])
    board = Board(plan)

    def happened(task_id: str, name: str, **fields: object) -> None:
        board.apply(Event(name, "r1", task_id, fields))

    happened("a", "task.replayed", state="succeeded")
    happened("a", "task.finished", state="succeeded", replayed=True)
    for item in ("[0]", "[1]"):
        happened("each", "task.replayed", state="succeeded", item=item)
        happened("each", "item.finished", state="succeeded", total=2)
    happened("each", "task.finished", state="succeeded")
    happened("b", "task.started", agent_type="x")
    happened("b", "task.finished", state="failed")

    assert {row.task_id: (row.state, row.replayed) for row in board.rows.values()} == {
        "a": ("succeeded", True),
        "each": ("succeeded", True),
        "b": ("failed", False),
    }
    assert board.done == 3
