"""What must hold in each step of `claim_world`, by a reading of its own of what was promised."""

from __future__ import annotations

from coterie._rules.journal import Asked, Granted, Replayed, Verdict
from coterie._rules.journal_text import Claim, Record
from tests.journal.claim_state import PLACE, Cast, Course, Hand, Model, demand_of, record_of

__all__ = ["check_accepted", "check_free", "check_granted", "check_growth", "check_replayed", "check_unasked"]


def check_growth(before: Model, after: Model) -> None:
    """Tokens and epochs only grow, and no two grants share a text."""
    for place in (0, 3):
        old, new = (Claim.read(model.texts[place], "") for model in (before, after))
        assert new.token >= old.token, "a token went back"
        assert new.epoch >= old.epoch, "an epoch went back"
        if old._replace(token=0) != new._replace(token=0):
            assert new.token > old.token, "another claim has an old token"
    old_epoch, new_epoch = (record_of(model) for model in (before, after))
    if old_epoch is not None:
        assert new_epoch is not None, "a record is gone"
        assert new_epoch.epoch >= old_epoch.epoch, "a record of an older epoch took the place of a newer one"


def check_accepted(before: Model, hand: Hand, record: Record) -> None:
    """The store let a record in."""
    asked, old = hand.asked, record_of(before)
    if hand.guard == hand.run:
        assert before.run_holder == asked.owner, "a stale holder of the run recorded"
    else:
        assert before.holder == asked.owner, "a stale holder of the unit recorded"
    if old is not None and old.succeeded:
        same = (old.epoch, old.fingerprint) == (record.epoch, record.fingerprint)
        assert not same, "two successes of one epoch and fingerprint"
    assert Claim.read(before.texts[0], "").epoch <= record.epoch or hand.guard == hand.run


def check_granted(before: Model, course: Course, after: Model, found: Granted) -> Model:
    """The unit was granted: only if it is not finished, or for a demand that was not honoured before."""
    asked = course.more if course.what == "ask" else before.hands[course.who].asked  # type: ignore[union-attr]
    record, held = record_of(before), Claim.read(before.texts[0], "")
    check_free(before, asked, 0)
    check_free(before, asked, 3)
    assert found.why != "first" or before.worked < 0, "begun before, and taken for the first"
    assert found.claim.epoch > before.floor, "what was forgotten is gone on with"
    demand = demand_of(found.why, asked)
    if demand is not None:
        assert demand not in before.honoured, f"{demand} is honoured a second time"
        if demand[0] != "again":
            assert found.claim.epoch > max(held.epoch, record.epoch if record else -1), "a new demand, an old epoch"
            after = after._replace(honoured=after.honoured | {demand})
    if record is not None and record.succeeded and found.why not in ("forced", "cleared"):
        finished = held.epoch <= record.epoch and record.fingerprint == asked.fingerprint
        assert not finished, f"finished work is granted as {found.why}"
    if asked.force is not None:
        # Whoever does it anew, or for the first time, does it for this demand too.
        assert asked.force in found.claim.forced
        after = after._replace(honoured=after.honoured | {("force", asked.force)})
    after = after._replace(worked=max(after.worked, found.claim.epoch))
    if asked.demand > 0:
        after = after._replace(begun=after.begun | {(int(asked.engine_run[1:]), asked.demand)})
    return after


def check_free(before: Model, asked: Asked, place: int) -> None:
    """Nobody is granted what somebody holds who has said so in time. place: of the claim among the texts."""
    held, pulse = Claim.read(before.texts[place], ""), before.texts[place + 1]
    holds = pulse is not None and int(pulse) > before.now and held.owner not in ("", asked.owner)
    assert not holds or held.owner in asked.dead, "somebody else holds it"


def check_unasked(before: Model, hand: Hand, verdict: Verdict) -> None:
    """The owner of the run does the unit without a word: as `check_granted`, for as long as the run is his."""
    why = verdict.why or ""
    record, demand = record_of(before), demand_of(why, hand.asked)
    if before.run_holder != hand.asked.owner:
        return
    assert why != "first" or before.worked < 0, "begun before, and taken for the first"
    if before.texts[0] == dict(hand.read or ()).get(PLACE.claim):
        assert verdict.epoch > before.floor, "what was forgotten is gone on with"
    assert demand not in before.honoured, f"{demand} is honoured a second time"
    if record is not None and record.succeeded and why not in ("forced", "cleared"):
        held = Claim.read(before.texts[0], "")
        assert held.epoch > record.epoch or record.fingerprint != hand.asked.fingerprint, "finished work is done again"


def check_replayed(cast: Cast, before: Model, asked: Asked, found: Replayed) -> None:
    """Who asks is given the record: no demand of his is left."""
    record = record_of(before)
    assert record is not None
    assert record.epoch == found.record.epoch
    assert record.fingerprint == asked.fingerprint, "other work is replayed"
    assert Claim.read(before.texts[0], "").epoch <= record.epoch, "what was forgotten, or is begun anew, is replayed"
    if asked.force is not None:
        assert ("force", asked.force) in before.honoured, "a demand by force is not honoured"
    engine = before.engines[int(asked.engine_run[1:])]
    if record.succeeded:
        taken = record.seen.get(asked.engine_run)
        unheard = taken is not None and asked.demand > taken and cast.on_clear == "run"
        assert not unheard, "a clear of what the engine took is not honoured"
    else:
        assert not asked.goes_on, "a failure is replayed although a person wants it gone on with"
        assert engine.answered < 0 or asked.demand <= engine.answered, "a clear of a failure is not honoured"
