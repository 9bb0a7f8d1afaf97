"""What every journal store checks, alike: runs, shelves, paths, texts, guards, and the size of a page."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TypeVar

from coterie._rules.written import Changed, Guard
from coterie.errors import Misuse, StaleToken
from coterie.ids import check_workflow_id
from coterie.stores.texts import NUMBER, shown_name

__all__ = [
    "MAX_PAGE",
    "MAX_TEXT_BYTES",
    "check_guard",
    "check_limit",
    "check_number",
    "check_paths",
    "check_run",
    "check_shelf",
    "check_texts",
    "checked_change",
    "stale",
]

T = TypeVar("T")

MAX_TEXT_BYTES = 4 * 2**20
# However many runs are asked for, so many come at most: the cursor leads on.
MAX_PAGE = 1000
MAX_PATH_CHARS = 512

_PATH = shown_name(MAX_PATH_CHARS)


def check_run(run: str) -> str:
    """Return `run` if it may name a run.

    Raises:
        Misuse: see `coterie.ids.check_workflow_id`.
    """
    return check_workflow_id(run)


def check_shelf(shelf: str) -> str:
    """Return `shelf` if it is the main one, "", or may name another.

    Raises:
        Misuse: it is not.
    """
    return shelf if isinstance(shelf, str) and not shelf else _check_path(shelf, "the name of a shelf")


def check_paths(paths: Sequence[str]) -> tuple[str, ...]:
    """`paths`, each once, in order.

    Raises:
        Misuse: one is no path, or all are one text.
    """
    if isinstance(paths, str):
        raise Misuse(f"the paths are one text, {paths[:80]!r}; give a list of paths")
    return tuple(dict.fromkeys(_check_path(path, "a path") for path in paths))


def check_texts(texts: Mapping[str, str | None], run: str) -> dict[str, str | None]:
    """A copy of `texts`, by path, if all can be stored.

    Raises:
        Misuse: a path is none, or a text is not text, holds half of a character, or is over 4 MiB as UTF-8.
    """
    for path, text in texts.items():
        # As nearly all are, thousands at a time.
        if not (type(path) is str and path.isascii() and path.isprintable() and 0 < len(path) <= MAX_PATH_CHARS):
            _check_path(path, "a path")
        if text is not None and not (type(text) is str and text.isascii() and len(text) <= MAX_TEXT_BYTES):
            _check_text(text, path, run)
    return dict(texts)


def check_guard(guard: Guard | None, run: str) -> Guard | None:
    """Return `guard` if it is one that may hold.

    Raises:
        Misuse: its path, or its text, could never be stored.
    """
    if guard is not None:
        _check_text(guard.text, _check_path(guard.path, "the path of a guard"), run)
    return guard


def checked_change(changed: Changed[T], paths: Collection[str], run: str) -> dict[str, str | None]:
    """What a decision would write.

    Raises:
        Misuse: it is at a path that the decision was not given, or cannot be stored.
    """
    texts = check_texts(changed.texts, run)
    for path in texts:
        if path not in paths:
            raise Misuse(
                f"a decision on the run {run!r} would write {path!r}, which it was not given; "
                "name every path that it may write"
            )
    return texts


def check_limit(limit: int) -> int:
    """How many runs a page may hold.

    Raises:
        Misuse: not even one.
    """
    if not isinstance(limit, int) or isinstance(limit, bool) or limit < 1:
        raise Misuse(f"limit={limit!r} is no number of runs; give 1 or more")
    return min(limit, MAX_PAGE)


def check_number(after: str) -> int:
    """The number that a cursor is, where runs are numbered as they begin.

    Raises:
        Misuse: it is none.
    """
    if not isinstance(after, str) or not NUMBER.match(after):
        raise Misuse(f"{after!r:.80} is no cursor of this store; give the `after` of a page, or None to begin")
    return int(after)


def stale(guard: Guard, run: str) -> StaleToken:
    """What is raised where a guard does not hold."""
    return StaleToken(
        f"{guard.path!r} of the run {run!r} is not what this writer left there: somebody else has taken over; "
        "nothing was written: stop the work"
    )


def _check_path(path: str, what: str) -> str:
    if not isinstance(path, str) or not _PATH.match(path):
        shown = path[:80] if isinstance(path, str) else path
        raise Misuse(f"{what}, {shown!r}, is not usable; use 1 to 512 characters, none of them a control character")
    return path


def _check_text(text: str, path: str, run: str) -> None:
    where = f"the text at {path!r} of the run {run!r}"
    if not isinstance(text, str):
        raise Misuse(f"{where} is {text!r:.80}; give text, or None to remove it")
    if text.isascii():
        size = len(text)
    else:
        try:
            size = len(text.encode())
        except UnicodeEncodeError as error:
            raise Misuse(f"{where} holds half of a character: {error}; give whole text") from error
    if size > MAX_TEXT_BYTES:
        raise Misuse(
            f"{where} has {size} bytes, over {MAX_TEXT_BYTES}; store it as an artifact and write its reference"
        )
