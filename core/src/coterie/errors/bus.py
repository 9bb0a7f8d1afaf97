"""What goes wrong between those who send events and those who receive them, and with work done elsewhere."""

from __future__ import annotations

from coterie.errors.final import Final
from coterie.errors.misuse import Misuse
from coterie.errors.refused import Refused
from coterie.errors.root import CoterieError

__all__ = [
    "CallAbandoned",
    "CallCancelled",
    "EventsLost",
    "MalformedEvent",
    "NoReply",
    "OversizedMessage",
    "RemoteFailed",
    "TopicFull",
    "UntrustedEvent",
    "WorkerIdTaken",
]


class MalformedEvent(Misuse):
    """A text that is no CloudEvent, or an event whose data are not what its type asks for."""


class UntrustedEvent(Misuse):
    """An event without a signature, with a wrong one, or one that was signed for another place or too long ago."""


class OversizedMessage(Misuse):
    """A message that is larger than its bus, or store, takes: put what is large into the artifact store."""

    def __init__(self, what: str, *, size_bytes: int, limit_bytes: int) -> None:
        self.size_bytes = size_bytes
        self.limit_bytes = limit_bytes
        super().__init__(
            f"{what} has {size_bytes} bytes, more than the {limit_bytes} that are taken; put what is large into the "
            "artifact store, and send its reference"
        )


class WorkerIdTaken(Misuse):
    """Another worker of this id is alive."""

    def __init__(self, worker_id: str, holder: str) -> None:
        self.worker_id = worker_id
        self.holder = holder
        super().__init__(
            f"a worker {worker_id!r} is alive already ({holder}); give this one another --id, or end that one"
        )


class TopicFull(Refused):
    """A topic that refuses new messages until its consumers have worked some off."""


class NoReply(Final):
    """What was asked, or waited for, did not come before its deadline. what: names it, with what is known of it."""

    def __init__(self, what: str, timeout_s: float) -> None:
        self.timeout_s = timeout_s
        super().__init__(f"{what} came to nothing within {timeout_s:g} s; is anybody there who would see to it?")


class EventsLost(CoterieError):
    """Messages were dropped before their consumer got to them: it is slower than the topic's retention allows."""

    def __init__(self, topic: str, group: str, lost: int) -> None:
        self.topic = topic
        self.group = group
        self.lost = lost
        super().__init__(
            f"{lost} messages of the topic {topic!r} were dropped before {group or 'this reader'!r} got to them; add "
            "consumers, or let the topic keep more (Retention)"
        )


class CallCancelled(Final):
    """Work that was asked of a remote worker, and that somebody cancelled."""

    def __init__(self, call_id: str, by: str) -> None:
        self.call_id = call_id
        self.by = by
        super().__init__(f"the remote call {call_id!r} was cancelled by {by}; ask for the work anew if it is wanted")


class CallAbandoned(Final):
    """Work that was given to remote workers again and again, and that none of them ended."""

    def __init__(self, call_id: str, reason: str) -> None:
        self.call_id = call_id
        self.reason = reason
        super().__init__(
            f"the remote call {call_id!r} was given up: {reason}; 'coterie dlq list --all-topics' shows it. Mend the "
            "cause, then go on with its run ('coterie runs resume RUN'), or clear the scheduler's task; requeue it "
            "only if it was asked for by hand"
        )


class RemoteFailed(Final):
    """Work that failed at a remote worker, which has tried it as often as the task allows.

    error_type: the class of the error there. worker: who says so.
    """

    def __init__(self, error_type: str, message: str, worker: str) -> None:
        self.error_type = error_type
        self.error_message = message
        self.worker = worker
        super().__init__(f"{error_type}: {message} (at the worker {worker!r})")
