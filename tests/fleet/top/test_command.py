"""`coterie top` where nothing is live: one frame, one document, and what is refused."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from coterie.cli.top.showing import is_read
from coterie.cli.top.snapshot import AgentRow, Section, WorkerRow
from tests.docs.markdown import pages
from tests.fleet.top.frames import a_snapshot

REFERENCE = next(page for page in pages() if page.name == "docs/reference/command-line.md")


@pytest.fixture(params=["sqlite", "valkey"])
def store(request, folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    url = f"sqlite://{folder}/state.db" if request.param == "sqlite" else request.getfixturevalue("server").url
    monkeypatch.setenv("COTERIE_STORE", url)
    monkeypatch.setenv("COTERIE_NAMESPACE", folder.name.replace("_", "-"))
    return url


def test_what_is_no_terminal_gets_one_frame_of_all_there_is(coterie, store):
    coterie("run", "work:good", "--team", "work:team", "--run-id", "good-1", "--quiet", "--journal", "relaxed")
    coterie("run", "work:failed", "--team", "work:team", "--run-id", "bad-1", "--quiet", "--journal", "relaxed")

    for options in ((), ("--once", "--team", "work:team")):
        shown = coterie("top", *options)

        assert shown.returncode == 0, shown.stderr
        assert shown.stderr in ("", "an agent prints\n")
        assert re.search(r"^good-1 +three +succeeded +3/3 +3/3 ", shown.stdout, re.MULTILINE)
        assert re.search(r"^bad-1 .*failed +1/1 +1 .*fail: RuntimeError: on purpose$", shown.stdout, re.MULTILINE)
        assert "\x1b" not in shown.stdout


def test_one_document_says_the_same(coterie, store):
    coterie("run", "work:good", "--team", "work:team", "--run-id", "good-1", "--quiet", "--journal", "relaxed")

    done = coterie("top", "--json")

    document = json.loads(done.stdout)
    assert done.returncode == 0
    assert document["head"]["error"] is None
    (run,) = document["runs"]["rows"]
    assert (run["run"], run["state"], run["plan"]) == ("good-1", "succeeded", "three")
    assert run["tasks"] == {"total": 3, "done": 3, "failed": 0, "running": 0, "queued": 0}
    assert run["items"] == {"ended": 3, "total": 3}


def test_a_narrow_page_is_as_wide_as_is_asked_for(coterie, folder, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    coterie("run", "work:failed", "--team", "work:team", "--run-id", "bad-1", "--quiet", "--journal", "relaxed")

    shown = coterie("top", "--once")

    assert max(map(len, shown.stdout.splitlines())) <= 60


def test_looking_makes_no_file(coterie, folder, monkeypatch):
    monkeypatch.setenv("COTERIE_STORE", f"sqlite://{folder}/nowhere/state.db")

    shown = coterie("top", "--once")

    assert shown.returncode == 0, shown.stderr
    assert not (folder / "nowhere").exists()


@pytest.mark.parametrize("options", [(), ("--once",), ("--json",)])
def test_a_store_that_is_away_is_told_in_the_frame_and_by_the_exit_code(coterie, monkeypatch, options):
    monkeypatch.setenv("COTERIE_STORE", "redis://127.0.0.1:1/0")

    shown = coterie("top", *options)

    assert shown.returncode == 1
    if "--json" in options:
        assert json.loads(shown.stdout)["head"]["error"]
    else:
        assert "the store is away" in shown.stdout


def test_a_section_that_could_not_be_read_counts_as_a_frame_that_is_not_whole():
    whole = a_snapshot()

    assert is_read(whole)
    assert not is_read(a_snapshot(queues=replace(whole.queues, error="the log is away")))
    assert is_read(a_snapshot(queues=replace(whole.queues, notes=("one damaged state",))))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--store", "memory://"), "seen by its own process alone"),
        (("--team", "nowhere:team"), "nowhere"),
        (("--interval", "0"), "0.2"),
        (("--sort", "colour"), "state"),
    ],
)
def test_what_cannot_be_is_refused(coterie, options, said):
    done = coterie("top", "--once", *options)

    assert done.returncode == 2
    assert said in done.stderr


def test_every_key_of_the_document_is_in_the_reference():
    section = REFERENCE.text.partition("## Watching the team")[2].partition("\n## ")[0]
    snapshot = a_snapshot()

    def keys(value: object) -> set[str]:
        if isinstance(value, dict):
            return set(value) | {key for each in value.values() for key in keys(each)}
        return {key for each in value for key in keys(each)} if isinstance(value, list) else set()

    # Of breakers, limits and budgets the shapes are those of `coterie status --json`.
    rows = Section(tuple(row for row in snapshot.agents.rows if isinstance(row, AgentRow | WorkerRow)))
    named = {"agents": rows.document(), "runs": snapshot.runs.document(), "queues": snapshot.queues.document()}
    found = keys({**named, "head": snapshot.head.document()}) | set(snapshot.document())
    assert found <= set(re.findall(r"`([a-z_]+)`", section)), found - set(re.findall(r"`([a-z_]+)`", section))
