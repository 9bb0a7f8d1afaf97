"""The settings of a pool, as people write them and as its rule reads them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NotRequired, TypedDict

from coterie._rules.aimd import Aimd, AimdTerms
from coterie._rules.balance import STRATEGIES, Strategy
from coterie._rules.timeline import micros
from coterie.errors import PolicyError

__all__ = ["PoolPolicy", "Terms"]

# Read by pydantic when a policy is loaded: an unknown field is an error, not a silent no-op.
_STRICT = {"extra": "forbid"}
# Half a day; so that no instant, and no rank of a ticket, outgrows its 14 digits.
_LONGEST_S = 43_200.0
_SHORTEST_CLAIM_S = 2.0
_MOST_WAITING = 10_000


class Terms(TypedDict):
    """An agent type and its policy in integers: durations in microseconds, the share in millionths.

    adaptive: only where the policy has it.
    """

    agent_type: str
    strategy: Strategy
    lease: int
    alive: int
    forget: int
    ageing: int
    queue: int
    share: int
    claim: int
    parked: int
    deferred: int
    deferred_claim: int
    adaptive: NotRequired[AimdTerms]


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolPolicy:
    """How a pool leases; the same in every process that shares it.

    strategy: how the agent is picked. lease_s: after so long without renewal a slot is free again.
    heartbeat_s: how often a process renews its leases and agents. agent_ttl_s: after so long without a heartbeat an
    agent is not picked; by default three heartbeats. ageing_s: how much waiting makes up for one level of priority.
    queue_limit: how many may wait. healthy_share: below this share of its agents a pool takes nobody into the queue.
    max_wait_s: how long a caller waits who does not say. claim_s: how long a waiter that was handed a slot has to
    confirm it; deferred_claim_s: the same for a deferred ticket; ticket_s: how long that keeps its place unasked.
    adaptive: how many slots of an agent are lent at once is found out, for each; never more than its capacity.
    """

    __pydantic_config__ = _STRICT

    strategy: Strategy = "least_loaded"
    lease_s: float = 30.0
    heartbeat_s: float = 10.0
    agent_ttl_s: float | None = None
    ageing_s: float = 60.0
    queue_limit: int = 1000
    healthy_share: float = 0.5
    max_wait_s: float = 300.0
    claim_s: float = 5.0
    deferred_claim_s: float = 60.0
    ticket_s: float = 600.0
    adaptive: Aimd | None = None

    def __post_init__(self) -> None:
        if self.strategy not in STRATEGIES:
            raise PolicyError(f"a pool has the strategy {self.strategy!r}; use one of {', '.join(STRATEGIES)}")
        for name in ("lease_s", "heartbeat_s", "agent_ttl_s", "ageing_s", "claim_s", "deferred_claim_s", "ticket_s"):
            value = getattr(self, name)
            if value is not None and not (_is_number(value) and 0 < value <= _LONGEST_S):
                raise PolicyError(f"a pool has {name}={value!r}; give seconds above 0 and up to {_LONGEST_S:.0f}")
        if not self.lease_s > self.heartbeat_s:
            raise PolicyError(
                f"a pool has lease_s={self.lease_s!r} and heartbeat_s={self.heartbeat_s!r}: a lease would end "
                "before it is renewed; make the lease longer, best three heartbeats"
            )
        if not self.alive_s >= 2 * self.heartbeat_s:
            raise PolicyError(
                f"a pool has agent_ttl_s={self.agent_ttl_s!r} and heartbeat_s={self.heartbeat_s!r}: an agent would be "
                "given up for one heartbeat that is late; make it two heartbeats at least, best three"
            )
        if self.claim_s < _SHORTEST_CLAIM_S:
            raise PolicyError(f"a pool has claim_s={self.claim_s!r}; waiters confirm within a second: give 2 or more")
        if type(self.queue_limit) is not int or not 0 <= self.queue_limit <= _MOST_WAITING:
            raise PolicyError(
                f"a pool has queue_limit={self.queue_limit!r}; give a whole number from 0 to {_MOST_WAITING}"
            )
        if not (_is_number(self.healthy_share) and 0 <= self.healthy_share <= 1):
            raise PolicyError(f"a pool has healthy_share={self.healthy_share!r}; give a share from 0.0 to 1.0")
        if not (_is_number(self.max_wait_s) and 0 <= self.max_wait_s < float("inf")):
            raise PolicyError(f"a pool has max_wait_s={self.max_wait_s!r}; give seconds >= 0")
        self._take_adaptive()

    @property
    def alive_s(self) -> float:
        """How long an agent counts as alive after a heartbeat."""
        return 3 * self.heartbeat_s if self.agent_ttl_s is None else self.agent_ttl_s

    def _take_adaptive(self) -> None:
        if isinstance(self.adaptive, Mapping):
            # As `dataclasses.asdict` takes a policy apart that is handed on as JSON.
            object.__setattr__(self, "adaptive", Aimd(**self.adaptive))
        if not (self.adaptive is None or isinstance(self.adaptive, Aimd)):
            raise PolicyError(f"a pool has adaptive={self.adaptive!r}; give an Aimd, or None to lend every slot")

    def terms(self, agent_type: str) -> Terms:
        """What the rule reads."""
        alive = micros(self.alive_s)
        terms = Terms(
            agent_type=agent_type,
            strategy=self.strategy,
            lease=micros(self.lease_s),
            alive=alive,
            forget=3 * alive,
            ageing=micros(self.ageing_s),
            queue=self.queue_limit,
            share=round(self.healthy_share * 1_000_000),
            claim=micros(self.claim_s),
            # Waiters ask again each second: whoever has not for so long is gone.
            parked=max(10_000_000, 2 * micros(self.claim_s)),
            deferred=micros(self.ticket_s),
            deferred_claim=micros(self.deferred_claim_s),
        )
        if self.adaptive is not None:
            terms["adaptive"] = self.adaptive.terms()
        return terms


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
