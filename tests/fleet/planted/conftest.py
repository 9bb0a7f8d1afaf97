"""A real team at work with secrets everywhere: a server that wants a password, an agent over HTTP, a worker, a run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.core.architecture.sources import REPOSITORY
from tests.fleet.planted.secrets import BEARER, KEY, PASSWORD, STORE, TOKEN
from tests.support.redis_servers import SYNCED, Server, free_port, valkey, wait_until
from tests.support.running import process
from tests.support.spans import spans
from tests.support.stub_provider import Behaviour, StubProvider, serving

__all__ = ["spans"]

RUN = "planted-1"
TEAM = "tests.fleet.planted.loose"
# Of the environment of agents, what is not in that of people.
UNKNOWN = ("PROVIDER_PASSWORD", "SPANS_FOLDER")


@dataclass(slots=True)
class Work:
    """The team at work. run, metrics: what the run said, and the worker's metrics after it."""

    folder: Path
    environment: Mapping[str, str]
    provider: StubProvider
    server: Server
    run: subprocess.CompletedProcess[str] = field(init=False)
    metrics: str = field(init=False)

    def command(self, *words: str, known: bool = False, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a command as a person would. known: where the agents' own secrets are set, as on their machines."""
        # What is said must be clean where nobody knows any more what to strike out.
        env = {name: value for name, value in self.environment.items() if known or name not in UNKNOWN} | variables
        return subprocess.run(
            [sys.executable, "-m", "coterie", *words], cwd=self.folder, env=env, capture_output=True, text=True,
            timeout=90, check=False,
        )  # fmt: skip

    @contextmanager
    def serving(self, **variables: str) -> Iterator[tuple[str, Path]]:
        """`coterie trace serve`: the address of its pages, and where is what it says."""
        port = free_port()
        log = self.folder / f"serve-{port}.log"
        env = {name: value for name, value in self.environment.items() if name not in UNKNOWN} | variables
        with process([sys.executable, "-m", "coterie", "trace", "serve", "--port", str(port)], env, log):
            wait_until(lambda: " are at http://" in log.read_text(), "pages are served", within_s=60)
            yield f"http://127.0.0.1:{port}/", log

    def log(self) -> str:
        """What the worker has said."""
        return (self.folder / "worker.log").read_text()


@pytest.fixture(scope="session")
def provider() -> Iterator[StubProvider]:
    """One agent that answers, and one that quotes the bearer that it was not given."""
    token = quote(TOKEN, safe="")
    with serving() as running:
        running.script(Behaviour(body={"ok": True}), path=f"/ok?token={token}&page=2")
        refusal = f"{TOKEN!r} is no token for /no?code={token}, nor is Bearer {BEARER}"
        running.script(Behaviour(status=401, text=refusal), path=f"/no?code={token}")
        yield running


@pytest.fixture(scope="session")
def planted() -> Iterator[Server]:
    """A server whose password has signs that URLs write otherwise."""
    with valkey(user="fleet", password=STORE, arguments=SYNCED) as running:
        with running.client() as client:
            client.execute_command("ACL", "SETUSER", "fleet", "+config|get")
        running.password = quote(STORE, safe="")
        yield running


@pytest.fixture(scope="session")
def work(tmp_path_factory: pytest.TempPathFactory, provider: StubProvider, planted: Server) -> Iterator[Work]:
    """All of it; the run is over."""
    folder = tmp_path_factory.mktemp("planted")
    (folder / "spans").mkdir()
    found = Work(folder, environment(folder, provider, planted), provider, planted)
    with ExitStack() as held:
        page = started(found, held)
        planted_key = ("-p", f"api_key={KEY}")
        told = ("--run-id", RUN, "--log-format", "json", *planted_key)
        found.run = found.command("run", f"{TEAM}:plan", "-t", f"{TEAM}:afar", *told, known=True)
        with urllib.request.urlopen(page, timeout=10) as answer:
            found.metrics = answer.read().decode()
        yield found


def environment(folder: Path, provider: StubProvider, server: Server) -> dict[str, str]:
    """Of the processes."""
    mine = {name: value for name, value in os.environ.items() if not name.startswith("COTERIE_")}
    return {
        **mine,
        "COTERIE_STORE": server.url,
        "COTERIE_HOME": str(folder / "home"),
        "COTERIE_ARTIFACTS": str(folder / "artifacts"),
        "PROVIDER_PASSWORD": PASSWORD,
        "ASKED_AT": provider.url,
        "SPANS_FOLDER": str(folder / "spans"),
        "PYTHONPATH": str(REPOSITORY),
        "NO_PROXY": "127.0.0.1",
        "NO_COLOR": "1",
        "COLUMNS": "200",
    }


def started(work: Work, held: ExitStack) -> str:
    """A worker that takes tasks, until what it said is collected; where its metrics are."""
    at = f"127.0.0.1:{free_port()}"
    command = ["worker", "--team", f"{TEAM}:told", "--health", at, "--metrics", "--log-format", "json"]
    log = held.enter_context((work.folder / "worker.log").open("wb"))
    worker = subprocess.Popen(
        [sys.executable, "-m", "coterie", *command], cwd=work.folder, env=work.environment, stdout=log, stderr=log
    )
    held.callback(worker.wait, 60)
    held.callback(worker.send_signal, signal.SIGTERM)
    wait_until(lambda: is_ready(f"http://{at}/ready"), "the worker takes tasks")
    return f"http://{at}/metrics"


def is_ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=10):
            return True
    # Not yet: nobody answers, or it says so.
    except OSError:
        return False
