"""How many nodes are paid for twice when a run is killed and goes on: coterie beside LangGraph and DBOS, on SQLite.

    make bench-crashes

Each engine runs the same graphs, whose nodes ask a service that bills (a process of its own). Its process is killed
(SIGKILL for its group) before or after a bill, or at any instant, and the run goes on in a new process, as the engine's
documentation says. What the service saw is counted: nodes that were asked for more than once, and whether the run came
to the end that an undisturbed one comes to. Nodes under way at the kill are asked for again by every engine: on the
chain that is one, in the layered graph up to 20.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from crash_victims import ENGINES, GRAPHS

from tests.journal.crash.billing import Billing, billing
from tests.journal.crash.nursery import Nursery
from tests.journal.crash.points import Crashes, Judged, every_point, table

HERE = Path(__file__).resolve().parent


class Peer:
    """An engine of `crash_victims`, as `Crashes` wants to have it."""

    def __init__(self, engine: str, graph: str, nodes: int, folder: Path) -> None:
        self._settings = {"engine": engine, "graph": graph, "nodes": nodes, "folder": str(folder)}

    def settings(self, run: str) -> dict[str, Any]:
        """What its processes are told; each run has an id of its own in one database."""
        return self._settings | {"run": run}

    def recorded(self, run: str) -> set[str]:
        """What each holds for recorded is its own affair: the bills are compared."""
        del run
        return set()

    def revive(self) -> None:
        """Nothing is killed but the process."""


def main() -> int:
    """Kill, count, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=10, help="runs that are killed, of each kind (default 10)")
    parser.add_argument("--nodes", type=int, default=200, help="nodes of each graph (default 200)")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument(
        "--only", action="append", choices=sorted(ENGINES), help="this engine; several times if need be"
    )
    options = parser.parse_args()
    print(
        f"seed {options.seed}, {options.nodes} nodes; paid twice: nodes asked for more than once, of all runs together"
    )
    broken = False
    with billing() as service:
        for graph in GRAPHS:
            judged = []
            for engine in options.only or ENGINES:
                judged += killed(engine, graph, options, service)
            print(f"\n{graph}\n{table(judged)}")
            # Of coterie, each kill may cost what was under way, and nothing more.
            broken |= any(one.name.startswith("coterie") and one.different for one in judged)
    return int(broken)


def killed(engine: str, graph: str, options: argparse.Namespace, service: Billing) -> list[Judged]:
    """One engine's runs."""
    chance = random.Random(f"{options.seed} {graph}")
    around, anywhen = Judged(f"{engine}, around a bill"), Judged(f"{engine}, at any instant")
    with (
        tempfile.TemporaryDirectory() as folder,
        Nursery("crash_victims:main", Path(folder) / "errors.txt", path=[HERE]) as nursery,
    ):
        crashes = Crashes(Peer(engine, graph, options.nodes, Path(folder)), nursery, service, Path(folder))
        points = chance.sample([*every_point(crashes.counts, what=["bill"])], options.kills)
        for point in points:
            around.add(crashes.at([point], str(point)), crashes.expected)
        for number in range(options.kills):
            anywhen.add(crashes.at_random(1, chance, f"instant-{number}"), crashes.expected)
    return [around, anywhen]


if __name__ == "__main__":
    raise SystemExit(main())
