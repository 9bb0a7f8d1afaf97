"""The journal: whether it answers, whether what it holds would survive, and what its runs have left to people."""

from __future__ import annotations

import os
from pathlib import Path

from coterie.cli.doctor.finding import Finding, because, fault, ok, skipped, warning
from coterie.cli.doctor.place import Place, may_be_made
from coterie.errors import PolicyError, StateFormatError
from coterie.errors.root import listed
from coterie.stores.redis.address import Address, parse_address
from coterie.stores.redis.failures import JOURNAL_RIGHTS, translated
from coterie.stores.redis.policy import RedisJournalPolicy
from coterie.stores.redis.standing import Facts, could_lose_runs, judge

__all__ = ["check_durability", "check_interrupted", "check_journal", "check_leftovers", "durability_of"]

_RUNS = 200
# So many of a scheduler's runs are read as a whole.
_LOOKED_INTO = 20


def _wanted() -> str:
    return os.environ.get("COTERIE_JOURNAL") or "strict"


async def check_journal(place: Place) -> Finding:
    """Whether it can be read, the run begun last too: who writes a newer format than we read has begun it."""
    from coterie.journal.view import list_runs

    if _wanted() == "off":
        return skipped("COTERIE_JOURNAL is off")
    async with place.journal() as journal:
        try:
            runs, _ = await list_runs(journal, limit=1)
        except StateFormatError as error:
            return because(error, "look at it before it is used")
        path = Path(journal.store.url.removeprefix("sqlite://"))
        problem = may_be_made(path) if journal.store.url.startswith("sqlite://") else None
        if problem is not None:
            return fault(f"{journal.store.url}: {problem}", "give this user the right to, or name another place")
        return ok(f"{journal.store.url} {'holds runs' if runs else 'holds no run yet'}")


async def check_durability(place: Place) -> Finding:
    """Whether what it has acknowledged survives what it promises to survive. Asked as a journal asks: nothing stays."""
    wanted = _wanted()
    if wanted == "off":
        return skipped("COTERIE_JOURNAL is off")
    if place.url.startswith("sqlite:"):
        return ok(f"{wanted}: in a file that is synced")
    if not place.url.startswith(("redis", "unix")):
        return skipped("the store is in memory")
    address = parse_address(place.url, named_by=None if place.store else "COTERIE_STORE")
    try:
        facts = await _facts(address, place.name, strict=wanted == "strict")
    except PolicyError as error:
        return because(error, "set 'appendonly yes' and 'appendfsync always' there")
    return durability_of(facts, address.where, wanted)


def durability_of(facts: Facts, where: str, wanted: str) -> Finding:
    """What the facts of a server say. wanted: "strict" or "relaxed"."""
    try:
        judge(facts, replicas=0, where=where)
    except PolicyError as error:
        if wanted == "strict":
            return because(error, "set 'appendonly yes' and 'appendfsync always' there")
        problem = could_lose_runs(facts)
        if problem is not None:
            return fault(f"{where}: {problem}", "set 'maxmemory-policy noeviction' there")
        if not facts.appends:
            return warning(
                f"{where} keeps no append-only file: what was finished is lost when the server restarts",
                "set 'appendonly yes' there",
            )
        return ok("relaxed, as COTERIE_JOURNAL asks: what was acknowledged last may be lost with the server")
    return ok(f"fit for a strict journal: an append-only file, 'appendfsync {facts.fsync or '(not known to us)'}'")


async def _facts(address: Address, namespace: str, *, strict: bool) -> Facts:
    """What the server says of itself.

    Raises:
        PolicyError: it is to be strict, and does not keep its word.
    """
    from coterie.stores.redis.durable import Durable
    from coterie.stores.redis.routes import open_route
    from coterie.stores.redis.standing import ask_facts
    from coterie.stores.redis.wire import Wire

    policy, key = RedisJournalPolicy(), f"{{{namespace}:doctor}}".encode()
    durable = Durable(address, policy, "strict") if strict else None
    route = open_route(address, policy, inspector=durable)
    wires: list[Wire] = []
    try:
        with translated("say how durable it is", address.where, rights=JOURNAL_RIGHTS):
            await route.run(key, ("EXISTS", key), again=True, on=wires.append)
            return await ask_facts(wires[-1])
    finally:
        await route.aclose()
        if durable is not None:
            await durable.aclose()


async def check_interrupted(place: Place) -> Finding:
    """Runs that nobody is at although they have not ended: their process died, or was killed."""
    from coterie.journal.view import list_runs, view_run

    if _wanted() == "off":
        return skipped("COTERIE_JOURNAL is off")
    async with place.journal() as journal:
        runs, _ = await list_runs(journal, limit=_RUNS, with_calls=False)
        found = [run for run in runs if run.state == "interrupted"]
        left = [run.workflow_id for run in found if run.header.scheduler is None]
        # A scheduler is at none between two tasks. Where one has died in a task, its claim is left.
        for run in [run for run in found if run.header.scheduler is not None][:_LOOKED_INTO]:
            units = (await view_run(journal, run.workflow_id)).units
            left += [run.workflow_id] if any(unit.claim is not None for unit in units) else []
    if not left:
        return ok(f"none of the last {len(runs)} runs was left half done" if runs else "there is no run")
    return warning(
        f"nobody is at {listed(left, 5)}: begun, and not ended",
        "'coterie runs show RUN' says whose; go on there or with 'coterie runs resume RUN', or end it: 'coterie reap'",
    )


async def check_leftovers(place: Place) -> Finding:
    """Runs that could not be undone, and left steps to people."""
    from coterie.journal.view import list_runs

    if _wanted() == "off":
        return skipped("COTERIE_JOURNAL is off")
    async with place.journal() as journal:
        runs, _ = await list_runs(journal, limit=_RUNS, with_calls=False)
    left = {run.workflow_id: run.saga.left for run in runs if run.saga is not None and run.saga.left}
    if not left:
        return ok(f"none of the last {len(runs)} runs left a step to undo" if runs else "there is no run")
    return warning(
        f"{sum(left.values())} steps could not be undone, in {listed(left, 5)}",
        "'coterie runs show RUN' says what stands and why; undo it, then 'coterie runs settle RUN TASK'",
    )
