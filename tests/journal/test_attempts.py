"""Two live attempts at the same work, in two processes: exactly one records, whoever was taken over is refused."""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from coterie import Journal
from coterie.journal.view import view_run
from coterie.stores.opening import open_journal_store
from tests.support.redis_servers import SYNCED, valkey

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def server() -> Iterator[str]:
    with valkey(arguments=SYNCED) as running:
        yield running.url


async def attempted(url: str, seed: int, tasks: int) -> list[list[dict[str, Any]]]:
    """What each of two processes saw."""
    processes = [
        await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.journal.attempting",
            url,
            f"{seed + n}",
            f"{tasks}",
            cwd=REPOSITORY,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        for n in (0, 1)
    ]
    ends = await asyncio.gather(*(process.communicate() for process in processes))
    assert [process.returncode for process in processes] == [0, 0], b"\n".join(err for _, err in ends).decode()[-3000:]
    return [[json.loads(line) for line in out.splitlines()] for out, _ in ends]


async def one_records(url: str, tasks: int) -> None:
    seed = int(os.environ.get("COTERIE_ATTEMPTS_SEED") or random.randrange(10**6))
    sys.stdout.write(f"COTERIE_ATTEMPTS_SEED={seed}\n")

    seen = await attempted(url, seed, tasks)

    ends: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for each in seen:
        assert len(each) == tasks
        for end in each:
            ends[end["task"]].append(end)
    counts = Counter(end["how"] for each in seen for end in each)
    sys.stdout.write(f"{dict(counts)}\n")
    for number, both in ends.items():
        assert sum(end["how"] == "recorded" for end in both) == 1, (number, both)
        # Whoever was not refused was told the same.
        assert len({end["by"] for end in both if end["how"] != "refused"}) == 1, (number, both)
    assert counts["recorded"] == tasks
    journal = Journal(open_journal_store(url, "attempts"))
    try:
        for run in range(7):
            view = await view_run(journal, f"run-{run}")
            for unit in view.units:
                (by,) = {end["by"] for end in ends[int(unit.name[1:])] if end["how"] != "refused"}
                assert unit.record is not None
                assert unit.record.result["output"] == {"value": by}
    finally:
        await journal.aclose()


async def test_of_two_attempts_one_records_in_a_file(tmp_path: Path):
    await one_records(f"sqlite://{tmp_path}/state.db", 150)


async def test_of_two_attempts_one_records_on_a_server(server: str):
    await one_records(server, 150)


@pytest.mark.full
async def test_of_a_thousand_times_two_attempts_one_records_in_a_file(tmp_path: Path):
    await one_records(f"sqlite://{tmp_path}/state.db", 1000)


@pytest.mark.full
async def test_of_a_thousand_times_two_attempts_one_records_on_a_server(server: str):
    await one_records(server, 1000)
