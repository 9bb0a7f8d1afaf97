"""Any history of asking, answering, timing out, recording and wanting it anew: the first answer stands."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from coterie import Approval, Decision
from coterie._rules import approval as sheets
from coterie._rules import journal
from coterie._rules.approval import Ask, Sheet
from coterie._rules.approval_answer import TIMEOUT, Expired
from coterie._rules.journal import RUN, Asked, Busy, Granted, Replayed
from coterie._rules.journal_text import Record
from coterie.journal.journal import status_text
from coterie.journal.place import place_of

PLACE = place_of("ask")
PATH = sheets.sheet_path("ask")
CHOICES = ("approve", "reject")
QUESTIONS = {
    "plain": Approval("Go?"),
    "short": Approval("Go?", timeout_s=5),
    "kind": Approval("Go?", timeout_s=5, on_timeout="approve"),
}
PEOPLE = st.sampled_from(["ann", "bob"])
SECOND = 10**6


class Histories(RuleBasedStateMachine):
    """Workers of two engines, people, and a store of texts."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: dict[str, str | None] = dict.fromkeys((PATH, *PLACE, *RUN))
        self.now = 10**15
        self.owners = 0
        self.question = QUESTIONS["plain"]
        # How each question ended; and all that were ever asked.
        self.ends: dict[str, Decision | Expired] = {}
        self.ids: list[str] = []
        # What became of the task, each time that it was recorded: the question, and what stood on its sheet then.
        self.recorded: list[tuple[str, Decision | Expired]] = []
        self.granted: tuple[Granted, str, Ask] | None = None

    @initialize(kind=st.sampled_from(sorted(QUESTIONS)))
    def begin(self, kind: str) -> None:
        self.question = QUESTIONS[kind]

    def put(self, changed: Any) -> Any:
        assert changed.texts.keys() <= self.texts.keys()
        self.texts |= changed.texts
        return changed.result

    def given(self, *paths: str) -> dict[str, str | None]:
        return {path: self.texts[path] for path in paths}

    def sheet(self) -> Sheet | None:
        text = self.texts[PATH]
        return None if text is None else Sheet.read(text, PATH)

    @rule(version=st.sampled_from("ab"), goes_on=st.booleans(), force=st.sampled_from([None, None, "f", "g"]))
    def ask(self, version: str, goes_on: bool, force: str | None) -> None:
        """A worker has the task granted, and asks; or it is told how it ended."""
        self.owners += 1
        fingerprint = version * 64
        asked = Asked(f"o{self.owners}", fingerprint, "e", 30 * SECOND, goes_on=goes_on, force=force)
        asked = replace(asked, dead=frozenset(f"o{number}" for number in range(self.owners)))
        found = self.put(journal.claim(self.given(*PLACE, RUN.claim, RUN.pulse), self.now, PLACE, asked))
        assert not isinstance(found, Busy)
        if isinstance(found, Replayed):
            return
        number = sheets.next_number(found.before, found.claim.epoch, fingerprint)
        ask = Ask(self.question, "editor", fingerprint, found.claim.epoch, number)
        before = self.sheet()
        sheet = self.put(sheets.ask(self.given(*sheets.ask_paths(PATH, found.guard)), self.now, PATH, ask, found.guard))
        assert sheet is not None
        same = before is not None and (before.asked.fingerprint, before.asked.epoch) == (fingerprint[:32], ask.epoch)
        if before is not None and same and before.asked.number >= number:
            # Asked already: since when, until when, and what was answered, stays.
            assert sheet == before
        else:
            assert sheet.fresh
            assert sheet.end is None
            assert sheet.asked.id not in self.ids
        self.ids.append(sheet.asked.id)
        self.granted = (found, fingerprint, sheet.asked)

    @precondition(lambda self: self.ids)
    @rule(data=st.data(), choice=st.sampled_from(CHOICES), by=PEOPLE, by_scheduler=st.booleans())
    def answer(self, data: st.DataObject, choice: str, by: str, by_scheduler: bool) -> None:
        """To what is asked now, or by a scheduler to what it asked at some time."""
        asked_id = data.draw(st.sampled_from(self.ids)) if by_scheduler else None
        before = self.sheet()
        paths = sheets.answer_paths(PATH, PLACE)
        found = self.put(
            sheets.answer(self.given(*paths), self.now, PATH, PLACE, Decision(choice, by, 0.0), asked_id=asked_id)
        )
        if found.verdict == "decided":
            assert before is not None
            assert by_scheduler or not sheets.is_over(self.texts)
            assert before.end is None
            assert asked_id in (None, before.asked.id)
            assert found.sheet.decision.choice == choice
            assert found.sheet.decision.by == by
        else:
            assert self.sheet() == before

    @precondition(lambda self: self.ids)
    @rule(data=st.data(), due=st.booleans())
    def time_out(self, data: st.DataObject, due: bool) -> None:
        asked_id, before = data.draw(st.sampled_from(self.ids)), self.sheet()
        paths = sheets.answer_paths(PATH, PLACE)
        after = self.put(sheets.time_out(self.given(*paths), self.now, PATH, PLACE, asked_id, due=due))
        assert before is not None
        if self.sheet() != before:
            assert before.end is None
            assert before.asked.id == asked_id
            until = before.asked.until
            assert due or (until is not None and self.now / 1e6 >= until)
            assert isinstance(after.end, Expired) or after.end.by == TIMEOUT

    @precondition(lambda self: self.granted is not None)
    @rule()
    def record(self) -> None:
        """Whoever was granted the task records how it ended, unless somebody else was since."""
        assert self.granted is not None
        (granted, fingerprint, mine), self.granted = self.granted, None
        sheet = self.sheet()
        if sheet is None or sheet.end is None or sheet.asked.id != mine.id:
            return
        if self.texts[granted.guard.path] != granted.guard.text:
            return
        good = isinstance(sheet.end, Decision) and sheet.end.choice not in self.question.rejects
        result = {"state": "succeeded" if good else "failed", "attempts": mine.number}
        self.texts |= {
            PLACE.record: Record(granted.claim.epoch, fingerprint[:32], result, "e").text(),
            PLACE.pulse: None,
        }
        self.recorded.append((mine.id, sheet.end))

    @rule()
    def die(self) -> None:
        """Between the answer and the record, say."""
        self.granted = None

    @rule(status=st.sampled_from(["failed", "cancelled"]))
    def end(self, status: str) -> None:
        """The whole run, with what it asks unanswered: one of these says that it may go on."""
        self.texts[RUN.record] = status_text(status, self.now / 1e6, "e")

    @rule()
    def forget(self) -> None:
        self.put(journal.forget(self.given(*PLACE, RUN.claim), PLACE))

    @rule(seconds=st.integers(1, 4))
    def pass_time(self, seconds: int) -> None:
        self.now += seconds * SECOND

    @invariant()
    def the_first_answer_stands(self) -> None:
        sheet = self.sheet()
        if sheet is not None and sheet.end is not None:
            assert self.ends.setdefault(sheet.asked.id, sheet.end) == sheet.end

    @invariant()
    def what_was_recorded_was_decided(self) -> None:
        for asked_id, end in self.recorded:
            assert self.ends[asked_id] == end


TestHistories = Histories.TestCase
TestHistories.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)
