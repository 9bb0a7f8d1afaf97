"""A team: a named set of agents with their policies, written once and used by every engine."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar, cast

from coterie.agent import Agent, Handler
from coterie.command import Command
from coterie.errors import Misuse, PolicyError, UnknownAgent, UnknownAgentType
from coterie.ids import AgentId, AgentType, check_name
from coterie.plan import Plan
from coterie.policies import Policies, policies_from
from coterie.task import Retry, Task

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

    def check(self, plan: Plan | Iterable[Task]) -> None:
        """Refuse a plan that this team cannot run, before anything runs.

        Raises:
            UnknownAgentType: names the task and lists the known types. UnknownAgent: nobody of that id stands in.
        """
        for task in plan.tasks if isinstance(plan, Plan) else plan:
            if task.agent_type not in self._types:
                raise UnknownAgentType(task.agent_type, self._types, task_id=task.id)
            self._check_stand_ins(task.agent_type)

    def _check_stand_ins(self, agent_type: AgentType) -> None:
        policies = self._policies.get(agent_type)
        for fallback in policies.fallback if policies is not None else ():
            if fallback.agent_type is not None and fallback.agent_type not in self._types:
                raise UnknownAgentType(fallback.agent_type, self._types)
            if fallback.agent is not None and fallback.agent not in self._agents:
                raise UnknownAgent(fallback.agent, self._agents)

    @classmethod
    def load(cls, path: str) -> Team:
        """Import `package.module:attribute`, or read a `.yaml` file.

        Paths come from code, connections or blocks, never from a run's parameters: importing runs code.

        Raises:
            Misuse: there is nothing at the path, or it is not a team.
        """
        if path.endswith((".yaml", ".yml")):
            team = _from_yaml(Path(path))
        else:
            found = _import(path, "team")
            if not isinstance(found, Team):
                raise Misuse(f"{path!r} is a {type(found).__name__}, not a Team; name the module's Team object")
            team = found
        team.path = path
        return team


def _import(path: str, what: str, *, file: Path | None = None) -> Any:
    module_name, colon, attribute = path.partition(":") if isinstance(path, str) else ("", "", "")
    if not colon or not module_name or not attribute:
        raise Misuse(f"the {what} path {path!r} is not 'package.module:name'; write the module, a colon, the name")
    try:
        found: Any = importlib.import_module(module_name)
    except ImportError as error:
        advice = (
            "install it where this runs"
            if file is None
            else f"modules are looked up from the current folder (sys.path), not beside {str(file)!r}: "
            f"run it from the folder of {module_name.partition('.')[0]!r}, or install it"
        )
        raise Misuse(f"cannot import {module_name!r} for the {what} {path!r}: {error}; {advice}") from error
    # Whatever else the module does when it is loaded; the cause is kept, with its traceback.
    except Exception as error:
        raise Misuse(f"cannot load {path!r}: {type(error).__name__}: {error}; mend the module") from error
    for step in attribute.split("."):
        if not hasattr(found, step):
            raise Misuse(f"{module_name!r} has no {attribute!r}; correct the {what} path {path!r}")
        found = getattr(found, step)
    return found


def _from_yaml(path: Path) -> Team:
    from coterie._yaml import load_yaml

    try:
        text = path.read_bytes()
    except OSError as error:
        raise Misuse(f"cannot read the team file {str(path)!r}: {error.strerror}; check the path") from error
    except ValueError as error:
        raise Misuse(f"cannot read the team file {str(path)!r}: {error}; check the path") from error
    document = load_yaml(text, what=f"the team file {str(path)!r}", error=Misuse, max_values=_MAX_TEAM_VALUES)
    if not isinstance(document, dict) or not isinstance(document.get("agents"), list):
        raise Misuse(f"the team file {str(path)!r} needs a name and a list of agents")
    team = Team(document.get("name") or path.stem)
    for entry in document["agents"]:
        _add_entry(team, entry, path)
    policies = document.get("policies") or {}
    if not isinstance(policies, dict):
        raise Misuse(f"the team file {str(path)!r} has policies that are no mapping; give one entry an agent type")
    for agent_type, entry in policies.items():
        team.of_type(agent_type)
        team.protect(agent_type, policies_from(entry, f"{str(path)!r}: the policies of {agent_type!r}"))
    return team


_MAX_TEAM_VALUES = 100_000
_HANDLERS = ("handler", "command", "http", "chat")
# Whether a model's plan may use it, where the file does not say: not what may have effects that nobody here knows.
_PLANNABLE = frozenset({"handler", "chat"})
_ENTRY = frozenset(
    {"id", "agent_type", "capacity", "version", "plannable", "timeout_s", "retry", "description", *_HANDLERS}
)


def _add_entry(team: Team, entry: object, path: Path) -> None:
    if not isinstance(entry, dict) or "agent_type" not in entry:
        # Of a mapping the names alone: its values may be secret.
        shown = sorted(map(str, entry)) if isinstance(entry, dict) else entry
        raise Misuse(f"{str(path)!r}: the agent {shown!r} needs an agent_type, and one of {', '.join(_HANDLERS)}")
    where = f"{str(path)!r}: the agent {entry['agent_type']!r}"
    unknown = sorted(entry.keys() - _ENTRY)
    kinds = [kind for kind in _HANDLERS if kind in entry]
    if unknown or len(kinds) != 1:
        culprit = f"unknown field {unknown[0]!r}" if unknown else "give either a handler or a command, or http or chat"
        raise Misuse(f"{where}: {culprit}; fields: {', '.join(sorted(_ENTRY))}")
    (kind,) = kinds
    team.add(
        Agent(
            str(entry.get("id", entry["agent_type"])),
            entry["agent_type"],
            _handler(kind, entry[kind], where, path),
            entry.get("capacity", 1),
            str(entry.get("version", "0")),
            bool(entry.get("plannable", kind in _PLANNABLE)),
            entry.get("timeout_s"),
            _retry(entry.get("retry"), where),
            str(entry.get("description", "")),
        )
    )


def _handler(kind: str, value: Any, where: str, path: Path) -> Handler:
    if kind == "handler":
        return cast("Handler", _import(value, "handler", file=path))
    if kind == "command":
        return _command(value, where)
    from coterie.agents.documents import chat_from, http_from

    return http_from(value, where) if kind == "http" else chat_from(value, where)


def _retry(value: object, where: str) -> Retry | None:
    if value is None:
        return None
    if not isinstance(value, dict):
        raise Misuse(f"{where}: retry is {value!r}; give max_attempts, base_s, cap_s")
    try:
        return Retry(**value)
    except TypeError as error:
        raise Misuse(f"{where}: retry is wrong: {error}; give max_attempts, base_s, cap_s") from error


def _command(value: object, where: str) -> Command:
    if not isinstance(value, list | dict):
        raise Misuse(f"{where}: command is {value!r}; give a list of strings, the program first, or an object")
    fields: dict[str, Any] = dict(value) if isinstance(value, dict) else {"argv": tuple(value)}
    try:
        fields["ok_exit_codes"] = tuple(fields.get("ok_exit_codes", (0,)))
        return Command(**fields)
    except TypeError as error:
        raise Misuse(f"{where}: command is wrong: {error}; see coterie.Command for its fields") from error
    except PolicyError as error:
        raise PolicyError(f"{where}: command is wrong: {error}") from error
