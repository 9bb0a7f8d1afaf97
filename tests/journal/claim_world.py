"""The rule of claims, driven as a store and the shells drive it.

A step of the model is one atomic write of the store, or the death of an actor: so a death before a write, and one after
it, are both among the courses. A zombie is an actor that others have taken over from, and that goes on all the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from coterie._rules import journal as rule
from coterie._rules.journal import RUN, Asked, Busy, Granted, Replayed
from coterie._rules.journal_text import Claim, Record
from tests.journal.claim_checks import (
    check_accepted,
    check_free,
    check_granted,
    check_growth,
    check_replayed,
    check_unasked,
)
from tests.journal.claim_state import (
    EPOCH,
    LEASE,
    PATHS,
    PLACE,
    TICK,
    Cast,
    Course,
    Engine,
    Hand,
    Model,
    demand_of,
)

__all__ = ["World"]


class World:
    """The rule, driven as a store and the shells drive it; every step is checked."""

    def __init__(self, cast: Cast) -> None:
        self.cast = cast
        self.start = Model(
            (None,) * len(PATHS),
            EPOCH,
            (None,) * (cast.workers + cast.wholes),
            (Engine(),) * cast.engines,
            frozenset(),
            frozenset(),
            -1,
            -1,
            None,
            None,
            0,
            0,
        )

    # What may happen

    def successors(self, model: Model) -> Iterator[tuple[Course, Model]]:
        """Every step that may be next, checked."""
        if any(pulse is not None and int(pulse) > model.now for pulse in (model.texts[1], model.texts[4])):
            yield Course("tick"), model._replace(now=model.now + TICK)
        for who, hand in enumerate(model.hands):
            whole = who >= self.cast.workers
            if hand is None:
                yield from self._asks_run(model, who) if whole else self._asks(model, who)
            else:
                yield from self._acts(model, who, hand)
        for name in range(len(model.engines)):
            yield from self._engine(model, name)
        if model.forgets < self.cast.forgets:
            yield from self._forgets(model)

    def _demands(self, model: Model, who: int) -> Iterator[Asked]:
        """All in whose name, and for whose demand, an actor may ask."""
        owner = f"w{who}.{model.owners}"
        for name, engine in enumerate(model.engines):
            demands = {engine.demand, max(0, engine.demand - 1)} if self.cast.late else {engine.demand}
            for demand in sorted(demands):
                for force in (None, *self.cast.forces):
                    for goes_on in {False, self.cast.goes_on}:
                        yield Asked(
                            owner,
                            self.cast.versions[engine.version],
                            f"e{name}",
                            LEASE,
                            demand,
                            self.cast.on_clear,
                            force,
                            goes_on,
                            self._dead(model) if self.cast.told else frozenset(),
                        )

    def _asks(self, model: Model, who: int) -> Iterator[tuple[Course, Model]]:
        for asked in self._demands(model, who):
            course = Course("ask", who, asked)
            after, found = self.claim(model, asked)
            after = after._replace(owners=model.owners + 1)
            if isinstance(found, Granted):
                hand = _granted(Hand(asked), found)
                after = _let(after, who, hand)._replace(holder=asked.owner)
            yield course, self._checked(model, course, after, found)

    def claim(self, model: Model, asked: Asked) -> tuple[Model, Granted | Replayed | Busy]:
        """What the rule says, and what is stored then."""
        changed = rule.claim(self._given(model, (*PLACE, RUN.claim, RUN.pulse)), model.now, PLACE, asked)
        after = self._written(model, changed.texts)
        if RUN.claim in changed.texts:
            after = after._replace(run_holder=None)
        return after, changed.result

    def _asks_run(self, model: Model, who: int) -> Iterator[tuple[Course, Model]]:
        for asked in self._demands(model, who):
            changed = rule.claim_run(self._given(model, RUN), model.now, asked)
            after = self._written(model, changed.texts)._replace(owners=model.owners + 1)
            if isinstance(changed.result, Granted):
                check_free(model, asked, 3)
                hand = Hand(asked, run=changed.result.guard, run_claim=changed.result.claim)
                after = _let(after, who, hand)._replace(run_holder=asked.owner)
            yield Course("ask run", who, asked), self._checked(model, Course("ask run", who, asked), after)

    def _acts(self, model: Model, who: int, hand: Hand) -> Iterator[tuple[Course, Model]]:
        yield Course("die", who), _let(model, who, None)
        if hand.late:
            for state in ("succeeded", "failed") if self.cast.fails else ("succeeded",):
                yield self._records(model, who, hand, state)
            return
        if hand.run is not None and hand.read is None:
            read = tuple((path, text) for path, text in zip(PATHS, model.texts, strict=True) if text and "/" in path)
            yield Course("read", who), _let(model, who, hand._replace(read=read))
            return
        if hand.run is not None and hand.guard is None:
            yield from self._looks_up(model, who, hand)
            return
        yield from self._renews(model, who, hand)
        for state in ("succeeded", "failed") if self.cast.fails else ("succeeded",):
            yield self._records(model, who, hand, state)
        # Its work was refused, cancelled, or it could not be told whether it was recorded.
        assert hand.guard is not None
        if hand.guard != hand.run:
            held = dict(zip(PATHS, model.texts, strict=True))[hand.guard.path] == hand.guard.text
            after = self._written(model, {PLACE.pulse: None}) if held else model
            yield Course("hand back", who), _let(after, who, None)
            if self.cast.delayed:
                yield Course("hand back, write late", who), _let(after, who, hand._replace(late=True))

    def _renews(self, model: Model, who: int, hand: Hand) -> Iterator[tuple[Course, Model]]:
        assert hand.guard is not None
        pulse = RUN.pulse if hand.guard == hand.run else PLACE.pulse
        changed = rule.renew(self._given(model, (hand.guard.path, pulse)), model.now, pulse, hand.guard, LEASE)
        yield Course("renew", who), self._written(model, changed.texts)

    def _records(self, model: Model, who: int, hand: Hand, state: str) -> tuple[Course, Model]:
        course = Course(state, who)
        asked, guard = hand.asked, hand.guard
        assert guard is not None
        result, given = {"state": state}, dict(hand.given)
        record = Record(hand.epoch, asked.fingerprint, result, asked.engine_run, given=given, forced=hand.forced)
        after = _let(model, who, None)
        if self._given(model, [guard.path])[guard.path] == guard.text:
            own = guard != hand.run
            texts = {PLACE.record: record.text(), **({PLACE.pulse: None} if own else {RUN.pulse: None})}
            after = self._accepted(self._written(after, texts), hand, state)
            check_accepted(model, hand, record)
        return course, self._checked(model, course, after)

    def _accepted(self, model: Model, hand: Hand, state: str) -> Model:
        asked = hand.asked
        own = demand_of(hand.why, asked)
        honoured = model.honoured if own is None else model.honoured | {own}
        # What was tried since a demand, and in vain, was tried for it.
        engines = model.engines
        for name, demand in model.begun | {(int(asked.engine_run[1:]), asked.demand)}:
            engines = _answered(engines, name, demand)
        if state == "succeeded":
            engines = self._may_take(engines, int(asked.engine_run[1:]), hand.epoch, asked.demand)
        honoured |= {("force", name) for name in hand.forced}
        return model._replace(honoured=honoured, begun=frozenset(), engines=engines)

    def _may_take(self, engines: tuple[Engine, ...], number: int, epoch: int, demand: int) -> tuple[Engine, ...]:
        """An engine's run has a success before it: whether it takes it for one is another step, perhaps late."""
        if not self.cast.notes or engines[number].took != (-1, -1):
            return engines
        return _with(engines, number, lambda e: e._replace(took=(epoch, demand)))

    def _looks_up(self, model: Model, who: int, hand: Hand) -> Iterator[tuple[Course, Model]]:
        """As the book of a run that was claimed as a whole does."""
        assert hand.run is not None
        assert hand.run_claim is not None
        texts = dict(hand.read or ())
        held = Claim.read(texts.get(PLACE.claim), PLACE.claim)
        course = Course("look up", who)
        text = texts.get(PLACE.record)
        record = None if text is None else Record.read(text, PLACE.record)
        known = rule.known_claim(record, held, hand.run_claim)
        verdict = rule.judge(record, known, hand.asked)
        finished = verdict.why is None and record is not None
        if held.owner and not (finished and (record.succeeded or PLACE.pulse not in texts)):
            after, found = self.claim(model, hand.asked)
            if isinstance(found, Granted):
                after = _let(after, who, _granted(hand, found))._replace(holder=hand.asked.owner)
            elif isinstance(found, Replayed):
                after = _let(after, who, None)
            yield course, self._checked(model, course, after, found)
            return
        if finished:
            yield course, _let(model, who, None)
            return
        check_unasked(model, hand, verdict)
        got = hand._replace(
            guard=hand.run,
            epoch=verdict.epoch,
            why=verdict.why,
            forced=rule.forced_after(record, known, hand.asked),
            given=tuple(rule.given_after(record, known, hand.asked).items()),
        )
        yield course, _let(model, who, got)._replace(worked=max(model.worked, verdict.epoch))

    def _engine(self, model: Model, number: int) -> Iterator[tuple[Course, Model]]:
        engine = model.engines[number]
        if engine.took != (-1, -1):
            noted = rule.note_seen(self._given(model, [PLACE.record]), PLACE, f"e{number}", engine.took[1])
            forgot = _with(model.engines, number, lambda e: e._replace(took=(-1, -1)))
            after = self._written(model, noted.texts)._replace(engines=forgot)
            yield Course("take", number), self._checked(model, Course("take", number), after)
            # Its worker was lost before the engine heard of the success.
            yield Course("miss", number), model._replace(engines=forgot)
        if engine.demand < self.cast.clears:
            cleared = _with(model.engines, number, lambda e: e._replace(demand=e.demand + 1))
            yield Course("clear", number), model._replace(engines=cleared)
        if engine.version + 1 < len(self.cast.versions):
            changed = _with(model.engines, number, lambda e: e._replace(version=e.version + 1))
            yield Course("change", number), model._replace(engines=changed)

    def _forgets(self, model: Model) -> Iterator[tuple[Course, Model]]:
        changed = rule.forget(self._given(model, (*PLACE, RUN.claim)), PLACE)
        after = self._written(model, changed.texts)
        if changed.result:
            demand = ("forget", model.forgets)
            honoured = after.honoured | {demand}
            after = after._replace(
                holder=None, honoured=honoured, forgets=model.forgets + 1, floor=max(model.floor, model.worked)
            )
            yield Course("forget"), self._checked(model, Course("forget"), after)

    # The store

    def _given(self, model: Model, paths: Any) -> Mapping[str, str | None]:
        texts = dict(zip(PATHS, model.texts, strict=True))
        return {path: texts[path] for path in paths}

    def _written(self, model: Model, texts: Mapping[str, str | None]) -> Model:
        return model._replace(texts=tuple(texts.get(path, text) for path, text in zip(PATHS, model.texts, strict=True)))

    def _dead(self, model: Model) -> frozenset[str]:
        living = {hand.asked.owner for hand in model.hands if hand is not None}
        found = {Claim.read(text, "").owner for text in (model.texts[0], model.texts[3])}
        return frozenset(found - living - {""})

    # What must hold

    def _checked(self, before: Model, course: Course, after: Model, found: object = None) -> Model:
        check_growth(before, after)
        if isinstance(found, Granted):
            after = check_granted(before, course, after, found)
        elif isinstance(found, Replayed):
            asked = course.more if course.what == "ask" else before.hands[course.who].asked  # type: ignore[union-attr]
            check_replayed(self.cast, before, asked, found)
            engine = int(asked.engine_run[1:])
            engines = after.engines
            # Of a success it is remembered only for what demand it was given: nobody does it anew who did not take it.
            if asked.demand or not found.record.succeeded:
                engines = _answered(engines, engine, asked.demand)
            if found.record.succeeded:
                engines = self._may_take(engines, engine, found.record.epoch, asked.demand)
            after = after._replace(engines=engines)
        return after

    def check_live(self, model: Model) -> None:
        """Nothing is wedged: once every lease is over, whoever asks is granted the unit, or given the record."""
        late = model._replace(now=model.now + 10 * LEASE)
        for asked in self._demands(late, 0):
            found = self.claim(late, replace(asked, owner="late"))[1]
            assert not isinstance(found, Busy), f"{asked} finds {found}"
        changed = rule.claim_run(self._given(late, RUN), late.now, replace(asked, owner="late"))
        assert isinstance(changed.result, Granted)

    def abstract(self, model: Model) -> Any:
        """What can matter later: equal for states with the same future."""
        owners = {hand.asked.owner: who for who, hand in enumerate(model.hands) if hand is not None}
        claim, pulse, record, run, run_pulse, _ = model.texts
        held, whole = Claim.read(claim, ""), Claim.read(run, "")

        def named(owner: str) -> Any:
            return owners.get(owner, "gone" if owner else "")

        def left(text: str | None) -> int:
            return -1 if text is None else max(0, int(text) - model.now)

        def form(text: str | None) -> Any:
            if text is None:
                return None
            found = Record.read(text, "")
            return (
                found.epoch, found.fingerprint, found.result["state"], found.by, found.forced,
                tuple(sorted(found.given.items())), tuple(sorted(found.seen.items())),
            )  # fmt: skip

        def hand_of(hand: Hand | None) -> Any:
            if hand is None:
                return None
            a = hand.asked
            guard = hand.guard and (hand.guard.text in (claim, run), hand.guard == hand.run)
            read = None
            if hand.read is not None and hand.guard is None:
                texts = dict(hand.read)
                known = Claim.read(texts.get(PLACE.claim), "")
                read = (
                    known.epoch, bool(known.owner), known.token > 0, known.forced, PLACE.pulse in texts,
                    form(texts.get(PLACE.record)),
                )  # fmt: skip
            base = hand.run_claim and (hand.run_claim.epoch, hand.run_claim.token > 1, hand.run_claim.forced)
            return (
                a.fingerprint, a.engine_run, a.demand, a.force, a.goes_on, guard, hand.epoch, hand.why, hand.forced,
                tuple(sorted(hand.given)), hand.run and hand.run.text == run, base, hand.read is not None, read,
                hand.late,
            )  # fmt: skip

        return (
            (
                held.epoch,
                named(held.owner),
                held.token > 0,
                held.forced,
                tuple(sorted(held.given.items())),
                left(pulse),
            ),
            (whole.epoch, named(whole.owner), min(whole.token, 2), whole.forced, left(run_pulse)),
            form(record),
            tuple(hand_of(hand) for hand in model.hands),
            model.engines,
            model.honoured,
            model.begun,
            model.worked,
            model.floor,
            named(model.holder or ""),
            named(model.run_holder or ""),
            model.forgets,
        )


def _granted(hand: Hand, found: Granted) -> Hand:
    claim = found.claim
    given = tuple(claim.given.items())
    return hand._replace(guard=found.guard, epoch=claim.epoch, why=found.why, forced=claim.forced, given=given)


def _let(model: Model, who: int, hand: Hand | None) -> Model:
    return model._replace(hands=tuple(hand if other == who else kept for other, kept in enumerate(model.hands)))


def _with(engines: tuple[Engine, ...], number: int, change: Any) -> tuple[Engine, ...]:
    return tuple(change(engine) if other == number else engine for other, engine in enumerate(engines))


def _answered(engines: tuple[Engine, ...], number: int, demand: int) -> tuple[Engine, ...]:
    return _with(engines, number, lambda engine: engine._replace(answered=max(engine.answered, demand)))
