"""What a journal decides: whether finished work is replayed or done anew, and who may do it.

A scheduler's retry, a lost worker, a zombie and another engine get what is finished, stored failures too. Only a person
has it done anew: by clearing a task whose success the scheduler has seen, by force, or by having it forgotten; each
begins a new epoch, with idempotency keys of its own. What failed is gone on with, in its epoch, when a person clears it
or resumes the run. A changed fingerprint is other work.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple, TypeAlias

from coterie._rules.journal_text import FINGERPRINT_DIGITS, Claim, Record
from coterie._rules.written import Changed, Guard

__all__ = [
    "RUN",
    "Asked",
    "Busy",
    "Granted",
    "OnClear",
    "Place",
    "Reason",
    "Replayed",
    "Verdict",
    "claim",
    "claim_run",
    "forced_after",
    "forget",
    "given_after",
    "given_to",
    "judge",
    "known_claim",
    "note_seen",
    "renew",
]

OnClear: TypeAlias = Literal["run", "replay"]
# Why work is done: nobody did it before; it failed before; it is other work now; a person asked for it; what came of it
# is nowhere any more. Only those who look ahead tell what was refused from what else is unfinished.
Reason: TypeAlias = Literal[
    "first", "unfinished", "refused", "goes_on", "changed", "cleared", "forced", "forgotten", "output_gone"
]


class Place(NamedTuple):
    """Where a unit of work, or the run as a whole, has its texts."""

    claim: str
    pulse: str
    record: str


# The claim of a whole run; how it ended lies at the record's place.
RUN = Place("claim", "pulse", "status")


@dataclass(frozen=True, slots=True)
class Asked:
    """Somebody who would do a unit of work.

    owner: his name, like nobody else's. engine_run: the run of the engine he works for; demand: how often a person has
    asked that run to be done again. force: names a person's demand to do it anew; asked for twice, it is done once.
    goes_on: whether a person asked for what failed to be tried again. dead: owners that are known to have ended. gone:
    places of outputs that are known to be there no more.
    """

    owner: str
    fingerprint: str
    engine_run: str
    lease_us: int
    demand: int = 0
    on_clear: OnClear = "run"
    force: str | None = None
    goes_on: bool = False
    dead: frozenset[str] = field(default_factory=frozenset)
    gone: frozenset[str] = field(default_factory=frozenset)


class Verdict(NamedTuple):
    """why: the work is to be done, in `epoch`; None: the record is what the asker gets."""

    epoch: int
    why: Reason | None


@dataclass(frozen=True, slots=True)
class Granted:
    """The work is the asker's. Its records are written under `guard`. after: who had claimed it, by itself, before."""

    claim: Claim
    guard: Guard
    why: Reason
    before: Record | None
    after: Claim = field(default=Claim())


@dataclass(frozen=True, slots=True)
class Replayed:
    """It is done: this is how it ended."""

    record: Record


@dataclass(frozen=True, slots=True)
class Busy:
    """Somebody else is at it; unless he says so again, only until then (microseconds, store's clock)."""

    owner: str
    until: int
    now: int


def known_claim(record: Record | None, held: Claim, whole: Claim) -> Claim:
    """The claim that says what became of a unit of work so far: of work that nobody claimed by itself, the run's.

    Whoever had the whole run may have begun it there, in the run's epoch.
    """
    return held if held.token or record is not None else whole._replace(owner="")


def judge(record: Record | None, known: Claim, asked: Asked) -> Verdict:
    """Whether a record answers who asks. known: see `known_claim`."""
    anew = asked.force is not None and asked.force not in (*known.forced, *(record.forced if record else ()))
    if record is None or known.epoch > record.epoch:
        # Never finished; or begun anew since, and not finished; or forgotten.
        if anew and known.token:
            return Verdict(known.epoch + 1, "forced")
        if record is None:
            return Verdict(known.epoch, "unfinished" if known.token else "first")
        return Verdict(known.epoch, "unfinished" if known.owner else "forgotten")
    if anew:
        return Verdict(record.epoch + 1, "forced")
    if record.fingerprint != asked.fingerprint[:FINGERPRINT_DIGITS]:
        return Verdict(record.epoch, "changed")
    return _after_success(record, asked) if record.succeeded else _after_failure(record, known, asked)


def forced_after(record: Record | None, known: Claim, asked: Asked) -> tuple[str, ...]:
    """The demands that are met once the asker has done the work: his, and all that were met before."""
    mine = () if asked.force is None else (asked.force,)
    return tuple(dict.fromkeys((*(record.forced if record else ()), *known.forced, *mine)))


def given_after(record: Record | None, known: Claim, asked: Asked) -> Mapping[str, int]:
    """The last demands of engines' runs that are met once the asker has done the work: only later ones are new."""
    met = {asked.engine_run: asked.demand} if asked.demand else {}
    for before in (known.given, {} if record is None else {record.by: 0, **record.given}):
        for engine_run, demand in before.items():
            met[engine_run] = max(demand, met.get(engine_run, 0))
    return met


def _after_success(record: Record, asked: Asked) -> Verdict:
    cleared = asked.demand > record.seen.get(asked.engine_run, asked.demand)
    if cleared and asked.on_clear == "run":
        return Verdict(record.epoch + 1, "cleared")
    # In its epoch: the work is the same, so that its steps, and whoever knows its idempotency key, spare it.
    return Verdict(record.epoch, "output_gone" if asked.gone and _place_of_output(record) in asked.gone else None)


def _place_of_output(record: Record) -> str | None:
    output = record.result.get("output") or {}
    return output["ref"]["uri"] if "ref" in output else None


def _after_failure(record: Record, known: Claim, asked: Asked) -> Verdict:
    # Whoever recorded it was given it, without a word where nobody had demanded anything.
    given = {record.by: 0, **record.given}
    if asked.goes_on or asked.demand > given.get(asked.engine_run, asked.demand):
        return Verdict(record.epoch, "goes_on")
    # Gone on with for a demand, and not finished: whoever asks next does it.
    pending = any(demand > given.get(engine_run, 0) for engine_run, demand in known.given.items())
    return Verdict(record.epoch, "unfinished" if pending else None)


def claim(texts: Mapping[str, str | None], now: int, place: Place, asked: Asked) -> Changed[Granted | Replayed | Busy]:
    """Decide over the texts at `place` and `RUN`: replay, grant, or neither."""
    held, whole = Claim.read(texts[place.claim], place.claim), Claim.read(texts[RUN.claim], RUN.claim)
    text = texts[place.record]
    record = None if text is None else Record.read(text, place.record)
    known = known_claim(record, held, whole)
    verdict = judge(record, known, asked)
    # A success is one whoever is at work; a failure may be another's to mend.
    if verdict.why is None and record is not None and record.succeeded:
        return _replayed(record, place, asked)
    if held.owner != asked.owner:
        for other, pulse in ((held, texts[place.pulse]), (whole, texts[RUN.pulse])):
            if _is_held(other, pulse, now, asked):
                return Changed({}, Busy(other.owner, _instant(pulse), now))
    if verdict.why is None:
        assert record is not None
        return _replayed(record, place, asked)
    given = given_after(record, known, asked)
    wanted = Claim(held.token, verdict.epoch, asked.owner, forced_after(record, known, asked), given)
    granted = held if wanted == held else wanted._replace(token=held.token + 1)
    writes: dict[str, str | None] = {place.claim: granted.text(), place.pulse: str(now + asked.lease_us)}
    if whole.owner not in ("", asked.owner):
        # Whoever ran the whole is gone: should he wake up, his records are refused.
        writes[RUN.claim] = whole._replace(token=whole.token + 1, owner="").text()
    guard = Guard(place.claim, granted.text())
    return Changed(writes, Granted(granted, guard, verdict.why, record, held))


def claim_run(texts: Mapping[str, str | None], now: int, asked: Asked) -> Changed[Granted | Busy]:
    """Decide over the texts at `RUN`: whether the asker may run the whole."""
    held = Claim.read(texts[RUN.claim], RUN.claim)
    if _is_held(held, texts[RUN.pulse], now, asked):
        return Changed({}, Busy(held.owner, _instant(texts[RUN.pulse]), now))
    forced = forced_after(None, held, asked)
    # What the whole run's owner began, and did not finish, is begun anew by force.
    epoch = held.epoch + (held.token > 0 and forced != held.forced)
    wanted = Claim(held.token, epoch, asked.owner, forced)
    granted = held if wanted == held else wanted._replace(token=held.token + 1)
    writes = {RUN.claim: granted.text(), RUN.pulse: str(now + asked.lease_us), RUN.record: None}
    return Changed(writes, Granted(granted, Guard(RUN.claim, granted.text()), "first", None))


def renew(texts: Mapping[str, str | None], now: int, pulse: str, guard: Guard, lease_us: int) -> Changed[bool]:
    """Hold a claim for longer; whether it is still held. What was handed back, or is finished, is held no more."""
    if texts[guard.path] != guard.text or texts[pulse] is None:
        return Changed({}, result=False)
    return Changed({pulse: str(now + lease_us)}, result=True)


def forget(texts: Mapping[str, str | None], place: Place) -> Changed[bool]:
    """Have the work done anew by whoever asks next; whether there is any.

    Whoever is at it is refused his record; that of a whole run's owner does not count.
    """
    held, whole = Claim.read(texts[place.claim], place.claim), Claim.read(texts[RUN.claim], RUN.claim)
    text = texts[place.record]
    record = None if text is None else Record.read(text, place.record)
    known = known_claim(record, held, whole)
    if record is None and not known.token:
        return Changed({}, result=False)
    # Also of work that was begun and never finished: what was done of it so far is forgotten with it.
    epoch = max(known.epoch, record.epoch if record is not None else 0) + 1
    forced = tuple(dict.fromkeys((*(record.forced if record is not None else ()), *known.forced)))
    anew = Claim(held.token + 1, epoch, "", forced, known.given)
    return Changed({place.claim: anew.text(), place.pulse: None}, result=True)


def note_seen(texts: Mapping[str, str | None], place: Place, engine_run: str, demand: int) -> Changed[bool]:
    """Remember that an engine's run took the success for one; whether there is one that it can have taken.

    Word of a success of before its person's last demand that was answered comes too late: it was another.
    """
    text = texts[place.record]
    record = None if text is None else Record.read(text, place.record)
    if record is None or not record.succeeded or demand < record.given.get(engine_run, 0):
        return Changed({}, result=False)
    if record.seen.get(engine_run, -1) >= demand:
        return Changed({}, result=True)
    return Changed({place.record: replace(record, seen={**record.seen, engine_run: demand}).text()}, result=True)


def given_to(record: Record, engine_run: str, demand: int) -> Record:
    """The record, which remembers whom it was given to: only so is a later demand of theirs known to be one.

    It is the same where nothing need be remembered: a success is done anew only once it was seen.
    """
    nothing = 0 if record.succeeded or engine_run == record.by else -1
    if record.given.get(engine_run, nothing) >= demand:
        return record
    return replace(record, given={**record.given, engine_run: demand})


def _replayed(record: Record, place: Place, asked: Asked) -> Changed[Granted | Replayed | Busy]:
    noted = given_to(record, asked.engine_run, asked.demand)
    return Changed({} if noted is record else {place.record: noted.text()}, Replayed(noted))


def _is_held(held: Claim, pulse: str | None, now: int, asked: Asked) -> bool:
    return held.owner not in ("", asked.owner) and held.owner not in asked.dead and _instant(pulse) > now


def _instant(pulse: str | None) -> int:
    return int(pulse) if pulse else 0
