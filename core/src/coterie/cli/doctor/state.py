"""The state store: whether it answers, whether it lets us, whether its clock and its fleet agree with us."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path

from coterie._rules.decided import Decided, State
from coterie.cli.doctor.finding import Finding, because, fault, ok, skipped, warning
from coterie.cli.doctor.place import Place, may_be_made
from coterie.cli.fleet.snapshot import head_of, take
from coterie.cli.words import count_of
from coterie.errors import CoterieError, StateFormatError, Unavailable
from coterie.errors.root import in_words, listed
from coterie.ports import StateStore
from coterie.remote.clock import OFF_S, is_off, off_in_words
from coterie.remote.registry import list_workers, release_here
from coterie.stores.redis.failures import STATE_RIGHTS
from coterie.stores.redis.wire import Lost

__all__ = [
    "check_breakers",
    "check_clock",
    "check_rights",
    "check_state_store",
    "check_versions",
    "clock_of",
    "clocks_of_workers",
]

# So far apart, times in logs and traces are misread; so far, certificates and signatures fail too.
_APART_S, _FAR_APART_S = OFF_S, 30.0
_SET_THEM = "have their machines follow NTP (chronyc tracking, or timedatectl, there), or the store's if all are off"
_HEARD_S = 2.0
_SQLITE = "sqlite://"


async def check_state_store(place: Place) -> Finding:
    """Whether it answers, and in which format its fleet writes."""
    async with place.state() as store:
        if not store.is_made:
            return _not_made(store.url)
        began = time.monotonic()
        try:
            head = await head_of(store)
        except Unavailable as error:
            return _away(error, store.url)
        took_ms = (time.monotonic() - began) * 1000
        written = "nobody has used it yet" if head.format is None else f"format {head.format}"
        return ok(f"{store.url} ({store.scope}, namespace {store.namespace}, {written}) answers in {took_ms:.0f} ms")


def _away(error: Unavailable, url: str) -> Finding:
    if isinstance(error.__cause__, Lost) and url.startswith(("redis:", "redis+")):
        # So does one that speaks TLS, to whoever does not.
        found, _, _ = str(error).partition("; ")
        return fault(found, "see that it is well; if it speaks TLS, its URL begins with rediss://")
    return because(error, "is it up and reachable?")


def _not_made(url: str) -> Finding:
    problem = may_be_made(Path(url.removeprefix(_SQLITE)))
    if problem is not None:
        return fault(f"{url} is not there, and cannot be made: {problem}", "set COTERIE_STORE, or COTERIE_HOME")
    return ok(f"{url} is not there yet: it is made when it is needed")


async def check_clock(place: Place) -> list[Finding]:
    """The store's clock, by which leases and waits are counted, against this machine's and those of workers."""
    async with place.state() as store:
        ours = await clock_of(store) if store.scope == "fleet" else ok("the store goes by this machine's clock")
        return [ours, *await clocks_of_workers(store)]


async def clock_of(store: StateStore, now_s: Callable[[], float] = time.time) -> Finding:
    """The same of any store."""
    before = now_s()
    _, us = await store.read("doctor/clock")
    after = now_s()
    apart_s = us / 1e6 - (before + after) / 2
    # The answer was on its way for as long.
    sure_s = abs(apart_s) - (after - before) / 2
    if sure_s < _APART_S:
        return ok(f"the store's clock and ours differ by {abs(apart_s) * 1000:.0f} ms")
    said = f"the store's clock is {in_words(abs(apart_s))} {'ahead of' if apart_s > 0 else 'behind'} ours"
    remedy = "have both machines follow NTP (chronyc tracking, or timedatectl, says which one does not)"
    if sure_s < _FAR_APART_S:
        return warning(f"{said}: times in logs and traces do not match", remedy)
    return fault(f"{said}: signed events and certificates may be refused, and times do not match", remedy)


async def clocks_of_workers(store: StateStore) -> list[Finding]:
    """Of workers that are not lost, those whose clocks are off, as they say themselves; a finding for each degree."""
    known = [(each.id, each.clock_off_s) for each in await list_workers(store) if each.state != "lost"]
    found = [(name, off_s) for name, off_s in known if is_off(off_s)]
    far = [one for one in found if abs(one[1]) >= _FAR_APART_S]
    near = [one for one in found if one not in far]
    why = "times in their logs and traces do not match"
    told = (
        [fault(f"{_clocks(far)}: signed events and certificates may be refused, and {why}", _SET_THEM)] if far else []
    )
    return [*told, *([warning(f"{_clocks(near)}: {why}", _SET_THEM)] if near else [])]


def _clocks(off: list[tuple[str, float]]) -> str:
    named = ", ".join(f"{name} is {off_in_words(off_s)}" for name, off_s in sorted(off)[:5])
    more = f", and {len(off) - 5} more" if len(off) > 5 else ""
    return f"clocks of workers are off: {named}{more}"


async def check_rights(place: Place) -> Finding:
    """Whether we may read, write and listen: by a state of its own, which is removed."""
    async with place.state() as store:
        if store.url.startswith(_SQLITE):
            return _rights_of_file(Path(store.url.removeprefix(_SQLITE)))
        return await rights_of(store)


def _rights_of_file(path: Path) -> Finding:
    problem = may_be_made(path)
    if problem is None:
        return ok("the file may be read and written")
    return fault(
        f"{path}: {problem}", "give this user the right to, or name another place with COTERIE_STORE or --store"
    )


async def rights_of(store: StateStore) -> Finding:
    """The same of any store that is no file."""
    key, heard = f"doctor/{os.urandom(8).hex()}", asyncio.Event()

    def notice(message: str | None) -> None:
        if message is not None:
            heard.set()

    try:
        await store.update(key, _written, keep_s=60.0)
        await store.update(key, _removed)
    except CoterieError as error:
        return _refused(error, "let the store's user read and write the keys of the namespace")
    try:
        await store.subscribe(key, notice)
        await store.publish(key, "probe")
        async with asyncio.timeout(_HEARD_S):
            await heard.wait()
        await store.unsubscribe(key, notice)
    except TimeoutError:
        return fault(
            "a message was published, and not heard: those who wait learn of news late",
            "let the store's user subscribe to the channels of the namespace",
        )
    except CoterieError as error:
        return _refused(error, "let the store's user publish and subscribe on the channels of the namespace")
    return ok("reads, writes and listens")


def _refused(error: CoterieError, remedy: str) -> Finding:
    """Of a right that is missing, which are needed: servers hide it where it is missed within a script."""
    if "no permissions" in str(error) and STATE_RIGHTS not in str(error):
        return fault(str(error).rpartition("; ")[0], f"{remedy}: {STATE_RIGHTS}")
    return because(error, remedy)


def _written(_: State | None, now: int) -> Decided[None]:
    return Decided({"v": 1, "t0": now // 1_000_000}, None)


def _removed(_: State | None, __: int) -> Decided[None]:
    return Decided(None, None)


async def check_versions(place: Place) -> list[Finding]:
    """Our versions, against those of the workers that are alive, and the fleet's format."""
    here = release_here()
    coterie_here, _, python_here = here.partition("/")
    async with place.state() as store:
        workers = [each for each in await list_workers(store) if each.state != "lost"]
    others = [each for each in workers if each.release and each.release != here]
    if not others:
        alive = f"; so have {len(workers)} workers" if workers else ""
        return [ok(f"coterie {coterie_here}, Python {python_here}{alive}")]
    found = []
    for position, what, ours in ((0, "coterie", coterie_here), (2, "Python", python_here)):
        differ = {each.id: version for each in others if (version := each.release.partition("/")[position]) != ours}
        if differ:
            named = ", ".join(f"{name} ({version})" for name, version in sorted(differ.items())[:5])
            found.append(
                warning(
                    f"{what} {ours} here, another version in {len(differ)} of {len(workers)} workers: {named}",
                    f"update them, or this one, to one version of {what}; then restart the workers",
                )
            )
    return found


async def check_breakers(place: Place) -> list[Finding]:
    """Circuit breakers that are not closed, and states that cannot be read."""
    async with place.state() as store:
        if not store.is_made:
            return [skipped("nothing is stored yet")]
        snapshot = await take(store, place.known, ["breakers"])
    found = [because(StateFormatError(f"{each.key}: {each.error}"), "remove it") for each in snapshot.problems]
    by_state: dict[str, list[str]] = {}
    for row in snapshot.breakers:
        by_state.setdefault(row.state, []).append(row.name)
    found += [
        warning(f"{state}: {listed(by_state[state], 5)}", remedy)
        for state, remedy in _FOR_BREAKERS.items()
        if state in by_state
    ]
    count = len(snapshot.breakers)
    return found or [ok(f"{count_of(count, 'breaker')}, {'all ' * (count > 1)}closed" if count else "none is stored")]


_FOR_BREAKERS = {
    "forced_open": "somebody has forced it: 'coterie breakers auto NAME' ends that",
    "open": "its agents failed: mend them; it tries again by itself; 'coterie breakers' says after which error, when",
    "half_open": "it tries whether its agents are well again; look once more in a moment",
    "disabled": "calls are let through uncounted: 'coterie breakers auto NAME' ends that",
    "metrics_only": "calls are counted, and none is refused: 'coterie breakers auto NAME' ends that",
}
