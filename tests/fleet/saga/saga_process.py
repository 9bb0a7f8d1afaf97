"""Runs sagas in processes that end when they are told to: one line of JSON for each, as `Order` has it.

What the agents do is a line in a ledger, which outlives them: the name of the step and its idempotency key.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from coterie import Orchestrator, Plan, Task, TaskContext
from coterie.journal import Journal
from coterie.saga import Saga
from coterie.stores.journal_sqlite import SqliteJournalStore
from coterie.task import Compensation, Retry

UNDO = Compensation("remover", retry=Retry(max_attempts=2, base_s=0, cap_s=0))
UNDO_STARTED = Compensation("remover", when="started")

PLANS = {
    # It fails at its end.
    "diamond": Plan(
        "diamond",
        [
            Task("net", "maker", compensation=UNDO),
            Task("look", "maker", depends_on=["net"]),
            Task("vm", "maker", depends_on=["look"], compensation=UNDO),
            Task("disk", "maker", depends_on=["net"], compensation=UNDO_STARTED),
            Task("app", "breaker", depends_on=["vm", "disk"]),
        ],
    ),
    # It fails while others run.
    "race": Plan(
        "race",
        [
            Task("quick", "maker", compensation=UNDO),
            Task("bad", "breaker", depends_on=["quick"]),
            Task("slow", "waiter", depends_on=["quick"], compensation=UNDO),
            Task("slower", "waiter", depends_on=["quick"], compensation=UNDO_STARTED),
            Task("never", "maker", depends_on=["slow"], compensation=UNDO),
        ],
    ),
}


@dataclass(frozen=True)
class Order:
    """kill_at: the number of the moment in which the process ends; None: it lives. A moment lies before and after each
    effect of an agent, and before and after each of the journal's writes.
    """

    plan: str
    database: str
    ledger: str
    kill_at: int | None = None


class Moments:
    """Counts them, and ends the process in one."""

    def __init__(self, kill_at: int | None) -> None:
        self.kill_at = kill_at
        self.count = 0

    def pass_one(self) -> None:
        self.count += 1
        if self.count == self.kill_at:
            os.kill(os.getpid(), signal.SIGKILL)


class Agents:
    """What they do is a line in the ledger."""

    def __init__(self, ledger: str, moments: Moments) -> None:
        self._file = os.open(ledger, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        self._moments = moments
        self._failed = asyncio.Event()

    async def make(self, _: Any, ctx: TaskContext) -> str:
        return self._effect("+", ctx)

    async def fail(self, _: Any, ctx: TaskContext) -> str:
        self._failed.set()
        raise RuntimeError("as the plan wants it")

    async def wait(self, _: Any, ctx: TaskContext) -> str:
        done = self._effect("+", ctx)
        await self._failed.wait()
        for _ in range(3):
            await asyncio.sleep(0.005)
        return done

    async def remove(self, _: Any, ctx: TaskContext) -> str:
        return self._effect("-", ctx)

    def _effect(self, sign: str, ctx: TaskContext) -> str:
        self._moments.pass_one()
        os.write(self._file, f"{sign}{ctx.task_id.removeprefix('undo-')} {ctx.idempotency_key}\n".encode())
        self._moments.pass_one()
        return ctx.task_id


class MortalStore(SqliteJournalStore):
    """A store in whose writes the process may end."""

    moments: Moments

    async def change(self, *arguments: Any) -> Any:
        return await self._between(super().change, *arguments)

    async def write(self, *arguments: Any, **more: Any) -> None:
        await self._between(super().write, *arguments, **more)

    async def _between(self, call: Callable[..., Awaitable[Any]], *arguments: Any, **more: Any) -> Any:
        self.moments.pass_one()
        result = await call(*arguments, **more)
        self.moments.pass_one()
        return result


async def run(order: Order) -> dict[str, Any]:
    moments = Moments(order.kill_at)
    store = MortalStore(order.database)
    store.moments = moments
    agents = Agents(order.ledger, moments)
    orchestrator = Orchestrator(journal=Journal(store))
    orchestrator.register_agent("maker", "maker", 4, handler=agents.make)
    orchestrator.register_agent("breaker", "breaker", 4, handler=agents.fail)
    orchestrator.register_agent("waiter", "waiter", 4, handler=agents.wait)
    orchestrator.register_agent("remover", "remover", 4, handler=agents.remove)
    result = await Saga(orchestrator).run(PLANS[order.plan], workflow_id="run")
    await store.aclose()
    return {"moments": moments.count, "result": result.to_dict()}


def main() -> None:
    """A process for each line that comes in; what it told, or null, and what it ended with."""
    for line in sys.stdin:
        order = Order(**json.loads(line))
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reading)
            told = json.dumps(asyncio.run(run(order)))
            with os.fdopen(writing, "w") as out:
                out.write(told)
            os._exit(0)
        os.close(writing)
        with os.fdopen(reading) as told_by_child:
            answer = told_by_child.read()
        _, status = os.waitpid(child, 0)
        sys.stdout.write(json.dumps({"told": json.loads(answer or "null"), "status": status}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
