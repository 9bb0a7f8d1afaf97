"""The team: whether it can be loaded and is sound, and whether somebody performs what it leaves to workers."""

from __future__ import annotations

import sys
from pathlib import Path

from coterie._threads import in_thread
from coterie.cli.doctor.finding import Finding, because, ok, skipped, warning
from coterie.cli.doctor.place import Place
from coterie.cli.sources import load_team, read_plan
from coterie.cli.streams import reserved_stdout
from coterie.errors import CoterieError
from coterie.errors.root import listed
from coterie.orchestrator import Orchestrator
from coterie.remote.agent import RemoteAgent
from coterie.remote.registry import list_workers
from coterie.team import Team

__all__ = ["check_team", "check_workers"]


async def check_team(place: Place) -> Finding:
    """Whether it loads, its policies are for somebody, and none of them means two things."""
    if place.team is None:
        return skipped("no team is named", "name it with --team package.module:team")
    try:
        # Loading runs the user's code, which may take any time, and print.
        with reserved_stdout():
            team = await in_thread(load_team, place.team)
        team.check()
        # Policies that contradict each other are refused here; nothing is connected.
        await Orchestrator(team, namespace=place.name).pipeline.aclose()
    except CoterieError as error:
        here = f"correct --team; modules are looked for in {Path.cwd()} and in {len(sys.path)} folders of Python's path"
        return because(error, here)
    place.loaded = team
    types = team.agent_types
    if not types:
        return warning(f"{team.name!r} has no agents", "give it some: @team.agent, team.command, team.http, team.chat")
    return ok(f"{team.name!r}: {len(types)} agent types, policies for {len(team.policies)}")


async def check_workers(place: Place) -> list[Finding]:
    """Whether a worker is alive for each type that team and plan leave to workers; and workers that were lost."""
    try:
        remote = await _left_to_workers(place)
    except (CoterieError, OSError) as error:
        return [because(error, "correct --plan")]
    async with place.state() as store:
        workers = await list_workers(store)
    alive = [each for each in workers if each.state == "alive"]
    lost = [each.id for each in workers if each.state == "lost"]
    served = {name for each in alive for name in each.types}
    found = [
        warning(
            f"no worker is alive for {name!r}: its tasks wait",
            f"start one: coterie worker --team {place.team or 'PATH'} --types {name}",
        )
        for name in remote
        if name not in served
    ]
    if lost:
        found.append(
            warning(
                f"lost in the last day: {listed(lost, 5)}",
                "see why they ended (their logs, the kernel's for lack of memory); what they were at, others do",
            )
        )
    if found:
        return found
    if workers or remote:
        return [ok(f"{len(alive)} alive")]
    if place.loaded is None and place.plan is None:
        return [skipped("no worker is registered", "with --team and --plan, those that they need are looked for")]
    if place.plan is None:
        return [ok("the team leaves nothing to workers; whether a plan does, --plan tells")]
    return [ok("neither team nor plan leaves anything to workers")]


async def _left_to_workers(place: Place) -> list[str]:
    """The agent types that only workers perform here: as the team says, and tasks of the plan."""
    team = place.loaded
    found = [] if team is None else [name for name in team.agent_types if _is_remote(team, name)]
    if place.plan is not None:
        # As of the team: it may be made by the user's code.
        with reserved_stdout():
            plan = await in_thread(read_plan, place.plan)
        asked = [task.agent_type for task in plan.tasks if task.placement == "remote"]
        found += [name for name in dict.fromkeys(asked) if name not in found]
    return found


def _is_remote(team: Team, agent_type: str) -> bool:
    return any(isinstance(agent.handler, RemoteAgent) for agent in team.of_type(agent_type))
