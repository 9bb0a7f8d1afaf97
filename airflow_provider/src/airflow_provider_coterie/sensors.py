"""Wait for the state that a fleet shares: a breaker that is as expected, a pool that has slots free."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from airflow.sdk import BaseSensorOperator, Context

from airflow_provider_coterie.hook import DEFAULT_CONN_ID, CoterieHook
from airflow_provider_coterie.work import Work
from coterie.errors import PolicyError

if TYPE_CHECKING:
    from coterie.ports import StateStore

__all__ = ["CoterieBreakerSensor", "CoteriePoolSensor"]

T = TypeVar("T")

_STATES = ("closed", "open", "half_open", "forced_open", "disabled", "metrics_only")


class _StateSensor(BaseSensorOperator):
    """Looks at a connection's state store; deferred, it is told by the store and holds no worker."""

    ui_color = "#e8f0e4"

    def __init__(
        self,
        *,
        coterie_conn_id: str = DEFAULT_CONN_ID,
        deferrable: bool | None = None,
        poke_interval: timedelta | float = 15.0,
        **kwargs: Any,  # Airflow's own arguments, checked by it
    ) -> None:
        super().__init__(poke_interval=poke_interval, **kwargs)
        self.coterie_conn_id = coterie_conn_id
        self.deferrable = default_deferrable() if deferrable is None else deferrable
        self._work = Work()

    @property
    def hook(self) -> CoterieHook:
        """The connection."""
        return CoterieHook(self.coterie_conn_id, executor=self.executor)

    def on_kill(self) -> None:
        """Stop looking."""
        self._work.stop()

    def execute(self, context: Context) -> Any:
        """Wait in this worker, or deferred if it is not yet so.

        Raises:
            TaskDeferred: it waits outside of any worker, at most `timeout` seconds.
        """
        if not self.deferrable:
            return super().execute(context)
        if not self.poke(context):
            self._defer()
        return None

    def _defer(self) -> NoReturn:
        from airflow_provider_coterie.triggers import CoterieStateTrigger

        trigger = CoterieStateTrigger(coterie_conn_id=self.coterie_conn_id, executor=self.executor, **self.wanted())
        self.defer(trigger=trigger, method_name="resume", timeout=timedelta(seconds=self.timeout))

    def resume(self, context: Context, event: Mapping[str, Any]) -> None:  # noqa: ARG002  # Airflow's signature
        """It is as it was waited for."""
        self.log.info("waited for: %s", dict(event))

    def wanted(self) -> dict[str, Any]:
        """What is waited for, as `CoterieStateTrigger` takes it."""
        raise NotImplementedError

    def look(self, work: Callable[[StateStore], Awaitable[T]]) -> T:
        """Do `work` with the connection's state store; blocking."""
        hook = self.hook
        store = hook.get_state_store()

        async def looking() -> T:
            try:
                return await work(store)
            finally:
                await store.aclose()

        return self._work.run(looking())


class CoterieBreakerSensor(_StateSensor):
    """Wait until a circuit breaker is in a state, or in one of several.

    breaker: its name (templated): the agent's id, or the agent type where `breaker_scope` is "type".
    expected: "closed" by default; "open", "half_open", "forced_open", "disabled", "metrics_only". A breaker whose rest
    is over stays "open" until somebody calls; of one that nobody ever used the state is "closed".
    deferrable: by default Airflow's `[operators] default_deferrable`.

    Raises:
        PolicyError: no breaker is ever in such a state.
    """

    template_fields: Sequence[str] = ("breaker",)

    def __init__(self, *, breaker: str, expected: str | Sequence[str] = "closed", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.breaker = breaker
        self.expected = [expected] if isinstance(expected, str) else list(expected)
        unknown = sorted(set(self.expected) - set(_STATES))
        if unknown or not self.expected:
            raise PolicyError(f"expected is {expected!r}; use one or some of {', '.join(_STATES)}")

    def poke(self, context: Context) -> bool:  # noqa: ARG002  # Airflow's signature
        """Look once.

        Raises:
            Unavailable: the state store did not answer.
        """

        async def look(store: StateStore) -> str:
            from airflow_provider_coterie.outlook import Outlook

            return (await Outlook(store).breaker(self.breaker, None)).state

        state = self.look(look)
        self.log.info("the circuit breaker %r is %s", self.breaker, state)
        return state in self.expected

    def wanted(self) -> dict[str, Any]:
        """The breaker and its states."""
        return {"breaker": self.breaker, "expected": self.expected}


class CoteriePoolSensor(_StateSensor):
    """Wait until a pool has slots free, fleet-wide. They are not taken: another task may be faster.

    agent_type: whose pool (templated). free_slots: how many. team_path: the team that has the pool's policy and agents,
    by default the connection's; never templated. deferrable: by default Airflow's `[operators] default_deferrable`.
    """

    template_fields: Sequence[str] = ("agent_type",)

    def __init__(self, *, agent_type: str, free_slots: int = 1, team_path: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.agent_type = agent_type
        self.free_slots = free_slots
        self.team_path = team_path
        if type(free_slots) is not int or free_slots < 1:
            raise PolicyError(f"free_slots is {free_slots!r}; give a whole number >= 1")

    def poke(self, context: Context) -> bool:  # noqa: ARG002  # Airflow's signature
        """Look once.

        Raises:
            UnknownAgentType, PolicyError: there is no such pool, or never so many slots.
            Unavailable: the state store did not answer.
        """
        pool = self._pool()

        async def look(store: StateStore) -> int:
            from airflow_provider_coterie.outlook import Outlook

            outlook = Outlook(store)
            try:
                return await outlook.free_slots(self.agent_type, pool["pool"], pool["agents"])
            finally:
                await outlook.aclose()

        free = self.look(look)
        self.log.info("the pool %r has %d slots free", self.agent_type, free)
        return free >= self.free_slots

    def wanted(self) -> dict[str, Any]:
        """The pool, with its policy and agents."""
        return {"agent_type": self.agent_type, "free_slots": self.free_slots, **self._pool()}

    def _pool(self) -> dict[str, Any]:
        team = self.hook.team(self.team_path)
        agents = team.of_type(self.agent_type)
        policies = team.policies.get(self.agent_type)
        if policies is None or policies.pool is None:
            raise PolicyError(f"the team {team.name!r} has no pool for {self.agent_type!r}; give the type a PoolPolicy")
        capacity = sum(agent.capacity for agent in agents)
        if capacity < self.free_slots:
            raise PolicyError(f"free_slots is {self.free_slots}, and all of {self.agent_type!r} have {capacity} slots")
        return {"pool": asdict(policies.pool), "agents": [[agent.id, agent.capacity] for agent in agents]}


def default_deferrable() -> bool:
    """What Airflow says of operators that are not told."""
    from airflow.sdk import conf

    found: bool = conf.getboolean("operators", "default_deferrable", fallback=False)
    return found
