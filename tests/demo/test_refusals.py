"""What the demo does with a code base that it cannot review: one line, before any server starts."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from deploy.demo import run
from deploy.demo.outcome import Outcome
from rich.console import Console

ROOT = Path(__file__).resolve().parents[2]
NOBODY = ["--airflow-python", "/nonexistent/python", "--prefect-python", "/nonexistent/python"]


def demo(tmp_path: Path, repo: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "deploy.demo.run", *NOBODY, "--output", str(tmp_path / "out"), "--repo", repo]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, timeout=60)


@pytest.mark.parametrize(
    ("repo", "why"),
    [
        ("https://user:sekret@example.org/x.git", "carries credentials"),
        ("nowhere/at/all", "does not exist"),
        ("ext::sh -c true", "uses 'ext::'"),
    ],
)
def test_a_source_that_cannot_be_one_is_refused_at_once(tmp_path: Path, repo: str, why: str):
    done = demo(tmp_path, repo)

    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert why in done.stderr
    assert "sekret" not in done.stderr


def test_an_address_as_ssh_writes_it_is_one(tmp_path: Path):
    done = demo(tmp_path, "git@127.0.0.1:x.git")

    assert done.returncode == 1
    assert done.stdout.startswith("reviewing ssh://127.0.0.1/x.git, three times")
    assert "no git repository answers at 'ssh://127.0.0.1/x.git'" in done.stderr


def test_an_address_where_nothing_answers_is_told_by_its_cause_alone(tmp_path: Path):
    done = demo(tmp_path, f"file://{tmp_path}/nope.git")

    assert done.returncode == 1
    assert done.stderr.startswith(f"error: no git repository answers at 'file://{tmp_path}/nope.git' (")
    assert done.stderr.count("\n") == 1


def test_the_reports_of_an_earlier_demo_are_gone_before_another_begins(tmp_path: Path):
    files = ("report.json", "report.md", "report.html", "report.sarif", "status.json")
    for engine in ("in-process", "airflow", "prefect"):
        (tmp_path / "out" / engine).mkdir(parents=True)
        for name in files:
            (tmp_path / "out" / engine / name).touch()
    (tmp_path / "out" / "airflow" / "notes.txt").touch()
    (tmp_path / "out" / "report.json").touch()
    (tmp_path / "empty").mkdir()

    demo(tmp_path, str(tmp_path / "empty"))

    left = sorted(str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*"))
    assert left == ["airflow", "airflow/notes.txt", "report.json"]


def test_a_source_that_turns_out_wrong_starts_no_server_and_writes_nothing(tmp_path: Path):
    (tmp_path / "empty").mkdir()

    done = demo(tmp_path, str(tmp_path / "empty"))

    assert done.returncode == 1
    assert "holds no files" in done.stderr
    assert done.stderr.count("\n") == 1
    assert "starting" not in done.stdout
    assert not (tmp_path / "out").exists()


def test_a_relative_path_means_the_same_to_every_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "shop").mkdir()
    monkeypatch.chdir(tmp_path)

    assert run._named("shop").source == str(tmp_path / "shop")


def outcome(engine: str, status: str) -> Outcome:
    task = {"id": "lint", "state": "failed", "error": {"type": "StepFailed", "message": "no ruff"}}
    document: dict[str, Any] = {"status": status, "tasks": [task] if status == "partial" else []}
    return Outcome(engine, status, 8, 1, 1.0, 0, "d" * 64, Path("report.html"), document)


def test_equal_partial_reviews_are_a_success_that_names_its_reasons(capsys: pytest.CaptureFixture[str]):
    code = run._compare([outcome(engine, "partial") for engine in "abc"], Console(highlight=False, width=100))

    assert code == 0
    assert "partial: lint failed: no ruff" in capsys.readouterr().out


def test_statuses_that_differ_are_a_failure():
    same = outcome("a", "succeeded")

    assert run._compare([same, replace(same, status="partial")], Console(quiet=True)) == 1


def test_make_hands_the_code_base_on_as_it_is_written(tmp_path: Path):
    shown = tmp_path / "show"
    shown.write_text('#!/bin/sh\nfor each in "$@"; do echo "[$each]"; done\n')
    shown.chmod(0o755)
    command = ["make", "--no-print-directory", "--old-file=setup", "demo", f"CORE_PYTHON={shown}", 'REPO=it\'s "here"']

    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, timeout=60)

    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-2:] == ["[--repo]", '[it\'s "here"]']
