"""What the engine binds to a piece of work: its run and input, the attempt at it, the threads left behind by others."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from coterie._json import JsonValue, require_json
from coterie._rules.params import fill
from coterie.ids import ItemKey
from coterie.run import Run
from coterie.task import Task
from coterie.trail import Trail

if TYPE_CHECKING:
    from coterie.agent import Agent
    from coterie.journal.begun import Begun
    from coterie.journal.unit import Unit
    from coterie.slots import Slot, TypeSlots

__all__ = ["Bound"]


class Bound:
    """A task, or one item of a foreach, in its run, as the engine holds it.

    agent, pool: who is at it, and where it waited for one. unit: as the journal knows it. source_item: the item, of
    which each attempt gets a copy. given_key: the idempotency key, where the work was asked for elsewhere.
    thread: of this attempt, while a blocking agent runs. abandoned: those of earlier ones that run on, with the slots
    that they hold. asked_us: when the work was asked for, in microseconds since the epoch, where that is told.
    noted: the trail, once there was a reason to look for it.
    """

    # Defaults on the class: thousands of contexts are made for every one that needs more than these.
    attempt: int = 1
    agent: Agent | None = None
    pool: TypeSlots | None = None
    unit: Unit | None = None
    deadline: float | None = None
    item: JsonValue = None
    source_item: JsonValue = None
    item_key: ItemKey | None = None
    item_index: int | None = None
    thread: threading.Thread | None = None
    abandoned: dict[threading.Thread, Slot] | None = None
    asked_us: int | None = None
    given_key: str | None = None
    _begun: Begun | None = None
    noted: Trail | None = None

    def __init__(self, run: Run, task: Task, task_input: dict[str, JsonValue]) -> None:
        self.run = run
        self.task = task
        self.input = task_input

    @property
    def trail(self) -> Trail | None:
        """Where what the work goes through is noted; None where nobody would read it."""
        if self.noted is None and self.run.is_followed:
            self.noted = Trail(self.run.now)
        return self.noted

    def fresh_input(self) -> dict[str, JsonValue]:
        """The input as the plan and the parameters give it, whatever an agent did to its own copy."""
        fresh = fill(self.task.input, self.run.params)
        if self.task.foreach is not None and self.item_key is not None:
            fresh[self.task.foreach.bind] = require_json(self.source_item, "item")
        return fresh

    def next_attempt(self) -> None:
        """Make ready for another attempt at the same work."""
        self.attempt += 1
        self._begun = None
        self.input = self.fresh_input()
        self.item = require_json(self.source_item, "item")

    @property
    def steps_begun(self) -> Begun:
        """The durable steps of this attempt so far."""
        if self._begun is None:
            from coterie.journal.begun import Begun

            self._begun = Begun()
        return self._begun

    def thread_started(self, thread: threading.Thread) -> None:
        """Told when the thread of a blocking agent starts."""
        self.thread = thread

    def thread_ended(self, thread: threading.Thread) -> None:
        """Told when it ends; a slot whose agent ran on in an abandoned thread is given back only then."""
        if self.thread is thread:
            self.thread = None
        slot = (self.abandoned or {}).pop(thread, None)
        if slot is not None:
            slot.recover()

    def abandon(self, slot: Slot) -> None:
        """Leave this attempt's thread to itself; another attempt has a thread of its own."""
        if self.thread is None:
            slot.release()
            return
        self.abandoned = {**(self.abandoned or {}), self.thread: slot}
        self.thread = None
        slot.abandon()
