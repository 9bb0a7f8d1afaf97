"""What a closed breaker remembers of the calls that ended, and which of them is one too many.

Three memories: failures in a row (a number), the last calls (a text of runs, oldest first: "12s1f" without the ones,
"12sf"), and seconds ("calls,failures,slow" by second). None is larger than its policy allows, in memory or stored.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol, TypeAlias

from coterie._json import JsonValue
from coterie._rules.breaker_policy import Terms
from coterie._rules.timeline import SECOND
from coterie.errors import Misuse, StateFormatError

__all__ = ["FAILED", "SLOW", "Counts", "Window", "checked_runs", "exceeds", "open_window", "take"]

# Failed, slow: s success, f failure, t slow success, g slow failure.
FAILED = {"s": 0, "f": 1, "t": 0, "g": 1}
SLOW = {"s": 0, "f": 0, "t": 1, "g": 1}

# A count grows no further: 14 digits, and products of it with a share, stay exact.
_MOST = 1_000_000_000
_LONGEST_RUN = 1_000_000
_RING = re.compile(r"(?:(?:[1-9][0-9]{0,9})?[sftg])*\Z")
_RUN = re.compile(r"([0-9]*)([sftg])")
_SECOND = re.compile(r"([0-9]{1,10}),([0-9]{1,10}),([0-9]{1,10})\Z")

Run: TypeAlias = tuple[str, int]


class Counts(NamedTuple):
    """Calls in all, and those among them that failed and that were slow."""

    calls: int
    failures: int
    slow: int


class Step(NamedTuple):
    """What each of the next `length` calls of one kind does to the counts; 0: nothing more is counted."""

    calls: int
    failures: int
    slow: int
    length: int


class Window(Protocol):
    """A memory of ended calls, being added to."""

    counts: Counts

    def step(self, code: str) -> Step:
        """What the next calls that end so would change."""
        ...

    def add(self, code: str, number: int) -> None:
        """Add so many, at most as `step` allows."""
        ...

    def stored(self) -> JsonValue:
        """The form to keep; None if there is nothing to remember."""
        ...


def open_window(terms: Terms, stored: JsonValue, at: int) -> Window:
    """The memory as it is at `at`. What was stored under a policy of another mode is forgotten.

    Raises:
        StateFormatError: no mode stores such a value.
    """
    if stored is not None and not _is_form(stored):
        raise StateFormatError(f"a breaker's stored window is {str(stored)[:200]!r}; reset the breaker")
    if terms.mode == "count":
        return _Ring(terms.window_calls, stored if isinstance(stored, str) else "")
    if terms.mode == "time":
        return _Seconds(terms.window_s, at // SECOND, stored if isinstance(stored, dict) else {})
    return _Row(stored if isinstance(stored, int) else 0)


def take(window: Window, terms: Terms, runs: Iterable[Sequence[JsonValue]], *, judge: bool) -> bool:
    """Add calls in order, up to and including the first that must open the breaker; whether there is one.

    The same as adding them one at a time, in O(runs added and dropped) steps.
    """
    for code, number in checked_runs(runs):
        left = number
        while left:
            step = window.step(code)
            length = min(left, step.length)
            if not length:
                break
            found = _first_trip(terms, window.counts, step, length) if judge else 0
            window.add(code, found or length)
            if found:
                return True
            left -= length
    return False


def exceeds(terms: Terms, counts: Counts) -> bool:
    """Whether the share of failures, or of slow calls, is as large as the policy allows it not to be."""
    if counts.failures * terms.rate_den >= terms.rate_num * counts.calls:
        return True
    return terms.slow_num > 0 and counts.slow * terms.slow_den >= terms.slow_num * counts.calls


def checked_runs(runs: Iterable[Sequence[JsonValue]]) -> list[Run]:
    """The runs, if they are runs.

    Raises:
        Misuse: a code that is none, or a number of calls outside 1 to 1,000,000.
    """
    checked = []
    for run in runs:
        code, number = run if len(run) == 2 else (None, None)
        if not isinstance(code, str) or code not in FAILED:
            raise Misuse(f"the run {run!r} has no known code; use one of {', '.join(FAILED)}, each with a number")
        if type(number) is not int or not 1 <= number <= _LONGEST_RUN:
            raise Misuse(f"the run {run!r} has no number of calls from 1 to {_LONGEST_RUN}; split or omit it")
        checked.append((code, number))
    return checked


def _trips(terms: Terms, counts: Counts) -> bool:
    if terms.mode == "consecutive":
        return counts.failures >= terms.failures
    return counts.calls >= terms.min_calls and exceeds(terms, counts)


def _first_trip(terms: Terms, counts: Counts, step: Step, length: int) -> int:
    """Which of `length` equal calls is the first to open the breaker, from 1; 0: none.

    From the call on that fills `min_calls`, each share only rises or only falls. So if the first of these calls does
    not open it, no falling share ever will, and if the last does not, no rising one: else bisection finds it.
    """

    def trips(number: int) -> bool:
        return _trips(
            terms,
            Counts(
                counts.calls + number * step.calls,
                counts.failures + number * step.failures,
                counts.slow + number * step.slow,
            ),
        )

    first = 1
    if terms.mode != "consecutive" and step.calls:
        first = max(1, terms.min_calls - counts.calls)
    if first > length:
        return 0
    if trips(first):
        return first
    if not trips(length):
        return 0
    before, after = first, length
    while after - before > 1:
        middle = (before + after) // 2
        before, after = (before, middle) if trips(middle) else (middle, after)
    return after


class _Row:
    """Failures in a row."""

    def __init__(self, failures: int) -> None:
        self.counts = Counts(failures, failures, 0)

    def step(self, code: str) -> Step:
        row = self.counts.failures
        if FAILED[code]:
            return Step(1, 1, 0, _MOST - row)
        return Step(-row, -row, 0, 1) if row else Step(0, 0, 0, _MOST)

    def add(self, code: str, number: int) -> None:
        row = self.counts.failures + number if FAILED[code] else 0
        self.counts = Counts(row, row, 0)

    def stored(self) -> JsonValue:
        return self.counts.failures or None


class _Ring:
    """The last `size` calls, as runs of equal ones."""

    def __init__(self, size: int, stored: str) -> None:
        self._size = size
        self._runs: deque[Run] = deque((code, int(number or 1)) for number, code in _RUN.findall(stored))
        self.counts = Counts(
            sum(number for _, number in self._runs),
            sum(number for code, number in self._runs if FAILED[code]),
            sum(number for code, number in self._runs if SLOW[code]),
        )
        self._drop(self.counts.calls - size)

    def step(self, code: str) -> Step:
        free = self._size - self.counts.calls
        if free > 0:
            return Step(1, FAILED[code], SLOW[code], free)
        oldest, number = self._runs[0]
        if oldest == code and len(self._runs) == 1:
            return Step(0, 0, 0, _MOST)
        return Step(0, FAILED[code] - FAILED[oldest], SLOW[code] - SLOW[oldest], number)

    def add(self, code: str, number: int) -> None:
        self._drop(self.counts.calls + number - self._size)
        # Alone in the ring, calls beyond its size push out their own kind.
        number = min(number, self._size - self.counts.calls)
        same = self._runs.pop()[1] if self._runs and self._runs[-1][0] == code else 0
        self._runs.append((code, same + number))
        self._count(code, number)

    def stored(self) -> JsonValue:
        return "".join(f"{number}{code}" if number > 1 else code for code, number in self._runs) or None

    def _drop(self, excess: int) -> None:
        while excess > 0 and self._runs:
            code, number = self._runs.popleft()
            gone = min(excess, number)
            if gone < number:
                self._runs.appendleft((code, number - gone))
            self._count(code, -gone)
            excess -= gone

    def _count(self, code: str, number: int) -> None:
        calls, failures, slow = self.counts
        self.counts = Counts(calls + number, failures + number * FAILED[code], slow + number * SLOW[code])


class _Seconds:
    """The last `size` seconds, the current one included."""

    def __init__(self, size: int, second: int, stored: Mapping[str, JsonValue]) -> None:
        self._second = second
        self._seconds: dict[int, Counts] = {}
        for key, text in stored.items():
            if second - size < int(key) <= second:
                self._seconds[int(key)] = Counts(*map(int, str(text).split(",")))
        self.counts = Counts(*map(sum, zip(*self._seconds.values(), strict=True))) if self._seconds else Counts(0, 0, 0)

    def step(self, code: str) -> Step:
        return Step(1, FAILED[code], SLOW[code], _MOST - self.counts.calls)

    def add(self, code: str, number: int) -> None:
        more = Counts(number, number * FAILED[code], number * SLOW[code])
        self.counts = _sum(self.counts, more)
        self._seconds[self._second] = _sum(self._seconds.get(self._second, Counts(0, 0, 0)), more)

    def stored(self) -> JsonValue:
        return {str(second): ",".join(map(str, counts)) for second, counts in self._seconds.items()} or None


def _sum(one: Counts, other: Counts) -> Counts:
    return Counts(one.calls + other.calls, one.failures + other.failures, one.slow + other.slow)


def _is_form(stored: JsonValue) -> bool:
    if isinstance(stored, str):
        return _RING.match(stored) is not None
    if isinstance(stored, dict):
        return all(
            re.fullmatch("[0-9]{1,14}", key) and isinstance(text, str) and _SECOND.match(text)
            for key, text in stored.items()
        )
    return type(stored) is int and 0 <= stored <= _MOST
