"""Have people send the events that a machine waits for: by a form of the flow run in which it runs.

The machine is run beside this, as ever: it takes time-outs, and events that are sent elsewhere. So none is lost, and an
answer is an event like any other: it names the visit that it is for, and itself, so that it is taken once or refused.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from prefect.input import RunInput
from prefect.logging import get_run_logger
from pydantic import Field as Part
from pydantic import create_model

from coterie import Field, JsonValue, MachineStatus, StateMachine, StateMachineRun
from coterie.errors import ArtifactError, MissingOutput, Misuse, Unavailable, UnknownRun
from prefect_coterie.people.form import MOST_BYTES, choice, filled_in, plain, values_of
from prefect_coterie.people.inquiry import LOOK_S, Answer, Inquiry, ended
from prefect_coterie.people.showing import KEY_PREFIX, Question
from prefect_coterie.people.standstill import Person, flow_run_here
from prefect_coterie.publication import PublishMachine

__all__ = ["Attendant", "attended"]

_LAST_LOOK_S = 10.0
_MOST_NAME = 200


async def attended(work: Callable[[], Awaitable[MachineStatus]], attendant: Attendant, how: Person) -> MachineStatus:
    """Run a machine by `work`, and attend to it meanwhile.

    Raises:
        Pause: the flow run is suspended now. Abort: it was ended elsewhere. And all that `work` raises.
    """
    running = asyncio.ensure_future(work())
    attending = asyncio.create_task(attendant.attend(how))
    try:
        await asyncio.wait({running, attending}, return_when=asyncio.FIRST_COMPLETED)
        if attending.done() and attending.exception() is None:
            await asyncio.wait({running})
        elif running.done() and not running.cancelled() and running.exception() is None:
            # Who answered too late is told so.
            await asyncio.wait({attending}, timeout=_LAST_LOOK_S)
    finally:
        is_over = running.done()
        # A pause is left before the flow goes on.
        await ended(attending)
        if not is_over:
            await ended(running)
    if not attending.cancelled():
        attending.result()
    return running.result()


class Attendant:
    """Asks for what a machine waits for, in this flow run.

    fields: what may be filled in beside the event. publish: shows where it is whenever it waits.
    """

    def __init__(
        self,
        machine: StateMachine,
        run: StateMachineRun,
        *,
        fields: Mapping[str, Field],
        publish: PublishMachine | None,
        poll_s: float,
    ) -> None:
        self._machine = machine
        self._run = run
        self._fields = fields
        self._publish = publish
        self._poll_s = poll_s
        self._away = False

    async def attend(self, how: Person) -> None:
        """Ask whenever the machine waits for somebody, until it is over."""
        while (status := await self._status()) is None or status.phase != "over":
            if status is not None and _waits_for_somebody(status):
                await self.show(status)
                await self._ask(status, how)
            await asyncio.sleep(LOOK_S)

    async def show(self, status: MachineStatus) -> None:
        """Show people where the machine is."""
        if self._publish is None:
            return
        try:
            await self._publish(status, self._machine, self._run)
        # Whatever a display does wrong is its own: the machine goes on.
        except Exception:
            logger = _logger()
            logger.exception("where %s is could not be published", status.workflow_id)

    async def _ask(self, status: MachineStatus, how: Person) -> None:
        """Until the visit is left."""
        inquiry, refused = Inquiry(_key_of(status), poll_s=self._poll_s), ""

        async def question() -> Question:
            text = await self._text(status, refused)
            about: dict[str, JsonValue] = {"run": status.workflow_id, "visit": status.visit}
            return Question(_form(status.events, self._fields), text, _line(status), about)

        async def is_left() -> bool:
            found = await self._status()
            return found is not None and (found.visit, found.phase) != (status.visit, status.phase)

        while (answer := await inquiry.answer(how, question, is_left)) is not None:
            # Of one that comes after the visit was left, its sender is told.
            refused = await self._send(answer, status)
            if not refused:
                return

    async def _send(self, answer: Answer, status: MachineStatus) -> str:
        """Hand an answer on to the machine. Why it was not taken; empty if it was."""
        given = answer.values
        event, who = (str(given.get(name) or "") for name in ("event", "who"))
        while True:
            try:
                await self._run.send(
                    event,
                    filled_in(given.get("payload")) or None,
                    who=who,
                    event_id=f"prefect.{flow_run_here().id}.{answer.name}",
                    visit=status.visit,
                )
            except Unavailable as error:
                self._note_away(error)
                await asyncio.sleep(LOOK_S)
            except Misuse as error:
                # People learn here what became of it: Prefect has no other place for it.
                _logger().warning("the answer %r by %r was not taken: %s", event, who, error)
                return str(error)
            else:
                return ""

    async def _status(self) -> MachineStatus | None:
        """Where the machine is; None if that is not known now."""
        try:
            found = await self._run.status()
        except UnknownRun:
            return None
        except Unavailable as error:
            self._note_away(error)
            return None
        self._away = False
        return found

    def _note_away(self, error: Unavailable) -> None:
        if not self._away:
            _logger().warning("the journal is away, and looked at again until it answers: %s", error)
        self._away = True

    async def _text(self, status: MachineStatus, refused: str) -> str:
        """What came before, as far as it is known. refused: why the last answer was not taken."""
        machine, where = self._machine, f"(visit {status.visit} of `{status.workflow_id}`)"
        lines = [f"The machine **{plain(machine.name)}** waits in the state **{plain(status.state)}** {where}."]
        if status.timeout_in_s is not None:
            to = machine.state(status.state).ways("timeout")[0].to
            until = datetime.fromtimestamp(time.time() + status.timeout_in_s, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
            lines.append(f"Without an event until {until} it goes on to **{plain(to)}**.")
        if refused:
            lines.append(f"The last answer was not taken: {plain(refused)}")
        acting = [state.name for state in machine.states if state.action is not None]
        for name in acting:
            found = await self._output(name, MOST_BYTES // len(acting))
            if found:
                lines.append(f"What **{plain(name)}** gave:\n\n{found}")
        return "\n\n".join(lines)

    async def _output(self, state: str, most: int) -> str:
        try:
            return await self._run.shown_output(state, most_bytes=most)
        except MissingOutput:
            return ""
        # A person may decide without it.
        except (ArtifactError, Misuse, Unavailable) as error:
            return f"cannot be shown here: {plain(str(error))}"


def _waits_for_somebody(status: MachineStatus) -> bool:
    """Whether only an event, or a time-out that is to come, leads on."""
    return status.phase == "waiting" and bool(status.events) and status.timeout_in_s != 0


def _line(status: MachineStatus) -> str:
    """What is asked, for the log."""
    send = f"coterie machine send {status.workflow_id} EVENT --visit {status.visit}"
    return f"{status.state!r} (visit {status.visit}) waits for {', '.join(status.events)} (or: {send})"


def _key_of(status: MachineStatus) -> str:
    """What the question of this visit is called among a flow run's: the same in every attempt."""
    return f"{KEY_PREFIX}{hashlib.sha256(status.workflow_id.encode()).hexdigest()[:16]}-visit-{status.visit}"


def _form(events: Sequence[str], fields: Mapping[str, Field]) -> type[RunInput]:
    parts: dict[str, Any] = {
        "event": choice(events, title="Event", description="What happens now."),
        "who": (str, Part("", title="Who", max_length=_MOST_NAME, description="Your name, as the history has it.")),
    }
    if fields:
        payload = values_of(fields)
        must = any(one.required and one.default is None for one in fields.values())
        parts["payload"] = (payload, Part(title="Payload") if must else Part(default_factory=payload, title="Payload"))
    form: type[RunInput] = create_model("Event", __base__=RunInput, **parts)
    return form


def _logger() -> logging.Logger | logging.LoggerAdapter[logging.Logger]:
    return get_run_logger()
