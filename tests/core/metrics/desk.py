"""The fleet of `deploy/observability`, small: one worker and the process that runs plans, with their metrics."""

from __future__ import annotations

import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from tests.core.architecture.sources import REPOSITORY
from tests.support.redis_servers import free_port, wait_until
from tests.support.running import process

__all__ = ["OBSERVABILITY", "SECRET", "Fleet", "fleet_at_work", "samples_at"]

OBSERVABILITY = REPOSITORY / "deploy" / "observability"
SECRET = "sesame4711sesame4711sesame4711sesame4711"


@dataclass(frozen=True, slots=True)
class Fleet:
    """Where the metrics are, what the worker logged, and the process that runs plans, once it is there."""

    worker: str
    desk: str
    log: Path
    running: subprocess.Popen[bytes] | None = None

    def runs(self) -> set[str]:
        """The ids of the runs whose tasks the worker performed."""
        return set(re.findall(r"task\.finished \S+ of (\S+):", self.log.read_text()))


@contextmanager
def fleet_at_work(folder: Path, *, trouble: float = 0.0, until: str = "run 2: succeeded") -> Iterator[Fleet]:
    """Both at work, from when the process that runs plans has said `until`; ended in the end.

    trouble: the share of the researcher's calls that fail.
    """
    settings = {
        "COTERIE_STORE": f"sqlite://{folder}/state.db",
        "COTERIE_HOME": str(folder / "home"),
        "COTERIE_SIGNING_KEYS": f"k1:{SECRET}",
        "PYTHONPATH": f"{REPOSITORY}:{OBSERVABILITY}",
        "DESK_TROUBLE": str(trouble),
        "DESK_PAUSE_S": "0.2",
    }
    at, desk_port = f"127.0.0.1:{free_port()}", free_port()
    fleet = Fleet(f"http://{at}/metrics", f"http://127.0.0.1:{desk_port}/metrics", folder / "worker.log")
    worker = [sys.executable, "-m", "coterie", "worker", "--team", "desk:team", "--health", at, "--metrics"]
    desk = [sys.executable, str(OBSERVABILITY / "desk.py")]
    with ExitStack() as held:
        held.enter_context(process(worker, settings, fleet.log))
        running = held.enter_context(process(desk, {**settings, "DESK_PORT": str(desk_port)}, folder / "desk.log"))
        told = (folder / "desk.log").read_text
        wait_until(lambda: until in told(), f"{until!r} is said", within_s=60)
        yield replace(fleet, running=running)


def samples_at(url: str) -> list[Sample]:
    """What is to be read there."""
    with urllib.request.urlopen(url, timeout=10) as answer:
        assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        text = answer.read().decode()
    return [sample for family in text_string_to_metric_families(text) for sample in family.samples]
