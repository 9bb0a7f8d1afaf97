"""A person's answer in a journal: the first one stands, and only to what is asked now.

    approval/<task>    what is asked (`Ask`), and the answer (`Decision`) once there is one

Whoever was granted the task asks, under the guard of that grant; whoever knows the run's name may answer, without one.
What is asked is another question once what it was asked about is: the fingerprint takes the question, the input and the
outputs before it; the epoch and the number, that a person wants it asked anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple, TypeAlias

from coterie._rules.approval_answer import Expired, at_timeout, checked
from coterie._rules.journal import RUN, Place, known_claim
from coterie._rules.journal_text import FINGERPRINT_DIGITS, FORMAT, LOCAL, Claim, Record, dumped, parsed
from coterie._rules.written import Changed, Guard
from coterie.approval import Approval, Decision
from coterie.errors import Misuse, StateFormatError

__all__ = [
    "Answered",
    "Ask",
    "PlaceKind",
    "Sheet",
    "answer",
    "answer_paths",
    "ask",
    "ask_paths",
    "is_over",
    "next_number",
    "sheet_path",
    "standing",
    "time_out",
]

# Who asks: an engine of this process, or a scheduler.
PlaceKind: TypeAlias = Literal["process", "airflow", "prefect"]


@dataclass(frozen=True, slots=True)
class Ask:
    """One question about one state of affairs.

    role: who is asked. input, context: what it is about, as far as it can be shown. fingerprint, epoch: of the task.
    number: counts from 1 what was asked in that epoch: what has changed back is asked anew, and so is what was refused
    if a person wants it so. by: the run of an engine that asks. place, where: what the person needs to find it there.
    at, until: seconds since the epoch.
    """

    approval: Approval
    role: str
    fingerprint: str
    epoch: int = 0
    number: int = 1
    input: str = ""
    context: Mapping[str, str] = field(default_factory=dict)
    by: str = LOCAL
    place: PlaceKind = "process"
    where: str = ""
    at: float = 0.0
    until: float | None = None

    @property
    def id(self) -> str:
        """Names this very question."""
        return f"{self.fingerprint[:FINGERPRINT_DIGITS]}.{self.epoch}.{self.number}"

    def begun(self, now_s: float) -> Ask:
        """The question as it is first asked at `now_s`."""
        timeout_s = self.approval.timeout_s
        return replace(self, at=round(now_s, 6), until=None if timeout_s is None else round(now_s + timeout_s, 6))


@dataclass(frozen=True, slots=True)
class Sheet:
    """What is asked, and how it was answered, if it was. fresh: asked just now for the first time; not kept."""

    asked: Ask
    end: Decision | Expired | None = None
    fresh: bool = field(default=False, compare=False)

    @property
    def decision(self) -> Decision | None:
        """The answer, if there is one."""
        return self.end if isinstance(self.end, Decision) else None

    def text(self) -> str:
        """What is stored."""
        asked = self.asked
        document: dict[str, Any] = {
            "v": FORMAT,
            "asked": {
                **asked.approval.to_dict(),
                # Said in full: whoever reads the text need not know what is so by default.
                "choices": list(asked.approval.choices),
                "rejects": list(asked.approval.rejects),
                "role": asked.role,
                "input": asked.input,
                "context": dict(asked.context),
                "fingerprint": asked.fingerprint[:FINGERPRINT_DIGITS],
                "epoch": asked.epoch,
                "number": asked.number,
                "at": asked.at,
                "until": asked.until,
                "by": asked.by,
                "place": asked.place,
                "where": asked.where,
            },
            "decision": self.end.to_dict() if isinstance(self.end, Decision) else None,
        }
        if isinstance(self.end, Expired):
            document["expired"] = self.end.at
        return dumped(document)

    @staticmethod
    def read(text: str, what: str) -> Sheet:
        """The sheet behind a text."""
        found = parsed(text, what)
        try:
            asked = dict(found["asked"])
            own = {name: asked.pop(name) for name in _OWN}
            decision, expired = found["decision"], found.get("expired")
            end = Decision.from_dict(decision) if decision else None if expired is None else Expired(expired)
            return Sheet(Ask(Approval.from_dict(asked), **own), end)
        except (KeyError, TypeError, Misuse) as error:
            raise StateFormatError(
                f"the journal's text {what!r} is not whole: {error!r}; look at it before it is used"
            ) from error


_OWN = ("role", "input", "context", "fingerprint", "epoch", "number", "at", "until", "by", "place", "where")


class Answered(NamedTuple):
    """What became of an answer, and the sheet as it is then.

    decided: it stands. repeated: it stood before, word for word. late: another stood before. expired: the time was
    over. elsewhere: a scheduler wants it answered there. not_asked: nothing is asked, or something else is.
    """

    verdict: Literal["decided", "repeated", "late", "expired", "elsewhere", "not_asked"]
    sheet: Sheet | None


def sheet_path(task_id: str) -> str:
    """Where the question and the answer of a task lie."""
    return f"approval/{task_id}"


def next_number(before: Record | None, epoch: int, fingerprint: str) -> int:
    """The least number of the next question: one that is recorded as refused is not it.

    One that is recorded as decided is: it is looked at again because its output is gone, and the answer still stands.
    """
    if before is None or (before.epoch, before.fingerprint) != (epoch, fingerprint[:FINGERPRINT_DIGITS]):
        return 1
    number = int(before.result.get("attempts", 0))
    return max(1, number if before.succeeded else number + 1)


def ask_paths(path: str, guard: Guard) -> tuple[str, ...]:
    """The texts that `ask` reads and writes."""
    return (path, guard.path, RUN.record)


def ask(texts: Mapping[str, str | None], now: int, path: str, asked: Ask, guard: Guard) -> Changed[Sheet | None]:
    """Ask, unless the very same is asked already: then nothing changes but where. None: the asker's grant is over.

    asked: its number is the least that it may have.
    """
    if texts[guard.path] != guard.text:
        return Changed({}, None)
    text = texts[path]
    sheet = None if text is None else Sheet.read(text, path)
    if sheet is None or not _is_same(sheet.asked, asked):
        if sheet is not None and sheet.asked.epoch == asked.epoch:
            # No two questions have one name, whatever changes back and forth.
            asked = replace(asked, number=max(asked.number, sheet.asked.number + 1))
        fresh = Sheet(asked.begun(now / 1e6), fresh=True)
        # A run in which somebody is asked is not over, whoever said so before.
        over: dict[str, str | None] = {RUN.record: None} if texts[RUN.record] is not None else {}
        return Changed({path: fresh.text(), **over}, fresh)
    moved = replace(sheet.asked, by=asked.by, place=asked.place, where=asked.where)
    if moved == sheet.asked or sheet.end is not None:
        return Changed({}, sheet)
    sheet = replace(sheet, asked=moved)
    return Changed({path: sheet.text()}, sheet)


def _is_same(known: Ask, asked: Ask) -> bool:
    digits = slice(FINGERPRINT_DIGITS)
    same = (known.fingerprint[digits], known.epoch) == (asked.fingerprint[digits], asked.epoch)
    return same and known.number >= asked.number


def answer_paths(path: str, place: Place) -> tuple[str, ...]:
    """The texts that `answer` and `time_out` read and write. place: of the task."""
    return (path, place.claim, place.record, RUN.claim, RUN.record)


def answer(
    texts: Mapping[str, str | None],
    now: int,
    path: str,
    place: Place,
    given: Decision,
    *,
    asked_id: str | None = None,
    anyway: bool = False,
) -> Changed[Answered]:
    """Take an answer, if it is the first.

    given: checked only once it would stand; its instant is that of the store's clock where it has none (0). asked_id:
    the question that the answer is to, as its scheduler knows it, where it is in time by that; None: whatever is asked,
    by a person who looks into the journal. anyway: also where a scheduler wants to be answered itself.

    Raises:
        Misuse: the answer is none that may be given.
    """
    sheet = standing(texts, path, place)
    if sheet is None or (asked_id is not None and sheet.asked.id != asked_id):
        return Changed({}, Answered("not_asked", sheet))
    if sheet.end is not None:
        return Changed({}, Answered(_against(sheet, given), sheet))
    if asked_id is None and is_over(texts):
        return Changed({}, Answered("not_asked", sheet))
    now_s = now / 1e6
    until = sheet.asked.until
    if asked_id is None and until is not None and now_s >= until:
        return Changed({}, Answered("expired", sheet))
    # Nobody there would notice it soon.
    if asked_id is None and sheet.asked.place == "airflow" and not anyway:
        return Changed({}, Answered("elsewhere", sheet))
    decision = checked(sheet.asked.approval, given if given.at else replace(given, at=now_s))
    decided = Sheet(sheet.asked, decision)
    return Changed({path: decided.text()}, Answered("decided", decided))


def time_out(
    texts: Mapping[str, str | None], now: int, path: str, place: Place, asked_id: str, *, due: bool = False
) -> Changed[Sheet | None]:
    """Have the time be over, if it is and nobody has answered. None: it is not what is asked.

    due: the scheduler says that it is, by its own clock.
    """
    sheet = standing(texts, path, place)
    if sheet is None or sheet.asked.id != asked_id:
        return Changed({}, None)
    until = sheet.asked.until
    now_s = now / 1e6
    if sheet.end is not None or not (due or (until is not None and now_s >= until)):
        return Changed({}, sheet)
    over = Sheet(sheet.asked, at_timeout(sheet.asked.approval, now_s))
    return Changed({path: over.text()}, over)


def standing(texts: Mapping[str, str | None], path: str, place: Place) -> Sheet | None:
    """What is asked now; None if nothing is, or the task is to be done anew since.

    Over the texts at `answer_paths`; those that are missing may be left out.
    """
    text = texts.get(path)
    if text is None:
        return None
    sheet = Sheet.read(text, path)
    held, whole = Claim.read(texts.get(place.claim), place.claim), Claim.read(texts.get(RUN.claim), RUN.claim)
    record = texts.get(place.record)
    known = known_claim(None if record is None else Record.read(record, place.record), held, whole)
    return sheet if known.epoch <= sheet.asked.epoch else None


def is_over(texts: Mapping[str, str | None]) -> bool:
    """Whether the run ended, whatever it asks still. One that was stopped, or lost, may go on."""
    text = texts.get(RUN.record)
    return text is not None and parsed(text, RUN.record).get("status") not in ("cancelled", "lost")


def _against(sheet: Sheet, given: Decision) -> Literal["repeated", "late", "expired"]:
    stands = sheet.decision
    if stands is None:
        return "expired"
    try:
        same = replace(checked(sheet.asked.approval, given), at=stands.at) == stands
    except Misuse:
        same = False
    return "repeated" if same else "late"
