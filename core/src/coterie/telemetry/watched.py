"""What metrics read of others: an orchestrator, what stands before its agents, a worker, its queues."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol, TypeAlias

from coterie._json import JsonValue
from coterie._rules.log import GroupStatus
from coterie._rules.pool_status import PoolStatus
from coterie.ids import AgentId, AgentType

__all__ = ["AgentSlots", "Breaker", "Call", "Desk", "Log", "TypeSlots", "WorkerSeen"]

Call: TypeAlias = Callable[[dict[str, JsonValue], Any], Awaitable[Any]]


class _Agent(Protocol):
    @property
    def id(self) -> AgentId: ...
    @property
    def capacity(self) -> int: ...


class AgentSlots(Protocol):
    """The slots of one agent. stuck: those whose call cannot be stopped."""

    call: Call

    @property
    def agent(self) -> _Agent: ...  # noqa: D102  # its name says it
    @property
    def capacity(self) -> int: ...  # noqa: D102  # as above
    @property
    def in_use(self) -> int: ...  # noqa: D102  # as above
    @property
    def stuck(self) -> int: ...  # noqa: D102  # as above


class _Status(Protocol):
    @property
    def state(self) -> str: ...
    @property
    def retry_after_s(self) -> float: ...


class Breaker(Protocol):
    """A circuit breaker."""

    @property
    def name(self) -> str: ...  # noqa: D102  # its name says it
    def get_state(self) -> _Status: ...  # noqa: D102  # as above
    async def refresh(self) -> _Status: ...  # noqa: D102  # as above


class _Pool(Protocol):
    def get_pool_status(self) -> PoolStatus: ...


class _Tools(Protocol):
    @property
    def pool(self) -> _Pool: ...
    @property
    def breaker(self) -> Callable[[AgentId], Breaker | None]: ...


class _Policies(Protocol):
    @property
    def pool(self) -> object | None: ...


class _Gate(Protocol):
    @property
    def tools(self) -> _Tools: ...
    @property
    def policies(self) -> _Policies: ...


class TypeSlots(Protocol):
    """The agents of one type, what stands before them, and how many tasks wait for them in this process.

    Where the fleet shares them, by a policy of pools, those that stand in its line are among these.
    """

    @property
    def agents(self) -> Sequence[AgentSlots]: ...  # noqa: D102  # its name says it
    @property
    def gate(self) -> _Gate | None: ...  # noqa: D102  # as above
    @property
    def queued(self) -> int: ...  # noqa: D102  # as above


class Desk(Protocol):
    """An orchestrator."""

    def local_slots(self) -> Mapping[AgentType, TypeSlots]: ...  # noqa: D102  # its name says it


class WorkerSeen(Protocol):
    """A worker."""

    @property
    def capacity(self) -> int: ...  # noqa: D102  # its name says it
    @property
    def in_use(self) -> int: ...  # noqa: D102  # as above
    def status(self) -> Mapping[str, JsonValue]: ...  # noqa: D102  # as above


class Log(Protocol):
    """Where its queues lie, and the events."""

    async def groups(self, topic: str, /) -> Sequence[GroupStatus]: ...  # noqa: D102  # its name says it
