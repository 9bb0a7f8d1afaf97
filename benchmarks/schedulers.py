"""The schedulers that are compared. Each takes a shape, prepares, and returns a coroutine function that runs it once.

Preparation (building and compiling a graph) is not timed.
"""

from __future__ import annotations

import asyncio
import operator
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, TypedDict

from graph_shapes import Shape

from coterie import Orchestrator, Plan, Task, TaskContext

__all__ = ["coterie", "floor", "langgraph", "pydantic_graph"]

RunOnce = Callable[[], Awaitable[None]]


async def no_op(task_input: Any, context: Any) -> None:
    """What every node does."""


def floor(shape: Shape, timeout_s: float | None) -> RunOnce:
    """The least that a scheduler does: counters, an asyncio task a node, results in a list."""
    dependents: list[list[int]] = [[] for _ in shape]
    for node, before in enumerate(shape):
        for other in before:
            dependents[other].append(node)

    async def run() -> None:
        waiting = [len(before) for before in shape]
        results: list[None] = [None] * len(shape)
        running: set[asyncio.Task[None]] = set()
        over = asyncio.Event()
        left = len(shape)

        def start(node: int) -> None:
            task = asyncio.create_task(perform(node))
            running.add(task)
            task.add_done_callback(running.discard)

        async def perform(node: int) -> None:
            nonlocal left
            if timeout_s is None:
                results[node] = await no_op(None, None)  # type: ignore[func-returns-value]  # a result like any other
            else:
                async with asyncio.timeout(timeout_s):
                    results[node] = await no_op(None, None)  # type: ignore[func-returns-value]
            left -= 1
            for after in dependents[node]:
                waiting[after] -= 1
                if not waiting[after]:
                    start(after)
            if not left:
                over.set()

        for node, count in enumerate(waiting):
            if not count:
                start(node)
        await over.wait()

    return run


def coterie(shape: Shape, timeout_s: float | None) -> RunOnce:
    """`Orchestrator.execute_workflow`; with a time-out, every full `TaskResult` is read as well."""
    plan = Plan("benchmark", [_task(node, before, timeout_s) for node, before in enumerate(shape)])
    orchestrator = Orchestrator()

    async def agent(task_input: dict[str, Any], context: TaskContext) -> None:
        """Do nothing."""

    orchestrator.register_agent("agent", "agent", capacity=len(shape), handler=agent)

    async def run() -> None:
        result = await orchestrator.execute_workflow(plan)
        if result.status != "succeeded" or len(result.tasks) != len(shape):
            raise RuntimeError(f"the run ended {result.status}")
        if timeout_s is not None:
            for task in result:
                task.raise_for_state()

    return run


def langgraph(shape: Shape, timeout_s: float | None) -> RunOnce:
    """A `StateGraph` without a checkpointer, one node a task."""
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
    graph = builder.compile()

    async def run() -> None:
        state = await graph.ainvoke({"done": 0}, {"recursion_limit": len(shape) + 10})
        if state["done"] != len(shape):
            raise RuntimeError(f"{state['done']} of {len(shape)} nodes ran")

    return run


def pydantic_graph(shape: Shape, timeout_s: float | None) -> RunOnce:
    """A `GraphBuilder` graph. Its joins wait for a whole fork, so that each layer ends in a barrier."""
    from pydantic_graph import GraphBuilder, StepContext

    done = 0
    graph = GraphBuilder(input_type=int, output_type=int, auto_instrument=False)

    async def step(context: StepContext[None, None, int]) -> int:
        nonlocal done
        done += 1
        return 0

    def keep(current: int, value: int) -> int:
        return current

    source: Any = graph.start_node
    for number, layer in enumerate(_layers(shape)):
        steps = [graph.step(step, node_id=f"n{node}") for node in layer]
        graph.add(graph.edge_from(source).to(*steps))
        source = steps[0]
        if len(steps) > 1:
            source = graph.join(keep, initial=0, node_id=f"join{number}")
            graph.add(graph.edge_from(*steps).to(source))
    graph.add(graph.edge_from(source).to(graph.end_node))
    built = graph.build()

    async def run() -> None:
        nonlocal done
        done = 0
        await built.run(inputs=0)
        if done != len(shape):
            raise RuntimeError(f"{done} of {len(shape)} nodes ran")

    return run


def _task(node: int, before: list[int], timeout_s: float | None) -> Task:
    return Task(f"t{node}", "agent", depends_on=tuple(f"t{other}" for other in before), timeout_s=timeout_s)


def _layers(shape: Shape) -> list[list[int]]:
    depth: list[int] = []
    for before in shape:
        depth.append(1 + max((depth[other] for other in before), default=-1))
    layers: list[list[int]] = [[] for _ in range(max(depth) + 1)]
    for node, level in enumerate(depth):
        layers[level].append(node)
    return layers
