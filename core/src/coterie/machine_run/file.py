"""A machine's texts in a journal: read, and changed by the rule."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import cast

from coterie._json import JsonObject, JsonValue
from coterie._rules import machine_texts as rule
from coterie._rules.journal_text import FORMAT, Record, dumped, parsed
from coterie._rules.machine import Input
from coterie._rules.machine_record import Head, Visit
from coterie._rules.machine_texts import DEFINITION, HEAD, Answer
from coterie._rules.written import Changed
from coterie.errors import MachineError, Unavailable, UnknownRun
from coterie.ids import WorkflowId
from coterie.journal import Intent, Journal
from coterie.journal.header import Header
from coterie.journal.place import place_of
from coterie.machine import StateMachine
from coterie.telemetry.recording import traceparent_here

__all__ = ["Definition", "MachineFile", "action_task_id", "is_machine"]

# That somebody has made the run's span.
_TRACED = "machine/traced"
# Somebody else was faster each time: so often, and he who asks would rather know.
_TRIES = 1000
_MOST_AT_ONCE = 200


@dataclass(frozen=True, slots=True)
class Definition:
    """What a run goes by: the machine, and the run's parameters."""

    machine: StateMachine
    params: JsonObject

    def text(self) -> str:
        """What is stored."""
        return dumped({"v": FORMAT, "machine": self.machine.to_dict(), "params": dict(self.params)})

    @staticmethod
    def read(text: str) -> Definition:
        """The definition behind a text."""
        found = parsed(text, DEFINITION)
        return Definition(StateMachine.from_dict(found["machine"]), found["params"])


def action_task_id(state: str, visit: int) -> str:
    """What the action of one visit is called as a task of its run; no two of a run are called the same."""
    return f"{state}-{visit}"


async def is_machine(journal: Journal, run: WorkflowId) -> bool:
    """Whether a run of the journal is that of a machine."""
    texts, _ = await journal.store.get(run, (HEAD,))
    return HEAD in texts


class MachineFile:
    """One run of a machine, in a journal.

    traceparent: the context that fixed the run's trace, where one did; known where it was begun, or gone on with.
    """

    def __init__(self, journal: Journal, run: WorkflowId) -> None:
        self.journal = journal
        self.run = run
        self.traceparent: str | None = None
        self._definition: Definition | None = None
        self._visit = 0

    async def begin(self, given: Definition, intent: Intent) -> Head:
        """Begin the machine, unless it has begun.

        Raises:
            PlanChanged: it began with another definition. MachineError: it may change, but its state is gone.
        """
        machine, now_s = given.machine, self.journal.clock.now()
        header = Header(
            machine.name,
            machine.hash,
            given.params,
            engine_run=intent.engine_run,
            begun_at=now_s,
            traceparent=traceparent_here(),
        )
        self.traceparent = (await self.journal.begin(self.run, header, intent)).traceparent
        decide = partial(
            rule.begin,
            table=machine.table,
            version=machine.hash,
            definition=given.text(),
            allow_changes=intent.allow_changes,
        )
        head = await self.journal.store.change(self.run, rule.BEGIN_PATHS, decide)
        if head.version != machine.hash:
            raise MachineError(
                f"the run {self.run!r} is in the state {head.state!r}, which its new definition has not; "
                "keep that state, or begin another run"
            )
        texts, _ = await self.journal.store.get(self.run, (DEFINITION,))
        # Whoever began it first has given the parameters.
        self._definition = Definition(machine, parsed(texts[DEFINITION], DEFINITION)["params"])
        return self._seen(head)

    async def definition(self, version: str | None = None) -> Definition:
        """What the run goes by; read anew if what is known is not of that version.

        Raises:
            UnknownRun: there is no such machine.
        """
        known = self._definition
        if known is None or version not in (None, known.machine.hash):
            texts, _ = await self.journal.store.get(self.run, (DEFINITION,))
            if DEFINITION not in texts:
                raise await self._unknown()
            known = self._definition = Definition.read(texts[DEFINITION])
        return known

    async def head(self) -> tuple[Head, int]:
        """Where it is, and the store's clock.

        Raises:
            UnknownRun: there is no such machine.
        """
        texts, now = await self.journal.store.get(self.run, (HEAD,))
        if HEAD not in texts:
            raise await self._unknown()
        return self._seen(Head.read(texts[HEAD], HEAD)), now

    async def ask(self, what: Input) -> Answer:
        """Have the machine take what comes in.

        Raises:
            UnknownRun: there is no such machine. Misuse: the event's id is that of another event.
        """
        for _ in range(_TRIES):
            machine = (await self.definition()).machine
            visit = self._visit or (await self.head())[0].visit
            decide = partial(rule.apply, table=machine.table, what=what, version=machine.hash, visit=visit)
            answer = await self.journal.store.change(self.run, rule.paths_of(what, visit), decide)
            if answer.head is None:
                raise await self._unknown()
            self._seen(answer.head)
            if answer.verdict == "changed":
                self._definition = None
            elif answer.verdict != "elsewhere":
                return answer
            await asyncio.sleep(0)
        raise Unavailable(f"the machine of the run {self.run!r} was never where it had just been; try again later")

    async def visits(self, first: int, last: int) -> list[Visit]:
        """The records of visits, in order, of those that were left."""
        found: list[Visit] = []
        for begin in range(first, last + 1, _MOST_AT_ONCE):
            numbers = range(begin, min(begin + _MOST_AT_ONCE, last + 1))
            texts, _ = await self.journal.store.get(self.run, [rule.visit_path(number) for number in numbers])
            visits = [Visit.read(texts[path], path) for number in numbers if (path := rule.visit_path(number)) in texts]
            found += [visit for visit in visits if visit.left is not None]
        return found

    async def action_record(self, state: str, visit: int) -> Record | None:
        """How the action of a visit ended, as the journal has it."""
        path = place_of(action_task_id(state, visit)).record
        texts, _ = await self.journal.store.get(self.run, (path,))
        return Record.read(texts[path], path) if path in texts else None

    async def visit(self, number: int) -> Visit | None:
        """The record of one visit."""
        path = rule.visit_path(number)
        texts, _ = await self.journal.store.get(self.run, (path,))
        return Visit.read(texts[path], path) if path in texts else None

    async def mark_traced(self) -> bool:
        """Have it be us who make the run's span; False: somebody has."""

        def decide(texts: Mapping[str, str | None], _: int) -> Changed[bool]:
            if texts[HEAD] is None or texts[_TRACED] is not None:
                return Changed({}, result=False)
            return Changed({_TRACED: dumped({"v": FORMAT})}, result=True)

        return await self.journal.store.change(self.run, (HEAD, _TRACED), decide)

    def _seen(self, head: Head) -> Head:
        self._visit = head.visit
        return head

    async def _unknown(self) -> UnknownRun:
        header = await self.journal.header(self.run)
        if header is None:
            return UnknownRun(self.run, self.journal.store.url)
        plan = f"the plan {header.plan_name!r}" if header.plan_name else "tasks of no plan"
        said = f"{self.run!r} is a run of {plan}, and no machine; see it with: coterie runs show {self.run}"
        return UnknownRun(self.run, self.journal.store.url, said=said)


def error_value(record: Record) -> JsonValue:
    """The error of a failed action, as guards and inputs see it."""
    return cast("JsonValue", record.result.get("error"))
