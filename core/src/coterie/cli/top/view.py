"""What of a snapshot is looked at, and what keys change of that. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from coterie.cli.top.snapshot import SECTIONS, RunRow, SectionName, Snapshot
from coterie.cli.top.sorting import Sort

__all__ = ["Key", "View", "ordered", "pressed"]

# A key as `coterie.cli.top.keys` names it.
Key: TypeAlias = str
_PAGE = 10
_MOVES = {"up": -1, "k": -1, "down": 1, "j": 1, "pageup": -_PAGE, "pagedown": _PAGE, "home": -(10**9), "end": 10**9}
_URGENT = {"running": 0, "waiting": 1, "interrupted": 2, "open": 3}


_KEYS: Mapping[Sort, Callable[[RunRow], tuple[object, ...]]] = {
    Sort.STATE: lambda row: (_URGENT.get(row.state, 4), -row.begun_us),
    Sort.AGE: lambda row: (-row.begun_us,),
    Sort.COST: lambda row: (-row.cost_micros, -row.begun_us),
    Sort.FAILED: lambda row: (-row.failed, -row.begun_us),
    Sort.NAME: lambda row: (row.run,),
}


@dataclass(frozen=True, slots=True)
class View:
    """What is looked at.

    focus: the section that keys move in; whole: it alone is shown. chosen: the run that the cursor is on; None: the
    first. places: in other sections, the first row that is shown. opened: the run whose tree is shown, `scroll` lines
    down.
    """

    focus: SectionName = "runs"
    whole: bool = False
    chosen: str | None = None
    places: Mapping[SectionName, int] = field(default_factory=dict)
    sort: Sort = Sort.STATE
    paused: bool = False
    help: bool = False
    opened: str | None = None
    scroll: int = 0
    quits: bool = False


def ordered(rows: Sequence[RunRow], sort: Sort) -> list[RunRow]:
    """The runs in this order."""
    return sorted(rows, key=_KEYS[sort])


def pressed(view: View, key: Key, snapshot: Snapshot, *, deepest: int = 0) -> View:
    """The view after a key; one that means nothing changes nothing. deepest: how far the open tree goes down."""
    if key == "q":
        return replace(view, quits=True)
    if key == "p":
        return replace(view, paused=not view.paused)
    if view.help or key == "?":
        return replace(view, help=not view.help)
    return _in_sections(view, key, snapshot) if view.opened is None else _in_tree(view, key, deepest)


def _in_sections(view: View, key: Key, snapshot: Snapshot) -> View:
    if key in _MOVES:
        return _moved(view, _MOVES[key], snapshot)
    if key == "s":
        orders = list(Sort)
        return replace(view, sort=orders[(orders.index(view.sort) + 1) % len(orders)])
    if key == "enter" and view.focus == "runs":
        run = _chosen(view, snapshot)
        return view if run is None else replace(view, opened=run, chosen=run, scroll=0)
    return _chosen_section(view, key)


def _chosen_section(view: View, key: Key) -> View:
    place = SECTIONS.index(view.focus)
    if key in ("tab", "backtab"):
        step = 1 if key == "tab" else -1
        return replace(view, focus=SECTIONS[(place + step) % len(SECTIONS)])
    if key in ("enter", "space"):
        return replace(view, whole=not view.whole)
    if key == "escape":
        return replace(view, whole=False)
    if key.isdecimal() and 1 <= int(key) <= len(SECTIONS):
        named = SECTIONS[int(key) - 1]
        # Once chooses it, twice has it alone.
        return replace(view, focus=named, whole=named == view.focus and not view.whole)
    return view


def _in_tree(view: View, key: Key, deepest: int) -> View:
    if key in ("escape", "enter", "backspace", "left"):
        return replace(view, opened=None, scroll=0)
    return replace(view, scroll=min(max(0, view.scroll + _MOVES.get(key, 0)), deepest))


def _moved(view: View, by: int, snapshot: Snapshot) -> View:
    if view.focus != "runs":
        last = max(0, len(snapshot.sections[view.focus].rows) - 1)
        place = min(max(0, view.places.get(view.focus, 0) + by), last)
        return replace(view, places={**view.places, view.focus: place})
    names = [row.run for row in ordered(snapshot.runs.rows, view.sort)]
    if not names:
        return view
    place = names.index(view.chosen) if view.chosen in names else 0
    return replace(view, chosen=names[min(max(0, place + by), len(names) - 1)])


def _chosen(view: View, snapshot: Snapshot) -> str | None:
    names = [row.run for row in ordered(snapshot.runs.rows, view.sort)]
    return view.chosen if view.chosen in names else next(iter(names), None)
