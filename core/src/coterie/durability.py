"""Durable pydantic-ai agents: what a model and tools have answered is there when the task is tried again.

Needs the extra `llm`, and a pydantic-ai with `pydantic_ai.durable_exec`. Built on its public interface for engines of
durable execution: each model request and tool call is one durable step of the task.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from pydantic_ai.durable_exec import (
    JSON_CODEC,
    BaseDurabilityCapability,
    DurabilityEngineSpec,
    DurableOperationBackend,
    DurableOperationId,
    JournalCallableOperationBackend,
    ModelRequestId,
    RoleBasedOperationConfig,
    conversation_id_from_run_id,
)
from pydantic_ai.tools import AgentDepsT

from coterie._json import require_json
from coterie.errors import Misuse
from coterie.usage import Usage

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic_ai.models import Model

    from coterie.context import TaskContext

__all__ = ["CoterieDurability", "durable"]

_LONGEST_NAME = 90


class _Here:
    """The task whose journal holds what the agents do, and how often each operation was called in this attempt.

    spared: what the answers used that were there already: it was reported when they were given.
    """

    def __init__(self, context: TaskContext) -> None:
        self.context = context
        self.spared = Usage()
        self._numbers: Counter[str] = Counter()

    def number(self, name: str) -> int:
        """Counts from 1, in the order in which calls begin: the same in another attempt."""
        self._numbers[name] += 1
        return self._numbers[name]


_here: ContextVar[_Here | None] = ContextVar("coterie_durable_agent", default=None)


@contextmanager
def durable(context: TaskContext) -> Iterator[Callable[[], Usage]]:
    """Within this block, agents that have `CoterieDurability` keep what they do in the journal of this task.

    Gives a function that says what their usage holds of answers that were there already, and are not paid for again.
    """
    here = _Here(context)
    token = _here.set(here)
    try:
        yield lambda: here.spared
    finally:
        _here.reset(token)


@dataclass(init=False, kw_only=True)
class CoterieDurability(BaseDurabilityCapability[AgentDepsT]):
    """A capability for a pydantic-ai `Agent`: after a retry, or in another process, its model requests and tool calls
    that were answered are not made again.

        agent = Agent("openai:gpt-5", name="reviewer", capabilities=[CoterieDurability()])
        team.add(Agent("reviewer-1", "reviewer", PydanticAgent(agent)))

    In a `PydanticAgent` it needs nothing more; elsewhere in a task, run the agent within `durable(ctx)`. Outside of any
    task, and without a journal, the agent runs as it would without.

    Answers must be JSON, as pydantic writes them. A request or call that was under way when the process ended is made
    again: give tools with effects an idempotency key, `ctx.idempotency_key` of the task.
    """

    engine_spec = DurabilityEngineSpec(
        engine_name="coterie",
        durable_unit_noun="step",
        durable_container_noun="task",
        codec=JSON_CODEC,
        wrapped_toolset_kinds=frozenset({"function", "mcp", "dynamic"}),
        toolset_lifecycles={"function": "enter-always", "mcp": "enter-in-durable-unit", "dynamic": "enter-never"},
        tool_config_key="coterie",
    )

    def __init__(self, *, models: Mapping[str, Model] | None = None, name: str | None = None) -> None:
        """models: others than the agent's own that a run may use, by name. name: part of every step's name."""
        super().__init__(models=models, name=name)

    @property
    def in_durable_context(self) -> bool:
        """Whether a task's journal is at hand."""
        return _here.get() is not None

    def get_default_run_id(self) -> str | None:
        """The same in every attempt at the task."""
        here = _here.get()
        return None if here is None else f"{here.context.idempotency_key[:32]}:{here.number('run')}"

    def get_default_conversation_id(self, run_id: str) -> str | None:
        """Likewise."""
        return conversation_id_from_run_id(run_id) if self.in_durable_context else None

    async def get_run_start_time(self, run_id: str) -> datetime | None:
        """When the run was begun first."""
        here = _here.get()
        if here is None:
            return None
        begun: str = await here.context.step("agent run begins", _now, key=run_id)
        return datetime.fromisoformat(begun)

    def get_durable_operation_backend(self) -> DurableOperationBackend[Any]:
        """Each operation is a step."""
        return _Steps(
            agent_name=self.name or "agent",
            config=RoleBasedOperationConfig[None](
                model=None, event=None, capability=None, tool=None, resolve_tool=self._tool_config
            ),
        )

    def _tool_config(
        self, operation_id: DurableOperationId, tool: object | None, tool_name: str
    ) -> None | Literal[False]:
        """A tool with the metadata `{"coterie": False}` is called every time, without a step."""
        del operation_id, tool_name
        metadata = getattr(getattr(tool, "tool_def", None), "metadata", None) or {}
        return False if metadata.get("coterie") is False else None


class _Steps(JournalCallableOperationBackend[None]):
    """Runs each operation as a durable step of the task, numbered by name as they begin."""

    async def execute(
        self,
        *,
        operation_id: DurableOperationId,
        name: str,
        body: Callable[[], Awaitable[object]],
        cache_key: tuple[object, ...],
        config: None,
    ) -> object:
        """See `CallableOperationBackend.execute`."""
        del config
        here = _here.get()
        assert here is not None
        plain = [value for value in cache_key if _is_json(value)]
        ran = False

        async def run(*_: object) -> object:
            nonlocal ran
            ran = True
            return await body()

        # A key, although they are numbered: calls of one tool may run at the same time.
        key = str(here.number(name))
        found: object = await here.context.step(_usable(name), run, *plain, key=f"{name} {key}")
        if not ran and isinstance(operation_id, ModelRequestId):
            here.spared += _usage_of(found)
        return found


async def _now() -> str:
    return datetime.now(UTC).isoformat()


def _usage_of(response: object) -> Usage:
    """What a model's answer used, as it was recorded."""
    usage = response.get("usage") if isinstance(response, dict) else None
    if not isinstance(usage, dict):
        return Usage(requests=1)
    return Usage(1, int(usage.get("input_tokens") or 0), int(usage.get("output_tokens") or 0))


def _usable(name: str) -> str:
    """A step's name: without the characters that mean something in a path."""
    return "".join("." if sign in "/#=" or not sign.isprintable() else sign for sign in name)[:_LONGEST_NAME]


def _is_json(value: object) -> bool:
    try:
        require_json(value, "argument")
    except Misuse:
        return False
    return True
