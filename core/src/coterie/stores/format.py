"""The format in which a fleet writes its states: recorded once a namespace, so that no process writes past another.

Every process reads the current format and the one before, and writes the fleet's. Once all are updated, `migrate`
raises the fleet's to theirs.
"""

from __future__ import annotations

from functools import partial

from coterie._rules.decided import Decided, State
from coterie._rules.timeline import FORMAT, begin
from coterie.errors import StateFormatError
from coterie.ports import StateStore

__all__ = ["check_format", "migrate"]

KEY = "fleet/format"
OLDEST = max(FORMAT - 1, 1)


async def check_format(store: StateStore) -> int:
    """The format that this fleet writes; a namespace without one gets this coterie's.

    Raises:
        StateFormatError: it is newer than this coterie reads, or older, or not readable.
    """
    state, _ = await store.read(KEY)
    return _readable(state) if state is not None else await store.update(KEY, partial(_begun, _release()))


async def migrate(store: StateStore) -> int | None:
    """Have the fleet write this coterie's format, now that all its processes read it. Returns what it wrote before.

    Raises:
        StateFormatError: it is newer than this coterie reads, or older than it can raise.
    """
    return await store.update(KEY, partial(_raised, _release()))


def _release() -> str:
    # Takes milliseconds, and is asked for once a namespace.
    from importlib.metadata import version

    return version("coterie")


def _begun(by: str, state: State | None, now: int) -> Decided[int]:
    if state is not None:
        return Decided(state, _readable(state))
    return Decided(_written(now, by), FORMAT)


def _raised(by: str, state: State | None, now: int) -> Decided[int | None]:
    was = None if state is None else _readable(state)
    return Decided(state if was == FORMAT else _written(now, by), was)


def _written(now: int, by: str) -> State:
    # Begun anew: it holds no other instant, and may be read by coterie for years.
    return {**begin(now).stamp(), "format": FORMAT, "by": by}


def _readable(state: State) -> int:
    found = state.get("format")
    if type(found) is not int:
        raise StateFormatError(f"the state {KEY!r} holds no format: {str(state)[:200]}; is the namespace ours alone?")
    if found > FORMAT:
        raise StateFormatError(
            f"the fleet writes states of format {found}, this coterie reads up to {FORMAT}; "
            f"update coterie here to {state.get('by', 'the version of the others')} or newer"
        )
    if found < OLDEST:
        raise StateFormatError(
            f"the fleet writes states of format {found}, this coterie reads from {OLDEST} on; "
            f"update step by step: run 'coterie migrate' of a version that reads format {found + 1}"
        )
    return found
