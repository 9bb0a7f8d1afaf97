"""A run that may be killed at any of its writes: `python -m tests.journal.crashing ORDERS`, a JSON object.

store: the journal's URL. folder: for the artifacts, and for the ledger in which every call of an agent is a line with
its idempotency key. kill: ["journal" or "artifact", the number of the write, "before" or "after"], or null. The whole
process group is killed. Prints what came of it, and how many writes there were.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from coterie import ArtifactStore, Journal, Orchestrator, Plan, Task, TaskContext
from coterie.ids import content_hash
from coterie.ports import Blob
from coterie.stores.blobs import FsspecBlobs
from coterie.stores.opening import open_journal_store
from coterie.testing import FaultyJournalStore

__all__ = ["LAYERS", "RUN", "TASKS", "WIDTH", "plan"]

RUN = "crash"
LAYERS, WIDTH, PARENTS = 10, 20, 3
TASKS = LAYERS * WIDTH
_LONG = 700


def plan() -> Plan:
    """Ten layers of twenty; each task waits for three of the layer before."""
    tasks = []
    for number in range(TASKS):
        layer, place = divmod(number, WIDTH)
        before = {f"t{(layer - 1) * WIDTH + (place + step) % WIDTH}" for step in range(PARENTS)} if layer else set()
        tasks.append(Task(f"t{number}", "worker", depends_on=tuple(sorted(before))))
    return Plan("layers", tasks)


class Blobs:
    """The blobs of a folder, with a say before and after each write."""

    def __init__(self, url: str, act: Any) -> None:
        self._wrapped = FsspecBlobs(url)
        self._act = act
        self.writes = 0

    def write(self, name: str, source: BinaryIO, *, size_bytes: int | None = None) -> None:
        self.writes += 1
        number = self.writes
        self._act("artifact", number, "before")
        self._wrapped.write(name, source, size_bytes=size_bytes)
        self._act("artifact", number, "after")

    @property
    def root(self) -> str:
        return self._wrapped.root

    def size_bytes(self, name: str) -> int | None:
        return self._wrapped.size_bytes(name)

    def chunks(self, name: str, *, chunk_bytes: int = 2**20) -> Iterator[bytes]:
        return self._wrapped.chunks(name, chunk_bytes=chunk_bytes)

    def refresh(self, name: str) -> bool:
        return self._wrapped.refresh(name)

    def entries(self, folder: str) -> Iterator[Blob]:
        return self._wrapped.entries(folder)

    def delete(self, blobs: Sequence[Blob]) -> Sequence[Blob]:
        return self._wrapped.delete(blobs)

    def clock_s(self) -> float:
        return self._wrapped.clock_s()


async def main(store: str, folder: Path, kill: list[Any] | None, seed: int) -> None:
    """Run it, or go on with it."""
    rng = random.Random(seed)

    def act(what: str, number: int, when: str) -> None:
        if kill == [what, number, when]:
            os.killpg(os.getpgrp(), signal.SIGKILL)

    def bill(context: TaskContext, what: str) -> None:
        with (folder / "ledger").open("a") as ledger:
            ledger.write(json.dumps({"unit": f"{context.task_id}{what}", "key": context.idempotency_key}) + "\n")

    async def step(context: TaskContext, number: int) -> int:
        bill(context, f":{number}")
        await asyncio.sleep(rng.uniform(0, 0.002))
        return number

    async def work(_: dict[str, Any], context: TaskContext) -> Any:
        bill(context, "")
        await asyncio.sleep(rng.uniform(0, 0.004))
        number = int(context.task_id[1:])
        if number % 10 == 0:
            for each in (1, 2):
                await context.step("paid", step, context, each)
        digest = content_hash([context.task_id, {task: await context.output(task) for task in context.upstream}])
        return digest * (_LONG // 64 + 1) if number % 4 == 0 else digest

    faulty = FaultyJournalStore(
        open_journal_store(store, "crash"), on_write=lambda number, when: act("journal", number, when)
    )
    journal = Journal(faulty)
    blobs = Blobs(f"file://{folder}/artifacts", act)
    orchestrator = Orchestrator(journal=journal, artifacts=ArtifactStore(blobs, namespace="crash"))
    orchestrator.register_agent("worker", "worker", capacity=8, handler=work)
    result = await orchestrator.execute_workflow(plan(), workflow_id=RUN)
    await journal.aclose()
    outputs = content_hash([(task.task_id, task.state, task.output.portable()) for task in result])  # type: ignore[union-attr]  # all references
    ended = {"status": result.status, "outputs": outputs, "journal": faulty.writes, "artifact": blobs.writes}
    sys.stdout.write(json.dumps(ended) + "\n")


if __name__ == "__main__":
    orders = json.loads(sys.argv[1])
    asyncio.run(main(orders["store"], Path(orders["folder"]), orders["kill"], orders["seed"]))
