"""Priorities hold between processes: a plan in one of them waits until what is more urgent in another has been done."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from tests.fleet.pool import fire

PATIENCE_S = 90.0


def test_the_urgent_tasks_of_one_process_go_before_the_others_of_another(tmp_path: Path):
    path = str(tmp_path / "log")
    log = fire.open_log(path)

    def process(name: str, priority: int) -> subprocess.Popen[bytes]:
        url = f"sqlite://{tmp_path}/state.db"
        program = [sys.executable, "-m", "tests.fleet.pool.ranked", url, path, name, str(priority), "low=6,high=5"]
        return subprocess.Popen(program, stderr=subprocess.PIPE)

    processes = [process("low", 0)]
    try:
        ends_s = time.monotonic() + PATIENCE_S
        while not fire.count(log, "in") and time.monotonic() < ends_s:
            time.sleep(0.01)
        processes.append(process("high", 500))
        for each in processes:
            _, told = each.communicate(timeout=PATIENCE_S)
            assert each.returncode == 0, told.decode()
        order = [row[0] for row in log.execute("SELECT agent FROM log ORDER BY id")]
    finally:
        for each in processes:
            each.kill()
            each.communicate()
        log.close()

    assert order == ["low"] + ["high"] * 5 + ["low"] * 5
