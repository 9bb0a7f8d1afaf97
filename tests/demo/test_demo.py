"""`make demo`, for real: three engines, one report; and nothing left behind, also when it is interrupted."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.support.seeded_repository import EXPECTED

ROOT = Path(__file__).resolve().parents[2]


def command(airflow_python: Path, prefect_python: Path, repository: Path, output: Path) -> list[str]:
    interpreters = ["--airflow-python", str(airflow_python), "--prefect-python", str(prefect_python)]
    return [
        sys.executable,
        "-u",
        "-m",
        "deploy.demo.run",
        *interpreters,
        "--repo",
        str(repository),
        "--output",
        str(output),
    ]


def processes_below(folder: Path) -> list[str]:
    """Command lines of processes whose environment or arguments name `folder`."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            known = (process / "environ").read_bytes() + (process / "cmdline").read_bytes()
        except OSError:
            # It has just ended.
            continue
        if str(folder).encode() in known and int(process.name) != os.getpid():
            found.append((process / "cmdline").read_text().replace("\0", " "))
    return found


def test_three_engines_give_one_report_with_the_findings_of_every_agent(
    airflow_python: Path, prefect_python: Path, seeded: Path, tmp_path: Path
):
    output = tmp_path / "output"

    done = subprocess.run(
        command(airflow_python, prefect_python, seeded, output),
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert "the 3 reports are equal" in done.stdout
    reports = [(output / engine / "report.json").read_bytes() for engine in ("in-process", "airflow", "prefect")]
    assert reports[0] == reports[1] == reports[2]
    findings = json.loads(reports[0])["findings"]
    shown = {(one["agent"], one["rule"], one["path"], one["line"]) for one in findings}
    assert {tuple(one) for one in EXPECTED} <= shown
    assert processes_below(tmp_path) == []


def test_an_interrupted_demo_leaves_no_process_and_no_state(
    airflow_python: Path, prefect_python: Path, seeded: Path, tmp_path: Path
):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    with subprocess.Popen(
        command(airflow_python, prefect_python, seeded, tmp_path / "output"),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(scratch)},
        start_new_session=True,
    ) as demo:
        assert demo.stdout is not None
        for line in demo.stdout:
            if "snapshot success" in line:
                break

        os.killpg(demo.pid, signal.SIGINT)

        said = demo.stdout.read()
    assert demo.returncode == 130, said
    assert "everything that was started has ended" in said
    assert processes_below(scratch) == []
    assert list(scratch.iterdir()) == []
