"""What an agent sees of its work: who it is for, what came before; and what it may say: events, steps, usage."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from coterie._json import JsonValue, require_json
from coterie.context.identity import Identified
from coterie.errors import MissingOutput, Misuse
from coterie.ids import TaskId, WorkflowId, content_hash
from coterie.items import is_items, load_items
from coterie.ref import Ref, parsed
from coterie.result import ItemResult, TaskResult
from coterie.usage import Usage

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from coterie.artifacts import ArtifactStore
    from coterie.bus import CloudEvent, EventBus, Published
    from coterie.sync import TaskContext as BlockingContext

__all__ = ["TaskContext"]

_log = logging.getLogger("coterie.task")


class TaskContext(Identified):
    """One task's (or one foreach item's) surroundings; given to an agent beside its input.

    item, item_key, item_index: of a foreach; None for other tasks. A task outside of any plan may have a key too, which
    sets it apart from others of its id.
    attempt: counts from 1 within this process.
    deadline: when this attempt is cut off, in seconds since the epoch; None if never.
    """

    _used: Usage | None = None

    @property
    def workflow_id(self) -> WorkflowId:
        """The run's identity, the same in every process and try."""
        return self.run.workflow_id

    @property
    def task_id(self) -> TaskId:
        """The task's id in its plan."""
        return self.task.id

    @property
    def artifacts(self) -> ArtifactStore | None:
        """The run's artifact store, if it has one."""
        return self.run.artifacts

    @property
    def params(self) -> Mapping[str, JsonValue]:
        """The run's parameters; a copy of the caller's own."""
        return cast("dict[str, JsonValue]", require_json(self.run.params, "params"))

    @property
    def upstream(self) -> dict[TaskId, TaskResult]:
        """The results of the tasks that this one waits for; those still running are not there."""
        results = self.run.results
        return {name: results[name] for name in self.task.upstream if name in results}

    @property
    def logger(self) -> logging.LoggerAdapter[logging.Logger]:
        """A logger whose records carry `workflow_id`, `task_id`, `item_key` and `attempt`."""
        bound = {"workflow_id": self.workflow_id, "task_id": self.task_id, "attempt": self.attempt}
        return logging.LoggerAdapter(_log, {**bound, "item_key": self.item_key})

    @property
    def idempotency_key(self) -> str:
        """Equal for every attempt at this work, on every engine: hand it to services that deduplicate.

        Within a durable step, the step's own.
        """
        from coterie.journal.steps import path_here

        key, path = self._work_key, path_here(self)
        return key if path is None else content_hash([key, path])

    async def publish(
        self,
        type_: str,
        data: JsonValue = None,
        *,
        key: str = "",
        subject: str | None = None,
        id: str | None = None,  # noqa: A002  # the attribute's name
        priority: int = 0,
        wait_s: float = 0.0,
    ) -> Published:
        """Publish an event in the run's name, with its correlation id; see `EventBus.publish`.

        Another attempt publishes again: give it an `id`, such as one made of `idempotency_key`, and it stays one event.

        Raises:
            Misuse: the run has no bus. MalformedEvent, OversizedMessage: it may not be sent.
            TopicFull: there was no room. Unavailable: the bus's store failed.
        """
        return await self._bus_for(type_).publish(
            type_,
            data,
            key=key,
            subject=subject,
            id=id,
            priority=priority,
            wait_s=wait_s,
            correlation_id=self.run.correlation_id,
        )

    async def request(
        self, type_: str, data: JsonValue = None, *, timeout_s: float, key: str = "", priority: int = 0
    ) -> CloudEvent:
        """Ask on the bus, in the run's name, and wait for the answer of whoever serves it; see `EventBus.request`.

        Another attempt asks again: within a `step`, only if there was no answer.

        Raises:
            NoReply: nobody answered in time. Misuse: the run has no bus. Others: as of `publish`.
        """
        return await self._bus_for(type_).request(
            type_, data, timeout_s=timeout_s, key=key, priority=priority, correlation_id=self.run.correlation_id
        )

    def _bus_for(self, type_: str) -> EventBus:
        if self.run.bus is None:
            raise Misuse(f"{self.task_id!r} publishes {type_!r}, but the run has no bus; use a Runtime with a store")
        return self.run.bus()

    async def step(
        self,
        name: str,
        function: Callable[..., Awaitable[Any]],
        *arguments: Any,
        key: str | None = None,
        version: str = "0",
        type_: Any = None,
    ) -> Any:
        """Await `function(*arguments)` once: another attempt at this work, in whatever process, gets what it returned.

        name: of the step, within the step around it. Steps of one name are numbered as they begin; those that run at
        the same time need a `key` each. version: another one runs it anew. type_: what the value is validated to.
        What comes back is JSON, the first time too. A step that raises is not kept.

        Without a journal it is run every time.

        Raises:
            Misuse: two steps of one name run at once without keys, or the value is not JSON.
            Diverged: the journal has another step there, and the run is strict.
            LeaseLost: somebody else does this work by now. Unavailable: the journal's store failed.
        """
        from coterie.journal.steps import StepCall, typed

        with StepCall(self, name, arguments, key=key, version=version) as call:
            found = await call.recall()
            value = found[0] if found is not None else await call.keep(await function(*arguments))
        return typed(value, type_)

    @property
    def usage_reported(self) -> bool:
        """Whether anything was used."""
        return self._used is not None

    @property
    def usage(self) -> Usage:
        """What was reported so far: the sum over all attempts, the failed ones included."""
        return self._used or Usage()

    def report_usage(
        self,
        usage: Usage | None = None,
        /,
        *,
        requests: int = 0,
        input_tokens: int = 0,
        output_tokens: int = 0,
        cost_micros: int = 0,
    ) -> None:
        """Add to what this work has used: a `Usage`, its parts by name, or both. Any thread may call it.

        Report as soon as it is known, also when the attempt then fails: it was paid for.

        Raises:
            Misuse: a number is negative, or not whole.
        """
        used = Usage(requests, input_tokens, output_tokens, cost_micros) + (usage or Usage())
        # Made on first use, since most contexts need none; `setdefault` lets two threads agree on one.
        with self.__dict__.setdefault("_usage_lock", threading.Lock()):
            self._used = self.usage + used

    async def output(self, task_id: TaskId, type_: Any = None) -> Any:
        """The output of an upstream task, loaded when asked for and verified; a copy of the caller's own.

        Of a foreach: the outputs of the items that succeeded, in item order. With `type_`, validated to it by
        pydantic.

        Raises:
            MissingOutput: the task is not upstream, or did not succeed; look at `upstream` first.
            MissingArtifact, CorruptArtifact, ForbiddenLocation, Unavailable: the store failed or disagrees.
        """
        result = self._succeeded(task_id)
        if result.item_results is not None or is_items(result.output):
            value: Any = [item.output for item in await self.items(task_id) if item.state == "succeeded"]
        else:
            value = await self.loaded(result.output)
        if type_ is None:
            return value
        from coterie.agent import type_adapter

        return type_adapter(type_).validate_python(value)

    async def items(self, task_id: TaskId) -> list[ItemResult]:
        """How each item of an upstream foreach ended, in item order, outputs loaded.

        Raises:
            MissingOutput: the task is not upstream, or has no items to show.
        """
        result = self._result(task_id)
        if result.item_results is not None:
            items = list(result.item_results)
        elif is_items(result.output) and self.artifacts is not None and isinstance(result.output, Ref):
            items = await load_items(self.artifacts, result.output)
        else:
            raise MissingOutput(f"{task_id!r} has no items: it ended {result.state}; check upstream[{task_id!r}]")
        limit = asyncio.Semaphore(16)

        async def loaded(item: ItemResult) -> ItemResult:
            async with limit:
                return replace(item, output=await self.loaded(item.output))

        return list(await asyncio.gather(*map(loaded, items)))

    async def loaded(self, output: JsonValue | Ref) -> JsonValue:
        """The value behind an output, verified; a copy of the caller's own."""
        if not isinstance(output, Ref):
            # A copy: what one agent does to its inputs must not reach another.
            return require_json(output, "output")
        if output.is_inline:
            return parsed(output, output.inline_bytes())
        if self.artifacts is None:
            raise MissingOutput(f"the output lies at {output.uri!r}, but this run has no artifact store; give it one")
        began_s = self.run.now()
        value = await self.artifacts.load(output)
        if (trail := self.trail) is not None:
            trail.since("read", int(began_s * 1e6), bytes=output.size_bytes)
        return value

    def blocking(self) -> BlockingContext:
        """The same for a blocking agent, which runs in a thread."""
        from coterie.sync import TaskContext as BlockingContext

        return BlockingContext(self, asyncio.get_running_loop())

    def _result(self, task_id: TaskId) -> TaskResult:
        if task_id not in self.task.upstream:
            raise MissingOutput(f"{task_id!r} is not upstream of {self.task.id!r}; add it to its depends_on")
        result = self.run.results.get(task_id)
        if result is None:
            raise MissingOutput(f"{task_id!r} has not ended yet; {self.task.id!r} started before it")
        return result

    def _succeeded(self, task_id: TaskId) -> TaskResult:
        result = self._result(task_id)
        if result.state != "succeeded":
            why = f" ({result.error})" if result.error else ""
            raise MissingOutput(
                f"{task_id!r} ended {result.state}{why} and has no output; check upstream[{task_id!r}].state first"
            )
        return result
