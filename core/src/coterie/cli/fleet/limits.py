"""A rate limit's stored state, as people are shown it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from coterie._rules.decided import State
from coterie._rules.gcra import EMPTY, Flow, open_ledger
from coterie._rules.quota import LONGEST_WAIT_S, Quota, reserve
from coterie._rules.timeline import SECOND
from coterie.cli.fleet.known import Limit
from coterie.cli.fleet.reading import reading
from coterie.cli.fleet.times import instant

__all__ = ["DimensionRow", "LimitRow", "limit_row"]

# Below this share of its burst a dimension is near its end.
_LITTLE = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class DimensionRow:
    """One dimension. refilled_us: when all that was taken is there again; None if it is.

    free: units that may be taken at once; None without the quota, which says how much a burst is.
    """

    name: str
    refilled_us: int | None
    free: int | None
    quota: Quota | None

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "name": self.name,
            "free": self.free,
            "burst": self.quota.burst if self.quota is not None else None,
            "rate_per_s": self.quota.rate_per_s if self.quota is not None else None,
            "refilled": instant(self.refilled_us),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitRow:
    """One rate limit. Instants in microseconds since the epoch, on the store's clock.

    next_us: nobody who comes now goes before; None if that is past. wait_us: how long the next call waits; None without
    the quotas. paused_us: until when it stands still; None if it does not. taken: places that were given, ever.
    """

    name: str
    dimensions: tuple[DimensionRow, ...]
    next_us: int | None
    wait_us: int | None
    paused_us: int | None
    taken: int

    @property
    def unknown(self) -> bool:
        """Whether only the quotas, which are not known, would tell how much is left."""
        return self.wait_us is None and not self.near_end

    @property
    def near_end(self) -> bool:
        """Whether the next call has to wait, or little is left for those after it."""
        little = any(
            one.free is not None and one.quota is not None and one.free < _LITTLE * one.quota.burst
            for one in self.dimensions
        )
        return little or bool(self.wait_us) or self.next_us is not None or self.paused_us is not None

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "name": self.name,
            "dimensions": [one.document() for one in self.dimensions],
            "wait_s": None if self.wait_us is None else self.wait_us / SECOND,
            "not_before": instant(self.next_us),
            "paused_until": instant(self.paused_us),
            "taken": self.taken,
        }


def limit_row(name: str, limit: Limit | None, state: State | None, now: int) -> LimitRow:
    """What its state says at `now`.

    Raises:
        StateFormatError: it cannot be read, or a newer coterie wrote it.
    """
    with reading(f"limit/{name}"):
        return _row(name, limit, state, now)


def _row(name: str, limit: Limit | None, state: State | None, now: int) -> LimitRow:
    ledger = open_ledger(state, now)
    at = ledger.time.at
    quotas = limit.quotas if limit is not None else {}

    def later(instant_us: int) -> int | None:
        return now + instant_us - at if instant_us > at else None

    def dimension(name: str, flow: Flow) -> DimensionRow:
        quota = quotas.get(name)
        taken_us = max(flow.tat - at, 0)
        free = max(quota.full_us - taken_us, 0) * quota.burst // quota.full_us if quota is not None else None
        return DimensionRow(name=name, refilled_us=later(flow.tat), free=free, quota=quota)

    wait_us = None
    if limit is not None:
        # Asked, and not stored: it takes nothing.
        asked = reserve(limit.quotas, limit.costs, max_wait_s=LONGEST_WAIT_S)
        wait_us = asked(state, now).result.wait_us
    return LimitRow(
        name=name,
        dimensions=tuple(
            dimension(each, ledger.flows.get(each, EMPTY)) for each in dict.fromkeys([*quotas, *sorted(ledger.flows)])
        ),
        next_us=later(ledger.go),
        wait_us=wait_us,
        paused_us=later(ledger.until),
        taken=ledger.number,
    )
