"""`coterie review`: the reports of a real review, written and told."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

CODE = """
import os

def run(text):
    return eval(text)
"""


@pytest.fixture
def code(folder):
    package = folder / "code" / "pkg"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text('"""A package."""\n')
    (package / "run.py").write_text(CODE)
    return folder / "code"


def reports_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("report.*"))


def test_a_review_writes_every_report_and_tells_what_it_found(coterie, folder, code):
    done = coterie("review", "code", "--output", "reports")

    assert done.returncode == 0, done.stderr
    written = sorted(path.name for path in (folder / "reports").iterdir())
    assert written == [".gitignore", "report.html", "report.json", "report.md", "report.sarif"]
    content = (folder / "reports" / "report.json").read_bytes()
    assert f"digest {hashlib.sha256(content).hexdigest()}" in done.stdout
    assert str(folder / "reports" / "report.html") in done.stdout
    assert "pkg/run.py:5" in done.stdout
    assert f"{len(json.loads(content)['findings'])} findings" in done.stdout


def test_the_same_code_gives_the_same_digest_wherever_it_lies(coterie, folder, code):
    first = json.loads(coterie("review", "code", "--json").stdout)
    (folder / "elsewhere").mkdir()
    code.rename(folder / "elsewhere" / "code")

    second = json.loads(coterie("review", "elsewhere/code", "--json", "--output", "again").stdout)

    assert first["digest"] == second["digest"]


def test_the_reports_of_one_review_are_no_part_of_the_next(coterie, folder, code):
    first = json.loads(coterie("review", "code", "--json", "-o", "code/coterie-review").stdout)

    second = json.loads(coterie("review", "code", "--json", "-o", "code/coterie-review").stdout)

    assert first["digest"] == second["digest"]


def test_a_review_as_json_holds_the_summary_and_the_places(coterie, folder, code):
    done = coterie("review", "code", "--json", "--quiet", "--format", "sarif", "-f", "md")

    document = json.loads(done.stdout)
    assert document["status"] == "succeeded"
    assert document["report"] == "complete"
    assert document["exit_code"] == done.returncode == 0
    assert document["files"] == {name: str(folder / "coterie-review" / f"report.{name}") for name in ("sarif", "md")}
    assert reports_in(folder / "coterie-review") == ["report.md", "report.sarif"]
    assert {task["id"] for task in document["tasks"]} >= {"snapshot", "lint", "report"}


def test_a_file_that_cannot_be_parsed_costs_only_itself(coterie, folder, code):
    (code / "pkg" / "broken.py").write_text("def (:\n")

    done = coterie("review", "code", "--json")

    report = json.loads((folder / "coterie-review" / "report.json").read_bytes())
    assert done.returncode == 0
    assert any(finding["path"] == "pkg/run.py" for finding in report["findings"])
    assert "broken.py" in json.dumps(report)


def make_empty_repository(folder: Path) -> None:
    subprocess.run(["git", "init", "--quiet", str(folder)], check=True)


@pytest.mark.parametrize(
    ("argv", "cause"),
    [
        pytest.param(["nothing"], "the source 'nothing' holds no files", id="an empty folder"),
        pytest.param(["fresh", "--revision", "main"], "the source 'fresh' has no commits", id="an empty repository"),
        pytest.param(["code", "--revision", "v9"], "it has no 'v9'", id="an unknown revision"),
        pytest.param(
            ["http://127.0.0.1:9/x.git"], "no git repository answers at 'http://127.0.0.1:9/x.git'", id="a URL"
        ),
        pytest.param(
            ["file:///nowhere/x.git"], "no git repository answers at 'file:///nowhere/x.git'", id="a local URL"
        ),
    ],
)
def test_a_source_that_turns_out_wrong_fails_with_its_reason_alone(coterie, folder, code, argv, cause):
    (folder / "nothing").mkdir()
    make_empty_repository(folder / "fresh")

    done = coterie("review", *argv, "--quiet")

    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert cause in done.stderr
    assert done.stderr.count("\n") == 1
    assert "missing:" not in done.stdout
    assert len(done.stdout.splitlines()) <= 10
    assert not (folder / "coterie-review").exists()


def test_a_review_that_fails_leaves_the_reports_of_the_last_one(coterie, folder, code):
    coterie("review", "code")
    before = {path.name: path.read_bytes() for path in (folder / "coterie-review").iterdir()}

    done = coterie("review", "code", "--revision", "v9", "--json", "--quiet")

    document = json.loads(done.stdout)
    assert (done.returncode, document["status"], document["exit_code"]) == (1, "failed", 1)
    assert document["error"] == "'code' is no git repository, so it has no 'v9'; leave the revision out"
    assert {path.name: path.read_bytes() for path in (folder / "coterie-review").iterdir()} == before


def test_what_could_not_be_judged_is_told_up_to_a_bound(coterie, code):
    for number in range(8):
        (code / f"latin{number}.py").write_bytes(b"x = '\xff'\n")

    done = coterie("review", "code")

    line = next(line for line in done.stdout.splitlines() if "could not be judged" in line)
    assert line.startswith("8 files could not be judged: latin0.py (not UTF-8")
    assert line.endswith("and 3 more, in the reports")
    assert "no Python files" not in done.stdout


def test_what_could_not_be_judged_is_in_the_json(coterie, code):
    (code / "latin.py").write_bytes(b"x = '\xff'\n")

    document = json.loads(coterie("review", "code", "--json").stdout)

    assert [(each["path"], each["task"]) for each in document["problems"]] == [("latin.py", "snapshot")]


def test_a_source_without_python_is_told_to_be_one(coterie, folder):
    (folder / "prose").mkdir()
    (folder / "prose" / "README.md").write_text("# Prose\n")

    done = coterie("review", "prose")

    assert done.returncode == 0
    assert "no Python files in 'prose'" in done.stdout


def test_a_terminal_that_knows_ascii_alone_is_no_error(folder, code):
    env = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii"}
    command = [sys.executable, "-m", "coterie", "review", "code"]

    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, timeout=60, check=False)

    assert done.returncode == 0, done.stderr
    assert b"? succeeded: 8 of 8 tasks" in done.stdout
    assert b"Unicode" not in done.stderr


def test_json_is_whole_where_only_ascii_can_be_written(folder, code):
    (code / "pkg" / "größe.py").write_text("import os\n")
    env = {**os.environ, "PYTHONIOENCODING": "ascii"}
    command = [sys.executable, "-m", "coterie", "review", "code", "--json"]

    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, timeout=60, check=False)

    files = json.loads(done.stdout.decode("ascii"))["source"]["python_files"]
    assert "pkg/größe.py" in {file["path"] for file in files}


def test_a_folder_that_the_review_makes_is_none_of_git_s(coterie, folder):
    make_empty_repository(folder / "repository")
    (folder / "repository" / "a.py").write_text("x = 1\n")

    coterie("review", "repository", "--output", "repository/reports")

    status = ["git", "-C", str(folder / "repository"), "status", "--porcelain"]
    assert subprocess.run(status, capture_output=True, text=True, check=True).stdout == "?? a.py\n"


def test_a_folder_that_was_there_is_left_to_its_owner(coterie, folder, code):
    (folder / "reports").mkdir()

    coterie("review", "code", "--output", "reports")

    assert not (folder / "reports" / ".gitignore").exists()


def test_reports_of_an_earlier_review_do_not_stay_beside_new_ones(coterie, folder, code):
    coterie("review", "code")
    (folder / "coterie-review" / "notes.md").write_text("mine\n")

    coterie("review", "code", "--format", "html")

    assert reports_in(folder / "coterie-review") == ["report.html"]
    assert (folder / "coterie-review" / "notes.md").exists()


def test_a_file_that_no_review_wrote_is_not_removed(coterie, folder, code):
    (folder / "reports").mkdir()
    for name in ("report.json", "report.md", "report.html"):
        (folder / "reports" / name).write_text("{}\n")

    coterie("review", "code", "--output", "reports", "--format", "sarif")

    assert reports_in(folder / "reports") == ["report.html", "report.json", "report.md", "report.sarif"]


def test_reports_that_cannot_be_written_are_told(coterie, folder, code):
    (folder / "reports" / "report.md").mkdir(parents=True)

    done = coterie("review", "code", "--output", "reports")

    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("error: cannot write the reports to ")
    assert "Traceback" not in done.stderr
