"""`coterie review`: the reports of a real review, written and told."""

from __future__ import annotations

import hashlib
import json

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


def test_a_review_writes_every_report_and_tells_what_it_found(coterie, folder, code):
    done = coterie("review", "code", "--output", "reports")

    assert done.returncode == 0, done.stderr
    written = sorted(path.name for path in (folder / "reports").iterdir())
    assert written == ["report.html", "report.json", "report.md", "report.sarif"]
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
    assert sorted(path.name for path in (folder / "coterie-review").iterdir()) == ["report.md", "report.sarif"]
    assert {task["id"] for task in document["tasks"]} >= {"snapshot", "lint", "report"}


def test_a_file_that_cannot_be_parsed_costs_only_itself(coterie, folder, code):
    (code / "pkg" / "broken.py").write_text("def (:\n")

    done = coterie("review", "code", "--json")

    report = json.loads((folder / "coterie-review" / "report.json").read_bytes())
    assert done.returncode == 0
    assert any(finding["path"] == "pkg/run.py" for finding in report["findings"])
    assert "broken.py" in json.dumps(report)


def test_an_empty_folder_fails_with_its_reason(coterie, folder):
    (folder / "nothing").mkdir()

    done = coterie("review", "nothing")

    assert done.returncode in (1, 3)
    assert "EmptySource" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


def test_reports_that_cannot_be_written_are_told(coterie, folder, code):
    (folder / "reports" / "report.md").mkdir(parents=True)

    done = coterie("review", "code", "--output", "reports")

    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("error: cannot write the reports to ")
    assert "Traceback" not in done.stderr
