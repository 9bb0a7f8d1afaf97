"""`coterie machine send` and `cancel`."""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict, dataclass

from coterie._json import JsonValue
from coterie._rules.machine_texts import Receipt
from coterie.cli.machine.looking import is_left, left_line
from coterie.cli.machine.place import written
from coterie.cli.person import login_name
from coterie.cli.runs.place import JournalPlace
from coterie.cli.session import JournalMode
from coterie.cli.streams import write_json
from coterie.cli.summary import output_console
from coterie.errors import Misuse
from coterie.machine_run import StateMachineRun

__all__ = ["Sending", "cancel_command", "send_command"]


@dataclass(frozen=True, slots=True)
class Sending:
    """One event. payload: JSON text. visit: which one it is meant for; None: whichever the machine is at."""

    event: str
    payload: str | None = None
    who: str | None = None
    visit: int | None = None
    event_id: str | None = None


def send_command(place: JournalPlace, run: str, sending: Sending, *, journal: JournalMode, as_json: bool) -> int:
    """Send an event; it is taken, durably, when this says so."""
    payload, who = _payload(sending.payload), _named(sending.who)

    async def send() -> tuple[Receipt, bool]:
        async with written(place, journal) as opened:
            machine = StateMachineRun(opened, run)
            receipt = await machine.send(
                sending.event, payload, who=who, event_id=sending.event_id, visit=sending.visit
            )
            return receipt, not as_json and await is_left(opened, await machine.status())

    receipt, left = asyncio.run(send())
    if as_json:
        write_json({"run": run, **asdict(receipt)})
    else:
        to = f"to {receipt.to!r}" if receipt.to is not None else "to its end"
        _say(f"{run}: {receipt.event!r} was taken: from {receipt.state!r} (visit {receipt.visit}) {to}")
        if left:
            _say(left_line(run))
    return 0


def cancel_command(place: JournalPlace, run: str, *, who: str | None, journal: JournalMode, as_json: bool) -> int:
    """End a machine where it is."""
    by = _named(who)

    async def cancel() -> bool:
        async with written(place, journal) as opened:
            return await StateMachineRun(opened, run).cancel(who=by)

    cancelled = asyncio.run(cancel())
    if as_json:
        write_json({"run": run, "cancelled": cancelled})
    else:
        _say(f"{run}: cancelled" if cancelled else f"{run}: it was over already; nothing was changed")
    return 0


def _named(who: str | None) -> str:
    """Whom the history names; nobody only where the machine knows no login name."""
    if who is not None and not who.strip():
        raise Misuse("--who is empty; name who does it, or leave it out: then it is the login name")
    return login_name() if who is None else who


def _payload(text: str | None) -> JsonValue:
    if text is None:
        return None
    try:
        value: JsonValue = json.loads(text)
    except ValueError as error:
        raise Misuse(
            f'the payload is not JSON: {error}; write it as in --payload \'{{"comment": "shorter"}}\''
        ) from None
    return value


def _say(line: str) -> None:
    output_console().print(line, markup=False, soft_wrap=True)
