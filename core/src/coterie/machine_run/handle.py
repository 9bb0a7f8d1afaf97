"""A machine's run, for whoever wants something of it: a person, a web hook, another process. It needs no agents."""

from __future__ import annotations

import os
import random

from coterie._json import JsonValue, canonical_bytes, require_json
from coterie._rules.machine import Cancel, Sent
from coterie._rules.machine_record import Visit
from coterie._rules.machine_texts import Receipt
from coterie.approval import check_text
from coterie.artifacts import ArtifactStore
from coterie.errors import IllegalTransition, MissingOutput, Misuse
from coterie.ids import WorkflowId, check_name, check_workflow_id
from coterie.journal import Journal
from coterie.journal.bell import Bell, until_rung
from coterie.machine_run.carried import loaded
from coterie.machine_run.file import MachineFile
from coterie.machine_run.status import MachineStatus, status_of
from coterie.machine_run.traced import trace_end
from coterie.markdown import LOADED_BYTES, fenced
from coterie.ports import StateStore
from coterie.ref import Ref
from coterie.result import output_from_dict

__all__ = ["LOOK_S", "StateMachineRun", "look_pause_s"]

# Whoever waits looks so often, in seconds, whether the bell rings or not.
LOOK_S = 1.0
MOST_PAYLOAD_BYTES = 64 * 2**10
_LONGEST = 200


class StateMachineRun:
    """One run of a machine, by its workflow id: send it events, see where it is and where it was.

    store: the state store that the processes share, if they do; then a machine is woken at once by what is sent to it,
    else within a second. artifacts: where the outputs of actions lie, for `output`.
    """

    def __init__(
        self,
        journal: Journal,
        workflow_id: WorkflowId,
        *,
        store: StateStore | None = None,
        artifacts: ArtifactStore | None = None,
    ) -> None:
        self.workflow_id = check_workflow_id(workflow_id)
        self._artifacts = artifacts
        self._file = MachineFile(journal, workflow_id)
        self._bell = Bell(journal.store, workflow_id, store)

    def __repr__(self) -> str:
        return f"StateMachineRun({self.workflow_id!r})"

    async def send(
        self,
        event: str,
        payload: object = None,
        *,
        who: str = "",
        event_id: str | None = None,
        visit: int | None = None,
    ) -> Receipt:
        """Send an event; it is taken, durably, when this returns.

        payload: JSON of at most 64 KiB; guards are asked about it, inputs may refer to it. who: kept with it.
        event_id: names this sending. Sent again with the same id, however often and however late, it does nothing and
        has the same answer; so give one where you may not learn the answer. visit: which visit it is meant for, as
        `MachineStatus.visit` says; a person who decides on what they saw decides on nothing else.

        Raises:
            IllegalTransition: the machine does not take it where it is; nothing was changed.
            UnknownRun: there is no such machine. Misuse: the id is that of another event, the payload is not JSON, or
                `who` cannot be shown on any screen.
            Unavailable: the journal's store failed; whether the event was taken is not known: send it again.
        """
        check_name(event, "the event")
        check_text(who, "who", most=_LONGEST)
        check_text(event_id or "", "event_id", most=_LONGEST)
        value = require_json(payload, "the payload")
        if len(canonical_bytes(value)) > MOST_PAYLOAD_BYTES:
            raise Misuse(
                f"the payload of {event!r} has over {MOST_PAYLOAD_BYTES} bytes; store it, and send its reference"
            )
        answer = await self._file.ask(Sent(event_id or os.urandom(16).hex(), event, value, who, visit))
        assert answer.head is not None
        await trace_end(self._file, answer.head)
        if answer.verdict == "illegal":
            machine = (await self._file.definition(answer.head.version)).machine
            here = machine.table.states.get(answer.head.state)
            raise IllegalTransition(
                machine.name,
                event,
                state=answer.head.state,
                visit=answer.head.visit,
                why=answer.why,
                events=here.events if here is not None and answer.head.phase != "over" else (),
            )
        assert answer.receipt is not None
        await self._bell.ring()
        return answer.receipt

    async def cancel(self, *, who: str = "") -> bool:
        """End the machine where it is; its action is ended too. False: it was over already.

        Raises:
            UnknownRun: there is no such machine. Misuse: `who` cannot be kept.
        """
        check_text(who, "who", most=_LONGEST)
        answer = await self._file.ask(Cancel(who))
        assert answer.head is not None
        await trace_end(self._file, answer.head)
        await self._bell.ring()
        return answer.verdict == "moved"

    async def status(self) -> MachineStatus:
        """Where the machine is now. A time-out that is due is not taken by looking.

        Raises:
            UnknownRun: there is no such machine.
        """
        head, now = await self._file.head()
        definition = await self._file.definition(head.version)
        return status_of(self.workflow_id, definition.machine, head, now)

    async def history(self, *, after: int = 0, limit: int = 100) -> tuple[Visit, ...]:
        """The visits that were left, in order: at most `limit`, from behind the visit `after` on."""
        head, _ = await self._file.head()
        return tuple(await self._file.visits(after + 1, min(after + max(0, limit), head.visit)))

    async def output(self, state: str) -> JsonValue:
        """What the action of a state gave when it last succeeded.

        Raises:
            MissingOutput: it has not succeeded so far.
        """
        return await loaded(await self._stored(state), self._artifacts)

    async def shown_output(self, state: str, *, most_bytes: int = 8192) -> str:
        """The same as Markdown, for whoever decides: its beginning. What is large is named, and not read for that.

        Raises:
            MissingOutput: as `output`.
        """
        stored = await self._stored(state)
        if isinstance(stored, Ref) and stored.size_bytes > LOADED_BYTES:
            return fenced(f"{stored.size_bytes:,} bytes, at {stored.uri}", most_bytes=most_bytes)
        return fenced(await loaded(stored, self._artifacts), most_bytes=most_bytes)

    async def wait(self) -> MachineStatus:
        """Wait until the machine is over. Somebody must run it; this does not."""
        async with self._bell.heard() as rung:
            while (status := await self.status()).status is None:
                await until_rung(rung, look_pause_s())
                rung.clear()
        return status

    async def _stored(self, state: str) -> JsonValue | Ref:
        head, _ = await self._file.head()
        number = head.outputs.get(state)
        record = await self._file.action_record(state, number) if number is not None else None
        if record is None:
            known = ", ".join(head.outputs) or "none"
            raise MissingOutput(f"no action of the state {state!r} has succeeded so far; those that have: {known}")
        return output_from_dict(record.result.get("output"))


def look_pause_s() -> float:
    """How long until the next look. Spread, so that those who began together do not look together for ever."""
    return LOOK_S * random.uniform(0.5, 1.0)  # noqa: S311  # spreads looks, keeps no secret
