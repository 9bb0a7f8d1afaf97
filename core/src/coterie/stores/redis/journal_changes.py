"""Decisions over the same texts of a run, folded together in this process and stored by compare and set."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from coterie._rules.written import Change
from coterie.stores.journals import checked_change
from coterie.stores.redis.convoy import Convoy, Round
from coterie.stores.redis.fold import Outcome
from coterie.stores.redis.journal_calls import JournalCalls, Looked, Texts

__all__ = ["Changes", "Landed"]


@dataclass(slots=True)
class Landed:
    """What one caller gets: `error` to raise, else `result`; and, once that is known, what it rests upon."""

    result: Any
    error: Exception | None
    upon: Looked


@dataclass(frozen=True, slots=True)
class _Plan:
    texts: Texts
    landed: Sequence[Landed]


class Changes(Convoy[Looked, _Plan]):
    """All who decide over the texts at `paths` of one run's main shelf."""

    def __init__(
        self, run: str, paths: tuple[str, ...], calls: JournalCalls, *, timeout_s: float, over: Callable[[], object]
    ) -> None:
        super().__init__(run, timeout_s=timeout_s, over=over)
        self._run = run
        self._paths = paths
        self._calls = calls

    async def look(self) -> Looked:
        """See `Convoy.look`."""
        return await self._calls.look(self._run, self._paths)

    def decide(self, asks: Sequence[Change[Any]], seen: Looked) -> Round[_Plan]:
        """See `Convoy.decide`. What raises, or returns what cannot be stored, fails its own caller alone."""
        now, written = dict(seen.texts), dict[str, str | None]()
        landed = []
        for ask in asks:
            try:
                changed = ask(MappingProxyType(dict(now)), seen.now)
                texts = checked_change(changed, now.keys(), self._run)
            # Raised at the caller's.
            except Exception as error:  # noqa: BLE001
                landed.append(Landed(None, error, seen))
                continue
            now.update(texts)
            written.update(texts)
            landed.append(Landed(changed.result, None, seen))
        return Round([Outcome(each, None) for each in landed], _Plan(written, landed) if written else None)

    async def store(self, plan: _Plan, seen: Looked) -> tuple[bool, Looked]:
        """See `Convoy.store`."""
        done, after = await self._calls.put(self._run, plan.texts, expected=seen.texts)
        if not done:
            return False, after
        after = after._replace(texts={**seen.texts, **plan.texts})
        for each in plan.landed:
            each.upon = after
        return True, after
