"""What it costs to make each step durable, beside a bare group commit, LangGraph and DBOS, all on SQLite.

    make bench-journal

Prints CPU and wall-clock microseconds a step (medians of interleaved rounds), the ratio to the floor of the same round,
and says whether the budgets hold: at most 1.6 times the floor's CPU on wide graphs; on a chain one commit a step, so at
most 1.6 times its wall clock; at 100,000 steps at most 1.2 times the cost at 1,000. Exits with 1 if one does not.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import durable_schedulers
from graph_shapes import SHAPES, Shape

BUDGET, BUDGET_GROWTH = 1.6, 1.2
STEPS, MANY_STEPS = 1_000, 100_000
PEERS: dict[str, Callable[[Shape, Path], durable_schedulers.Prepared]] = {
    "langgraph": durable_schedulers.langgraph,
    "dbos": durable_schedulers.dbos,
}
OURS: dict[str, Callable[[Shape, Path], durable_schedulers.Prepared]] = {
    "floor": durable_schedulers.floor,
    "coterie": durable_schedulers.coterie,
}


class Cost(NamedTuple):
    """Of one run, in seconds."""

    cpu_s: float
    wall_s: float


def main() -> int:
    """Measure, print, judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7, help="rounds of each, interleaved (default 7)")
    parser.add_argument("--no-peers", action="store_true", help="leave LangGraph and DBOS out")
    parser.add_argument("--steps", type=int, default=STEPS, help=f"steps of each graph (default {STEPS})")
    parser.add_argument("--many", type=int, default=MANY_STEPS, help=f"steps of the long run (default {MANY_STEPS})")
    options = parser.parse_args()
    print(f"{'steps':>7} {'shape':<8} {'scheduler':<10} {'us CPU':>8} {'x floor':>8} {'us wall':>8} {'x floor':>8}")
    broken = []
    for shape in SHAPES:
        costs = asyncio.run(_measured(SHAPES[shape](options.steps), options.rounds, OURS))
        if not options.no_peers:
            # The peers take seconds a round: three say enough.
            costs |= asyncio.run(_measured(SHAPES[shape](options.steps), min(3, options.rounds), PEERS))
        _show(shape, options.steps, costs)
        ratio = _ratio(costs, "wall_s" if shape == "chain" else "cpu_s")
        if ratio > BUDGET:
            broken.append(f"{shape}: {ratio:.2f} x the floor, budget {BUDGET}")
    for shape in ("layered", "fan-out"):
        many = asyncio.run(_measured(SHAPES[shape](options.many), 1, OURS))
        few = asyncio.run(_measured(SHAPES[shape](options.steps), 3, OURS))
        _show(shape, options.many, many)
        growth = (_median(many["coterie"]).cpu_s / options.many) / (_median(few["coterie"]).cpu_s / options.steps)
        print(f"        a step of {options.many:,} costs {growth:.2f} x one of {options.steps:,}")
        if growth > BUDGET_GROWTH:
            broken.append(f"{shape}: {growth:.2f} x the cost at {options.steps}, budget {BUDGET_GROWTH}")
    print("\n".join(["budgets broken:", *broken]) if broken else "all budgets hold")
    return 1 if broken else 0


async def _measured(
    shape: Shape, rounds: int, builds: dict[str, Callable[[Shape, Path], durable_schedulers.Prepared]]
) -> dict[str, list[Cost]]:
    costs: dict[str, list[Cost]] = {name: [] for name in builds}
    for number in range(rounds):
        for name, build in builds.items():
            with tempfile.TemporaryDirectory(dir=Path(__file__).parent) as folder:
                async with build(shape, Path(folder)) as run:
                    # What the others keep in memory is not walked on the time of the one that is measured.
                    gc.collect()
                    gc.freeze()
                    cpu_s, wall_s = time.process_time(), time.perf_counter()
                    await run(f"run-{number}")
                    costs[name].append(Cost(time.process_time() - cpu_s, time.perf_counter() - wall_s))
    return costs


def _show(shape: str, steps: int, costs: dict[str, list[Cost]]) -> None:
    floor = _median(costs["floor"])
    for name, every in costs.items():
        cost = _median(every)
        print(
            f"{steps:>7} {shape:<8} {name:<10} {cost.cpu_s / steps * 1e6:>8.1f} {cost.cpu_s / floor.cpu_s:>8.2f} "
            f"{cost.wall_s / steps * 1e6:>8.1f} {cost.wall_s / floor.wall_s:>8.2f}",
            flush=True,
        )


def _ratio(costs: dict[str, list[Cost]], of: str) -> float:
    """The median of the rounds' own ratios."""
    pairs = zip(costs["coterie"], costs["floor"], strict=True)
    return statistics.median(getattr(ours, of) / getattr(floor, of) for ours, floor in pairs)


def _median(costs: list[Cost]) -> Cost:
    return Cost(statistics.median(cost.cpu_s for cost in costs), statistics.median(cost.wall_s for cost in costs))


if __name__ == "__main__":
    sys.exit(main())
