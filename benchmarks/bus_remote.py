"""A task performed by a worker in another process: from asking to the result, beside a Celery task.

Both on the same server: Celery with Redis as broker and as result backend, a worker that is one process (`solo`), and
`task_acks_late`, which is at-least-once as coterie's are. The agent, and the task, give back what they are given.
"""

from __future__ import annotations

__all__ = ["measure"]

import asyncio
import itertools
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from figures import Figure, at_most, percentile
from fleet_server import Server

from coterie import Runtime, Task, TaskContext, Team
from coterie.journal import Journal
from coterie.remote import Call, RemoteCalls, Worker
from coterie.stores.opening import open_journal_store, open_log_store, open_state_store

WARM_UP = 10
TOGETHER = 32
WAIT_S = 60.0
CELERY = "Celery: delay() -> get()"
OURS = "coterie: submit -> wait"
PLAIN, KEPT = "plain", "kept"
_numbers = itertools.count(1)

team = Team("bench")


@team.agent("echo", capacity=TOGETHER)
async def echo(task_input: dict[str, Any], _: TaskContext) -> dict[str, Any]:
    """Give it back."""
    return task_input


async def measure(server: Server, *, quick: bool) -> list[Figure]:
    """Milliseconds one by one, and tasks a second where 32 are asked for at once."""
    rounds = 50 if quick else 300
    with ExitStack() as stack:
        for what in ("--celery", f"--worker={PLAIN}", f"--worker={KEPT}"):
            stack.enter_context(_process(what, server.url))
        celery = _Celery(server.url)
        ours = {name: _Ours(server.url, name) for name in (PLAIN, KEPT)}
        asks = {CELERY: celery.one, OURS: ours[PLAIN].one, f"{OURS}, with a journal": ours[KEPT].one}
        many = {CELERY: celery.many, OURS: ours[PLAIN].many, f"{OURS}, with a journal": ours[KEPT].many}
        took: dict[str, list[float]] = {name: [] for name in asks}
        for number in range(WARM_UP + rounds):
            for name, ask in asks.items():
                began = time.perf_counter()
                await ask()
                if number >= WARM_UP:
                    took[name].append((time.perf_counter() - began) * 1000)
        rates: dict[str, list[float]] = {name: [] for name in many}
        for _ in range(rounds // 25):
            for name, each in many.items():
                began = time.perf_counter()
                await each()
                rates[name].append(TOGETHER / (time.perf_counter() - began))
        for calls in ours.values():
            await calls.aclose()
        celery.close()
    return _figures(took, rates)


def _figures(took: dict[str, list[float]], rates: dict[str, list[float]]) -> list[Figure]:
    figures = []
    for share, label in ((0.5, "p50"), (0.99, "p99")):
        base = percentile(took[CELERY], share)
        for name, samples in took.items():
            value = percentile(samples, share)
            budget = at_most(1.0) if name == OURS else None
            figures.append(
                Figure("a remote task", f"{name}, {label}", value, "ms", value / base, CELERY, budget, samples=samples)
            )
    base = percentile(rates[CELERY], 0.5)
    for name, samples in rates.items():
        value = percentile(samples, 0.5)
        figures.append(
            Figure(f"{TOGETHER} remote tasks at once", name, value, "tasks/s", value / base, CELERY, samples=samples)
        )
    return figures


class _Ours:
    """Calls, each of a task of its own."""

    def __init__(self, url: str, namespace: str) -> None:
        self._store = open_state_store(url, namespace)
        self._log = open_log_store(url, namespace)
        self._calls = RemoteCalls(self._store, self._log, namespace=namespace)
        self._namespace = namespace

    async def one(self) -> None:
        number = next(_numbers)
        task = Task("echo", "echo", input={"number": number})
        run = f"run-{number}"
        call = Call.of(task, namespace=self._namespace, workflow_id=run, keeps="steps", idempotency_key=run)
        await self._calls.submit(call)
        result = await self._calls.wait(call.id, timeout_s=WAIT_S)
        if result.output != {"number": number}:
            raise RuntimeError(f"the task ended as {result!r}")

    async def many(self) -> None:
        await asyncio.gather(*[self.one() for _ in range(TOGETHER)])

    async def aclose(self) -> None:
        await self._calls.aclose()
        await self._log.aclose()
        await self._store.aclose()


class _Celery:
    """The client's side; it blocks, as it does in its own programs."""

    def __init__(self, url: str) -> None:
        self._app, self._task = _celery(url)

    async def one(self) -> None:
        number = next(_numbers)
        if self._task.delay({"number": number}).get(timeout=WAIT_S) != {"number": number}:
            raise RuntimeError("Celery's task gave something else")

    async def many(self) -> None:
        results = [self._task.delay({"number": number}) for number in range(TOGETHER)]
        for result in results:
            result.get(timeout=WAIT_S)

    def close(self) -> None:
        self._app.close()


def _celery(url: str) -> tuple[Any, Any]:
    from celery import Celery

    app = Celery("bench", broker=url, backend=url)
    app.conf.update(task_acks_late=True, worker_prefetch_multiplier=4, broker_connection_retry_on_startup=True)

    def echo(task_input: dict[str, Any]) -> dict[str, Any]:
        return task_input

    return app, app.task(name="echo")(echo)


@contextmanager
def _process(what: str, url: str) -> Iterator[subprocess.Popen[bytes]]:
    """A worker, until the block ends."""
    # Celery warns of the user that it runs as, which is nothing to measure.
    command = [sys.executable, "-W", "ignore", __file__, what, url]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as process:
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()


async def _work(url: str, namespace: str) -> None:
    # Strict, it would ask for a server that syncs its file, which Celery does not.
    journal = Journal(open_journal_store(url, namespace, durability="relaxed")) if namespace == KEPT else False
    async with Runtime(team, store=url, journal=journal, namespace=namespace) as runtime:
        worker = Worker(runtime)
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, worker.stop)
        await worker.run()


if __name__ == "__main__":
    if sys.argv[1] == "--celery":
        _celery(sys.argv[2])[0].worker_main(["worker", "--pool=solo", "--loglevel=ERROR", "--without-heartbeat"])
    else:
        asyncio.run(_work(sys.argv[2], sys.argv[1].partition("=")[2]))
