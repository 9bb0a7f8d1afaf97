"""What the log of a breaker's trials must show, whatever happened to callers and processes.

The log has two kinds of witnesses. "decided" rows are a store's decisions, with the store's own time and the state that
came of them; within a generation `admitted + returned + settled` grows by one with each, which is their order. "begin",
"end" and "dead" rows are written by the calls themselves and by the one who kills; their order is that of the log.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from tests.fleet.stampede.journal import Row

__all__ = ["Found", "audit"]


@dataclass
class Found:
    """What an audit saw: so that a test can tell that there was anything to see."""

    rounds: int = 0
    permits: int = 0
    settled: int = 0
    returned: int = 0
    reissued: int = 0
    lapsed: int = 0
    free: int = 0
    verdicts: Counter[str] = field(default_factory=Counter)


def audit(rows: Iterable[Row], *, probes: int, killed: bool = False) -> Found:
    """killed: processes were killed, so that decisions may be missing: made, but not written down."""
    rows = list(rows)
    decided = [row for row in rows if row.what == "decided"]
    trials = _trials(decided)
    found = Found(rounds=len(trials))
    for row in decided:
        _check_decision(row, probes)
    for generation, trial in trials.items():
        _check_trial(generation, trial, probes, found, killed=killed)
    _check_time(trials, decided, found)
    _check_calls(rows, trials, probes)
    _check_verdicts(rows, decided, found)
    closed = {row.more["seen"]["gen"] for row in decided if row.more["seen"]["state"] == "closed"} | {0}
    for row in rows:
        if row.what == "begin" and row.more["permit"] is None:
            found.free += 1
            assert row.more["gen"] in closed, f"a call passed freely in no closed generation: {row}"
    return found


def _trials(decided: list[Row]) -> dict[int, list[Row]]:
    """Per trial its decisions, in the order in which the store made them; the one that ended it last."""
    trials: dict[int, list[Row]] = defaultdict(list)
    for row in decided:
        if row.more["seen"]["state"] == "half_open":
            trials[row.more["seen"]["gen"]].append(row)
    for trial in trials.values():
        trial.sort(key=lambda row: (_step(row.more["seen"]), row.more["seen"]["at"]))
    return dict(trials)


def _step(seen: dict[str, Any]) -> int:
    return int(seen["admitted"] + seen["returned"] + seen["settled"])


def _check_decision(row: Row, probes: int) -> None:
    """The state that came of one decision, and what lay in the store a moment later."""
    for seen in (row.more["seen"], row.more["stored"]):
        if seen is None or seen["state"] != "half_open":
            continue
        out = [deadline for deadline in seen["permits"].values() if deadline > seen["at"]]
        assert len(out) + seen["settled"] <= probes, f"more calls than permits: {row}"
        accounted = len(seen["permits"]) + seen["settled"] + seen["returned"] + seen["expired"]
        assert seen["admitted"] == accounted, f"a permit is unaccounted for: {row}"
        assert all(deadline <= seen["deadline"] for deadline in seen["permits"].values()), f"outlives its trial: {row}"
    if _is_issue(row):
        assert row.more["seen"]["state"] == "half_open", f"a permit outside a trial: {row}"


def _is_issue(row: Row) -> bool:
    more = row.more
    return more["kind"] == "admit" and more["permit"] in more["seen"].get("permits", {})


def _is_transition(row: Row) -> bool:
    return bool(row.more["seen"]["gen"] != row.more["before"])


def _check_trial(generation: int, trial: list[Row], probes: int, found: Found, *, killed: bool) -> None:
    """Replay a trial's decisions in the store's own time."""
    steps = [_step(row.more["seen"]) for row in trial]
    assert len(set(steps)) == len(steps), f"two decisions are one step of generation {generation}: {trial}"
    if not killed:
        assert steps == list(range(1, len(steps) + 1)), f"decisions of generation {generation} are lost: {trial}"
    out: dict[str, int] = {}
    expired: dict[str, int] = {}
    settled = 0
    for row in trial:
        now, permit = row.more["seen"]["at"], row.more["permit"]
        expired |= {name: deadline for name, deadline in out.items() if deadline <= now}
        out = {name: deadline for name, deadline in out.items() if deadline > now}
        if row.more["kind"] == "admit":
            assert permit not in out, f"issued twice: {row}"
            assert permit not in expired, f"issued twice: {row}"
            out[permit] = row.more["seen"]["permits"][permit]
            found.permits += 1
        else:
            assert out.pop(permit, None) is not None or killed, f"settled without a permit: {row}"
            settled += row.more["code"] != "i"
            found.returned += row.more["code"] == "i"
        assert len(out) + settled <= probes, f"more calls than permits in generation {generation}: {row}"
    found.settled += settled
    found.reissued += _after_expiry(expired, trial)


def _after_expiry(expired: dict[str, int], trial: list[Row]) -> int:
    """How many permits were issued after another of the same trial had expired."""
    if not expired:
        return 0
    return sum(_is_issue(row) and row.more["seen"]["at"] >= min(expired.values()) for row in trial)


def _check_time(trials: dict[int, list[Row]], decided: list[Row], found: Found) -> None:
    """Nobody is let in while it is open, nor after the trial's end."""
    opened = {row.more["seen"]["gen"]: row.more["seen"] for row in decided if row.more["seen"]["state"] == "open"}
    judged = {row.more["asked_gen"] for row in decided if row.more["kind"] == "settle" and _is_transition(row)}
    rests_until = 0
    for generation, trial in sorted(trials.items()):
        before = max((number for number in opened if number < generation), default=None)
        assert before is not None, f"the trial {generation} follows no open time"
        first, last = (end(row.more["seen"]["at"] for row in trial) for end in (min, max))
        assert first >= max(opened[before]["until"], rests_until), f"let in too early: {trial[0]}, {opened[before]}"
        # A trial that went well and slowly goes on, with a later deadline.
        deadline, lapse = (max(row.more["seen"][name] for row in trial) for name in ("deadline", "lapse"))
        assert last < deadline, f"the trial {generation} goes on after its deadline: {trial[-1]}"
        over = generation not in judged and any(row.more["seen"]["gen"] > generation for row in decided)
        # Open since its deadline: what rest that is was known from the start.
        rests_until = lapse if over else 0
        found.lapsed += over
        after = next((seen for number, seen in sorted(opened.items()) if over and number == generation + 1), None)
        assert after is None or after["until"] == lapse, f"a lapsed trial rests otherwise: {after}, {trial[-1]}"


def _check_calls(rows: list[Row], trials: dict[int, list[Row]], probes: int) -> None:
    """Replay the calls in the log's order: those that run and hold a permit, and those whose ends counted."""
    issued = {row.more["permit"]: generation for generation, trial in trials.items() for row in trial if _is_issue(row)}
    counted = {row.more["permit"] for row in rows if row.what == "decided" and row.more["kind"] == "settle"}
    running: dict[int, dict[str, int]] = defaultdict(dict)
    settled: Counter[int] = Counter()
    begun: set[str] = set()
    for row in rows:
        if row.what not in {"begin", "end"} or row.more["permit"] is None:
            continue
        generation, permit = row.more["gen"], row.more["permit"]
        # A killed process's calls hold their permits until these expire.
        held = {name: until for name, until in running[generation].items() if until > row.at}
        if row.what == "begin":
            assert issued.get(permit) == generation, f"a call without a permit of its trial: {row}"
            assert permit not in begun, f"two calls with one permit: {row}"
            begun.add(permit)
            held[permit] = row.more["deadline"]
        elif row.more["code"] == "i":
            held.pop(permit, None)
        elif permit in counted:
            held.pop(permit, None)
            settled[generation] += 1
        running[generation] = held
        assert len(held) + settled[generation] <= probes, f"more calls run than there are permits: {row}, {held}"


def _check_verdicts(rows: list[Row], decided: list[Row], found: Found) -> None:
    """A trial closes only on the calls' own word, and each generation comes but once."""
    ends: dict[int, Counter[str]] = defaultdict(Counter)
    for row in rows:
        if row.what == "end" and row.more["permit"] is not None:
            ends[row.more["gen"]][row.more["code"]] += 1
    for row in decided:
        if row.more["kind"] == "settle" and _is_transition(row):
            found.settled += 1
            verdict, trial = row.more["seen"]["state"], ends[row.more["asked_gen"]]
            found.verdicts[verdict] += 1
            assert trial["s" if verdict == "closed" else "f"], f"nobody ended so: {row}"
    made = Counter(row.more["seen"]["gen"] for row in decided if _is_transition(row))
    # An admission may make two transitions at once, of which it shows the last: a lapsed trial whose rest is over.
    assert all(count == 1 for count in made.values()), f"a generation came twice: {made}"
    ats = [(row.more["seen"]["gen"], row.more["seen"]["at"]) for row in decided]
    for (_, earlier), (_, later) in pairwise(sorted(ats)):
        assert earlier <= later, "a younger generation is older by the store's clock"
