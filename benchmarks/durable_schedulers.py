"""Schedulers that make each step durable before its dependants start, each in a database of its own.

Preparation (building, hashing and compiling a graph, opening the database) is not timed.
"""

from __future__ import annotations

import asyncio
import json
import operator
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Annotated, Any, TypedDict

from graph_shapes import Shape

from coterie import Orchestrator, Plan, Task, TaskContext
from coterie.journal import Journal
from coterie.stores.opening import open_journal_store

__all__ = ["Prepared", "coterie", "dbos", "floor", "langgraph"]

# Entered once; inside, each call runs the graph once, under an id of its own.
Prepared = AbstractAsyncContextManager[Callable[[str], Awaitable[None]]]


async def no_op(task_input: Any, context: Any) -> None:
    """What every node does."""


@asynccontextmanager
async def floor(shape: Shape, folder: Path) -> AsyncIterator[Callable[[str], Awaitable[None]]]:
    """The least that a durable scheduler does: a row a step; all that end during one commit share the next.

    SQLite, write-ahead log, `synchronous=FULL`.
    """
    database = sqlite3.connect(folder / "floor.db", isolation_level=None, check_same_thread=False)
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("PRAGMA synchronous=FULL")
    database.execute("CREATE TABLE steps (run TEXT, step TEXT, result TEXT, PRIMARY KEY (run, step)) WITHOUT ROWID")
    thread = ThreadPoolExecutor(1)

    def commit(rows: list[tuple[str, str, str]]) -> None:
        database.execute("BEGIN IMMEDIATE")
        database.executemany("INSERT INTO steps VALUES (?, ?, ?)", rows)
        database.execute("COMMIT")

    async def run(name: str) -> None:
        await _FloorRun(shape, name, partial(asyncio.get_running_loop().run_in_executor, thread, commit)).run()

    try:
        yield run
    finally:
        thread.shutdown()
        database.close()


class _FloorRun:
    """One run of the floor. commit: makes rows durable."""

    def __init__(
        self, shape: Shape, name: str, commit: Callable[[list[tuple[str, str, str]]], Awaitable[None]]
    ) -> None:
        self._name = name
        self._commit = commit
        self._waiting = [len(before) for before in shape]
        self._dependents: list[list[int]] = [[] for _ in shape]
        for node, before in enumerate(shape):
            for other in before:
                self._dependents[other].append(node)
        self._ended: list[int] = []
        self._running: set[asyncio.Task[None]] = set()
        self._left = len(shape)
        self._writing = False
        self._over = asyncio.Event()

    async def run(self) -> None:
        for node, count in enumerate(list(self._waiting)):
            if not count:
                self._start(self._perform(node))
        await self._over.wait()

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _perform(self, node: int) -> None:
        await no_op(None, None)
        self._ended.append(node)
        if not self._writing:
            self._writing = True
            self._start(self._write())

    async def _write(self) -> None:
        await asyncio.sleep(0)
        while self._ended:
            batch, self._ended = self._ended, []
            rows = [(self._name, f"t{node}", json.dumps({"state": "succeeded", "output": None})) for node in batch]
            await self._commit(rows)
            self._left -= len(batch)
            for node in batch:
                for after in self._dependents[node]:
                    self._waiting[after] -= 1
                    if not self._waiting[after]:
                        self._start(self._perform(after))
        self._writing = False
        if not self._left:
            self._over.set()


@asynccontextmanager
async def coterie(shape: Shape, folder: Path) -> AsyncIterator[Callable[[str], Awaitable[None]]]:
    """`Orchestrator.execute_workflow` with a journal in SQLite."""
    plan = Plan("benchmark", [_task(node, before) for node, before in enumerate(shape)])
    journal = Journal(open_journal_store(f"sqlite://{folder}/coterie.db", "default"))
    orchestrator = Orchestrator(journal=journal)

    async def agent(task_input: dict[str, Any], context: TaskContext) -> None:
        """Do nothing."""

    orchestrator.register_agent("agent", "agent", capacity=len(shape), handler=agent)
    # Opens the database.
    await journal.store.get("none", ())
    # Once a plan, as the others compile their graphs.
    _ = plan.hash

    async def run(name: str) -> None:
        result = await orchestrator.execute_workflow(plan, workflow_id=name)
        if result.status != "succeeded" or len(result.tasks) != len(shape):
            raise RuntimeError(f"the run ended {result.status}")

    try:
        yield run
    finally:
        await journal.aclose()


@asynccontextmanager
async def langgraph(shape: Shape, folder: Path) -> AsyncIterator[Callable[[str], Awaitable[None]]]:
    """A `StateGraph` with the SQLite checkpointer, `durability="sync"`: a checkpoint a superstep."""
    from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
    from langgraph.graph import END, START, StateGraph

    class State(TypedDict):
        done: Annotated[int, operator.add]

    async def node(state: State) -> dict[str, int]:
        return {"done": 1}

    builder = StateGraph(State)
    leaves = set(range(len(shape))) - {other for before in shape for other in before}
    for number, before in enumerate(shape):
        builder.add_node(f"n{number}", node)
        if before:
            builder.add_edge([f"n{other}" for other in before] if len(before) > 1 else f"n{before[0]}", f"n{number}")
        else:
            builder.add_edge(START, f"n{number}")
    for number in leaves:
        builder.add_edge(f"n{number}", END)
    async with AsyncSqliteSaver.from_conn_string(str(folder / "langgraph.db")) as saver:
        graph = builder.compile(checkpointer=saver)

        async def run(name: str) -> None:
            config: Any = {"recursion_limit": len(shape) + 10, "configurable": {"thread_id": name}}
            state = await graph.ainvoke({"done": 0}, config, durability="sync")
            if state["done"] != len(shape):
                raise RuntimeError(f"{state['done']} of {len(shape)} nodes ran")

        yield run


@asynccontextmanager
async def dbos(shape: Shape, folder: Path) -> AsyncIterator[Callable[[str], Awaitable[None]]]:
    """A workflow with one step a node, layer by layer (a workflow's steps must be started in one order)."""
    from dbos import DBOS, DBOSConfig, SetWorkflowID

    config: DBOSConfig = {
        "name": "benchmark",
        "system_database_url": f"sqlite:///{folder}/dbos.db",
        "log_level": "ERROR",
        "run_admin_server": False,
    }
    DBOS(config=config)

    @DBOS.step()
    async def step() -> int:
        return 1

    @DBOS.workflow()
    async def workflow() -> int:
        done = 0
        for layer in _layers(shape):
            done += sum(await asyncio.gather(*(step() for _ in layer)))
        return done

    DBOS.launch()

    async def run(name: str) -> None:
        with SetWorkflowID(name):
            done = await workflow()
        if done != len(shape):
            raise RuntimeError(f"{done} of {len(shape)} steps ran")

    try:
        yield run
    finally:
        DBOS.destroy()


def _task(node: int, before: list[int]) -> Task:
    return Task(f"t{node}", "agent", depends_on=tuple(f"t{other}" for other in before))


def _layers(shape: Shape) -> list[list[int]]:
    depth: list[int] = []
    for before in shape:
        depth.append(1 + max((depth[other] for other in before), default=-1))
    layers: list[list[int]] = [[] for _ in range(max(depth) + 1)]
    for node, level in enumerate(depth):
        layers[level].append(node)
    return layers
