"""Capacity in this process: who has a free slot, and who waits for one.

An agent's slots are counted here and nowhere else, so every run of one orchestrator shares them. Agents that stand for
workers have slots of their own: as many tasks of the type may be elsewhere at a time.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import logging
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from coterie.agent import Agent, Call, compile_call
from coterie.errors import Misuse, UnknownAgent, UnknownAgentType
from coterie.ids import AgentId, AgentType
from coterie.remote.agent import DEFAULT_CAPACITY, RemoteAgent
from coterie.task import Placement

if TYPE_CHECKING:
    from coterie.pipeline.gate import Gate

__all__ = ["Slot", "Slots", "TypeSlots"]

_log = logging.getLogger("coterie.agent")

# Called with a taken slot; answers whether it is used (else the next waiter is asked).
Grant = Callable[["Slot"], bool]


class Slot:
    """The slots of one agent. `call` performs a task."""

    __slots__ = ("agent", "call", "capacity", "in_use", "pool", "stuck")

    def __init__(self, agent: Agent, pool: TypeSlots) -> None:
        self.agent = agent
        self.call: Call = compile_call(agent)
        self.capacity = agent.capacity
        self.in_use = 0
        self.stuck = 0
        self.pool = pool

    def release(self) -> None:
        """Give one slot back; the first waiter gets it at once."""
        self.in_use -= 1
        if self.pool.waiting:
            self.pool.hand_over()

    def abandon(self) -> None:
        """Keep a slot busy for a call that nobody waits for any more, in a thread that cannot be stopped.

        When every slot of the type is lost in this way, one more is opened: capacity is exceeded rather than
        all that wait lost to agents that hang.
        """
        self.stuck += 1
        if self.pool.all_stuck():
            self.capacity += 1
            _log.warning("agent.stuck %s: every slot is held by a call nobody waits for; one more opens", self.agent.id)
            self.pool.hand_over()

    def recover(self) -> None:
        """Such a call has ended after all: give its slot back, or close the one that was opened in its stead."""
        self.stuck -= 1
        if self.capacity > self.agent.capacity:
            self.capacity -= 1
        self.release()


class TypeSlots:
    """The agents of one type, and the queue for them: by priority, then in order of arrival.

    gate: what stands before them, if anything. is_remote: whether they are elsewhere.
    """

    __slots__ = ("_count", "agents", "closed", "gate", "held_up", "is_ordinary", "is_remote", "waiting")

    def __init__(self, gate: Gate | None = None, *, is_remote: bool = False) -> None:
        self.gate = gate
        self.is_remote = is_remote
        # Looked at for each task: whether its agent is simply called.
        self.is_ordinary = gate is None and not is_remote
        # Whether nobody is given a slot any more; and how many have one, but wait at the gate, and call nobody yet.
        self.closed = False
        self.held_up = 0
        self.agents: list[Slot] = []
        self.waiting: list[tuple[int, int, Grant, object]] = []
        self._count = itertools.count()

    @property
    def version(self) -> str:
        """What the agents declare: another one, another output. Several of one type may differ; all count then."""
        return ",".join(sorted({slot.agent.version for slot in self.agents}))

    @property
    def capacity(self) -> int:
        """Slots in all."""
        return sum(slot.capacity for slot in self.agents)

    @property
    def queued(self) -> int:
        """How many wait."""
        return len(self.waiting)

    @property
    def stuck(self) -> int:
        """How many slots are held by calls that nobody waits for."""
        return sum(slot.stuck for slot in self.agents)

    def all_stuck(self) -> bool:
        """Whether every slot is held by an abandoned call."""
        return all(slot.stuck >= slot.capacity for slot in self.agents)

    def take(self) -> Slot | None:
        """Take a slot of the least loaded agent, or None if all are busy."""
        agents = self.agents
        slot = agents[0] if len(agents) == 1 else min(agents, key=_load)
        if slot.in_use >= slot.capacity or self.closed:
            return None
        slot.in_use += 1
        return slot

    def enqueue(self, priority: int, grant: Grant, owner: object = None) -> None:
        """Wait without a coroutine: `grant` is called when a slot is this caller's."""
        heapq.heappush(self.waiting, (-priority, next(self._count), grant, owner))

    def withdraw(self, owner: object) -> None:
        """Forget all that `owner` waits for."""
        self.waiting = [entry for entry in self.waiting if entry[3] is not owner]
        heapq.heapify(self.waiting)

    async def acquire(self, priority: int) -> Slot:
        """Wait for a slot. Cancelled while waiting, it leaves none behind."""
        slot = None if self.waiting else self.take()
        if slot is not None:
            return slot
        future: asyncio.Future[Slot] = asyncio.get_running_loop().create_future()
        self.enqueue(priority, lambda granted: _resolve(future, granted))
        try:
            return await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled():
                future.result().release()
            raise

    async def may_begin(self) -> None:
        """Wait for ever where nothing is to begin any more: whoever has just come through the gate calls no agent."""
        if self.closed:
            self.held_up += 1
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                self.held_up -= 1

    def hand_over(self) -> None:
        """Give free slots to those who wait."""
        while self.waiting and (slot := self.take()) is not None:
            while self.waiting:
                if heapq.heappop(self.waiting)[2](slot):
                    break
            else:
                slot.in_use -= 1


class Slots:
    """All agents of an orchestrator, by type. gate_of: what stands before the agents of a type, if anything."""

    def __init__(
        self, agents: Iterable[Agent] = (), *, gate_of: Callable[[AgentType], Gate | None] = lambda _: None
    ) -> None:
        self._gate_of = gate_of
        self._types: dict[AgentType, TypeSlots] = {}
        self._remote: dict[AgentType, TypeSlots] = {}
        # Types of which the team says that they are elsewhere; of others, single tasks may say so.
        self._placed: set[AgentType] = set()
        self._closed = False
        self._ids: dict[AgentId, Slot] = {}
        for agent in agents:
            self.add(agent)

    def add(self, agent: Agent) -> None:
        """Register an agent; tasks that wait for its type may start on it at once.

        Raises:
            Misuse: the id is taken.
        """
        if agent.id in self._ids:
            raise Misuse(f"an agent {agent.id!r} is already registered; choose another agent_id")
        types = self._remote if isinstance(agent.handler, RemoteAgent) else self._types
        pool = types.get(agent.type)
        if pool is None:
            # Policies hold where the work is done.
            is_remote = types is self._remote
            pool = TypeSlots(is_remote=True) if is_remote else _behind(self._gate_of(agent.type))
        if pool.is_remote:
            self._placed.add(agent.type)
        pool.closed = self._closed
        slot = Slot(agent, pool)
        pool.agents.append(slot)
        types[agent.type] = pool
        self._ids[agent.id] = slot
        if pool.gate is not None:
            pool.gate.join(slot)
        pool.hand_over()

    def of(self, agent_type: AgentType, *, task_id: str | None = None, placement: Placement | None = None) -> TypeSlots:
        """The slots of one type; without a placement, those of its remote agents, if it has any.

        Raises:
            UnknownAgentType: nobody serves it, or nobody there.
        """
        pool = None
        if placement == "remote":
            pool = self._remote.get(agent_type) or self._elsewhere(agent_type)
        elif placement is None and agent_type in self._placed:
            pool = self._remote[agent_type]
        if pool is None:
            pool = self._types.get(agent_type)
        if pool is None:
            raise UnknownAgentType(agent_type, self._types, task_id=task_id)
        return pool

    def local(self) -> dict[AgentType, TypeSlots]:
        """The slots of each type that has agents here."""
        return dict(self._types)

    def _elsewhere(self, agent_type: AgentType) -> TypeSlots:
        """Slots for tasks that ask for a worker, where the team says nothing of one."""
        here = self._types.get(agent_type)
        name = next(name for n in itertools.count() if (name := f"remote-{n}-{agent_type}"[:128]) not in self._ids)
        version = here.version if here is not None else "0"
        self.add(Agent(name, agent_type, RemoteAgent(), capacity=DEFAULT_CAPACITY, version=version))
        self._placed.discard(agent_type)
        return self._remote[agent_type]

    def of_agent(self, agent_id: AgentId) -> TypeSlots:
        """The slots of an agent's type.

        Raises:
            UnknownAgent: there is no such agent.
        """
        slot = self._ids.get(agent_id)
        if slot is None:
            raise UnknownAgent(agent_id, self._ids)
        return slot.pool

    def all(self) -> Iterable[Slot]:
        """Every agent's slots, in the order of registration."""
        return self._ids.values()

    @property
    def at_work(self) -> int:
        """How many calls of agents are under way that somebody waits for."""
        called = sum(slot.in_use - slot.stuck for slot in self._ids.values())
        return called - sum(pool.held_up for pool in self._types.values())

    def _pools(self) -> Iterable[tuple[AgentType, TypeSlots]]:
        return itertools.chain(self._types.items(), self._remote.items())

    def close(self) -> None:
        """Give nobody a slot any more: whoever waits for one goes on waiting until he is cancelled."""
        self._closed = True
        for _, pool in self._pools():
            pool.closed = True

    def waiting(self) -> dict[AgentType, int]:
        """How many tasks wait for each type that somebody waits for."""
        waiting: dict[AgentType, int] = {}
        for name, pool in self._pools():
            if pool.queued:
                waiting[name] = waiting.get(name, 0) + pool.queued
        return waiting


def _behind(gate: Gate | None) -> TypeSlots:
    return TypeSlots() if gate is None else gate.slots()


def _load(slot: Slot) -> float:
    return slot.in_use / slot.capacity


def _resolve(future: asyncio.Future[Slot], slot: Slot) -> bool:
    if future.done():
        return False
    future.set_result(slot)
    return True
