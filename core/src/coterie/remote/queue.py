"""The queues of calls, one an agent type: where they lie, on which terms, and what a message of one says."""

from __future__ import annotations

import json
from typing import NamedTuple

from coterie._rules.log import Message, Retention, Terms
from coterie.errors import Misuse
from coterie.ids import AgentType, check_name

__all__ = [
    "GROUP",
    "KEEP_OPEN_S",
    "KEEP_S",
    "MAX_BYTES",
    "QUEUE",
    "Asking",
    "call_key",
    "name_of",
    "queue_terms",
    "topic_of",
]

GROUP = "workers"
# A call's record is kept so long after its end. Before that, for longer than anybody may wait, or work, for it.
KEEP_S = 7 * 86_400.0
KEEP_OPEN_S = 5 * KEEP_S
# Larger documents lie in the artifact store.
MAX_BYTES = 256 * 1024
# A queue never drops what nobody has done yet; each message is remembered for longer than it is asked for again.
QUEUE = Retention(when_full="refuse", max_messages=100_000, dedup_s=3600.0)


def topic_of(agent_type: AgentType) -> str:
    """Where the calls of a type are queued."""
    return f"tasks/{agent_type}"


def call_key(call_id: str) -> str:
    """Of a call's record; and the channel on which its changes are told."""
    return f"call/{call_id}"


def name_of(call_id: str, run: str, task: str) -> str:
    """What a call is called in logs, where it is known what it is about."""
    return f"{task} of {run} (call {call_id})" if run and task else call_id


def queue_terms(lease_s: float) -> Terms:
    """On which terms workers take calls."""
    return Terms(lease_s=lease_s, by_priority=True, begin="begin")


class Asking(NamedTuple):
    """A message: round `round_` of a call waits for a worker."""

    call_id: str
    round_: int

    def message(self, *, priority: int, again: int = 0) -> Message:
        """Its message. again: the attempt whose worker is lost, if it is told anew for that."""
        name = f"{self.call_id}.{self.round_}" + (f".{again}" if again else "")
        text = json.dumps({"v": 1, "call": self.call_id, "round": self.round_}, separators=(",", ":"))
        return Message(name, "call", text, priority=priority)

    @classmethod
    def read(cls, message: Message) -> Asking:
        """What a message says.

        Raises:
            Misuse: it is of nobody who asks for a call.
        """
        try:
            document = json.loads(message.text)
            call_id, round_ = document["call"], document["round"]
            if document["v"] != 1 or type(round_) is not int:
                raise Misuse(f"the message {message.id!r} is of another format: {message.text[:200]!r}")
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise Misuse(f"the message {message.id!r} names no call: {message.text[:200]!r}") from error
        return cls(check_name(call_id, "the id of a call"), round_)
