"""A team: a named set of agents with their policies, written once and used by every engine."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar

from coterie.agent import Agent
from coterie.command import Command
from coterie.errors import Misuse, UnknownAgentType
from coterie.ids import AgentId, AgentType, check_name
from coterie.named import import_named
from coterie.plan import Plan
from coterie.policies import Policies, check_names
from coterie.remote.agent import DEFAULT_CAPACITY, PATIENCE_S, RemoteAgent
from coterie.task import Compensation, Retry, Task

if TYPE_CHECKING:
    from coterie.agents import ChatAgent, HttpAgent

__all__ = ["Team"]

F = TypeVar("F", bound=Callable[..., Any])


class Team:
    """A named set of agents, and by type the policies that protect them.

    Importable as `package.module:team`, or written as a YAML file.
    """

    def __init__(
        self, name: str, agents: Iterable[Agent] = (), *, policies: Mapping[AgentType, Policies] | None = None
    ) -> None:
        self.name = check_name(name, "team name")
        self._agents: dict[AgentId, Agent] = {}
        self._types: dict[AgentType, list[Agent]] = {}
        self._policies: dict[AgentType, Policies] = {}
        self.path: str | None = None
        for agent in agents:
            self.add(agent)
        for agent_type, policy in (policies or {}).items():
            self.protect(agent_type, policy)

    def __repr__(self) -> str:
        return f"Team({self.name!r}, types={list(self._types)!r})"

    @property
    def agents(self) -> Mapping[AgentId, Agent]:
        """The agents by id, in the order of registration."""
        return MappingProxyType(self._agents)

    @property
    def agent_types(self) -> tuple[AgentType, ...]:
        """The types that the team serves, sorted."""
        return tuple(sorted(self._types))

    @property
    def plannable_types(self) -> tuple[AgentType, ...]:
        """The types that a model's plan may use: every agent of the type is plannable."""
        return tuple(sorted(name for name, agents in self._types.items() if all(a.plannable for a in agents)))

    def of_type(self, agent_type: AgentType) -> Sequence[Agent]:
        """The agents that serve a type.

        Raises:
            UnknownAgentType: nobody does.
        """
        try:
            return tuple(self._types[agent_type])
        except KeyError:
            raise UnknownAgentType(agent_type, self._types) from None

    @property
    def policies(self) -> Mapping[AgentType, Policies]:
        """How the agents of each type are protected; types without policies are not in it."""
        return MappingProxyType(self._policies)

    def protect(self, agent_type: AgentType, policies: Policies) -> None:
        """Say how the agents of a type are protected, wherever they are called.

        Raises:
            Misuse: the type has policies already, or these are none.
        """
        check_name(agent_type, "agent type")
        if not isinstance(policies, Policies):
            raise Misuse(f"the policies of {agent_type!r} are {policies!r:.200}; pass coterie.Policies")
        if agent_type in self._policies:
            raise Misuse(f"the team {self.name!r} has policies for {agent_type!r} already; say them once")
        self._policies[agent_type] = policies

    def add(self, agent: Agent) -> Agent:
        """Add an agent.

        Raises:
            Misuse: the team has another agent of that id.
        """
        if agent.id in self._agents:
            raise Misuse(f"the team {self.name!r} already has an agent {agent.id!r}; choose another agent_id")
        self._agents[agent.id] = agent
        self._types.setdefault(agent.type, []).append(agent)
        return agent

    def agent(
        self,
        agent_type: AgentType,
        *,
        agent_id: AgentId | None = None,
        capacity: int = 1,
        version: str = "0",
        plannable: bool = True,
        timeout_s: float | None = None,
        retry: Retry | None = None,
    ) -> Callable[[F], F]:
        """Decorate a function of (input) or (input, context), async or not, as an agent of this team."""

        def register(function: F) -> F:
            description = (function.__doc__ or "").strip().partition("\n")[0]
            identity = agent_id or agent_type
            self.add(
                Agent(
                    identity,
                    agent_type,
                    function,
                    capacity,
                    version,
                    plannable,
                    timeout_s,
                    retry,
                    description,
                )
            )
            return function

        return register

    def command(
        self,
        agent_type: AgentType,
        command: Command | Sequence[str],
        *,
        agent_id: AgentId | None = None,
        capacity: int = 1,
        version: str = "0",
        timeout_s: float | None = None,
        retry: Retry | None = None,
    ) -> Agent:
        """Add an agent that runs a program; see `Command`. A model's plan may not use it."""
        handler = command if isinstance(command, Command) else Command(tuple(command))
        identity = agent_id or agent_type
        return self.add(
            Agent(identity, agent_type, handler, capacity, version, plannable=False, timeout_s=timeout_s, retry=retry)
        )

    def http(
        self,
        agent_type: AgentType,
        http: HttpAgent | str,
        *,
        agent_id: AgentId | None = None,
        capacity: int = 1,
        version: str = "0",
        plannable: bool = False,
        timeout_s: float | None = None,
        retry: Retry | None = None,
        description: str = "",
    ) -> Agent:
        """Add an agent behind an HTTP endpoint; see `HttpAgent`.

        What it does is not known here, so a model's plan may use it only where `plannable=True` says so.
        description: what it does, in one line: for people, and for a model that plans.
        """
        from coterie.agents import HttpAgent

        handler = http if isinstance(http, HttpAgent) else HttpAgent(http)
        identity = agent_id or agent_type
        return self.add(
            Agent(identity, agent_type, handler, capacity, version, plannable, timeout_s, retry, description)
        )

    def chat(
        self,
        agent_type: AgentType,
        chat: ChatAgent,
        *,
        agent_id: AgentId | None = None,
        capacity: int = 1,
        version: str = "0",
        plannable: bool = True,
        timeout_s: float | None = None,
        retry: Retry | None = None,
        description: str = "",
    ) -> Agent:
        """Add an agent that asks a model; see `ChatAgent`. It only answers, so a model's plan may use it.

        description: what it does, in one line: for people, and for a model that plans.
        """
        identity = agent_id or agent_type
        return self.add(Agent(identity, agent_type, chat, capacity, version, plannable, timeout_s, retry, description))

    def remote(
        self,
        agent_type: AgentType,
        *,
        agent_id: AgentId | None = None,
        capacity: int = DEFAULT_CAPACITY,
        version: str | None = None,
        plannable: bool = False,
        timeout_s: float | None = None,
        retry: Retry | None = None,
        patience_s: float = PATIENCE_S,
        description: str = "",
    ) -> Agent:
        """Let workers perform the tasks of a type (`coterie worker`), also where the team has agents of the type: they
        are for its workers then, and for tasks with `placement="local"`.

        capacity: how many of its tasks one process has under way at a time. version: that of the workers' agents; by
        default that of the agents of the type which the team has by now, else "0".
        timeout_s, retry: for tasks that bring none of their own; else those of the workers' agents hold.
        patience_s: for how long nobody may begin a task before it fails. description: what it does, in one line.
        """
        handler = RemoteAgent(patience_s)
        identity = agent_id or (f"{agent_type}-remote" if agent_type in self._agents else agent_type)
        declared = self.version_of(agent_type) if version is None else version
        return self.add(
            Agent(identity, agent_type, handler, capacity, declared, plannable, timeout_s, retry, description)
        )

    def version_of(self, agent_type: AgentType) -> str:
        """What the agents of a type declare, together: another one, another output. "0" where there are none."""
        return ",".join(sorted({agent.version for agent in self._types.get(agent_type, ())})) or "0"

    def check(self, plan: Plan | Iterable[Task] = ()) -> None:
        """Refuse a plan that this team cannot run, and policies that protect nobody, before anything runs.

        Raises:
            UnknownAgentType: names the task, or the policies, and lists the known types.
            UnknownAgent: nobody of that id stands in.
        """
        check_names(self._policies, self._types, self._agents)
        for task in plan.tasks if isinstance(plan, Plan) else plan:
            if task.approval is not None:
                # Its type is the role of a person.
                continue
            for wanted in (task, task.compensation):
                if wanted is not None and not self._has(wanted):
                    raise UnknownAgentType(wanted.agent_type, self._types, task_id=task.id)

    def _has(self, wanted: Task | Compensation) -> bool:
        """Whether anybody serves it, where it is placed; of workers, only they know."""
        placement = wanted.placement if isinstance(wanted, Task) else None
        if placement == "remote":
            return True
        agents = self._types.get(wanted.agent_type, ())
        return any(placement is None or not isinstance(agent.handler, RemoteAgent) for agent in agents)

    @classmethod
    def load(cls, path: str) -> Team:
        """Import `package.module:attribute`, or read a `.yaml` file.

        Paths come from code, connections or blocks, never from a run's parameters: importing runs code.

        Raises:
            Misuse: there is nothing at the path, or it is not a team.
        """
        if path.endswith((".yaml", ".yml")):
            from coterie.team_file import read_team_file

            team = read_team_file(Path(path))
        else:
            found = import_named(path, "team")
            if not isinstance(found, Team):
                raise Misuse(f"{path!r} is a {type(found).__name__}, not a Team; name the module's Team object")
            team = found
        team.path = path
        return team
