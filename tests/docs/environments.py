"""The environments that documents speak of, and the processes that a reader would start in them."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Timer
from typing import Any

from tests.docs.markdown import REPOSITORY, Block

__all__ = ["TIMEOUT_S", "Answer", "Interpreter", "end_group", "environment_of", "interpreter_path", "variables"]

TIMEOUT_S = 300.0

_PYTHON = {
    "core": Path(sys.executable),
    "airflow": REPOSITORY / os.environ.get("COTERIE_AIRFLOW_PYTHON", ".venvs/airflow/bin/python"),
    "prefect": REPOSITORY / os.environ.get("COTERIE_PREFECT_PYTHON", ".venvs/prefect/bin/python"),
    "benchmarks": REPOSITORY / ".venvs/benchmarks/bin/python",
}
_IMPORTS = {
    "airflow": re.compile(r"^\s*(?:from|import) (?:airflow|airflow_provider_coterie)\b", re.MULTILINE),
    "prefect": re.compile(r"^\s*(?:from|import) (?:prefect|prefect_coterie)\b", re.MULTILINE),
}
_OURS = ("AIRFLOW", "COTERIE_", "PREFECT_", "PYTHON", "PYTEST", "COV_", "AWS_", "OPENAI_")


@dataclass(frozen=True, slots=True)
class Answer:
    """What a block or command left."""

    printed: str
    error: str | None = None


def environment_of(block: Block) -> str:
    """`core`, `airflow`, `prefect` or `benchmarks`: as marked, else by what a Python block imports, else the core's."""
    marked = block.marks.get("runs in")
    if marked is not None:
        return marked
    return next((name for name, pattern in _IMPORTS.items() if pattern.search(block.text)), "core")


def interpreter_path(environment: str) -> Path:
    """The environment's interpreter.

    Raises:
        AssertionError: there is no such environment, or it is not built.
    """
    assert environment in _PYTHON, f"{environment!r} is no environment; use one of {', '.join(_PYTHON)}"
    path = _PYTHON[environment]
    assert path.exists(), f"the environment {environment!r} is not built; run `make setup`"
    return path


def variables(environment: str, home: Path) -> dict[str, str]:
    """What a process of that environment finds around it: a home of its own, and no settings of this machine."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(_OURS)}
    return {
        **inherited,
        "PATH": f"{interpreter_path(environment).parent}{os.pathsep}{inherited.get('PATH', '')}",
        "HOME": str(home),
        "XDG_CACHE_HOME": str(home / "cache"),
        "XDG_STATE_HOME": str(home / "state"),
        "NO_COLOR": "1",
        "AIRFLOW_HOME": str(home / "airflow"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "ERROR",
        "PREFECT_HOME": str(home / "prefect"),
        "PREFECT_LOGGING_LEVEL": "WARNING",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
    }


class Interpreter:
    """One running interpreter; Python blocks of a page share its namespace. Use it as a context manager."""

    def __init__(self, environment: str, folder: Path, settings: Mapping[str, str]) -> None:
        server = Path(__file__).with_name("interpreter.py")
        self._process = subprocess.Popen(
            [str(interpreter_path(environment)), str(server)],
            cwd=folder,
            env=dict(settings),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )

    def run(self, path: Path) -> Answer:
        """Execute the code in the file."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        limit = Timer(TIMEOUT_S, self._process.kill)
        limit.start()
        try:
            self._process.stdin.write(json.dumps({"path": str(path)}) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        finally:
            limit.cancel()
        if not line:
            return Answer("", f"the interpreter ended, or did not answer within {TIMEOUT_S:g} s")
        document: Any = json.loads(line)
        return Answer(document["printed"], document["error"])

    def close(self) -> None:
        """End the process, and what it left running."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=20)
        end_group(self._process)
        self._process.stdout.close()


def end_group(process: subprocess.Popen[str]) -> None:
    """Leave nothing alive of a process that was started in a session of its own."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
