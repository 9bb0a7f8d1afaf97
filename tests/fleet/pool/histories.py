"""Random histories of a pool, and an observer that believes nothing but what callers were told."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st

from coterie._rules.aimd import Aimd
from coterie._rules.balance import STRATEGIES
from coterie._rules.decided import Operation, State
from coterie._rules.pool import set_agent, suspend, turn
from coterie._rules.pool_policy import PoolPolicy, Terms

EPOCH = 1_764_000_000_000_000
SECOND = 1_000_000
AGENTS = ["north", "south", "east"]

Step = tuple[Any, ...]

_AGENT = st.sampled_from(AGENTS)
_TICKET = st.integers(0, 5).map("t{}".format)
_HOLDER = st.sampled_from(["", "h1", "h2"])

STEPS = st.one_of(
    st.tuples(st.just("register"), _AGENT, st.integers(1, 3), st.integers(1, 5), st.booleans()),
    st.tuples(
        st.just("ask"),
        _TICKET,
        _HOLDER,
        st.integers(-2, 3),
        st.booleans(),
        st.booleans(),
        st.sampled_from(["", "k1", "k2"]),
        st.sets(_AGENT, max_size=2).map(sorted),
    ),
    st.tuples(st.just("release"), st.integers(0, 9), st.sampled_from(["s", "f", "o", ""]), st.integers(0, 5_000_000)),
    st.tuples(st.just("complete"), st.integers(0, 9), st.integers(-1, 1)),
    st.tuples(st.just("renew"), st.integers(0, 9)),
    st.tuples(st.just("drop"), _TICKET, _HOLDER),
    st.tuples(st.just("set"), _AGENT, st.sampled_from(["drain", "resume", "remove"])),
    st.tuples(st.just("suspend"), _AGENT, st.integers(-5 * SECOND, 40 * SECOND)),
    st.tuples(st.just("pass"), st.integers(0, 20 * SECOND)),
)
HISTORIES = st.lists(STEPS, min_size=1, max_size=40)


def terms(strategy: str = "least_loaded", **changes: Any) -> Terms:
    return PoolPolicy(strategy=strategy, **{"ageing_s": 5.0, "queue_limit": 4, **changes}).terms("linter")  # type: ignore[arg-type]


# Small, so that each bound is met.
ADAPTIVE = st.builds(
    lambda bounds, backoff: Aimd(minimum=bounds[0], start=bounds[1], maximum=bounds[2], backoff=backoff),
    st.lists(st.integers(1, 5), min_size=3, max_size=3).map(sorted),
    st.sampled_from([0.5, 0.7, 0.9]),
)
ANY_TERMS = st.builds(terms, st.sampled_from(STRATEGIES), adaptive=st.none() | ADAPTIVE)


def slots(agent: dict[str, int]) -> int:
    """How many leases a stored agent may have."""
    return min(agent["c"], agent.get("m", agent["c"]))


@dataclass
class Grant:
    """A slot, as its holder knows of it."""

    ticket: str
    agent: str
    token: int
    until: int


@dataclass
class World:
    """Applies steps to the rule, and keeps `grants` from the answers and signals alone."""

    terms: Terms
    now: int = EPOCH
    state: State | None = None
    grants: dict[int, Grant] = field(default_factory=dict)
    ended: set[int] = field(default_factory=set)
    arrivals: dict[str, tuple[int, int, int]] = field(default_factory=dict)
    done: list[tuple[Operation[Any], int]] = field(default_factory=list)
    answers: dict[str, Any] = field(default_factory=dict)
    granted: list[str] = field(default_factory=list)
    chance: int = 0

    def run(self, step: Step) -> Any:
        kind, *rest = step
        if kind == "pass":
            self.now += rest[0]
            return None
        return getattr(self, f"_{kind}")(*rest)

    def apply(self, operation: Operation[Any]) -> Any:
        """One decision. What expired by now is over for its holders, whatever the rule thinks."""
        for token in [token for token, grant in self.grants.items() if grant.until <= self.now]:
            self._end(token)
        self.done.append((operation, self.now))
        decided = operation.rule(self.state, self.now, *operation.args)
        self.state = decided.state
        self.granted = []
        for told in decided.signals:
            ticket, agent, token = told.message.split(" ")
            claim = self.state["leases"][ticket]["h"] != ""  # type: ignore[call-overload, index]
            self._hold(ticket, agent, int(token), self.terms["claim" if claim else "deferred_claim"])
        return decided.result

    def turn(self, **said: Any) -> Any:
        self.chance = (self.chance * 7919 + 13) % 1_000_000
        return self.apply(turn(self.terms, "p1", chance=self.chance, **said))

    def ask(self, ticket: str, holder: str = "h1", priority: int = 0, *, waits: bool = True, key: str = "") -> Any:
        return self._ask(ticket, holder, priority, True, waits, key, [])

    def give_back(self, ticket: str) -> str:
        """Release what a ticket was granted."""
        grant = next(one for one in self.grants.values() if one.ticket == ticket)
        return self._back(grant, grant.ticket, "s", 1000)

    def _register(self, agent: str, capacity: int, weight: int, leaving: bool) -> None:
        self.turn(agents=[[agent, capacity, weight]], leaving=leaving)

    def _ask(self, *ask: Any) -> Any:
        ticket, holder, priority, takes_over, waits, key, avoid = ask
        waited = ticket in self._stored("tickets")
        result = self.turn(asks=[[ticket, holder, priority, int(takes_over), int(waits), key, avoid]])["asks"][ticket]
        self.answers[ticket] = result
        if result["k"] == "queued" and not waited:
            self.arrivals[ticket] = (priority, self.now, len(self.done))
        if result["k"] == "leased":
            self._hold(ticket, result["a"], result["n"], result["u"])
        return result

    def _release(self, number: int, outcome: str, latency_us: int) -> str | None:
        if not self.grants:
            return None
        grant = list(self.grants.values())[number % len(self.grants)]
        return self._back(grant, grant.ticket, outcome, latency_us)

    def _complete(self, number: int, off_by: int) -> str | None:
        if not self.grants:
            return None
        grant = list(self.grants.values())[number % len(self.grants)]
        if off_by:
            wrong = grant.token + off_by
            if wrong not in self.grants:
                how = self.turn(back=[("", grant.agent, wrong, "s", 5)])["back"][""]
                assert how != "ok", "a token that nobody holds gives nothing back"
            return None
        return self._back(grant, "", "s", 5)

    def _back(self, grant: Grant, lease_id: str, outcome: str, latency_us: int) -> str:
        alive = grant.until > self.now
        # Given back before anybody else is granted it.
        self._end(grant.token)
        how = self.turn(back=[(lease_id, grant.agent, grant.token, outcome, latency_us)])["back"][lease_id]
        assert (how == "ok") == alive, (how, grant)
        return str(how)

    def _renew(self, number: int) -> None:
        if not self.grants:
            return
        grant = list(self.grants.values())[number % len(self.grants)]
        alive = grant.until > self.now
        lost = self.turn(renew=[[grant.ticket, grant.token]])["lost"]
        assert (grant.ticket in lost) == (not alive)
        if alive:
            grant.until = self.now + self.terms["lease"]

    def _drop(self, ticket: str, holder: str) -> None:
        lease: Any = self._stored("leases").get(ticket)
        if lease and lease["h"] == holder:
            self._end(lease["n"])
        self.turn(drop=[[ticket, holder]])

    def _set(self, agent: str, change: Any) -> None:
        self.apply(set_agent(self.terms, agent, change, chance=7))

    def _suspend(self, agent: str, left_us: int) -> None:
        self.apply(suspend(self.terms, agent, self.now + left_us, chance=7))

    def _hold(self, ticket: str, agent: str, token: int, left_us: int) -> None:
        if token not in self.grants:
            assert token not in self.ended, "a token is granted once"
            self.granted.append(ticket)
        self.grants[token] = Grant(ticket, agent, token, self.now + left_us)

    def _end(self, token: int) -> None:
        if self.grants.pop(token, None) is not None:
            self.ended.add(token)

    def _stored(self, what: str) -> Any:
        return self.state[what] if self.state else {}

    @property
    def tickets(self) -> dict[str, Any]:
        return self._stored("tickets")

    @property
    def leases(self) -> dict[str, Any]:
        return self._stored("leases")

    @property
    def agents(self) -> dict[str, Any]:
        return self._stored("agents")
