"""Runs a script on keys of one slot, wherever they lie, and tells what went wrong in coterie's own errors."""

from __future__ import annotations

from collections.abc import Sequence

from coterie.stores.redis.failures import STATE_RIGHTS, translation
from coterie.stores.redis.route import On, Route
from coterie.stores.redis.scripts import Script
from coterie.stores.redis.wire import Refusal, Reply

__all__ = ["evaluate"]


async def evaluate(
    route: Route,
    script: Script,
    keys: Sequence[bytes],
    arguments: Sequence[str | bytes | int],
    *,
    what: str,
    of: str,
    where: str,
    again: bool = False,
    on: On | None = None,
    rights: str = STATE_RIGHTS,
) -> Reply:
    """What the script answers; a server that does not know it yet is given its text. See `Route.run`, `translation`.

    what, of: for errors: what it was to do, to which key or run.
    """
    rest = (len(keys), *keys, *arguments)
    try:
        return await route.run(keys[0], ("EVALSHA", script.sha, *rest), again=again, on=on)
    except (Refusal, OSError) as error:
        if not (isinstance(error, Refusal) and error.code == "NOSCRIPT"):
            raise translation(error, f"{what} {of!r}", where, rights=rights) from error
    try:
        return await route.run(keys[0], ("EVAL", script.text, *rest), again=again, on=on)
    except (Refusal, OSError) as error:
        raise translation(error, f"{what} {of!r}", where, rights=rights) from error
