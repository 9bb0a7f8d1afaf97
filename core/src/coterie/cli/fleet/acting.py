"""One change of what a fleet shares: made in its store, then told."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, NamedTuple, TypeAlias

from rich.text import Text

from coterie.cli.fleet.known import Known
from coterie.cli.fleet.reach import Reach
from coterie.cli.fleet.snapshot import Head, head_of
from coterie.cli.streams import write_json
from coterie.cli.summary import output_console
from coterie.errors import Misuse
from coterie.ports import StateStore
from coterie.stores.format import check_format, migrate

__all__ = ["Change", "Done", "act", "migrate_fleet", "no_such"]


class Done(NamedTuple):
    """What a change came to: as JSON, and in lines for people."""

    document: dict[str, Any]
    lines: list[Text]


Change: TypeAlias = Callable[[StateStore, Known], Awaitable[Done]]


def act(reach: Reach, change: Change, *, begins: Callable[[Known], bool] = lambda _: False, as_json: bool) -> int:
    """Make a change, once it is known that this coterie reads and writes what the fleet does; say what it came to.

    begins: whether also where nobody has stored anything yet.

    Raises:
        Misuse: what the change is about is not there. Unavailable, StateFormatError: the store failed.
    """
    known = reach.known()
    may_begin = begins(known)

    async def made() -> tuple[Head, Done]:
        async with reach.opened() as store:
            if not (may_begin or store.is_made):
                raise Misuse(f"nothing is stored at {store.url} yet; check --store and COTERIE_STORE")
            if may_begin:
                await check_format(store)
            else:
                # Reads alone: a wrong name must not begin a fleet.
                await head_of(store)
            done = await change(store, known)
            return await head_of(store), done

    _tell(*asyncio.run(made()), as_json=as_json)
    return 0


def migrate_fleet(reach: Reach, *, as_json: bool) -> int:
    """Have the fleet write this coterie's format, and say which it wrote before.

    Raises:
        StateFormatError: it is newer than this coterie reads, or older than it can raise.
    """

    async def raised() -> tuple[Head, Done]:
        async with reach.opened() as store:
            before = await migrate(store)
            head = await head_of(store)
        if before is None:
            was = "nothing was written before"
        else:
            was = "as before" if before == head.format else f"it was {before}"
        line = Text(f"{head.url} (namespace {head.namespace}): the fleet writes format {head.format}; {was}")
        return head, Done({"before": before, "format": head.format, "changed": before != head.format}, [line])

    _tell(*asyncio.run(raised()), as_json=as_json)
    return 0


def no_such(what: str, name: str, store: StateStore, known: Iterable[str], *, then: str) -> Misuse:
    """The error for a name that the store does not have; the names it has are in it."""
    names = sorted(known)
    listed = ", ".join(map(repr, names[:20])) or "none"
    more = f" and {len(names) - 20:,} more" if len(names) > 20 else ""
    where = f"in {store.url} (namespace {store.namespace!r})"
    return Misuse(f"there is no {what} {name!r} {where}; there are: {listed}{more}; {then}")


def _tell(head: Head, done: Done, *, as_json: bool) -> None:
    if as_json:
        write_json({"store": head.document(), **done.document})
        return
    console = output_console()
    for line in done.lines:
        console.print(line, soft_wrap=True)
