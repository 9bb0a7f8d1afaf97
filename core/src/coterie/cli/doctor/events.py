"""The log store: whether its topics can be read, and what its groups have given up."""

from __future__ import annotations

from coterie.cli.doctor.finding import Finding, ok, warning
from coterie.cli.doctor.place import Place

__all__ = ["check_dead_letters", "check_log_store"]


async def check_log_store(place: Place) -> Finding:
    """Whether it answers."""
    async with place.log() as log:
        topics = await log.topics()
        return ok(f"{log.url} holds {len(topics)} topics" if topics else f"{log.url} holds no topic yet")


async def check_dead_letters(place: Place) -> Finding:
    """What groups have given up, tasks of workers included."""
    dead: dict[str, int] = {}
    async with place.log() as log:
        for topic in await log.topics():
            for group in await log.groups(topic.name):
                if group.dead:
                    dead[f"{topic.name} ({group.name})"] = group.dead
    if not dead:
        return ok("none")
    named = ", ".join(f"{count} of {name}" for name, count in sorted(dead.items())[:5])
    return warning(
        f"{sum(dead.values())} wait: {named}",
        "'coterie dlq list --all-topics' says why; then 'coterie dlq requeue', or drop them",
    )
