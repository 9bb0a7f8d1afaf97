"""What a server does for the safety of what it is told, and whether that is enough for a strict journal."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from typing import Literal

from coterie.errors import PolicyError
from coterie.stores.redis.wire import Refusal, Reply, Wire

__all__ = ["Course", "Facts", "ask_facts", "could_lose_runs", "judge", "not_strict"]

# How it is known that something is on disk: the server answers no sooner; WAITAOF says so; WAITAOF says so, where the
# server syncs once a second at most, which shows whether it tells the truth.
Course = Literal["answers", "waits", "waits a second"]

# Until then, a server with several threads for its connections may answer before it has written.
_THREADS_ARE_SAFE = (7, 0)
_RELAXED = (
    "or have a journal that is 'relaxed', so that what was acknowledged last may be lost with the server: by --journal "
    "relaxed on the command line, by COTERIE_JOURNAL=relaxed there and for Airflow's connection 'coterie_default', by "
    "the field 'journal' of an Airflow connection or of a CoterieStore block of Prefect, or, in Python, by "
    "open_journal_store(url, namespace, durability='relaxed')"
)
_ALWAYS = "set 'appendonly yes' and 'appendfsync always' there"


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What one server says of itself; None where it does not let us know.

    run_id: of the process, so that another one in its place is noticed.
    pauses: whether it leaves out syncing while it writes a new file.
    waits: whether it knows WAITAOF, and lets us use it.
    """

    run_id: str
    version: tuple[int, ...]
    is_primary: bool
    appends: bool
    eviction: str
    fsync: str | None
    pauses: bool
    threads: int
    waits: bool


async def ask_facts(wire: Wire) -> Facts:
    """Ask a server, in one trip.

    Raises:
        Refusal: it loads its data, or does not let the user know even what all may know.
        Lost: the connection ended.
    """
    commands = (
        ("INFO",),
        ("CONFIG", "GET", "appendfsync"),
        ("CONFIG", "GET", "no-appendfsync-on-rewrite"),
        ("CONFIG", "GET", "io-threads"),
        ("WAITAOF", 0, 0, 1),
    )
    info, fsync, pauses, threads, waits = await asyncio.gather(*(wire.send(command) for command in commands))
    for reply in (info, waits):
        if isinstance(reply, Refusal) and (reply is info or reply.code == "LOADING"):
            raise reply
    said = dict(line.partition(":")[::2] for line in info.decode("utf-8", "replace").splitlines())
    return Facts(
        run_id=said.get("run_id", ""),
        version=tuple(map(int, re.findall(r"\d+", said.get("redis_version", "")))),
        is_primary=said.get("role", "master") == "master",
        appends=said.get("aof_enabled") == "1",
        eviction=said.get("maxmemory_policy", ""),
        fsync=_setting(fsync),
        pauses=_setting(pauses) == "yes",
        threads=int(_setting(threads) or 1),
        waits=not isinstance(waits, Refusal),
    )


def could_lose_runs(facts: Facts) -> str | None:
    """What is wrong with how it makes room, if anything is. Runs never expire: `volatile-…` leaves them alone."""
    if not facts.eviction.startswith("allkeys-"):
        return None
    return f"its maxmemory-policy is {facts.eviction!r}: where memory is short, it drops runs without a word"


def judge(facts: Facts, *, replicas: int, where: str) -> Course:
    """How one learns from this server that something is on disk. replicas: how many others must have it there too.

    Raises:
        PolicyError: one does not.
    """
    if (problem := could_lose_runs(facts)) is not None:
        advice = f"set 'maxmemory-policy noeviction' there, or a 'volatile-…' one, {_RELAXED}"
        raise PolicyError(f"{where} is not fit for a strict journal: {problem}; {advice}")
    if not facts.appends:
        raise not_strict("it keeps no append-only file ('appendonly no')", where)
    if facts.fsync == "no":
        raise not_strict("it never syncs its append-only file ('appendfsync no')", where)
    if facts.fsync == "always" and facts.version < _THREADS_ARE_SAFE and facts.threads > 1:
        raise not_strict("with 'io-threads' above 1, a Redis before 7.0 may answer before it has written", where)
    if facts.fsync == "always" and not facts.pauses and not replicas:
        return "answers"
    if not facts.waits:
        raise not_strict(f"{_needs_waiting(facts, replicas)}, and it does not know WAITAOF, or forbids it", where)
    return "waits" if facts.fsync == "always" else "waits a second"


def not_strict(problem: str, where: str) -> PolicyError:
    """The refusal of a server that does not sync, or does not say when."""
    return PolicyError(f"{where} is not fit for a strict journal: {problem}; {_ALWAYS}, {_RELAXED}")


def _needs_waiting(facts: Facts, replicas: int) -> str:
    if facts.fsync != "always":
        return f"its 'appendfsync' is {facts.fsync or 'not known to us'!r}"
    if facts.pauses:
        return "it does not sync while it writes a new file ('no-appendfsync-on-rewrite yes')"
    return f"{replicas} replicas are to have it on disk"


def _setting(reply: Reply) -> str | None:
    """The one value in what CONFIG GET answers: a map in RESP3, a list in RESP2; None where there is none."""
    if isinstance(reply, Refusal) or not reply:
        return None
    value = next(iter(reply.values())) if isinstance(reply, dict) else reply[1]
    return str(value.decode())
