"""A team as a YAML file: agents with their handlers, commands or addresses, and policies by type."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from coterie._yaml import load_yaml
from coterie.agent import Agent, Handler
from coterie.command import Command
from coterie.errors import Misuse, PolicyError, UnknownAgentType
from coterie.named import import_named
from coterie.policies import policies_from
from coterie.remote.agent import DEFAULT_CAPACITY, RemoteAgent
from coterie.task import Retry
from coterie.team import Team

__all__ = ["read_team_file"]

_MAX_TEAM_VALUES = 100_000
_HANDLERS = ("handler", "command", "http", "chat", "remote")
# Whether a model's plan may use it, where the file does not say: not what may have effects that nobody here knows.
_PLANNABLE = frozenset({"handler", "chat"})
_ENTRY = frozenset(
    {"id", "agent_type", "capacity", "version", "plannable", "timeout_s", "retry", "description", *_HANDLERS}
)


def read_team_file(path: Path) -> Team:
    """The team that a YAML file describes.

    Raises:
        Misuse: it cannot be read, is no team, or describes what cannot work; the message names file, agent and field.
    """
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
        if agent_type not in team.agent_types:
            raise UnknownAgentType(str(agent_type), team.agent_types, named_by=f"the policies in {str(path)!r}")
        team.protect(agent_type, policies_from(entry, f"{str(path)!r}: the policies of {agent_type!r}"))
    return team


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
            entry.get("capacity", DEFAULT_CAPACITY if kind == "remote" else 1),
            str(entry.get("version", team.version_of(str(entry["agent_type"])) if kind == "remote" else "0")),
            bool(entry.get("plannable", kind in _PLANNABLE)),
            entry.get("timeout_s"),
            _retry(entry.get("retry"), where),
            str(entry.get("description", "")),
        )
    )


def _handler(kind: str, value: Any, where: str, path: Path) -> Handler:
    if kind == "handler":
        return cast("Handler", import_named(value, "handler", file=path))
    if kind == "command":
        return _command(value, where)
    if kind == "remote":
        return _remote(value, where)
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


def _remote(value: object, where: str) -> RemoteAgent:
    """`remote: true`, or `remote: {patience_s: 600}`."""
    if value is True:
        return RemoteAgent()
    if not isinstance(value, dict) or value.keys() - {"patience_s"}:
        raise Misuse(f"{where}: remote is {value!r}; give true, or an object with patience_s")
    return RemoteAgent(**value)


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
