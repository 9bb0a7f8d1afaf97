"""The question that a task asks a person, and the answer, in the journal of its run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

from coterie._rules import approval as rule
from coterie._rules.approval import Answered, Ask, Sheet
from coterie.approval import Decision
from coterie.errors import StaleToken
from coterie.ids import TaskId, WorkflowId
from coterie.journal.journal import Journal
from coterie.journal.place import place_of
from coterie.journal.unit import Unit

__all__ = ["ApprovalFile", "questions_in"]

_PREFIX = rule.sheet_path("")


def questions_in(texts: Mapping[str, str]) -> dict[TaskId, Sheet]:
    """What the tasks of a run ask, or asked last; without what is to be done anew since.

    Raises:
        StateFormatError: one of them cannot be read.
    """
    asking = [path.removeprefix(_PREFIX) for path in texts if path.startswith(_PREFIX)]
    sheets = {task_id: rule.standing(texts, rule.sheet_path(task_id), place_of(task_id)) for task_id in asking}
    return {task_id: sheet for task_id, sheet in sheets.items() if sheet is not None}


class ApprovalFile:
    """Of one task of a run. by: the run of an engine that asks."""

    def __init__(self, journal: Journal, run: WorkflowId, task_id: TaskId, *, by: str = "") -> None:
        self.journal = journal
        self.run = run
        self.task_id = task_id
        self._by = by
        self._path = rule.sheet_path(task_id)
        self._place = place_of(task_id)

    async def ask(self, asked: Ask, unit: Unit) -> Sheet:
        """Ask, unless that is asked already; on behalf of whoever was granted the unit.

        Raises:
            StaleToken: somebody else was granted it since. Unavailable: the journal's store failed.
        """
        number = rule.next_number(unit.before, unit.epoch, unit.fingerprint)
        asked = replace(asked, fingerprint=unit.fingerprint, epoch=unit.epoch, number=number, by=self._by)
        paths = rule.ask_paths(self._path, unit.guard)
        sheet = await self.journal.store.change(
            self.run, paths, partial(rule.ask, path=self._path, asked=asked, guard=unit.guard)
        )
        if sheet is None:
            raise StaleToken(f"somebody else does {unit.name!r} of the run {self.run!r} by now; look at it there")
        return sheet

    async def look(self) -> tuple[Sheet | None, float]:
        """What is asked now, if anything is, and the store's clock, in seconds since the epoch."""
        texts, now = await self.journal.store.get(self.run, rule.answer_paths(self._path, self._place))
        return rule.standing(texts, self._path, self._place), now / 1e6

    async def answer(self, given: Decision, *, asked_id: str | None = None, anyway: bool = False) -> Answered:
        """Give an answer; see `_rules.approval.answer`.

        Raises:
            Misuse: it is none that may be given. Unavailable: whether it was taken is not known; give it again.
        """
        decide = partial(rule.answer, path=self._path, place=self._place, given=given, asked_id=asked_id, anyway=anyway)
        return await self.journal.store.change(self.run, rule.answer_paths(self._path, self._place), decide)

    async def time_out(self, asked_id: str, *, due: bool = False) -> Sheet | None:
        """Have the time be over, if it is; see `_rules.approval.time_out`."""
        decide = partial(rule.time_out, path=self._path, place=self._place, asked_id=asked_id, due=due)
        return await self.journal.store.change(self.run, rule.answer_paths(self._path, self._place), decide)
