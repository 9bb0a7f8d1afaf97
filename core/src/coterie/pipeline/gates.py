"""What stands between the tasks of a team and its agents: one gate for each agent type that has policies.

Whoever runs tasks, this process or a scheduler's, goes through this one object.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Protocol, TypeVar

from coterie._rules.breaker_policy import BreakerPolicy
from coterie.breaker import CircuitBreaker
from coterie.breaker.outcome import Classifier
from coterie.budget import KEEP_S, RUN_KEEP_S, Budget
from coterie.clock import Clock
from coterie.errors import AgentThrottled, ArtifactError, CommandFailed, PolicyError, StepFailed
from coterie.events import Event, Listener
from coterie.ids import AgentId, AgentType, WorkflowId
from coterie.limiter import RateLimiter
from coterie.pipeline.gate import Gate, Tools
from coterie.pipeline.readiness import Readiness
from coterie.policies import Policies, Spend, check_names, run_budget
from coterie.pool import ResourcePool
from coterie.ports import StateStore
from coterie.retry_budget import RetryBudget
from coterie.shared_state import check_store
from coterie.slots import Slots

__all__ = ["Pipeline"]

CLOSE_GRACE_S = 5.0
# Of so many runs a process keeps the budgets at hand, where a store has them too.
RUNS = 1_000


class _Closes(Protocol):
    async def aclose(self) -> None: ...


S = TypeVar("S", bound=_Closes)


class Pipeline:
    """The gates of a team's agent types, with what they share.

    policies: by agent type; types without any have no gate, and pay nothing. store: where the state lies that all
    processes share; without one it is this process's own. on_event: told what breakers and budgets do.

    Raises:
        PolicyError: one breaker or budget would mean two different things. Misuse: the store is none.
    """

    def __init__(
        self,
        policies: Mapping[AgentType, Policies],
        *,
        store: StateStore | None = None,
        clock: Clock,
        on_event: Listener | None = None,
    ) -> None:
        check_store(store, "what stands before the agents")
        self.store = store
        self._own = _own_store(clock)
        self._clock = clock
        self._on_event = on_event
        self._gates: dict[AgentType, Gate] = {}
        self._breakers: dict[str, tuple[BreakerPolicy, AgentType, CircuitBreaker]] = {}
        self._budgets: dict[str, tuple[Spend, Budget]] = {}
        self._of_runs: deque[str] = deque()
        self._closing: list[_Closes] = []
        self._ready = self._kept(Readiness(store)) if store is not None else None
        for agent_type, policy in policies.items():
            self._gates[agent_type] = self._made(agent_type, policy)

    def gate(self, agent_type: AgentType) -> Gate | None:
        """What the tasks of a type pass; None where nothing stands in their way."""
        return self._gates.get(agent_type)

    def connect(self, slots: Slots) -> None:
        """Tell the gates where to find the agents that stand in for theirs.

        Raises:
            UnknownAgentType, UnknownAgent: policies, or a fallback, are for nobody.
        """
        policies = {agent_type: gate.policies for agent_type, gate in self._gates.items()}
        agents = [slot.agent for slot in slots.all()]
        check_names(policies, {agent.type for agent in agents}, {agent.id for agent in agents})
        for gate in self._gates.values():
            gate.connect(slots)

    async def aclose(self) -> None:
        """Give back what is held and tell what waits, within a bound; safe to call twice."""
        closing = [asyncio.ensure_future(each.aclose()) for each in reversed(self._closing)]
        self._closing.clear()
        if closing:
            await asyncio.wait(closing, timeout=2 * CLOSE_GRACE_S)

    def _made(self, agent_type: AgentType, policies: Policies) -> Gate:
        tools = Tools(
            pool=self._pool(agent_type, policies),
            breaker=partial(self._breaker, agent_type, policies),
            limiter=self._limiter(agent_type, policies),
            budget=self._budget,
            retries=self._retries(agent_type, policies),
            store=self.store or self._own,
            ready=self._ready_for(policies),
            clock=self._clock,
        )
        return self._kept(Gate(agent_type, policies, tools))

    def _ready_for(self, policies: Policies) -> Callable[[], Awaitable[None]]:
        if self._ready is None:
            return _nothing_to_ask
        # Who fails without the store has something to wait for; who goes on without it has not.
        return partial(self._ready, patient=policies.on_store_failure == "fail_closed")

    def _pool(self, agent_type: AgentType, policies: Policies) -> ResourcePool:
        # Without a policy of its own the pool is this process's alone: it only picks agents that are not suspended.
        store = self.store if policies.pool is not None else None
        return self._kept(ResourcePool(agent_type, store=store, policy=policies.pool, clock=self._clock))

    def _limiter(self, agent_type: AgentType, policies: Policies) -> RateLimiter | None:
        if not policies.limits:
            return None
        return self._kept(
            RateLimiter(
                agent_type,
                policies.limits,
                store=self.store,
                max_wait_s=policies.max_hold_s,
                on_store_failure=policies.on_store_failure,
                on_event=self._on_event,
                clock=self._clock,
            )
        )

    def _retries(self, agent_type: AgentType, policies: Policies) -> RetryBudget | None:
        if policies.retries is None:
            return None
        return self._kept(
            RetryBudget(
                agent_type,
                policies.retries,
                store=self.store,
                on_store_failure=policies.on_store_failure,
                on_event=self._on_event,
                clock=self._clock,
            )
        )

    def _breaker(self, agent_type: AgentType, policies: Policies, agent_id: AgentId) -> CircuitBreaker | None:
        if policies.breaker is None:
            return None
        name = agent_id if policies.breaker_scope == "agent" else agent_type
        known = self._breakers.get(name)
        if known is not None:
            if known[:2] != (policies.breaker, agent_type):
                raise PolicyError(
                    f"the breaker {name!r} would serve the types {known[1]!r} and {agent_type!r}; "
                    "rename an agent, or choose another breaker_scope"
                )
            return known[2]
        breaker = self._kept(
            CircuitBreaker(
                name,
                policies.breaker,
                store=self.store,
                classify=Classifier(ignored_if=partial(_says_nothing, limited=bool(policies.limits))),
                on_store_failure=policies.on_store_failure,
                on_event=partial(self._breaker_moved, agent_type),
                clock=self._clock,
            )
        )
        self._breakers[name] = (policies.breaker, agent_type, breaker)
        return breaker

    def _budget(self, spend: Spend, run: WorkflowId) -> Budget:
        name = run_budget(spend.name, run) if spend.per_run else spend.name
        known = self._budgets.get(name)
        if known is not None:
            same = (known[0].most, known[0].window, known[0].unit) == (spend.most, spend.window, spend.unit)
            if not same:
                raise PolicyError(f"the budget {spend.name!r} has two different limits, windows or units; give it one")
            return known[1]
        made = self._kept(
            Budget(
                name,
                spend.most,
                window=spend.window,
                store=self.store,
                unit=spend.unit,
                keep_s=RUN_KEEP_S if spend.per_run else KEEP_S,
                on_event=self._on_event,
                clock=self._clock,
            )
        )
        self._budgets[name] = (spend, made)
        if spend.per_run and self.store is not None:
            self._forget_runs(name)
        return made

    def _forget_runs(self, newest: str) -> None:
        """What a run has spent is in the store: here only the budgets of the latest are kept."""
        self._of_runs.append(newest)
        if len(self._of_runs) > RUNS:
            _, oldest = self._budgets.pop(self._of_runs.popleft())
            self._closing.remove(oldest)

    def _breaker_moved(self, agent_type: AgentType, event: Event) -> None:
        self._gates[agent_type].breaker_moved(event)
        if self._on_event is not None:
            self._on_event(event)

    def _kept(self, shell: S) -> S:
        self._closing.append(shell)
        return shell


async def _nothing_to_ask() -> None:
    """Whoever keeps its state itself reads what it writes."""


def _own_store(clock: Clock) -> StateStore:
    from coterie.stores.memory import MemoryStateStore

    return MemoryStateStore(clock=clock)


def _says_nothing(error: Exception, *, limited: bool) -> bool:
    """Whether a failure is no sign of an agent that is down: it answered, or the fault lies elsewhere."""
    if isinstance(error, AgentThrottled):
        # The limiter slows down instead.
        return limited
    if isinstance(error, CommandFailed):
        return error.exit_code is None
    return isinstance(error, (StepFailed, ArtifactError))
