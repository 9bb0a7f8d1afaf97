"""What the files of a soak must show: nothing lost, each key in order, no duplicate that nothing explains."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal, NamedTuple

__all__ = ["DeadRow", "Found", "Handled", "Incident", "Kind", "Noted", "Records", "audit"]

# What a store notes of a consumer whose lease has ended.
UNHEARD = "was not heard of"
# killed: by SIGKILL. stopped: by SIGTERM. expelled: taken for dead by its group, while it lived.
Kind = Literal["killed", "stopped", "expelled", "outage"]


class Noted(NamedTuple):
    """What a producer was told has been published."""

    id: str
    key: str
    sequence: int
    poison: bool


class Handled(NamedTuple):
    """One call of a handler, as it wrote it down before the event was acknowledged. number: of the delivery.

    at_ns: when it began, by the clock that all processes of the machine share. ok: it did not fail. before: why the
    delivery before this one came to nothing.
    """

    id: str
    key: str
    sequence: int
    number: int
    at_ns: int
    ok: bool
    before: str = ""


class Incident(NamedTuple):
    """What befell a life of a consumer, or the server (an "outage", of no life), and when."""

    kind: Kind
    life: str
    at_ns: int


class DeadRow(NamedTuple):
    """A dead letter. reasons: of all its failures, the earliest first."""

    id: str
    number: int
    reasons: tuple[str, ...]


@dataclass
class Records:
    """All that is known of a soak.

    lives: what each life of a consumer wrote, in its order. appended: how many messages the topic ever had.
    prefetch: how many a consumer holds at most. concurrency: how many of them it has in hand. dead: the dead letters,
    before they were requeued at `requeued_ns`.
    """

    published: Sequence[Noted]
    lives: Mapping[str, Sequence[Handled]]
    appended: int
    prefetch: int
    concurrency: int
    dead: Sequence[DeadRow] = ()
    requeued_ns: int = 0
    incidents: Sequence[Incident] = field(default=())


@dataclass
class Found:
    """What an audit saw: so that a test can tell that there was anything to see."""

    events: int = 0
    duplicates: int = 0
    poison: int = 0
    befell: Counter[Kind] = field(default_factory=Counter)
    lives: int = 0


class _Call(NamedTuple):
    """A handler's call, and its place in its life's file."""

    life: str
    place: int
    row: Handled


def audit(records: Records) -> Found:
    """Raise an `AssertionError` that names the first event that is not as promised."""
    calls: dict[str, list[_Call]] = defaultdict(list)
    for life, rows in records.lives.items():
        for place, row in enumerate(rows):
            calls[row.id].append(_Call(life, place, row))
    for each in calls.values():
        each.sort(key=lambda call: call.row.at_ns)
    _check_complete(records, calls)
    _check_order(records, calls)
    found = Found(
        events=len(records.published),
        poison=len(records.dead),
        befell=Counter(incident.kind for incident in records.incidents),
        lives=len(records.lives),
    )
    twice: Counter[str] = Counter()
    for noted in records.published:
        if noted.poison:
            _check_poison(records, noted, calls[noted.id])
        else:
            found.duplicates += _check_duplicates(records, calls[noted.id], twice)
    return found


def _check_complete(records: Records, calls: Mapping[str, Sequence[_Call]]) -> None:
    published = {noted.id for noted in records.published}
    assert len(published) == len(records.published), "a producer wrote an event down twice"
    done = {id_ for id_, each in calls.items() if any(call.row.ok for call in each)}
    assert not published - done, f"lost: {sorted(published - done)[:10]} of {len(published - done)}"
    assert not set(calls) - published, f"nobody published {sorted(set(calls) - published)[:10]}"
    assert records.appended == len(published), f"{records.appended} messages for {len(published)} events"


def _check_order(records: Records, calls: Mapping[str, Sequence[_Call]]) -> None:
    """Each key: the first handling of each event in the order of its sequence, poison by its first failure."""
    keys: dict[str, list[Noted]] = defaultdict(list)
    for noted in records.published:
        keys[noted.key].append(noted)
    for key, every in keys.items():
        every.sort(key=lambda noted: noted.sequence)
        for earlier, later in pairwise(every):
            assert earlier.sequence < later.sequence, f"two of one sequence: {earlier}, {later}"
            before, after = calls[earlier.id][0], calls[later.id][0]
            assert before.row.at_ns < after.row.at_ns, f"{key!r} out of order: {before} came after {after}"


def _check_duplicates(records: Records, each: Sequence[_Call], twice: Counter[str]) -> int:
    """twice: how often deliveries of each life were handled by another, who was given them as if they had not been."""
    for call, again in pairwise(each):
        if call.row.number == again.row.number:
            twice[call.life] += 1
            # One that was expelled gives back what it has in hand, and does not know what becomes of that.
            most = records.concurrency * sum(
                incident.kind == "expelled" and incident.life == call.life for incident in records.incidents
            )
            assert twice[call.life] <= most, f"one delivery was handled twice: {call}, then {again}"
        assert _is_explained(records, call, again), f"handled again for no reason: {call}, then {again}"
    return len(each) - 1


def _is_explained(records: Records, call: _Call, again: _Call) -> bool:
    """Whether the first may not have been acknowledged, or the other did not know that it had been.

    A consumer holds at most `prefetch` events, so that what it had handled and not acknowledged when it ended is among
    the last so many of its file. One that is stopped says what it has done, unless the server is away; for the same
    reason one that lives may be heard of too late.
    """
    outages = [each.at_ns for each in records.incidents if each.kind == "outage"]
    ends = {"killed", "stopped"} if outages else {"killed"}
    if UNHEARD in again.row.before and any(at_ns < again.row.at_ns for at_ns in outages):
        return True
    is_last = len(records.lives[call.life]) - call.place <= records.prefetch
    return any(
        (each.kind in ends and each.life == call.life and is_last)
        or (each.kind == "expelled" and each.life in (call.life, again.life))
        for each in records.incidents
    )


def _check_poison(records: Records, noted: Noted, each: Sequence[_Call]) -> None:
    """It failed, is a dead letter with all its failures, and was handled after it was requeued."""
    letters = [row for row in records.dead if row.id == noted.id]
    assert len(letters) == 1, f"{noted.id} is {len(letters)} dead letters"
    (letter,) = letters
    assert len(letter.reasons) == letter.number, f"{letter} does not tell how each of its deliveries ended"
    said = sum(f"{noted.id} is poison" in reason for reason in letter.reasons)
    failed = [call for call in each if not call.row.ok]
    assert 0 < said <= len(failed), f"{letter} tells of {said} failures, {len(failed)} were seen"
    assert all(call.row.at_ns < records.requeued_ns for call in failed), f"{noted.id} failed after it was healed"
    healed = [call for call in each if call.row.ok]
    assert all(call.row.at_ns > records.requeued_ns for call in healed), f"{noted.id} was never sick"
