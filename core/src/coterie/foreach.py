"""Run a foreach: read its list, perform its items, gather their results; and read conditions.

Shared by the local engine, which runs all items of a task, and by schedulers, which run them in parts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import replace
from functools import partial

from coterie._json import JsonValue, require_json
from coterie._rules.foreach import condition_holds, items_of, keys_of, tolerated
from coterie.attempt import Ended, perform
from coterie.clock import Clock
from coterie.context import Run, TaskContext
from coterie.errors import ClaimedElsewhere, ItemsFailed, Misuse
from coterie.events import Event, Listener
from coterie.ids import AgentId, ItemKey, item_name
from coterie.items import store_items
from coterie.journal.book import begin, finished
from coterie.result import ErrorInfo, ItemCounts, ItemResult, TaskResult
from coterie.slots import Slot, TypeSlots
from coterie.task import ForEach, Task
from coterie.walk import first_error

__all__ = ["condition_says_run", "gather_items", "item_context", "load_list", "perform_foreach", "perform_items"]


async def condition_says_run(context: TaskContext) -> bool:
    """Whether the task's condition holds; without one, it does."""
    when = context.task.when
    if when is None:
        return True
    before = context.upstream.get(when.task)
    if before is None or before.state != "succeeded":
        return False
    return condition_holds(when, await context.output(when.task))


async def load_list(context: TaskContext) -> tuple[list[ItemKey], list[JsonValue]]:
    """The keys and items that a foreach task runs over.

    Raises:
        Misuse: there is no list where the foreach points, or an item has no key where it should.
    """
    task, foreach = context.task, foreach_of(context.task)
    output = await context.output(foreach.task) if foreach.task is not None else None
    items = items_of(foreach, output, task.id)
    return keys_of(foreach, items, task.id), items


async def perform_foreach(context: TaskContext, pool: TypeSlots, clock: Clock, listener: Listener | None) -> TaskResult:
    """Run a whole foreach task in this process."""
    work, trace = partial(_foreach, context, pool, clock, listener), context.run.trace
    return await (work() if trace is None else trace.work(context, work))


async def _foreach(context: TaskContext, pool: TypeSlots, clock: Clock, listener: Listener | None) -> TaskResult:
    started_at, began = clock.now(), clock.monotonic()
    keys, items = await load_list(context)
    entries = list(zip(range(len(items)), keys, items, strict=True))
    done = await perform_items(context, pool, entries, total=len(items), clock=clock, listener=listener)
    result = await gather_items(context, done, len(items))
    return replace(result, started_at=started_at, duration_s=clock.monotonic() - began)


async def perform_items(
    context: TaskContext,
    pool: TypeSlots,
    entries: Iterable[tuple[int, ItemKey, JsonValue]],
    *,
    total: int,
    clock: Clock,
    listener: Listener | None,
) -> list[ItemResult]:
    """Perform items of a foreach, each as soon as an agent has a free slot; every item ends with a result.

    Raises:
        LeaseLost, Unavailable: somebody else has taken an item over, or the journal failed.
    """
    try:
        return await _performed(context, pool, entries, total=total, clock=clock, listener=listener)
    except BaseExceptionGroup as errors:
        raise first_error(errors) from errors


async def _performed(
    context: TaskContext,
    pool: TypeSlots,
    entries: Iterable[tuple[int, ItemKey, JsonValue]],
    *,
    total: int,
    clock: Clock,
    listener: Listener | None,
) -> list[ItemResult]:
    task, run = context.task, context.run
    done: list[ItemResult] = []

    begun: set[int] = set()

    def note(index: int, key: ItemKey, ended: Ended | TaskResult, agent_id: AgentId | None = None) -> None:
        error = ended.error if isinstance(ended.error, ErrorInfo) or ended.error is None else ErrorInfo.of(ended.error)
        done.append(ItemResult(key, index, ended.state, ended.output, error, ended.attempts))
        if listener is not None:
            fields = {"key": key, "index": index, "total": total, "state": ended.state, "agent_type": task.agent_type}
            # Whom it was given to; known from the journal, to nobody.
            fields |= {"agent_id": agent_id} if agent_id is not None else {"replayed": True}
            listener(Event("item.finished", run.workflow_id, task.id, {**fields, "error": error and str(error)}))

    async def one(index: int, context: TaskContext, slot: Slot) -> None:
        begun.add(index)
        agent_id = slot.agent.id
        ended = await finished(context, partial(perform, context, slot, clock, listener))
        note(index, context.item_key or "", ended, agent_id)

    async def later(index: int, context: TaskContext) -> None:
        """Of an item that another process is at: wait for what comes of it."""
        ended = await begin(context, pool)
        if ended is not None:
            note(index, context.item_key or "", ended)
        else:
            await one(index, context, await pool.acquire(task.priority))

    async with asyncio.TaskGroup() as group:
        for index, key, item in entries:
            context = item_context(run, task, index, key, item)
            try:
                ended = await begin(context, pool, waits=False)
            except ClaimedElsewhere:
                group.create_task(later(index, context))
                continue
            if ended is not None:
                note(index, key, ended)
                continue
            # One waits here for all: the queue holds one entry a foreach, so that runs take turns.
            slot = await pool.acquire(task.priority)
            work = group.create_task(one(index, context, slot))
            work.add_done_callback(partial(_release_if_never_begun, begun, index, slot))
    return sorted(done, key=lambda result: result.index)


async def gather_items(context: TaskContext, items: list[ItemResult], total: int) -> TaskResult:
    """The result of a foreach from the results of its items; those missing count as failed."""
    task, store = context.task, context.artifacts
    failed = tuple(item for item in items if item.state != "succeeded")
    bad = len(failed) + total - len(items)
    good = tolerated(foreach_of(task), bad, total)
    outputs = [item.output for item in items if item.state == "succeeded"]
    return TaskResult(
        task.id,
        "succeeded" if good else "failed",
        await store_items(store, items) if store is not None else outputs,  # type: ignore[arg-type]  # no Refs without a store
        None if good else _items_error(failed, bad, total),
        max((item.attempts for item in items), default=1),
        items=ItemCounts(total, bad),
        failed_items=failed,
        item_results=tuple(items),
    )


def _release_if_never_begun(begun: set[int], index: int, slot: Slot, _: asyncio.Task[None]) -> None:
    # Cancelled before its first step (a neighbour ended the run), a coroutine never runs: nobody else releases.
    if index not in begun:
        slot.release()


def foreach_of(task: Task) -> ForEach:
    """The task's foreach.

    Raises:
        Misuse: it has none.
    """
    if task.foreach is None:
        raise Misuse(f"{task.id!r} has no foreach; run it with execute_task")
    return task.foreach


def _items_error(failed: tuple[ItemResult, ...], bad: int, total: int) -> ErrorInfo:
    lost = f", {bad - len(failed)} lost with their worker" if bad > len(failed) else ""
    first = f"; first: item {item_name(failed[0].key, failed[0].index)}: {failed[0].error}" if failed else ""
    return ErrorInfo.of(ItemsFailed(f"{bad} of {total} items failed{lost}{first}"))


def item_context(run: Run, task: Task, index: int, key: ItemKey, item: JsonValue) -> TaskContext:
    """What one item is performed in."""
    context = TaskContext(run, task, {})
    # Copies: an agent may change its own, but neither the list nor what a later attempt is given.
    context.source_item, context.item_key, context.item_index = item, key, index
    context.item = require_json(item, "item")
    context.input = context.fresh_input()
    return context
