"""The process that the demo runs a flow in, with a server that only pretends."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest
from deploy.demo import on_prefect


class Server:
    """As much of a server as running a flow's process asks for."""

    def __init__(self, home: Path) -> None:
        self.home = home

    def environment(self) -> dict[str, str]:
        return dict(os.environ)


def test_a_flow_that_prints_much_comes_to_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(on_prefect, "TIMEOUT_S", 30.0)
    monkeypatch.setattr(on_prefect, "_task_runs", lambda server: [])
    program = """print("x" * 1_000_000); print('{"state": "Completed"}')"""
    server: Any = Server(tmp_path)

    answer = on_prefect._run_flow(server, [sys.executable, "-c", program], "memory://x", lambda text: None)

    assert answer == {"state": "Completed"}
