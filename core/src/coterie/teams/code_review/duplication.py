"""Find statements that are repeated word for word, whatever their layout and comments.

Each statement (logical line) becomes a number; runs of `WINDOW` numbers that occur more than once are joined
to the longest runs that occur at the same places. Linear in the number of statements.
Source: the idea of line-based clone detection after Ducasse, Rieger and Demeyer (ICSM 1999).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from coterie.teams.code_review.finding import Problem
from coterie.teams.code_review.syntax import Unreadable, statements

__all__ = ["Clone", "Place", "find_clones"]

WINDOW = 8
MIN_TOKENS = 80
# Beyond this many statements the rest is left out, and said to be.
MAX_STATEMENTS = 2_000_000


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """Lines of a file, counted from 1, both included."""

    path: str
    line: int
    end_line: int


@dataclass(frozen=True, slots=True)
class Clone:
    """The same statements at two or more places, in order."""

    places: tuple[Place, ...]
    statements: int
    tokens: int


@dataclass(slots=True)
class _Corpus:
    """All statements of all files, one after the other; a barrier (a number used once) ends each file."""

    ids: list[int] = field(default_factory=list)
    lines: list[tuple[int, int]] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    known: dict[tuple[str, ...], int] = field(default_factory=dict)

    def add_file(self, path: str, text: str) -> None:
        for line in statements(text):
            words = tuple(token.string for token in line)
            # Imports and docstrings are alike by nature.
            if words[0] in ("import", "from") or (len(words) == 1 and words[0][-1] in "\"'"):
                continue
            self._append(self.known.setdefault(words, len(self.known)), path, len(words))
            self.lines.append((line[0].start[0], line[-1].end[0]))
        self._append(-1 - len(self.ids), path, 0)
        self.lines.append((0, 0))

    def truncate(self, length: int) -> None:
        for column in (self.ids, self.lines, self.tokens, self.files):
            del column[length:]

    def place(self, start: int, length: int) -> Place:
        return Place(self.files[start], self.lines[start][0], self.lines[start + length - 1][1])

    def _append(self, number: int, path: str, tokens: int) -> None:
        self.ids.append(number)
        self.files.append(path)
        self.tokens.append(tokens)


def find_clones(texts: Mapping[str, str]) -> tuple[list[Clone], list[Problem]]:
    """Repeated code, most of it first, and the files that could not be compared.

    Reports runs of at least `WINDOW` statements and `MIN_TOKENS` tokens. Equal input gives equal output.
    """
    corpus, problems = _Corpus(), list[Problem]()
    for path, text in sorted(texts.items()):
        length = len(corpus.ids)
        try:
            corpus.add_file(path, text)
        except Unreadable as reason:
            corpus.truncate(length)
            problems.append(Problem(path, str(reason)))
        if len(corpus.ids) > MAX_STATEMENTS:
            corpus.truncate(length)
            problems.append(Problem(path, "not compared for duplicates: the source has too many statements"))
    return _without_covered(corpus, sorted(_runs(corpus), key=lambda run: _order(corpus, run))), problems


@dataclass(slots=True)
class _Run:
    """`length` statements that occur at each of `starts`."""

    starts: tuple[int, ...]
    length: int


def _runs(corpus: _Corpus) -> Iterator[_Run]:
    open_run: _Run | None = None
    for starts in _repeated_windows(corpus.ids):
        if open_run is not None and _continues(open_run, starts):
            open_run.length += 1
            continue
        if open_run is not None:
            yield open_run
        open_run = _Run(starts, WINDOW)
    if open_run is not None:
        yield open_run


def _repeated_windows(ids: list[int]) -> Iterator[tuple[int, ...]]:
    """Where each window lies that occurs more than once, by its first place."""
    places: dict[tuple[int, ...], list[int]] = {}
    for start in range(len(ids) - WINDOW + 1):
        places.setdefault(tuple(ids[start : start + WINDOW]), []).append(start)
    return (tuple(starts) for starts in places.values() if len(starts) > 1)


def _continues(run: _Run, starts: tuple[int, ...]) -> bool:
    shift = run.length - WINDOW + 1
    return len(starts) == len(run.starts) and all(
        new == old + shift for new, old in zip(starts, run.starts, strict=True)
    )


def _without_covered(corpus: _Corpus, runs: list[_Run]) -> list[Clone]:
    """Drop places that overlap in their own run, runs that are too small, and runs that tell nothing new."""
    covered = bytearray(len(corpus.ids))
    clones = []
    for run in runs:
        starts = _apart(run)
        tokens = sum(corpus.tokens[starts[0] : starts[0] + run.length])
        new = [start for start in starts if 2 * sum(covered[start : start + run.length]) < run.length]
        if len(starts) < 2 or tokens < MIN_TOKENS or not new:
            continue
        for start in starts:
            covered[start : start + run.length] = b"\1" * run.length
        places = tuple(sorted(corpus.place(start, run.length) for start in starts))
        clones.append(Clone(places, run.length, tokens))
    return clones


def _apart(run: _Run) -> list[int]:
    starts: list[int] = []
    for start in run.starts:
        if not starts or start >= starts[-1] + run.length:
            starts.append(start)
    return starts


def _order(corpus: _Corpus, run: _Run) -> tuple[int, int]:
    repeated = sum(corpus.tokens[run.starts[0] : run.starts[0] + run.length]) * (len(run.starts) - 1)
    return (-repeated, run.starts[0])
