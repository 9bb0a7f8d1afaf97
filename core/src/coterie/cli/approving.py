"""`coterie approvals`, `approve` and `reject`: what waits for a person, and their answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from rich.console import Console
from rich.measure import Measurement
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from coterie._json import JsonValue
from coterie._rules.timeline import SECOND
from coterie.approval import Approval, Decision, Field
from coterie.approvals import Approvals, PendingApproval
from coterie.cli.fleet.times import clock_time, instant, span
from coterie.cli.person import login_name
from coterie.cli.runs.place import JournalPlace
from coterie.cli.session import JournalMode
from coterie.cli.streams import write_json
from coterie.cli.summary import output_console
from coterie.cli.words import answer_line
from coterie.errors import Misuse
from coterie.journal import Journal
from coterie.journal.view import view_run
from coterie.ports import JournalStore

__all__ = ["Reply", "answer_command", "approval_document", "approvals_command", "asked_lines", "print_asked"]

# How a run stands that goes on when somebody has it go on.
_LEFT = ("waiting", "open", "interrupted", "cancelled", "lost")
# A terminal that leaves less for what people read is too narrow for a table.
_READABLE_CHARS = 20
_ANY_WIDTH = 10_000
_TRUTHS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def approvals_command(place: JournalPlace, *, run: str | None, limit: int, as_json: bool) -> int:
    """What is asked and not answered; of one run with what it is about."""

    async def found() -> tuple[list[PendingApproval], float, JournalStore]:
        async with place.opened() as journal:
            pending = await Approvals(journal).pending(run, limit=limit)
            return pending, await _now_s(journal, pending), journal.store

    pending, now_s, store = asyncio.run(found())
    if as_json:
        write_json({"journal": store.url, "approvals": [approval_document(one) for one in pending]})
        return 0
    console = output_console()
    if not pending:
        where = f"{store.url} (namespace {store.namespace!r})"
        line = f"no task waits for an approval in {where}; state machines that wait are in 'coterie runs'"
        console.print(line, markup=False, soft_wrap=True)
        return 0
    print_asked(console, pending, now_s)
    if run is not None:
        for one in pending:
            console.print("")
            for line in asked_lines(one):
                console.print(line, markup=False, highlight=False, soft_wrap=True)
            if one.body:
                console.print(one.body, markup=False, highlight=False, soft_wrap=True)
    return 0


@dataclass(frozen=True, slots=True)
class Reply:
    """As the command line has it. values: `field=value` each. journal: how durable the answer is to be."""

    kind: Literal["approve", "reject"]
    choice: str | None = None
    note: str = ""
    by: str | None = None
    values: tuple[str, ...] = ()
    anyway: bool = False
    journal: JournalMode = "strict"


def answer_command(place: JournalPlace, run: str, task: str, reply: Reply, *, as_json: bool) -> int:
    """Answer in a person's name."""
    decision, left_alone = asyncio.run(_answered(place, run, task, reply))
    if as_json:
        write_json({"run": run, "task": task, "decision": decision.to_dict()})
        return 0
    console = output_console()
    console.print(f"{run}: {decision.by} chose {decision.choice} for {task}", markup=False, soft_wrap=True)
    if left_alone:
        line = f"nobody is at the run now; go on with it: coterie runs resume {run}"
        console.print(line, style="yellow", markup=False, soft_wrap=True)
    return 0


async def _answered(place: JournalPlace, run: str, task: str, reply: Reply) -> tuple[Decision, bool]:
    """The decision, and whether nobody will notice it by themselves."""
    if reply.journal == "off":
        raise Misuse("an answer is kept in the journal, which is off; use --journal strict, or relaxed")
    by = login_name() if reply.by is None else reply.by
    if not by:
        raise Misuse("nobody's name is known here; say who answers with --by NAME")
    async with place.opened(durability=reply.journal) as journal:
        people = Approvals(journal)
        asked = next((one for one in await people.of_run(run) if one.task_id == task), None)
        if asked is None:
            # Refused by the core, which says what is asked.
            chosen, values = reply.choice or "", {}
        else:
            chosen, values = _choice(asked.approval, reply), _values(asked.approval, reply.values)
        decision = await people.answer(run, task, chosen, by=by, note=reply.note, values=values, anyway=reply.anyway)
        here = asked is not None and asked.place == "process"
        return decision, here and (await view_run(journal, run)).state in _LEFT


def approval_document(one: PendingApproval) -> dict[str, Any]:
    """One question as JSON."""
    return {
        "run": one.workflow_id,
        "task": one.task_id,
        "role": one.role,
        **one.approval.to_dict(),
        "choices": list(one.approval.choices),
        "rejects": list(one.approval.rejects),
        "asked_at": instant(round(one.asked_at * SECOND)),
        "until": None if one.until is None else instant(round(one.until * SECOND)),
        "place": one.place,
        "where": one.where,
        "by": one.by,
        "body": one.body,
        "open": one.is_open,
        "decision": None if one.decision is None else one.decision.to_dict(),
    }


def asked_lines(one: PendingApproval) -> list[str]:
    """How a question stands, for people: what is asked, who has answered, or what to type."""
    lines = [f"{one.task_id}: {one.approval.question}"]
    decision = one.decision
    if decision is not None:
        noted = f": {decision.note}" if decision.note else ""
        values = "".join(f", {name}={value}" for name, value in decision.values.items())
        lines.append(
            f"  {decision.choice} by {decision.by} at {clock_time(round(decision.at * SECOND))}{values}{noted}"
        )
    elif not one.is_open:
        lines.append("  the run ended without an answer" if one.run_over else "  nobody answered in time")
    elif one.place == "airflow":
        lines.append(f"  asked by Airflow: {one.where or 'see its required actions'}")
    else:
        lines += [f"  {_title(name, given)}" for name, given in one.approval.fields.items()]
        lines.append(f"  choices: {', '.join(one.approval.choices)}")
        lines.append(f"  answer: {answer_line(one.workflow_id, one.task_id, one.approval)}")
    return lines


def print_asked(console: Console, pending: Sequence[PendingApproval], now_s: float) -> None:
    """A line for each; where a terminal leaves the questions too little room, each has lines of its own."""
    on_terminal = console.is_terminal
    table = _table(pending, now_s, on_terminal=on_terminal)
    needs = Measurement.get(console, console.options.update(max_width=_ANY_WIDTH), table)
    if not on_terminal:
        console.width = max(console.width, needs.maximum)
    if not on_terminal or needs.minimum <= console.width:
        console.print(table)
        return
    for one in pending:
        about = [f"for {_people(one)}", f"asked {_asked_ago(one, now_s)}"]
        about += [f"{left} left"] if (left := _left(one, now_s)) else []
        about += [f"at {place}"] if (place := _place(one)) else []
        head = Text.assemble((f"{one.workflow_id}  {one.task_id}", "bold"), (f"  {', '.join(about)}", "dim"))
        console.print(head, soft_wrap=True)
        console.print(Padding(Text(one.approval.question), (0, 0, 0, 2)))


def _table(pending: Sequence[PendingApproval], now_s: float, *, on_terminal: bool) -> Table:
    """For programs, each has a line and every column is there; people are spared the columns that nobody fills."""
    columns: dict[str, Callable[[PendingApproval], str]] = {
        "run": lambda one: one.workflow_id,
        "task": lambda one: one.task_id,
        "question": lambda one: one.approval.question,
        "for": _people,
        "asked": lambda one: _asked_ago(one, now_s),
        "left": lambda one: _left(one, now_s),
        "at": _place,
    }
    shown = {title: told for title, told in columns.items() if not on_terminal or any(told(one) for one in pending)}
    table = Table(box=None, pad_edge=False)
    for title in shown:
        wraps = on_terminal and title in ("question", "for", "at")
        least = _READABLE_CHARS if wraps and title != "for" else None
        table.add_column(title, overflow="fold", no_wrap=not wraps, min_width=least)
    for one in pending:
        table.add_row(*(Text(told(one), style="dim" if title == "at" else "") for title, told in shown.items()))
    return table


def _people(one: PendingApproval) -> str:
    return ", ".join(one.approval.assignees) or one.role


def _asked_ago(one: PendingApproval, now_s: float) -> str:
    return f"{span(round(max(0.0, now_s - one.asked_at) * SECOND))} ago"


def _left(one: PendingApproval, now_s: float) -> str:
    return "" if one.until is None else span(round(max(0.0, one.until - now_s) * SECOND))


def _place(one: PendingApproval) -> str:
    return "" if one.place == "process" else f"{one.place} {one.where}".rstrip()


def _choice(approval: Approval, reply: Reply) -> str:
    """The choice that is meant; the core says what is wrong with one that is none."""
    rejects = reply.kind == "reject"
    those = [name for name in approval.choices if (name in approval.rejects) == rejects]
    if reply.choice is None:
        if not those:
            known = ", ".join(approval.choices)
            raise Misuse(f"{approval.question!r} has no choice that rejects; its choices are {known}")
        return those[0]
    if reply.choice in approval.choices and reply.choice not in those:
        does, other = ("rejects nothing", "approve") if rejects else ("rejects", "reject")
        raise Misuse(f"the choice {reply.choice!r} {does}; give it with 'coterie {other}'")
    return reply.choice


def _values(approval: Approval, given: Sequence[str]) -> dict[str, JsonValue]:
    found: dict[str, JsonValue] = {}
    for one in given:
        name, equals, text = one.partition("=")
        if not equals:
            raise Misuse(f"--set {one!r} has no value; write --set field=value")
        if name in found:
            raise Misuse(f"--set names the field {name!r} twice; say it once")
        found[name] = _value(name, approval.fields.get(name), text)
    return found


def _value(name: str, asked: Field | None, text: str) -> JsonValue:
    kind = "string" if asked is None else asked.type
    try:
        if kind == "integer":
            return int(text)
        if kind == "number":
            return float(text)
        return _TRUTHS[text.lower()] if kind == "boolean" else text
    except (ValueError, KeyError):
        told = "true or false" if kind == "boolean" else f"a value of the type {kind}"
        raise Misuse(f"the field {name!r} cannot be {text!r}; give {told}") from None


def _title(name: str, given: Field) -> str:
    title = f" ({given.title})" if given.title else ""
    choices = f", one of {', '.join(map(str, given.choices))}" if given.choices else ""
    default = f", else {given.default}" if given.default is not None else ", required" if given.required else ""
    return f"--set {name}=…{title}: {given.type}{choices}{default}"


async def _now_s(journal: Journal, pending: Sequence[PendingApproval]) -> float:
    """The store's clock, by which the times of what is asked are."""
    if not pending:
        return 0.0
    return (await journal.store.get(pending[0].workflow_id, ()))[1] / SECOND
