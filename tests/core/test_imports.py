"""`import coterie` is cheap: nothing heavy comes with it, nor with any public name until it is used."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import coterie

HEAVY = [
    "airflow", "aiobotocore", "aiohttp", "boto3", "botocore", "fsspec", "httpx", "openai", "opentelemetry.sdk",
    "prefect", "pydantic", "pydantic_ai", "pydantic_core", "pytest", "redis", "requests", "rich", "s3fs", "tenacity",
    "typer", "upath", "urllib.request", "yaml",
]  # fmt: skip

EVERY_NAME = "import coterie; names = [getattr(coterie, name) for name in coterie.__all__]"
A_WHOLE_RUN = """
import asyncio
from coterie import Orchestrator, Plan, Task, Team
team = Team("t")
@team.agent("x")
async def agent(task_input, ctx): return {"n": 1}
result = asyncio.run(Orchestrator(team).execute_workflow(Plan("p", [Task("a", "x"), Task("b", "x", depends_on=["a"])])))
assert result.status == "succeeded"
"""


def loaded_by(program: str) -> list[str]:
    program += f"\nimport json, sys; print(json.dumps([name for name in {HEAVY!r} if name in sys.modules]))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    found: Any = json.loads(done.stdout)
    return list(found)


def test_importing_coterie_loads_nothing_heavy():
    assert loaded_by("import coterie") == []


def test_using_every_public_name_loads_nothing_heavy():
    assert loaded_by(EVERY_NAME) == []


def test_a_run_without_failures_and_files_loads_nothing_heavy():
    assert loaded_by(A_WHOLE_RUN) == []


def test_every_public_name_is_there_and_from_here():
    for name in coterie.__all__:
        value = getattr(coterie, name)
        assert getattr(value, "__module__", "coterie").startswith("coterie"), name
    assert set(coterie.__all__) <= set(dir(coterie))
    assert not hasattr(coterie, "no_such_name")
