"""What is killed in `crash_points.py`: one run of a graph whose every node pays, by coterie and by others.

Each goes on as its documentation says when it is called again for the same run. Graphs are built in each process, as
they would be.
"""

from __future__ import annotations

import asyncio
import json
import operator
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any, TypedDict

from graph_shapes import Shape, chain

from tests.journal.crash.billing import pay
from tests.journal.crash.killer import Killer

__all__ = ["ENGINES", "GRAPHS", "main"]

WIDTH, PARENTS = 20, 3
# Called with a node's name.
Pay = Callable[[str], Awaitable[None]]


def layered(nodes: int) -> Shape:
    """Layers of 20; each node waits for three of the layer before."""
    return [
        [] if i < WIDTH else [(i // WIDTH - 1) * WIDTH + (i + step) % WIDTH for step in range(PARENTS)]
        for i in range(nodes)
    ]


GRAPHS: dict[str, Callable[[int], Shape]] = {"chain": chain, "layered": layered}


def main(settings: dict[str, Any]) -> None:
    """Run it, or go on with it. settings: engine, graph, nodes, folder, run, billing (a port), kill, out (a file)."""
    killer = Killer(settings.get("kill"))

    async def paid(node: str) -> None:
        number = killer.next("bill")
        killer.meet("bill", number, "before")
        await pay(settings["billing"], settings["run"], node, node)
        killer.meet("bill", number, "after")

    shape = GRAPHS[settings["graph"]](settings["nodes"])
    done = asyncio.run(ENGINES[settings["engine"]](shape, Path(settings["folder"]), settings["run"], paid))
    Path(settings["out"]).write_text(json.dumps({"result": done, "counts": killer.counts}))


async def coterie(shape: Shape, folder: Path, run: str, pay_for: Pay) -> int:
    """The local engine with a journal in SQLite, as durable as it is by default."""
    from coterie import Orchestrator, Plan, Task
    from coterie.journal import Journal
    from coterie.stores.opening import open_journal_store

    async def node(task_input: dict[str, Any], context: Any) -> int:
        await pay_for(context.task_id)
        return 1

    tasks = [Task(f"n{i}", "node", depends_on=tuple(f"n{j}" for j in before)) for i, before in enumerate(shape)]
    store = open_journal_store(f"sqlite://{folder}/coterie.db", "default")
    orchestrator = Orchestrator(journal=Journal(store))
    orchestrator.register_agent("node", "node", capacity=len(shape), handler=node)
    result = await orchestrator.execute_workflow(Plan("benchmark", tasks), workflow_id=run)
    await store.aclose()
    return sum(int(str(one.output)) for one in result)


async def langgraph(shape: Shape, folder: Path, run: str, pay_for: Pay, *, durability: Any) -> int:
    """A `StateGraph` with the SQLite checkpointer; a thread that has a checkpoint goes on from it."""
    from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
    from langgraph.graph import END, START, StateGraph

    class State(TypedDict):
        done: Annotated[int, operator.add]

    builder = StateGraph(State)
    for number, before in enumerate(shape):
        builder.add_node(f"n{number}", _node_of(f"n{number}", pay_for))
        if before:
            builder.add_edge([f"n{other}" for other in before] if len(before) > 1 else f"n{before[0]}", f"n{number}")
        else:
            builder.add_edge(START, f"n{number}")
    for number in set(range(len(shape))) - {other for before in shape for other in before}:
        builder.add_edge(f"n{number}", END)
    async with AsyncSqliteSaver.from_conn_string(str(folder / "langgraph.db")) as saver:
        graph = builder.compile(checkpointer=saver)
        config: Any = {"recursion_limit": len(shape) + 10, "configurable": {"thread_id": run}}
        # Not `state.next`: after a kill it may be empty although the run is unfinished, which would begin it anew.
        begun = (await graph.aget_state(config)).created_at is not None
        state = await graph.ainvoke(None if begun else {"done": 0}, config, durability=durability)
        return int(state["done"])


def _node_of(name: str, pay_for: Pay) -> Callable[[Any], Awaitable[dict[str, int]]]:
    async def node(state: Any) -> dict[str, int]:
        await pay_for(name)
        return {"done": 1}

    return node


async def dbos(shape: Shape, folder: Path, run: str, pay_for: Pay) -> int:
    """A workflow with one step a node, layer by layer (a workflow's steps must be started in one order)."""
    from dbos import DBOS, DBOSConfig, SetWorkflowID
    from durable_schedulers import _layers

    config: DBOSConfig = {
        "name": "benchmark",
        "system_database_url": f"sqlite:///{folder}/dbos.db",
        "log_level": "ERROR",
        "run_admin_server": False,
    }
    DBOS(config=config)

    @DBOS.step()
    async def step(node: str) -> int:
        await pay_for(node)
        return 1

    @DBOS.workflow()
    async def workflow() -> int:
        done = 0
        for layer in _layers(shape):
            done += sum(await asyncio.gather(*(step(f"n{node}") for node in layer)))
        return done

    # Goes on with what was under way; the call below waits for it, or begins it.
    DBOS.launch()
    try:
        with SetWorkflowID(run):
            handle = await DBOS.start_workflow_async(workflow)
        return int(await handle.get_result())
    finally:
        DBOS.destroy()


def _layers(shape: Shape) -> list[list[int]]:
    depth: list[int] = []
    for before in shape:
        depth.append(1 + max((depth[other] for other in before), default=-1))
    return [[node for node, level in enumerate(depth) if level == layer] for layer in range(max(depth) + 1)]


ENGINES: dict[str, Callable[[Shape, Path, str, Pay], Awaitable[int]]] = {
    "coterie": coterie,
    "langgraph-sync": partial(langgraph, durability="sync"),
    "langgraph-async": partial(langgraph, durability="async"),
    "langgraph-exit": partial(langgraph, durability="exit"),
    "dbos": dbos,
}
