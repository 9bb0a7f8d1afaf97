"""The journal of a fleet: runs in Redis 6.2 or newer, or in Valkey; one server, under sentinels, or a cluster."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, TypeVar, cast

from coterie._rules.written import Change, Guard, Page, RunEntry
from coterie.ids import check_name
from coterie.ports import Durability
from coterie.stores.journals import (
    check_guard,
    check_limit,
    check_number,
    check_paths,
    check_run,
    check_shelf,
    check_texts,
    stale,
)
from coterie.stores.redis.address import Address, parse_address
from coterie.stores.redis.durable import Durable, check_durability
from coterie.stores.redis.home import Home
from coterie.stores.redis.journal_calls import ABANDONED, About, JournalCalls, Listed
from coterie.stores.redis.journal_changes import Changes, Landed
from coterie.stores.redis.policy import RedisJournalPolicy
from coterie.stores.redis.route import Route
from coterie.stores.redis.routes import check_driver, open_route
from coterie.stores.scopes import FleetStore

__all__ = ["RedisJournalStore", "open_redis_journal"]

T = TypeVar("T")


def open_redis_journal(
    url: str,
    namespace: str = "default",
    *,
    durability: Literal["strict", "relaxed"] = "strict",
    policy: RedisJournalPolicy | None = None,
    clock: Callable[[], int] | None = None,
    named_by: str | None = None,
) -> RedisJournalStore:
    """A journal at `url`, whose forms `coterie.stores.redis.address.parse_address` tells. Connects when first used.

    durability: strict: a server that does not sync what it takes, or does not say when, is refused as soon as it is
        used; its settings are looked at on each new connection. What is acknowledged, or was read, is on the disk of
        the primary; that a failover does not lose it either, `policy.replicas` is for. relaxed: what was acknowledged
        may be lost with the server, as its own settings have it.
    clock: for tests: a time in microseconds instead of the servers'. named_by: the setting that holds the URL, for
        messages.

    Raises:
        Misuse: the URL, the namespace or the durability cannot be, or the driver is not installed.
    """
    check_driver()
    check_name(namespace, "the namespace")
    check_durability(durability)
    address = parse_address(url, named_by=named_by)
    return RedisJournalStore(
        address, namespace, durability=durability, policy=policy or RedisJournalPolicy(), clock=clock
    )


@dataclass(frozen=True, slots=True)
class _Parts:
    """What belongs to one event loop of one process."""

    route: Route
    durable: Durable
    calls: JournalCalls
    changes: dict[tuple[str, tuple[str, ...]], Changes]


class RedisJournalStore(FleetStore):
    """A `JournalStore` on Redis; see `open_redis_journal`.

    A run's main shelf is the hash `{namespace:run/<run>}`, another one the hash `{namespace:run/<run>}/<shelf>`; beside
    them lie `:about` (when it began and changed) and `:shelves` (their names). The list of runs, in the order in which
    they began, is the sorted set `{namespace:runs}`: a run is put on it before its first text is written.

    All commands of one tick of the event loop leave in one write. Decisions of this process over the same texts are
    folded together. Where one has to wait for the disk, all who wait share one wait.

    One event loop at a time may use it; a forked process makes connections of its own.
    """

    def __init__(
        self,
        address: Address,
        namespace: str,
        *,
        durability: Durability,
        policy: RedisJournalPolicy,
        clock: Callable[[], int] | None,
    ) -> None:
        super().__init__(address, namespace)
        self._durability = durability
        self._policy = policy
        self._clock = clock
        self._home = Home(self._parts, "journal")

    def __repr__(self) -> str:
        return f"RedisJournalStore({self.url!r}, {self._namespace!r}, durability={self._durability!r})"

    @property
    def durability(self) -> Durability:
        """As it was given: strict, or relaxed."""
        return self._durability

    async def change(self, run: str, paths: Sequence[str], decide: Change[T]) -> T:
        """Apply a decision; see `JournalStore.change`. The texts that it is given cannot be changed.

        Where the journal is strict, what it decided upon is durable, too, even if it writes nothing.

        Raises:
            Unavailable: also where a connection ended after the texts were sent, which are not sent again then.
            PolicyError: the journal is strict, and the server is not.
        """
        here = self._home.here()
        key = check_run(run), check_paths(paths)
        changes = here.changes.get(key)
        if changes is None:
            over = partial(here.changes.pop, key)
            changes = Changes(*key, here.calls, timeout_s=self._policy.update_timeout_s, over=over)
            here.changes[key] = changes
        landed: Landed = await changes.join(decide)
        await here.calls.settle(run, landed.upon.wire, landed.upon.version)
        if landed.error is not None:
            raise landed.error
        return cast("T", landed.result)

    async def write(
        self, run: str, texts: Mapping[str, str | None], *, guard: Guard | None = None, shelf: str = ""
    ) -> None:
        """Write texts to one shelf, if the guard holds; see `JournalStore.write`, and `change` for what it raises."""
        calls = self._home.here().calls
        check_run(run)
        check_shelf(shelf)
        copied = check_texts(texts, run)
        check_guard(guard, run)
        expected = {} if guard is None else {guard.path: guard.text}
        done, after = await calls.put(run, copied, expected=expected, shelf=shelf)
        if guard is not None and not done:
            # Whoever has taken over may not be durable yet; to stop is right all the same.
            raise stale(guard, run)
        await calls.settle(run, after.wire, after.version)

    async def get(self, run: str, paths: Sequence[str]) -> tuple[dict[str, str], int]:
        """Those of these texts that are there, durably if the journal is strict; and the clock in microseconds."""
        calls = self._home.here().calls
        looked = await calls.look(check_run(run), check_paths(paths))
        await calls.settle(run, looked.wire, looked.version)
        return {path: text for path, text in looked.texts.items() if text is not None}, looked.now

    async def read(self, run: str, shelf: str = "") -> dict[str, str]:
        """All texts of a shelf, each as it was at some moment during the call; durable as those of `get` are."""
        calls = self._home.here().calls
        texts, wire, version = await calls.read(check_run(run), check_shelf(shelf))
        await calls.settle(run, wire, version)
        return texts

    async def runs(self, *, limit: int, after: str | None = None) -> Page:
        """Runs, the one begun last first; what was begun or changed a moment ago may not be durable yet."""
        calls = self._home.here().calls
        size = check_limit(limit) + 1
        before = None if after is None else check_number(after)
        found: list[tuple[Listed, About]] = []
        while len(found) < size:
            wanted = size - len(found)
            listed, now = await calls.page(before, wanted)
            found += await _begun(calls, listed, now)
            if len(listed) < wanted:
                break
            before = listed[-1].place
        page = found[: size - 1]
        entries = tuple(RunEntry(entry.run, about.begun_at, about.changed_at) for entry, about in page)
        return Page(entries, str(page[-1][0].place) if len(found) == size else None)

    async def remove(self, run: str) -> bool:
        """Remove a run; at once if it has up to a thousand shelves, else those first."""
        calls = self._home.here().calls
        # Before it is gone: one that begins anew meanwhile has another place, and keeps it.
        place = await calls.place(check_run(run))
        was, wire = await calls.remove(run)
        await calls.settle_removal(run, wire, None if place is None else await calls.unlist(run, place))
        return was

    async def aclose(self) -> None:
        """End all connections, within `close_timeout_s`; who waits for an answer gets `Unavailable`."""
        left = self._home.leave()
        if left is None:
            return
        for changes in tuple(left.changes.values()):
            await changes.aclose("the journal store was closed; whether the texts were written is not known")
        await asyncio.gather(left.durable.aclose(), left.route.aclose())

    def _parts(self) -> _Parts:
        durable = Durable(self._address, self._policy, self._durability)
        route = open_route(self._address, self._policy, inspector=durable)
        calls = JournalCalls(route, durable, namespace=self._namespace, where=self._address.where, clock=self._clock)
        return _Parts(route, durable, calls, {})


async def _begun(calls: JournalCalls, listed: Sequence[Listed], now: int) -> list[tuple[Listed, About]]:
    """Those that are runs. What was listed long ago and never begun, or not wholly removed, is taken off the list."""
    abouts = await asyncio.gather(*(calls.about(entry.run) for entry in listed))
    pairs = list(zip(listed, abouts, strict=True))
    lost = [entry for entry, about in pairs if about is None and now - entry.place > ABANDONED]
    await asyncio.gather(*(calls.unlist(entry.run, entry.place) for entry in lost))
    return [(entry, about) for entry, about in pairs if about is not None]
