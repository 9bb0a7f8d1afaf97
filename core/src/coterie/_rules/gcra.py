"""Share a rate between callers, first come, first served: the arithmetic of reservations, in whole microseconds.

Each dimension (`requests`, `tokens`, ...) is a leaky bucket: a *charge* is the time in which what was taken drains
again, `full` the time in which a full bucket drains, `tat` (the theoretical arrival time) the instant at which all
that was taken will have drained. A caller may go at the first instant at which every dimension has room for its
charge, and not before anybody who came earlier.

No window of W microseconds sees more than `W + full` of charges: the first one in it leaves `tat` at least its own
charge past the window's beginning, each further one adds its charge, and none leaves it more than `full` past its own
instant.

Giving back keeps that promise by looking back: what a caller took too much may go to others only if, without it, the
bucket would not have run empty in the meantime (time that nobody used cannot be sold twice). For callers from number
`since` on, `low` is a lower bound of what was in the bucket whenever somebody later went (-1: nobody did).

Source: ITU-T I.371, the generic cell rate algorithm, in its virtual scheduling form.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, cast

from coterie._json import JsonValue
from coterie._rules.decided import Decided, Signal, State
from coterie._rules.timeline import SECOND, Moment, moment

__all__ = ["FARTHEST", "LATEST", "Flow", "Ledger", "cancel", "open_ledger", "pause", "reserve", "settle"]

# Nothing is booked further ahead: 115 days. Beyond `LATEST` a state begins anew, so that numbers keep to 14 digits.
FARTHEST = 10**13
LATEST = 5 * 10**13
NOBODY = -1


class Flow(NamedTuple):
    """One dimension's bucket; the module's docstring says what the names mean."""

    tat: int
    since: int
    low: int

    def taken(self, number: int, go: int, charge: int) -> Flow:
        """After caller `number`, who goes at `go`."""
        before = self.tat - go
        if before <= 0:
            return Flow(go + charge, number, NOBODY)
        if self.low == 0:
            return Flow(self.tat + charge, number, NOBODY)
        return Flow(self.tat + charge, self.since, before if self.low == NOBODY else min(self.low, before))

    def given_back(self, number: int, charge: int) -> Flow:
        """After caller `number` returned `charge`, or as much of it as others may have."""
        if number < self.since:
            return self
        if self.low == NOBODY:
            return self._replace(tat=self.tat - charge)
        back = min(charge, self.low)
        return Flow(self.tat - back, self.since, self.low - back)


EMPTY = Flow(0, 0, NOBODY)


@dataclass(frozen=True, slots=True)
class Ledger:
    """What a limiter's key holds. Instants are microseconds since the state's beginning.

    number: of the newest reservation. last: of the newest that was not taken back. go: when that one may go; nobody who
    comes later goes before it. held: how long the schedule stood still in all. until: it stands still until then.
    """

    time: Moment
    number: int
    last: int
    go: int
    held: int
    until: int
    flows: Mapping[str, Flow]

    def state(self) -> State:
        """As it is stored."""
        return {
            **self.time.stamp(),
            "n": self.number,
            "last": self.last,
            "go": self.go,
            "held": self.held,
            "until": self.until,
            "flows": {name: list(flow) for name, flow in self.flows.items()},
        }


def open_ledger(state: State | None, now: int) -> Ledger:
    """The ledger as it stands at `now`."""
    time = moment(state, now)
    if state is None:
        return Ledger(time, 0, 0, 0, 0, 0, {})
    held = cast("dict[str, Any]", state)
    flows = {name: Flow(*flow) for name, flow in held["flows"].items()}
    ledger = Ledger(time, held["n"], held["last"], held["go"], held["held"], held["until"], flows)
    return ledger if time.at <= LATEST else _begun_anew(ledger)


def _begun_anew(ledger: Ledger) -> Ledger:
    """The same with its beginning moved to now. What lies in the past may be forgotten: it is 0."""
    past_s = ledger.time.at // SECOND
    past = past_s * SECOND
    time = Moment(ledger.time.t0_s + past_s, ledger.time.at - past)
    flows = {name: flow._replace(tat=max(flow.tat - past, 0)) for name, flow in ledger.flows.items()}
    return replace(ledger, time=time, go=max(ledger.go - past, 0), until=max(ledger.until - past, 0), flows=flows)


def reserve(state: State | None, now: int, takes: Mapping[str, Sequence[int]], max_wait: int) -> Decided[JsonValue]:
    """Take all of `takes` (by dimension: charge, full), or nothing if the caller would wait longer than `max_wait`.

    Answers [wait, 0] when refused, else [wait, number, t0, go, last]; where the caller has to wait, what `cancel` needs
    follows: [..., held, go, flows]. `last` and these are as they were before.
    """
    ledger = open_ledger(state, now)
    at = ledger.time.at
    go = max(at, ledger.go)
    for name, (charge, full) in takes.items():
        go = max(go, ledger.flows.get(name, EMPTY).tat + charge - full)
    wait = go - at
    if wait > max_wait:
        # Where the clock was set back, time must go on from here, or a state that refuses would never see it pass.
        moved = state is not None and state["t0"] != ledger.time.t0_s
        return Decided(ledger.state() if moved else state, [wait, 0])
    number = ledger.number + 1
    flows = dict(ledger.flows)
    for name, (charge, _) in takes.items():
        flows[name] = flows.get(name, EMPTY).taken(number, go, charge)
    after = replace(ledger, number=number, last=number, go=go, flows=flows)
    result: list[JsonValue] = [wait, number, ledger.time.t0_s, go, ledger.last]
    if wait:
        before: dict[str, JsonValue] = {name: list(ledger.flows.get(name, EMPTY)) for name in takes}
        result += [ledger.held, ledger.go, before]
    return Decided(after.state(), result)


def settle(state: State | None, now: int, number: int, changes: Mapping[str, int]) -> Decided[JsonValue]:
    """Book what caller `number` used beyond its charges (by dimension), or give back what it did not use.

    Answers whether anything was changed. More is taken from those who come next: nobody who has a reservation waits
    longer for it.
    """
    ledger = open_ledger(state, now)
    if number > ledger.number:
        return Decided(state, result=False)
    flows = dict(ledger.flows)
    for name, change in changes.items():
        flow = flows.get(name, EMPTY)
        if change < 0:
            flows[name] = flow.given_back(number, -change)
        else:
            tat = max(flow.tat, ledger.time.at) + change
            flows[name] = flow._replace(tat=min(tat, max(flow.tat, ledger.time.at + FARTHEST)))
    if flows == ledger.flows:
        return Decided(state, result=False)
    return Decided(replace(ledger, flows=flows).state(), result=True)


def cancel(state: State | None, now: int, tickets: Sequence[Sequence[Any]]) -> Decided[JsonValue]:
    """Take back reservations that nobody will use; each is what `reserve` answered, and its charges by dimension.

    Whoever came later keeps their instant, so nobody is overtaken. The newest reservation is undone altogether, and
    the one before it is then the newest: taken back together, all that were made last leave no trace.
    """
    ledger = open_ledger(state, now)
    for ticket, charges in sorted(tickets, key=lambda entry: -entry[0][1]):
        if ticket[1] <= ledger.number:
            ledger = _without(ledger, ticket, charges)
    if state is None or ledger == open_ledger(state, now):
        return Decided(state, None)
    return Decided(ledger.state(), None)


def _without(ledger: Ledger, ticket: Sequence[Any], charges: Mapping[str, int]) -> Ledger:
    number = ticket[1]
    if number != ledger.last:
        flows = {
            name: flow.given_back(number, charges[name]) if name in charges else flow
            for name, flow in ledger.flows.items()
        }
        return replace(ledger, flows=flows)
    exact = len(ticket) > 5 and ticket[2] == ledger.time.t0_s and ticket[5] == ledger.held
    before: Mapping[str, Sequence[int]] = ticket[7] if exact else {}
    flows = dict(ledger.flows)
    for name, charge in charges.items():
        flow = flows.get(name, EMPTY)
        rest = flow.tat - charge
        if name not in before or flow.since != number:
            flows[name] = flow._replace(tat=rest)
            continue
        tat, since, low = before[name]
        if tat <= ledger.go:
            # The bucket was to run empty before this caller: back to what it held, and to what was booked since.
            more = rest - ledger.go
            rest = max(tat, ledger.time.at) + more if more else tat
        flows[name] = Flow(rest, since, low)
    return replace(ledger, last=ticket[4], go=ticket[6] if exact else ledger.go, flows=flows)


def pause(state: State | None, now: int, pause_us: int, channel: str) -> Decided[JsonValue]:
    """Let nobody go for `pause_us`: the whole schedule moves by as much, so that nobody loses their place.

    Answers how long it stood still in all, and sends the same: whoever waits adds what is new to it.
    """
    ledger = open_ledger(state, now)
    at = ledger.time.at
    until = at + pause_us
    moved = until - max(at, ledger.until)
    if moved <= 0:
        return Decided(state, ledger.held)
    flows = dict(ledger.flows)
    for name, flow in flows.items():
        if flow.tat > at:
            flows[name] = flow._replace(tat=flow.tat + moved)
    go = max(ledger.go + moved if ledger.go > at else 0, until)
    after = replace(ledger, go=go, held=ledger.held + moved, until=until, flows=flows)
    return Decided(after.state(), after.held, (Signal(channel, str(after.held)),))
