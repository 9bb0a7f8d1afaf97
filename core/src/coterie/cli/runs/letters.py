"""What an undone run left for people: how `coterie runs show` tells it; and `coterie runs settle`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from coterie._json import JsonValue
from coterie._rules.timeline import SECOND
from coterie.cli.fleet.times import clock_time, instant
from coterie.cli.person import login_name
from coterie.cli.runs.place import JournalPlace
from coterie.cli.session import JournalMode
from coterie.cli.streams import write_json
from coterie.cli.summary import output_console
from coterie.cli.words import clipped, count_of
from coterie.errors import Misuse
from coterie.journal import Journal
from coterie.journal.view import RunView, view_run
from coterie.ref import Ref
from coterie.saga import DeadLetter, Leftovers, UndoneByHand, leftovers, settle

__all__ = ["Word", "leftovers_document", "leftovers_lines", "leftovers_of", "settle_command"]

# More of them, longer errors and longer values are in `--json`.
_MOST_LETTERS = 10
_ERROR_CHARS = 400
_VALUE_CHARS = 100


@dataclass(frozen=True, slots=True)
class Word:
    """What a person says of a step. by: None: the login name. journal: how durable it is to be kept."""

    note: str = ""
    by: str | None = None
    journal: JournalMode = "strict"


def settle_command(place: JournalPlace, run: str, task: str, word: Word, *, as_json: bool) -> int:
    """Note that a person has undone a step of a run by hand."""
    done, view, left = asyncio.run(_settled(place, run, task, word))
    if as_json:
        open_letters = [{"task": letter.task_id, "left": letter.left} for letter in left.letters]
        write_json({"run": run, "task": task, "undone_by_hand": _hand_document(done), "open_letters": open_letters})
        return 0
    named = ", ".join(f"{letter.task_id} ({letter.left})" for letter in left.letters[:_MOST_LETTERS])
    more = f" and {len(left.letters) - _MOST_LETTERS:,} more" if len(left.letters) > _MOST_LETTERS else ""
    _say(f"{run}: {task} is undone, says {done.by}")
    if left.letters:
        _say(f"{count_of(len(left.letters), 'step')} left: {named}{more}")
    for line in _following(view, left):
        _say(line)
    return 0


async def _settled(place: JournalPlace, run: str, task: str, word: Word) -> tuple[UndoneByHand, RunView, Leftovers]:
    if word.journal == "off":
        raise Misuse("what is settled is kept in the journal, which is off; use --journal strict, or relaxed")
    by = login_name() if word.by is None else word.by
    if not by:
        raise Misuse("nobody's name is known here; say who has undone it with --by NAME")
    async with place.opened(durability=word.journal) as journal:
        done = await settle(journal, run, task, by=by, note=word.note)
        return done, await view_run(journal, run), await leftovers(journal, run)


async def leftovers_of(journal: Journal, view: RunView) -> Leftovers:
    """What is left of a run; nothing of one that was never undone."""
    return await leftovers(journal, view.workflow_id) if view.undone else Leftovers()


def leftovers_document(left: Leftovers) -> dict[str, Any]:
    """The fields of a run that tell what is left of it."""
    return {
        "dead_letters": [letter.to_dict() for letter in left.letters],
        "undone_by_hand": [_hand_document(one) for one in left.by_hand],
    }


def leftovers_lines(view: RunView, left: Leftovers) -> list[str]:
    """What is left, for people: what stands, why, and what to type; and what has been settled."""
    lines = [line for letter in left.letters[:_MOST_LETTERS] for line in _letter_lines(letter)]
    more = len(left.letters) - _MOST_LETTERS
    if more > 0:
        lines.append(f"and {count_of(more, 'more step')} not undone; --json tells all")
    for one in sorted(left.by_hand, key=lambda one: one.at)[-_MOST_LETTERS:]:
        noted = f": {one.note}" if one.note else ""
        by = f" by {one.by}" if one.by else ""
        lines.append(f"{one.task_id}: undone by hand{by} at {clock_time(round(one.at * SECOND))}{noted}")
    if len(left.by_hand) > _MOST_LETTERS:
        lines.append(f"and {count_of(len(left.by_hand) - _MOST_LETTERS, 'step')} more undone by hand")
    return lines + _following(view, left) if lines else []


def _letter_lines(letter: DeadLetter) -> list[str]:
    tried = f", tried {count_of(letter.attempts, 'time')}" if letter.attempts else ", not tried"
    given = f", with {_shown(letter.input)}" if letter.input else ""
    return [
        f"{letter.task_id}: not undone ({letter.left}): {clipped(str(letter.error), _ERROR_CHARS)}",
        f"  {_effect(letter)}",
        f"  what undoes it: {letter.agent_type}{given}{tried}",
        f"  once it is undone by hand: coterie runs settle {letter.workflow_id} {letter.task_id} --note TEXT",
    ]


def _effect(letter: DeadLetter) -> str:
    """What the step is known to have done."""
    given = f" with {_shown(letter.step_input)}" if letter.step_input else ""
    if letter.left == "unclear":
        return f"nobody knows whether the step had its effect: it began{given}, and nobody heard how it ended"
    gave = "" if letter.output is None else f", and gave {_shown(letter.output)}"
    may = "" if letter.state == "succeeded" else ", and may have had its effect"
    return f"the step {letter.state}{gave or may}"


def _shown(value: JsonValue | Ref | Mapping[str, JsonValue]) -> str:
    if not isinstance(value, Ref):
        return clipped(json.dumps(value, ensure_ascii=False), _VALUE_CHARS)
    if value.is_inline:
        return clipped(value.inline_bytes().decode(errors="replace"), _VALUE_CHARS)
    return f"{value.size_bytes:,} bytes at {value.uri}"


def _following(view: RunView, left: Leftovers) -> list[str]:
    """What to type next about the run as a whole."""
    if view.saga is None or view.saga.outcome != "compensation_failed":
        # It is being undone, or nothing was left when that ended.
        return []
    run, engine = view.workflow_id, view.header.engine_run.partition(".")[0]
    there = {"airflow": ", or clear the DAG run's last task", "prefect": ", or retry the flow run"}.get(engine, "")
    if left.letters:
        return [f"to have what is left tried again: coterie runs resume {run}{there}"]
    also = {"airflow": ", or clear the whole DAG run", "prefect": ", or retry the flow run"}.get(engine, "")
    anew = f"to have it done anew after that: the same again{also}"
    return [f"nothing is left; to conclude the run: coterie runs resume {run}{there}; {anew}"]


def _hand_document(one: UndoneByHand) -> dict[str, Any]:
    return {"task": one.task_id, "by": one.by, "at": instant(round(one.at * SECOND)), "note": one.note}


def _say(line: str) -> None:
    output_console().print(line, markup=False, soft_wrap=True)
