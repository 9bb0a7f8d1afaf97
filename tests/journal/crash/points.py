"""Kill a run at a point, or at several, have it gone on with, and compare: how it ends, and what was paid for it.

For any engine that can be killed and goes on: `Subject` says what is asked of one. `benchmarks/crash_points.py` puts
other libraries in coterie's place.
"""

from __future__ import annotations

import json
import random
import signal
import time
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, get_args

from tests.journal.crash.billing import Bill, Billing
from tests.journal.crash.killer import Point, What, When
from tests.journal.crash.nursery import Nursery

__all__ = ["Course", "Crashes", "Judged", "Subject", "every_point", "table"]

KILLED = -9


class Subject(Protocol):
    """An engine under test."""

    def settings(self, run: str) -> dict[str, Any]:
        """What its processes are told, to begin a run or to go on with it; they say in the file `out` how it ended.

        There: `result` of a run that ended, or `error` of one that could not go on; `counts` of its writes.
        """
        ...

    def recorded(self, run: str) -> set[str]:
        """The units of work of a run that are recorded now: by its promise, they are never paid for again."""
        ...

    def revive(self) -> None:
        """Start again what was killed beside the process, if anything was."""
        ...


@dataclass
class Course:
    """One run: killed so many times, and gone on with until it ended.

    notes: at each kill, what was recorded and how many bills there were. ended: its result.
    """

    name: str
    notes: list[tuple[set[str], int]] = field(default_factory=list)
    ended: Any = None
    bills: list[Bill] = field(default_factory=list)

    @property
    def kills(self) -> int:
        return len(self.notes)

    @property
    def again(self) -> set[str]:
        """Units that were paid for again although they were recorded before a kill."""
        return {bill.unit for recorded, paid in self.notes for bill in self.bills[paid:] if bill.unit in recorded}

    @property
    def twice(self) -> set[str]:
        """Units that were paid for more than once, as a service sees it that knows no keys."""
        return {unit for unit, count in self._counts().items() if count > 1}

    @property
    def too_often(self) -> set[str]:
        """Units that were paid for more often than the kills explain."""
        return {unit for unit, count in self._counts().items() if count > 1 + self.kills}

    @property
    def effects(self) -> set[str]:
        """Units with more than one effect on a service that knows their keys."""
        keys = Counter(unit for unit, _ in set(self.bills))
        return {unit for unit, count in keys.items() if count > 1}

    def _counts(self) -> Counter[str]:
        return Counter(bill.unit for bill in self.bills)


@dataclass
class Judged:
    """Courses of one kind, summed up. missed: those that ended before they were killed."""

    name: str
    courses: int = 0
    missed: int = 0
    kills: int = 0
    again: int = 0
    twice: int = 0
    most: int = 0
    effects: int = 0
    different: int = 0

    def add(self, course: Course, expected: Any) -> None:
        self.courses += 1
        self.missed += course.kills == 0
        self.kills += course.kills
        self.again += len(course.again)
        self.twice += len(course.twice)
        self.most = max(self.most, len(course.twice))
        self.effects += len(course.effects)
        self.different += course.ended != expected


class Crashes:
    """Kills runs of a subject.

    expected: how the run ends that nobody disturbs; counts: its writes; units: what is paid for.
    """

    def __init__(self, subject: Subject, nursery: Nursery, billing: Billing, folder: Path) -> None:
        self._subject = subject
        self._nursery = nursery
        self._billing = billing
        self._out = folder / "out.json"
        # The service remembers the runs of others.
        self._label = uuid.uuid4().hex[:8]
        undisturbed = f"{self._label}-undisturbed"
        found = self._try(undisturbed, None)
        assert found is not None, self._nursery.complaint()
        self.expected = found["result"]
        self.counts: dict[str, int] = found["counts"]
        self.units = Counter(bill.unit for bill in billing.of(undisturbed))
        assert set(self.units.values()) == {1}, f"paid for twice without a kill: {self.units.most_common(3)}"

    def at(self, points: Sequence[Point], name: str) -> Course:
        """A run whose processes are killed at these points, one after the other."""
        course = Course(f"{self._label}-{name}")
        for point in points:
            if not self._survived(course, self._try(course.name, point)):
                return self._checked(course)
        return self._gone_on(course)

    def at_random(self, kills: int, chance: random.Random, name: str) -> Course:
        """A run whose processes are killed so many times, at any instant."""
        course = Course(f"{self._label}-{name}")
        for _ in range(kills):
            self._out.unlink(missing_ok=True)
            self._nursery.begin(self._settings(course.name, None))
            self._wait(course.name, chance.randrange(len(self.units)))
            time.sleep(chance.uniform(0, 0.02))
            self._nursery.kill()
            if not self._survived(course, self._ended(self._nursery.end())):
                return self._checked(course)
        return self._gone_on(course)

    def stopped(self, after_bills: int, other: Nursery, name: str) -> tuple[Course, dict[str, Any] | None]:
        """A run whose process stands still after so many bills, until another has ended the run, and then goes on.

        What the first one said in the end comes along.
        """
        course = Course(f"{self._label}-{name}")
        settings = self._settings(course.name, None) | {"lease_s": 1.0}
        self._out.unlink(missing_ok=True)
        self._nursery.begin(settings)
        self._wait(course.name, after_bills)
        self._nursery.signal(signal.SIGSTOP)
        others = self._out.with_name("other.json")
        while course.ended is None:
            # As long as its lease lasts, the first one is believed.
            assert other.run(settings | {"out": str(others)}) == 0, other.complaint()
            course.ended = json.loads(others.read_text()).get("result")
        self._nursery.signal(signal.SIGCONT)
        said = self._ended(self._nursery.end())
        return self._checked(course), said

    def _wait(self, run: str, bills: int) -> None:
        """Until there are so many, or the process has ended."""
        while len(self._billing.of(run)) < bills and not self._nursery.is_over:
            time.sleep(0.002)

    def _gone_on(self, course: Course) -> Course:
        found = self._try(course.name, None)
        assert found is not None, f"{course.name} did not go on: {self._nursery.complaint()}"
        assert "result" in found, f"{course.name} did not go on: {found}"
        course.ended = found["result"]
        return self._checked(course)

    def _survived(self, course: Course, found: dict[str, Any] | None) -> bool:
        """Note what there was at the kill; False if there was none, as the run had ended."""
        if found is not None and "result" in found:
            course.ended = found["result"]
            return False
        self._subject.revive()
        course.notes.append((self._subject.recorded(course.name), len(self._billing.of(course.name))))
        return True

    def _checked(self, course: Course) -> Course:
        course.bills = self._billing.of(course.name)
        return course

    def _settings(self, run: str, point: Point | None) -> dict[str, Any]:
        more = {"run": run, "billing": self._billing.port, "kill": point, "out": str(self._out)}
        return self._subject.settings(run) | more

    def _try(self, run: str, point: Point | None) -> dict[str, Any] | None:
        """One more process for the run; what it said in the end, None if it was killed."""
        self._out.unlink(missing_ok=True)
        return self._ended(self._nursery.run(self._settings(run, point)))

    def _ended(self, code: int) -> dict[str, Any] | None:
        assert code in (0, KILLED), f"exit code {code}: {self._nursery.complaint()}"
        if code == KILLED or not self._out.exists():
            return None
        found: dict[str, Any] = json.loads(self._out.read_text())
        return found


def every_point(counts: dict[str, int], *, what: Sequence[What] = get_args(What), victim: int = 0) -> Iterator[Point]:
    """Before and after each write of an undisturbed run."""
    whens: tuple[When, ...] = get_args(When)
    for kind in what:
        for number in range(1, counts.get(kind, 0) + 1):
            for when in whens:
                yield Point(kind, number, when, victim)


def table(judged: Iterable[Judged]) -> str:
    """What came of it, for people."""
    heads = ["killed", "runs", "kills", "missed", "paid twice", "most in a run", "recorded, paid again", "two effects",
             "another end"]  # fmt: skip
    rows = [
        [one.name, one.courses, one.kills, one.missed, one.twice, one.most, one.again, one.effects, one.different]
        for one in judged
    ]
    widths = [max(len(str(row[i])) for row in [heads, *rows]) for i in range(len(heads))]
    return "\n".join(_line(row, widths) for row in [heads, *rows])


def _line(row: Sequence[object], widths: Sequence[int]) -> str:
    first, *rest = row
    return "  ".join(
        [f"{first:<{widths[0]}}", *(f"{cell:>{width}}" for cell, width in zip(rest, widths[1:], strict=True))]
    )
