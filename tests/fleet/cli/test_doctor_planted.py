"""`coterie doctor` against servers that are wrong in ways that only real ones can be: TLS, clocks, scripts, S3."""

from __future__ import annotations

import asyncio
import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trustme

from coterie import Plan, Runtime, Task, Team
from tests.docs.object_storage import s3_endpoint
from tests.fleet.cli.deployment import only
from tests.fleet.cli.places import PASSWORD, Place
from tests.fleet.faults.skewed import SkewedServer, skewed_valkey
from tests.support.redis_servers import SYNCED, Server
from tests.support.tcp_proxy import TcpProxy


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a certificate for `localhost`, its key, and the authority that issued it."""
    folder = tmp_path_factory.mktemp("tls")
    authority = trustme.CA()
    issued = authority.issue_cert("localhost")
    (folder / "cert.pem").write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    (folder / "key.pem").write_bytes(issued.private_key_pem.bytes())
    authority.cert_pem.write_to_path(folder / "authority.pem")
    return folder


@contextmanager
def speaking_tls(port: int, tls: Path) -> Iterator[int]:
    """A port that speaks TLS for the server behind `port`; in a thread, since commands have loops of their own."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tls / "cert.pem", tls / "key.pem")
    loop, found, ready = asyncio.new_event_loop(), [], threading.Event()
    over = asyncio.Event()

    async def stand() -> None:
        async with TcpProxy(port, tls=context) as proxy:
            found.append(proxy.port)
            ready.set()
            await over.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(stand(),))
    thread.start()
    try:
        assert ready.wait(20)
        yield found[0]
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join()
        loop.close()


@pytest.fixture
def secured(synced: Server, tls: Path) -> Iterator[str]:
    """The URL of the healthy server, as TLS has it, but for the authority."""
    with speaking_tls(synced.port, tls) as port:
        yield f"rediss://fleet:{PASSWORD}@localhost:{port}/0"


def test_with_the_right_authority_tls_is_fine(at, examined, monkeypatch, secured, tls):
    monkeypatch.setenv("COTERIE_STORE", f"{secured}?ssl_ca_certs={tls}/authority.pem")

    assert set(examined(code=0)) <= {"variables"}


def test_an_authority_that_is_not_trusted(at, examined, monkeypatch, secured):
    monkeypatch.setenv("COTERIE_STORE", secured)

    finding = only(examined(code=1), "state store", "fault")

    assert "certificate verify failed" in finding["found"]
    assert "ssl_ca_certs=" in finding["remedy"]


def test_a_certificate_of_another_host(at, examined, monkeypatch, secured, tls):
    url = f"{secured}?ssl_ca_certs={tls}/authority.pem".replace("localhost", "127.0.0.1")
    monkeypatch.setenv("COTERIE_STORE", url)

    finding = only(examined(code=1), "state store", "fault")

    assert "IP address mismatch" in finding["found"]
    assert "the host as its certificate does" in finding["remedy"]


def test_an_authority_that_is_not_there(at, examined, monkeypatch, secured, tls):
    monkeypatch.setenv("COTERIE_STORE", f"{secured}?ssl_ca_certs={tls}/nobody.pem")

    finding = only(examined(code=1), "state store", "fault")

    assert "certificates of a Redis store cannot be read" in finding["found"]
    assert finding["remedy"] == "correct the paths"


def test_tls_where_the_server_speaks_none(at, examined, monkeypatch):
    monkeypatch.setenv("COTERIE_STORE", at.url.replace("redis://", "rediss://"))

    finding = only(examined(code=1), "state store", "fault")

    assert "TLS" in finding["remedy"]
    assert "redis://" in finding["remedy"]


def test_no_tls_where_the_server_wants_it(at, examined, monkeypatch, secured):
    monkeypatch.setenv("COTERIE_STORE", secured.replace("rediss://", "redis://"))

    finding = only(examined(code=1), "state store", "fault")

    assert "closed the connection" in finding["found"]
    assert "rediss://" in finding["remedy"]


def test_a_connection_s_name_where_a_url_belongs(at, examined, monkeypatch):
    monkeypatch.setenv("COTERIE_STORE", "coterie_default")

    finding = only(examined(code=1), "state store", "fault")

    assert "does not begin with 'scheme://'" in finding["found"]
    assert "redis://host:6379/0" in finding["remedy"]


def test_a_server_without_scripts(at, examined, synced, monkeypatch):
    with synced.client() as client:
        client.execute_command(
            "ACL", "SETUSER", "mute", "on", ">runs-nothing", "~*", "&*", "+@all", "-@scripting", "-@admin"
        )
    monkeypatch.setenv("COTERIE_STORE", at.url.replace(f"fleet:{PASSWORD}", "mute:runs-nothing"))

    found = examined(code=1)

    named = [each for findings in found.values() for each in findings if "evalsha" in each["found"]]
    assert named
    assert all("+evalsha" in each["remedy"] for each in named)


def test_a_journal_of_a_newer_version(at, examined, synced, monkeypatch):
    asyncio.run(run_once(at))
    with synced.client() as client:
        for key in client.scan_iter(f"*{at.namespace}*"):
            if client.type(key) == "hash":
                for name, text in client.hgetall(key).items():
                    if text.startswith('{"v":1,"at"'):
                        client.hset(key, name, text.replace('{"v":1', '{"v":9', 1))

    finding = only(examined(code=1), "journal", "fault")

    assert "has format 9, this coterie reads up to 1" in finding["found"]
    assert finding["remedy"] == "update coterie here as the rest of the fleet was"


async def run_once(at: Place) -> None:
    team = Team("t")

    @team.agent("x")
    async def work(task_input: dict[str, object]) -> int:
        return 1

    async with Runtime(team, store=at.url, journal=True, namespace=at.namespace) as runtime:
        await runtime.orchestrator.execute_workflow(Plan("p", [Task("t", "x")]), workflow_id="r")


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    with s3_endpoint(tmp_path_factory.mktemp("s3"), bucket="there") as variables:
        yield variables


def test_an_artifact_store_without_the_bucket(at, examined, monkeypatch, bucket):
    for name, value in bucket.items():
        monkeypatch.setenv(name, value)
    assert "artifacts" not in examined("--artifacts", "s3://there/x")

    finding = only(examined("--artifacts", "s3://elsewhere/x", code=1), "artifacts", "fault")

    assert "s3://elsewhere/x" in finding["found"]
    assert finding["remedy"]


def test_an_artifact_store_that_nobody_answers_for(at, coterie, monkeypatch, bucket):
    for name, value in (bucket | {"AWS_ENDPOINT_URL": "http://127.0.0.1:1"}).items():
        monkeypatch.setenv(name, value)

    # In a process of its own: a driver keeps its connections.
    done = coterie("doctor", "--artifacts", "s3://there/x", "--json")

    (finding,) = [each for each in json.loads(done.stdout)["checks"] if each["check"] == "artifacts"]
    assert (done.returncode, finding["state"]) == (1, "fault")
    # A driver that tries again may be at it for longer than anybody waits.
    assert "http://127.0.0.1:1" in finding["found"] or "no answer within 5 s" in finding["found"]
    assert "reachable" in finding["remedy"]


@pytest.fixture
def skewed(at, monkeypatch, tmp_path_factory) -> Iterator[SkewedServer]:
    """A server whose clock can be set, in the place of the other."""
    with skewed_valkey(tmp_path_factory.mktemp("skewed"), arguments=SYNCED) as running:
        monkeypatch.setenv("COTERIE_STORE", running.url)
        yield running


@pytest.mark.compiler
@pytest.mark.parametrize(("ahead_s", "state"), [(5.0, "warning"), (-90.0, "fault")])
def test_a_server_whose_clock_is_off(skewed, examined, ahead_s, state):
    skewed.skew_s = ahead_s

    finding = only(examined(), "clock", state)

    assert f"{abs(ahead_s):g} s {'ahead of' if ahead_s > 0 else 'behind'} ours" in finding["found"]
    assert "NTP" in finding["remedy"]
