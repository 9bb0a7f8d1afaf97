"""Tasks among dead letters: what a message of a queue is about, and what may be done with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from coterie._rules.call import CallRecord, call_record
from coterie._rules.log import Position
from coterie.bus import DeadEvent
from coterie.cli.events.place import EventPlace
from coterie.cli.fleet.reach import Reach
from coterie.errors import Misuse
from coterie.remote.queue import Asking, call_key, topic_of

__all__ = ["DeadCall", "dead_calls", "is_queue"]

_QUEUES = topic_of("")


def is_queue(topic: str) -> bool:
    """Whether workers take tasks from a topic."""
    return topic.startswith(_QUEUES)


@dataclass(frozen=True, slots=True)
class DeadCall:
    """What a letter asks for. record: None where nothing is known of it any more."""

    asking: Asking
    record: CallRecord | None

    @property
    def is_of_a_run(self) -> bool:
        """Whether a run has asked for it: who calls by hand is nobody's owner."""
        return self.record is not None and bool(self.record.owner)

    @property
    def would_be_done(self) -> bool:
        """Whether a worker would perform it, were it delivered again: else he finds that it is over, and drops it."""
        record = self.record
        return record is not None and record.given_up == "abandoned" and record.round == self.asking.round_

    @property
    def name(self) -> str:
        """What people call it."""
        record = self.record
        if record is None or not record.task:
            return f"call {self.asking.call_id}"
        return f"task {record.task}" + (f" of {record.run}" if record.run else "")

    def document(self) -> dict[str, Any]:
        """For `--json`."""
        record, call_id = self.record, self.asking.call_id
        if record is None:
            return {"id": call_id, "run": None, "task": None, "agent_type": None, "worker": None, "phase": None}
        return {
            "id": call_id,
            "run": record.run or None,
            "task": record.task or None,
            "agent_type": record.agent_type,
            "worker": record.worker or None,
            "phase": record.phase,
        }


async def dead_calls(place: EventPlace, letters: Sequence[DeadEvent]) -> Mapping[Position, DeadCall]:
    """What those of the place's topic ask for that ask for a task, by position.

    Raises:
        Unavailable: the store does not answer.
    """
    askings = {letter.position: asking for letter in letters if (asking := _asking(place.topic, letter)) is not None}
    if not askings:
        return {}
    async with Reach(place.store, place.namespace).opened() as store:
        found = {}
        for position, asking in askings.items():
            state, _ = await store.read(call_key(asking.call_id))
            found[position] = DeadCall(asking, call_record(state))
        return found


def _asking(topic: str, letter: DeadEvent) -> Asking | None:
    if not is_queue(topic):
        return None
    try:
        return Asking.read(letter.message)
    except Misuse:
        return None
