"""The checks, in their order; each bounded in time, and none of them the end of the others."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from coterie.cli.doctor.artifacts import check_artifacts
from coterie.cli.doctor.events import check_dead_letters, check_log_store
from coterie.cli.doctor.finding import Finding, because, fault, skipped, worst
from coterie.cli.doctor.journal import check_durability, check_interrupted, check_journal, check_leftovers
from coterie.cli.doctor.place import Place
from coterie.cli.doctor.settings import check_home, check_variables
from coterie.cli.doctor.state import check_breakers, check_clock, check_rights, check_state_store, check_versions
from coterie.cli.doctor.team import check_team, check_workers

__all__ = ["CHECKS", "Check", "examine"]

BOUND_S = 5.0


@dataclass(frozen=True, slots=True)
class Check:
    """needs: the checks without whose success it can say nothing."""

    name: str
    run: Callable[[Place], Awaitable[Finding | list[Finding]]]
    needs: tuple[str, ...] = ()


CHECKS = (
    Check("variables", check_variables),
    Check("home folder", check_home),
    Check("state store", check_state_store),
    Check("clock", check_clock, ("state store",)),
    Check("rights", check_rights, ("state store",)),
    Check("versions", check_versions, ("state store",)),
    Check("journal", check_journal, ("state store",)),
    Check("durability", check_durability, ("state store",)),
    Check("log store", check_log_store, ("state store",)),
    Check("artifacts", check_artifacts),
    Check("team", check_team),
    Check("workers", check_workers, ("state store",)),
    Check("breakers", check_breakers, ("state store",)),
    Check("dead letters", check_dead_letters, ("log store",)),
    Check("interrupted runs", check_interrupted, ("journal",)),
    Check("undone runs", check_leftovers, ("journal",)),
)


async def examine(
    place: Place, checks: tuple[Check, ...] = CHECKS, *, bound_s: float = BOUND_S
) -> list[tuple[str, Finding]]:
    """What each check finds, by its name, in their order."""
    found: list[tuple[str, Finding]] = []
    failed: set[str] = set()
    for check in checks:
        stood = next((name for name in check.needs if name in failed), None)
        findings = (
            [skipped(f"the {stood} comes first")] if stood is not None else await _findings(check, place, bound_s)
        )
        if stood is not None or worst(findings) == "fault":
            failed.add(check.name)
        found += [(check.name, finding) for finding in findings]
    return found


async def _findings(check: Check, place: Place, bound_s: float) -> list[Finding]:
    try:
        async with asyncio.timeout(bound_s):
            found = await check.run(place)
    except TimeoutError:
        return [fault(f"no answer within {bound_s:g} s", _unanswered(check, place))]
    # It becomes a finding, which the person reads who asked; the other checks go on.
    except Exception as error:  # noqa: BLE001
        return [because(error, "see 'coterie --debug' of a command that uses it for the traceback")]
    return found if isinstance(found, list) else [found]


def _unanswered(check: Check, place: Place) -> str:
    remedy = "see that it is up and reachable, and not overloaded"
    if check.name == "state store" and place.url.startswith("rediss"):
        # One that speaks none waits for a line that never ends.
        return f"{remedy}; and that it speaks TLS at that port, else its URL begins with redis://"
    return remedy
