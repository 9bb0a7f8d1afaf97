"""`coterie runs resume` and `diff`: a run that is gone on with, and what that would do."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from rich.table import Table
from rich.text import Text

from coterie.cli.runs.documents import run_state, spent
from coterie.cli.runs.place import JournalPlace
from coterie.cli.session import Job, JournalMode
from coterie.cli.sources import artifacts_url, load_plan, load_team
from coterie.cli.streams import write_json
from coterie.cli.summary import output_console
from coterie.cli.words import count_of
from coterie.errors import Misuse
from coterie.journal import Intent
from coterie.journal.forecast import Forecast, ForecastTask, forecast
from coterie.journal.listing import plan_of
from coterie.journal.view import RunView, view_run
from coterie.machine_run.file import is_machine
from coterie.plan import Plan
from coterie.team import Team

__all__ = ["Continued", "diff_command", "resumed"]

_WHY = {
    "first": "never done",
    "unfinished": "was begun, and not finished",
    "refused": "nobody came to do it: it was refused",
    "goes_on": "failed",
    "changed": "its input, agent version or upstream outputs changed",
    "forgotten": "was to be forgotten",
    "forced": "forced",
    "cleared": "cleared",
    "output_gone": "its output is not in the artifact store any more",
}


@dataclass(frozen=True, slots=True)
class Continued:
    """Which run, and what differs from how it was begun. plan, team: paths. artifacts: a URL."""

    place: JournalPlace
    run: str
    plan: str | None = None
    team: str | None = None
    artifacts: str | None = None


def resumed(asked: Continued, *, force: str | None, journal: JournalMode) -> Job:
    """The run as a job that goes on with it: what failed is tried again, what is finished is not done again.

    force: names a demand to do everything anew. journal: how durable what it does is recorded.

    Raises:
        UnknownRun: the journal does not know it. Misuse: plan or team are not known, and were not given.
    """
    view, plan, team = asyncio.run(_found(asked))
    intent = Intent(goes_on=True, force=force, allow_changes=asked.plan is not None)
    params = {name: value for name, value in view.header.params.items() if name in plan.params}
    url = artifacts_url(asked.artifacts)
    return Job(plan, team, params, url, asked.run, asked.place.store, asked.place.namespace, intent, journal)


def diff_command(asked: Continued, *, as_json: bool) -> int:
    """What would be done if the run went on, and what that took the last time; nothing is done."""

    async def looked() -> tuple[RunView, Forecast]:
        view, plan, team = await _found(asked)
        return view, await forecast(view, plan, team, artifacts=asked.place.artifacts(asked.artifacts))

    view, seen = asyncio.run(looked())
    if as_json:
        write_json(_seen_document(view, seen))
    else:
        _show(view, seen)
    return 0


def _seen_document(view: RunView, seen: Forecast) -> dict[str, Any]:
    totals = {"runs": seen.cost("runs"), "may_run": seen.cost("may_run"), "replays": seen.spared()}
    return {
        "run": view.workflow_id,
        "state": view.state,
        "tasks": [_document(task) for task in seen.tasks],
        "usage": {name: usage.to_dict() for name, (usage, _) in totals.items()},
        "duration_s": {name: duration_s for name, (_, duration_s) in totals.items()},
    }


def _show(view: RunView, seen: Forecast) -> None:
    console = output_console()
    console.print(Text.assemble((view.workflow_id, "bold"), "  ", run_state(view.state)), soft_wrap=True)
    if view.claim is not None and view.claim.alive:
        line = f"{view.claim.owner} is at it; until it is done, nobody else can go on with the run"
        console.print(line, style="cyan", markup=False, soft_wrap=True)
    table = Table(box=None, pad_edge=False)
    for title in ("task", "would", "why", "took the last time"):
        table.add_column(title, overflow="fold")
    for task in seen.tasks:
        last = spent(task.usage, task.duration_s) if task.known else ""
        if task.prospect == "replays":
            last = spent(task.spared, task.spared_s)
        table.add_row(Text(task.task_id), _would(task), Text(_why(task)), last)
    console.print(table)
    runs, may_run = seen.cost("runs"), seen.cost("may_run")
    console.print(f"would run: {spent(*runs)}; may run: up to {spent(*may_run)} more", markup=False, soft_wrap=True)
    console.print(f"spared: {spent(*seen.spared())}", markup=False, soft_wrap=True)


async def _found(asked: Continued) -> tuple[RunView, Plan, Team]:
    async with asked.place.opened() as journal:
        view = await view_run(journal, asked.run)
        if await is_machine(journal, asked.run):
            raise Misuse(
                f"{asked.run!r} is a run of the state machine {view.header.plan_name!r}, and no plan's; "
                f"it goes on with: coterie machine run MACHINE --team TEAM --run-id {asked.run}; "
                f"where it is, says: coterie machine show {asked.run}"
            )
    team_path = asked.team or view.header.team
    if team_path is None:
        raise Misuse(f"the journal does not say whose team did {asked.run!r}; name it with --team")
    if asked.plan is not None:
        return view, load_plan(asked.plan, view.header.params)[0], load_team(team_path)
    return view, await _plan_of(view, asked), load_team(team_path)


async def _plan_of(view: RunView, asked: Continued) -> Plan:
    plan = await plan_of(view.header, asked.place.artifacts(asked.artifacts))
    if plan is None:
        raise Misuse(f"the journal has no plan of {asked.run!r}; name it with --plan")
    return plan


def _would(task: ForecastTask) -> Text:
    style = {"replays": "dim", "skips": "dim", "runs": "bold cyan", "may_run": "yellow"}[task.prospect]
    said = Text(task.prospect.replace("_", " "), style=style)
    total, left = task.items or (0, 0)
    return said.append(f" {left:,} of {count_of(total, 'item')}") if 0 < left < total else said


def _why(task: ForecastTask) -> str:
    if task.why is not None:
        # Whatever else they give, those before it may fail, and so keep it from running.
        end = "end" if task.after[1:] else "ends"
        return _WHY[task.why] + (f"; depends on how {', '.join(task.after)} {end}" if task.after else "")
    if task.prospect == "may_run" and task.after:
        return f"if {', '.join(task.after)} gives something else"
    unknown = {
        "runs": "there is no list that it can run over",
        "may_run": "somebody is at it, or it cannot be told here",
    }
    return unknown.get(task.prospect, "")


def _document(task: ForecastTask) -> dict[str, Any]:
    return {
        "id": task.task_id,
        "would": task.prospect,
        "why": task.why,
        "after": list(task.after),
        "items": None if task.items is None else {"total": task.items[0], "run": task.items[1]},
        "usage": task.usage.to_dict() if task.known else None,
        "duration_s": task.duration_s if task.known else None,
        "spared": {"usage": task.spared.to_dict(), "duration_s": task.spared_s},
    }
