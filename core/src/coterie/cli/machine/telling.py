"""`coterie machine send` and `cancel`."""

from __future__ import annotations

import asyncio
import getpass
import json
from dataclasses import asdict, dataclass

from coterie._json import JsonValue
from coterie._rules.machine_texts import Receipt
from coterie.cli.machine.place import written
from coterie.cli.runs.place import JournalPlace
from coterie.cli.session import JournalMode
from coterie.cli.streams import write_json
from coterie.cli.summary import output_console
from coterie.errors import Misuse
from coterie.machine_run import StateMachineRun

__all__ = ["Sending", "cancel_command", "login_name", "send_command"]


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
    payload, who = _payload(sending.payload), login_name() if sending.who is None else sending.who

    async def send() -> Receipt:
        async with written(place, journal) as opened:
            return await StateMachineRun(opened, run).send(
                sending.event, payload, who=who, event_id=sending.event_id, visit=sending.visit
            )

    receipt = asyncio.run(send())
    if as_json:
        write_json({"run": run, **asdict(receipt)})
    else:
        to = f"to {receipt.to!r}" if receipt.to is not None else "to its end"
        _say(f"{run}: {receipt.event!r} was taken: from {receipt.state!r} (visit {receipt.visit}) {to}")
    return 0


def cancel_command(place: JournalPlace, run: str, *, who: str | None, journal: JournalMode, as_json: bool) -> int:
    """End a machine where it is."""

    async def cancel() -> bool:
        async with written(place, journal) as opened:
            return await StateMachineRun(opened, run).cancel(who=login_name() if who is None else who)

    cancelled = asyncio.run(cancel())
    if as_json:
        write_json({"run": run, "cancelled": cancelled})
    else:
        _say(f"{run}: cancelled" if cancelled else f"{run}: it was over already; nothing was changed")
    return 0


def login_name() -> str:
    """Who is at the keyboard, as far as the machine knows; empty if it does not."""
    try:
        return getpass.getuser()
    # Nobody's name is known to the system, as for some service users.
    except (OSError, KeyError, ImportError):
        return ""


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
