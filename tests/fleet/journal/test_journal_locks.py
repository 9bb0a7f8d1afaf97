"""What a process has open stays whole, though it and others open and close the same file."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

from coterie._rules.written import Changed
from coterie.journal import Journal
from coterie.stores.opening import open_journal_store

_VISIT = (
    "import asyncio, sys\n"
    "from coterie.stores.opening import open_journal_store\n"
    "async def visit():\n"
    "    store = open_journal_store(sys.argv[1], 'default')\n"
    "    print(sorted(await store.read('run')))\n"
    "    await store.aclose()\n"
    "asyncio.run(visit())\n"
)


async def test_a_visitor_takes_no_log_away_under_a_process_with_two_stores(tmp_path: Path):
    url = f"sqlite://{tmp_path}/state.db"
    first, second = (Journal(open_journal_store(url, "default")) for _ in range(2))
    await write(first, "one")
    await write(second, "two")

    await visit(url)
    await write(first, "three")

    assert await visit(url) == "['one', 'three', 'two']"
    await first.aclose()
    await second.aclose()


async def write(journal: Journal, path: str) -> None:
    await journal.store.change("run", (path,), lambda texts, now: Changed({path: "{}"}, None))


async def visit(url: str) -> str:
    command = [sys.executable, "-c", _VISIT, url]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=True)
    return done.stdout.strip()
