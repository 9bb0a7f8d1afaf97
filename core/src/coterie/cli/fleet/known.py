"""What a team's policies say about the states of a fleet: without them, some of it cannot be told."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from coterie._rules.breaker_policy import BreakerPolicy
from coterie._rules.pool_policy import PoolPolicy
from coterie._rules.quota import Quota
from coterie._rules.retry_budget import RetryAllowance
from coterie.ids import AgentType
from coterie.policies import Policies, Spend
from coterie.team import Team

__all__ = ["Known", "Limit"]


@dataclass(frozen=True, slots=True)
class Limit:
    """A rate limit's quotas, and what one call takes of them."""

    quotas: Mapping[str, Quota]
    costs: Mapping[str, int]


class Known:
    """The policies of a team by the names that its states have; without a team, nothing is known."""

    def __init__(self, team: Team | None = None) -> None:
        self._team = None if team is None else team.name
        self._policies: Mapping[AgentType, Policies] = {} if team is None else team.policies
        self._breakers: dict[str, BreakerPolicy] = {}
        for agent_type, policies in self._policies.items():
            if policies.breaker is not None and team is not None:
                of_agents = agent_type in team.agent_types and policies.breaker_scope == "agent"
                names = [agent.id for agent in team.of_type(agent_type)] if of_agents else [agent_type]
                self._breakers.update(dict.fromkeys(names, policies.breaker))

    @property
    def team(self) -> str | None:
        """What the team is called."""
        return self._team

    @property
    def breakers(self) -> Collection[str]:
        """The names of the team's breakers, sorted; most of them are never stored, as nothing has failed."""
        return sorted(self._breakers)

    def breaker(self, name: str) -> BreakerPolicy | None:
        """The policy of a breaker."""
        return self._breakers.get(name)

    def pool(self, agent_type: AgentType) -> PoolPolicy | None:
        """The policy of a pool that the fleet shares."""
        policies = self._policies.get(agent_type)
        return policies.pool if policies is not None else None

    def limit(self, name: str) -> Limit | None:
        """The quotas of a rate limit."""
        policies = self._policies.get(name)
        if policies is None or not policies.limits:
            return None
        costs = {"requests": 1, "tokens": policies.tokens_per_call}
        return Limit(policies.limits, {each: costs[each] for each in policies.limits if costs[each]})

    def retries(self, agent_type: AgentType) -> RetryAllowance | None:
        """How many retries a type's agents are allowed."""
        policies = self._policies.get(agent_type)
        return policies.retries if policies is not None else None

    def budget(self, name: str) -> Spend | None:
        """What a budget allows; those of single runs are named after their policy, and end with the run's name."""
        spends = [spend for policies in self._policies.values() for spend in policies.budgets]
        exact = [spend for spend in spends if spend.name == name and not spend.per_run]
        of_runs = [spend for spend in spends if spend.per_run and name.startswith(f"{spend.name}-")]
        return max(exact or of_runs, key=lambda spend: len(spend.name), default=None)
