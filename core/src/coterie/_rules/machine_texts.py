"""A machine's rule over the texts of its run: what is read, and what is written in one step.

    machine                    where it is (`Head`)
    machine/definition         what it is, its parameters included
    machine/visit/<number>     one visit, once it has been left or its action has ended
    machine/event/<hash>       by the event's id: what that event did, so that it never does so again
    machine/traced             that somebody has made the run's span
    status                     how the run ended, as of every run

All of one step is written together, or not at all.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Literal, NamedTuple

from coterie._rules import machine as rule
from coterie._rules.journal import RUN
from coterie._rules.journal_text import FORMAT, dumped, parsed
from coterie._rules.machine import Ended, Input, Sent, Verdict
from coterie._rules.machine_record import Head, Visit
from coterie._rules.machine_table import Table
from coterie._rules.written import Changed
from coterie.errors import Misuse

__all__ = [
    "BEGIN_PATHS", "DEFINITION", "HEAD", "Answer", "Receipt", "apply", "begin", "event_path", "paths_of", "visit_path",
]  # fmt: skip

HEAD = "machine"
DEFINITION = "machine/definition"
# The texts that `begin` may read and write.
BEGIN_PATHS = (HEAD, DEFINITION, RUN.record)


@dataclass(frozen=True, slots=True)
class Receipt:
    """What an event did: it left the visit `visit` of `state`, for the state `to` (None: the machine ended), at `at`.

    event_id, event, who: as it was sent. at: seconds since the epoch, on the store's clock.
    """

    event_id: str
    event: str
    who: str
    visit: int
    state: str
    to: str | None
    at: float

    def text(self) -> str:
        """What is stored."""
        return dumped({"v": FORMAT, **asdict(self)})

    @staticmethod
    def read(text: str, what: str) -> Receipt:
        """The receipt behind a text."""
        found = parsed(text, what)
        del found["v"]
        return Receipt(**found)


class Answer(NamedTuple):
    """head: None where there is no such machine. verdict: the rule's, or that nothing was decided.

    elsewhere: the machine is at another visit by now; ask again. changed: it goes by another definition by now.
    receipt: of an event that was taken, now or before.
    """

    head: Head | None
    verdict: Verdict | Literal["elsewhere", "changed"]
    receipt: Receipt | None = None
    why: str = ""


def visit_path(number: int) -> str:
    """Where the record of a visit lies."""
    return f"machine/visit/{number}"


def event_path(event_id: str) -> str:
    """Where it lies what an event did."""
    return f"machine/event/{hashlib.sha256(event_id.encode()).hexdigest()[:40]}"


def paths_of(what: Input, visit: int) -> list[str]:
    """The texts that a decision may read and write, if the machine is at that visit."""
    # Two visits: a time-out may be due before what comes in is looked at.
    found = [HEAD, visit_path(visit), visit_path(visit + 1), RUN.record]
    return [*found, event_path(what.event_id)] if isinstance(what, Sent) else found


def begin(
    texts: Mapping[str, str | None], now: int, table: Table, version: str, definition: str, *, allow_changes: bool
) -> Changed[Head]:
    """Begin a machine, unless it has begun; over the texts at `BEGIN_PATHS`. The result is as it is then.

    definition: the text that others find it by. A machine that began with another version goes on with this one if
    `allow_changes`, and if the state that it is in is there; else nothing is changed, and the result has its version.
    """
    text = texts[HEAD]
    if text is None:
        head = rule.begin(table, version, now)
        return Changed({HEAD: head.text(), DEFINITION: definition}, head)
    head = Head.read(text, HEAD)
    adopted = rule.adopt(table, head, version, now) if allow_changes and head.version != version else None
    if adopted is None:
        return Changed({}, head)
    # Where its state is a final one now, the machine ends here.
    over = _ended(adopted, now) if adopted.phase == "over" != head.phase else {}
    return Changed({HEAD: adopted.text(), DEFINITION: definition, **over}, adopted)


def apply(
    texts: Mapping[str, str | None], now: int, table: Table, what: Input, *, version: str, visit: int
) -> Changed[Answer]:
    """Take what comes in; over the texts at `paths_of(what, visit)`.

    Raises:
        Misuse: the event's id is that of another event.
    """
    text = texts[HEAD]
    if text is None:
        return Changed({}, Answer(None, "elsewhere"))
    head = Head.read(text, HEAD)
    if isinstance(what, Sent):
        before = _receipt(texts, what)
        if before is not None:
            return Changed({}, Answer(head, "repeated", before))
    if head.version != version:
        return Changed({}, Answer(head, "changed"))
    if head.visit != visit:
        return Changed({}, Answer(head, "late" if isinstance(what, Ended) else "elsewhere"))
    step = rule.take(table, head, what, now)
    writes: dict[str, str | None] = {} if step.head is head else {HEAD: step.head.text()}
    for left in step.visits:
        path = visit_path(left.number)
        writes[path] = _with_result(left, texts[path]).text()
    if step.head.phase == "over" != head.phase:
        writes |= _ended(step.head, now)
    if not isinstance(what, Sent) or step.verdict != "moved":
        return Changed(writes, Answer(step.head, step.verdict, why=step.why))
    last = step.visits[-1]
    receipt = Receipt(what.event_id, what.name, what.who, last.number, last.state, last.to, now / 1e6)
    return Changed({**writes, event_path(what.event_id): receipt.text()}, Answer(step.head, "moved", receipt))


def _ended(head: Head, now: int) -> dict[str, str]:
    """How the run ended, as of every run."""
    return {RUN.record: dumped({"v": FORMAT, "status": head.status, "at": round(now / 1e6, 3), "by": "machine"})}


def _receipt(texts: Mapping[str, str | None], sent: Sent) -> Receipt | None:
    path = event_path(sent.event_id)
    text = texts[path]
    if text is None:
        return None
    before = Receipt.read(text, path)
    if before.event != sent.name:
        raise Misuse(
            f"the event id {sent.event_id!r} is that of the event {before.event!r}, taken before; "
            f"give {sent.name!r} an id of its own"
        )
    return before


def _with_result(left: Visit, before: str | None) -> Visit:
    """The record with what the action gave, if that had ended before."""
    if left.result is not None or before is None:
        return left
    return replace(left, result=Visit.read(before, f"visit {left.number}").result)
