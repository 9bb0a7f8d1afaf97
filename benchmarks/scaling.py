"""How far a fleet goes, and what is full first: measured on a real store, simulated beyond, compared with real fleets.

    make bench-scaling                                              # measure, compare, and simulate 10 to 10,000 agents
    python benchmarks/scaling.py --calls-per-minute 600 --seconds 20      # which fleet for that; measures nothing
    python benchmarks/scaling.py --calls-per-minute 600 --seconds 20 --capacity 150 --limit-per-minute 500 --machines 1

The answers go by the figures in `scaling_costs.json` beside this file; `--save` puts those of this machine there.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from scaling_advice import Advice, Question, advise, most_in_one_pool
from scaling_chart import Line, chart
from scaling_model import Costs, Fleet, Outcome, simulate

SAVED = Path(__file__).with_name("scaling_costs.json")
AGENTS = (10, 30, 100, 300, 1000, 3000, 10_000)
CALL_S = 30.0
IN_A_POOL = 250
CALLERS_IN_A_PROCESS = 100
SHAPES = ("nothing in the way", "one type, N agents", "one type, N slots", f"types of {IN_A_POOL} slots")


def main(arguments: Sequence[str] | None = None) -> int:
    """Answer a question, or measure and tell how far it goes."""
    options = _options(arguments)
    if options.calls_per_minute:
        question = Question(
            options.calls_per_minute, options.seconds, options.capacity, options.limit_per_minute, options.machines
        )
        print(told(question, advise(question, read_costs(SAVED))))
        return 0
    if options.saved:
        costs = read_costs(SAVED)
    else:
        costs = _measured()
        if options.save:
            SAVED.write_text(json.dumps(_document(costs), indent=1) + "\n", "utf-8")
        _compare(costs, tries=options.tries)
    lines = grown(costs["redis"])
    if options.chart:
        drawing = chart(lines, across="agents", up="calls a second", title="Calls a second by number of agents")
        Path(options.chart).write_text(drawing, "utf-8")
    return 0


def read_costs(path: Path) -> dict[str, Costs]:
    """The figures of an earlier run, by store."""
    return {name: Costs(**one) for name, one in json.loads(path.read_text("utf-8"))["costs"].items()}


def told(question: Question, advice: Advice) -> str:
    """The answer, in words."""
    fleet, outcome = advice.fleet, advice.outcome
    pools = "one agent type" if fleet.pools == 1 else f"the slots split among {fleet.pools} agent types"
    full = ", ".join(f"{name} {most:,.0f}" for name, most in sorted(advice.bounds.items(), key=lambda one: one[1]))
    said = [
        ("can be had", f"{advice.allowed * 60:,.0f} a minute; {advice.bound} allows no more"),
        ("in flight", f"{fleet.callers:,} tasks; an agent is at work for {outcome.in_flight:,.0f} of them"),
        (
            "processes",
            f"{fleet.processes}, each busy for {outcome.process:.0%}; on Airflow {fleet.callers:,} worker slots",
        ),
        ("store", f"{advice.costs.store}, busy for {outcome.store:.0%}, with {pools}"),
        (
            "wait",
            f"{_ms(outcome.wait(0.5))} (half), {_ms(outcome.wait(0.99))} (99 % of the calls) until an agent begins",
        ),
        ("full at", f"{full} calls a minute"),
    ]
    if not advice.enough:
        said.append(("TOO MUCH", "for one store: use a cluster, which spreads the agent types, or keep less in flight"))
    asked = f"{question.calls:,.0f} calls a minute of {question.seconds:g} s"
    return "\n".join([asked, *[f"  {name:<11} {text}" for name, text in said]])


def grown(costs: Costs) -> list[Line]:
    """Simulate more and more agents, print what they come to, and give the lines of the chart."""
    print(f"\nsimulated: calls of {CALL_S:g} s, one caller for each agent, {costs.store}")
    print(f"  {'agents':>7}  {'shape':<18} {'calls/s':>8} {'of ideal':>8} {'store':>6} {'wait p50':>9} {'wait p99':>9}")
    points: dict[str, list[tuple[float, float]]] = {name: [] for name in SHAPES}
    for agents in AGENTS:
        points[SHAPES[0]].append((agents, agents / CALL_S))
        for name in SHAPES[1:]:
            outcome = simulate(shaped(name, agents), costs)
            points[name].append((agents, outcome.per_s))
            print(_row(name, agents, outcome), flush=True)
    print(f"\none agent type keeps the store busy for {0.7:.0%} with so many calls at once:")
    for seconds in (1, 5, 30, 120, 600):
        alone, shared = (most_in_one_pool(seconds, costs, alone=alone) for alone in (True, False))
        print(f"  calls of {seconds:>3} s: {alone:>6,.0f} agents of one slot, {shared:>6,.0f} slots of one agent")
    return [Line(name, line) for name, line in points.items()]


def shaped(name: str, agents: int) -> Fleet:
    """So many agents, or slots, in one of the shapes."""
    fleet = Fleet(callers=agents, processes=-(-agents // CALLERS_IN_A_PROCESS), seconds=CALL_S)
    if name == SHAPES[1]:
        return replace(fleet, agents=agents)
    if name == SHAPES[2]:
        return replace(fleet, capacity=agents)
    pools = -(-agents // IN_A_POOL)
    return replace(fleet, agents=pools, pools=pools, capacity=-(-agents // pools))


def _row(name: str, agents: int, outcome: Outcome) -> str:
    share = outcome.per_s * CALL_S / agents
    waits = f"{_ms(outcome.wait(0.5)):>9} {_ms(outcome.wait(0.99)):>9}"
    return f"  {agents:>7,}  {name:<18} {outcome.per_s:>8.1f} {share:>8.0%} {outcome.store:>6.0%} {waits}"


def _measured() -> dict[str, Costs]:
    # The library, and servers, are needed for this alone.
    from scaling_real import measure_costs

    costs = {kind: measure_costs(kind) for kind in ("redis", "sqlite")}
    print("microseconds of CPU, measured")
    for name in [one for one in asdict(costs["redis"]) if one != "store"]:
        print(f"  {name:<12} redis {getattr(costs['redis'], name):8.1f}   sqlite {getattr(costs['sqlite'], name):8.1f}")
    return costs


def _compare(costs: dict[str, Costs], *, tries: int) -> None:
    from scaling_real import POINTS, quietest

    print("\nreal fleets of two to four processes, and what the simulation says of them")
    heads = ("", "store", "real", "simulated", "error", "wait p50", "simulated", "others")
    print("  {:<26} {:<7} {:>9} {:>10} {:>7} {:>9} {:>10} {:>7}".format(*heads))
    worst = 0.0
    for point in POINTS:
        real = quietest(point, tries=tries)
        here = replace(point.fleet, cores=os.cpu_count() or 1, foreign=real.foreign)
        seen = simulate(here, costs[point.store])
        error = seen.per_s / real.per_s - 1
        worst = max(worst, abs(error))
        print(
            f"  {point.name:<26} {point.store:<7} {real.per_s:>7.1f}/s {seen.per_s:>8.1f}/s {error:>+7.1%} "
            f"{_ms(real.wait_p50_s):>9} {_ms(seen.wait(0.5)):>10} {real.foreign:>7.1f}",
            flush=True,
        )
    print(f"  worst error of calls a second: {worst:.1%}; others: threads that ran beside, on {os.cpu_count()} cores")


def _document(costs: dict[str, Costs]) -> dict[str, object]:
    return {
        "python": platform.python_version(),
        "processors": os.cpu_count(),
        "costs": {
            name: {key: value if key == "store" else round(value, 2) for key, value in asdict(one).items()}
            for name, one in costs.items()
        },
    }


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:,.0f} ms" if seconds < 10 else f"{seconds:,.0f} s"


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls-per-minute", type=float, default=0.0, help="so many are wanted: answer for that alone")
    parser.add_argument("--seconds", type=float, default=20.0, help="that a call takes, on average")
    parser.add_argument("--capacity", type=int, default=0, help="calls that agents take at once; 0: enough")
    parser.add_argument("--limit-per-minute", type=float, default=0.0, help="the provider's rate limit; 0: none")
    parser.add_argument("--machines", type=int, default=2, help="on one, a SQLite file is thought of first")
    parser.add_argument("--saved", action="store_true", help="measure nothing; go by the saved figures")
    parser.add_argument("--save", action="store_true", help="save what was measured, for later answers")
    parser.add_argument("--tries", type=int, default=3, help="of so many runs of a real fleet the quietest is told")
    parser.add_argument("--chart", metavar="FILE", help="draw the simulated growth as an SVG")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
