"""What a saga left for people, and their word that they have undone it. The journal is enough: it needs no agents."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from coterie._rules.approval_answer import MOST_NOTE_CHARS
from coterie._rules.journal_text import FORMAT, dumped, parsed
from coterie._rules.saga_text import MARKER, hand_path, letter_path
from coterie._rules.saga_text import settle as settled
from coterie._rules.written import Changed
from coterie.approval import MOST_NAME_CHARS, check_text
from coterie.errors import NoDeadLetter, UnknownRun
from coterie.ids import TaskId, WorkflowId, check_name, check_workflow_id
from coterie.journal import Journal
from coterie.saga.letter import DeadLetter

__all__ = ["Leftovers", "UndoneByHand", "leftovers", "settle"]


@dataclass(frozen=True, slots=True)
class UndoneByHand:
    """A step that a person has undone. by: who says so; empty: it is not known. at: seconds since the epoch."""

    task_id: TaskId
    by: str
    at: float
    note: str = ""

    def text(self) -> str:
        """What the journal keeps."""
        return dumped({"v": FORMAT, "by": self.by, "at": self.at, "note": self.note})

    @classmethod
    def read(cls, text: str, task_id: TaskId) -> UndoneByHand:
        """What is behind a text."""
        found = parsed(text, hand_path(task_id))
        return cls(task_id, found.get("by", ""), found["at"], found["note"])


@dataclass(frozen=True, slots=True)
class Leftovers:
    """What is left of a run that was undone. by_hand: what was left, until a person undid it.

    Both are in the order of the tasks' names. They are gone once the run begins anew.
    """

    letters: tuple[DeadLetter, ...] = ()
    by_hand: tuple[UndoneByHand, ...] = ()


async def leftovers(journal: Journal, run: WorkflowId) -> Leftovers:
    """What is left of a run for people to look at, and what they have seen to.

    Raises:
        UnknownRun: the journal does not know the run. StateFormatError: what it has cannot be read.
    """
    texts = await journal.store.read(check_workflow_id(run))
    if not texts:
        raise UnknownRun(run, journal.store.url)
    letters = [DeadLetter.read(texts[letter_path(name)], name) for name in _named(texts, letter_path(""))]
    by_hand = [UndoneByHand.read(texts[hand_path(name)], name) for name in _named(texts, hand_path(""))]
    return Leftovers(tuple(letters), tuple(by_hand))


async def settle(journal: Journal, run: WorkflowId, task_id: TaskId, *, by: str = "", note: str = "") -> UndoneByHand:
    """Keep that a person has undone a step that a dead letter is about; it is durable when this returns.

    Nobody undoes the step again. Have the run go on for what was waiting for that. Said twice, it is kept once.

    by: who, taken on trust. note: at most 2,000 characters.

    Raises:
        NoDeadLetter: there is none about it; somebody else may have settled it before. Misuse: `by` or `note`.
        UnknownRun: the journal does not know the run. Unavailable: whether it is kept is not known; say it again.
    """
    check_workflow_id(run)
    check_name(task_id, "task id")
    check_text(by, "the name of who undid it", most=MOST_NAME_CHARS)
    check_text(note, "the note", most=MOST_NOTE_CHARS, lines=True)

    def decide(texts: Mapping[str, str | None], now: int) -> Changed[str | None]:
        return settled(texts, task_id, UndoneByHand(task_id, by, round(now / 1e6, 3), note).text())

    kept = await journal.store.change(run, [MARKER, letter_path(task_id), hand_path(task_id)], decide)
    done = None if kept is None else UndoneByHand.read(kept, task_id)
    if done is None or (done.by, done.note) != (by, note):
        left = [letter.task_id for letter in (await leftovers(journal, run)).letters]
        raise NoDeadLetter(run, task_id, left=left, by=None if done is None else done.by)
    return done


def _named(texts: Mapping[str, str], prefix: str) -> list[TaskId]:
    return sorted(path.removeprefix(prefix) for path in texts if path.startswith(prefix))
