"""What the local engine costs per no-op task, beside a minimal asyncio scheduler, LangGraph and pydantic-graph.

    make bench

Prints CPU microseconds a node (the median of interleaved rounds) and the ratio to the minimal scheduler of the
same run, and says whether the budgets hold: without time-outs at most 1.5 times it, with time-outs and full
results at most 2.5 times the one with the same time-outs, and at most 1.2 times the cost a node at 10,000 nodes
as at 1,000. Exits with 1 if one does not.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import statistics
import sys
import time
from collections.abc import Callable

import schedulers
from graph_shapes import SHAPES, Shape

TIMEOUT_S = 60.0
BUDGET_PLAIN, BUDGET_TIMEOUT, BUDGET_GROWTH = 1.5, 2.5, 1.2
# The others take minutes at 10,000 nodes, and tell nothing new there.
PEERS_UP_TO = 1_000

Build = Callable[[Shape, float | None], schedulers.RunOnce]
Measured = dict[tuple[str, int, str, bool], float]


def main() -> int:
    """Measure, print, judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7, help="rounds of each, interleaved (default 7)")
    parser.add_argument("--no-peers", action="store_true", help="leave LangGraph and pydantic-graph out")
    options = parser.parse_args()
    measured: Measured = {}
    print(f"{'nodes':>6} {'shape':<8} {'time-outs':<9} {'scheduler':<15} {'us/node':>8} {'x floor':>8}")
    for nodes in (1_000, 10_000):
        for shape in SHAPES:
            for timed in (False, True):
                _measure(measured, nodes, shape, rounds=options.rounds, timed=timed, peers=not options.no_peers)
    return _judge(measured)


def _measure(measured: Measured, nodes: int, shape: str, *, rounds: int, timed: bool, peers: bool) -> None:
    builds: dict[str, Build] = {"floor": schedulers.floor, "coterie": schedulers.coterie}
    if peers and not timed and nodes <= PEERS_UP_TO:
        builds |= {"langgraph": schedulers.langgraph, "pydantic-graph": schedulers.pydantic_graph}
    graph = SHAPES[shape](nodes)
    runs = {name: build(graph, TIMEOUT_S if timed else None) for name, build in builds.items()}
    samples: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            samples[name].append(_cpu_seconds(run))
    floor = statistics.median(samples["floor"])
    for name, seconds in samples.items():
        median = statistics.median(seconds)
        measured[name, nodes, shape, timed] = median / nodes
        print(
            f"{nodes:>6} {shape:<8} {'yes' if timed else 'no':<9} {name:<15} "
            f"{median / nodes * 1e6:>8.1f} {median / floor:>8.2f}",
            flush=True,
        )


def _cpu_seconds(run: schedulers.RunOnce) -> float:
    async def main() -> None:
        await run()

    gc.collect()
    began = time.process_time()
    asyncio.run(main())
    return time.process_time() - began


def _judge(measured: Measured) -> int:
    broken = []
    for (name, nodes, shape, timed), cost in measured.items():
        if name != "coterie":
            continue
        ratio = cost / measured["floor", nodes, shape, timed]
        budget = BUDGET_TIMEOUT if timed else BUDGET_PLAIN
        if ratio > budget:
            broken.append(f"{shape} of {nodes}, time-outs {timed}: {ratio:.2f} x the floor, budget {budget}")
        growth = cost / measured["coterie", 1_000, shape, timed]
        if growth > BUDGET_GROWTH:
            broken.append(f"{shape} of {nodes}, time-outs {timed}: {growth:.2f} x the cost at 1,000, budget 1.2")
    print("\n".join(["budgets broken:", *broken]) if broken else "all budgets hold")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
