"""URLs of Redis stores: what they mean, what is refused, and that nothing ever shows a password."""

from __future__ import annotations

import ssl
import traceback
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from coterie._rules.decided import Decided
from coterie.errors import Misuse, PolicyError, Unavailable
from coterie.stores.redis import RedisPolicy, open_redis
from coterie.stores.redis.address import Host, Login, parse_address
from tests.support.redis_servers import HOST, Server, valkey
from tests.support.tcp_proxy import TcpProxy


@pytest.mark.parametrize(
    ("url", "kind", "hosts", "db", "shown"),
    [
        ("redis://h", "server", [("h", 6379)], 0, "redis://h:6379/0"),
        ("redis://h:7/3", "server", [("h", 7)], 3, "redis://h:7/3"),
        ("redis://h:7?db=4", "server", [("h", 7)], 4, "redis://h:7/4"),
        ("rediss://[::1]:7", "server", [("::1", 7)], 0, "rediss://[::1]:7/0"),
        ("unix:///run/a%20b.sock?db=2", "unix", [("/run/a b.sock", 0)], 2, "unix:///run/a b.sock?db=2"),
        ("redis+cluster://a,b:7", "cluster", [("a", 6379), ("b", 7)], 0, "redis+cluster://a:6379,b:7"),
        (
            "redis+sentinel://a,b:7/main?db=1",
            "sentinel",
            [("a", 26379), ("b", 7)],
            1,
            "redis+sentinel://a:26379,b:7/main?db=1",
        ),
    ],
)
def test_a_url_says_where_the_state_lies(url: str, kind: str, hosts: list[tuple[str, int]], db: int, shown: str):
    address = parse_address(url)

    assert (address.kind, [tuple(host) for host in address.hosts], address.db) == (kind, hosts, db)
    assert address.url == shown
    assert address.login == Login()


@pytest.mark.parametrize(
    ("login", "expected"),
    [
        ("bob:p%40ss%2F%2C%3A", Login("bob", "p@ss/,:")),
        (":pw", Login("default", "pw")),
        ("b%3Aob:pw:more", Login("b:ob", "pw:more")),
    ],
)
@pytest.mark.parametrize(
    "url", ["redis://{}@h:7/3", "redis+cluster://{}@h:7,i", "redis+sentinel://{}@h,i/m", "unix://{}@/run/s"]
)
def test_user_and_password_are_taken_from_the_url_and_never_shown(url: str, login: str, expected: Login):
    address = parse_address(url.format(login))
    store = open_redis(url.format(login), "ns")

    assert address.login == expected
    for shown in (repr(address), address.url, repr(address.login), repr(store), store.url):
        assert "pw" not in shown
        assert "p@ss" not in shown
        assert "bob" not in shown


def test_sentinels_may_have_users_of_their_own():
    address = parse_address("redis+sentinel://u:p@h/main?sentinel_username=su&sentinel_password=sp")

    assert (address.login, address.sentinel_login) == (Login("u", "p"), Login("su", "sp"))
    assert "sp" not in repr(address) + address.url


@pytest.mark.parametrize(
    "url",
    [
        "redis://:s3cret/x@h:7",
        "redis://bob:s3cret#1@h",
        "redis://bob:s3cret@h:port",
        "redis://bob:s3cret@h:99999",
        "redis://bob:s3cret@h/db",
        "redis://bob:s3cret@h?nonsense=1",
        "redis://bob:s3cret@h?ssl_ca_certs=/ca",
        "redis://bob:s3cret@a,b",
        "redis://bob:s3cret@",
        "redis://bob:s3cret@[h",
        "redis://s3cret@h",
        "redis+cluster://bob:s3cret@h/1",
        "redis+cluster://bob:s3cret@h?db=1",
        "redis+sentinel://bob:s3cret@h",
        "redis+sentinel://bob:s3cret@h/a/b",
        "unix://bob:s3cret@",
        "redis://bob:s3cret@h?protocol=4",
        "rediss://bob:s3cret@h?ssl_ca_certs=/not/there",
        "rediss://bob:s3cret@h?ssl_cert_reqs=maybe",
        "rediss://bob:s3cret@h?ssl_check_hostname=maybe",
        "http://bob:s3cret@h",
        "//bob:s3cret@h",
    ],
)
def test_a_url_that_cannot_be_is_refused_without_showing_its_password(url: str):
    with pytest.raises(Misuse) as caught:
        open_redis(url, "ns")

    assert "s3cret" not in "".join(traceback.format_exception_only(caught.value))
    assert "s3cret" not in str(caught.value.__cause__)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


@pytest.mark.parametrize("namespace", ["", "a:b", "{x}", "a b", "x" * 200])
def test_a_namespace_is_a_name(namespace: str):
    with pytest.raises(Misuse, match="namespace"):
        open_redis("redis://h", namespace)


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf")])
@pytest.mark.parametrize("name", RedisPolicy.__slots__)
def test_a_deadline_that_cannot_be_is_refused(name: str, seconds: float):
    with pytest.raises(PolicyError, match=name):
        RedisPolicy(**{name: seconds})


# TLS: the servers of the wheels speak none, so a proxy speaks it for them.


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for `localhost`; its key and its authority lie beside it."""
    folder = tmp_path_factory.mktemp("tls")
    authority = trustme.CA()
    issued = authority.issue_cert("localhost")
    (folder / "cert.pem").write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    (folder / "key.pem").write_bytes(issued.private_key_pem.bytes())
    authority.cert_pem.write_to_path(folder / "authority.pem")
    return folder / "cert.pem"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with valkey(user="bob") as running:
        yield running


def spoken(certificate: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, certificate.with_name("key.pem"))
    return context


async def test_tls_with_the_authority_that_is_named(server: Server, certificate: Path):
    async with TcpProxy(server.port, tls=spoken(certificate)) as proxy:
        url = f"rediss://bob:{server.password}@localhost:{proxy.port}?ssl_ca_certs={certificate.with_name('authority.pem')}"
        store = open_redis(url, uuid.uuid4().hex)
        inbox: list[str | None] = []

        await store.subscribe("pool/x", inbox.append)
        await store.update("pool/x", lambda old, now: Decided({"n": 1}, None))

        assert (await store.read("pool/x"))[0] == {"n": 1}
        await store.aclose()


@pytest.mark.parametrize(
    ("host", "options", "reason"),
    [
        ("localhost", "", "certificate verify failed"),
        (HOST, "ssl_ca_certs={}", "IP address mismatch"),
    ],
)
async def test_a_certificate_that_does_not_hold_is_not_trusted(
    server: Server, certificate: Path, host: str, options: str, reason: str
):
    async with TcpProxy(server.port, tls=spoken(certificate)) as proxy:
        store = open_redis(
            f"rediss://{host}:{proxy.port}?{options.format(certificate.with_name('authority.pem'))}", "ns"
        )

        with pytest.raises(Unavailable, match=reason):
            await store.read("pool/x")
        await store.aclose()


@pytest.mark.parametrize("options", ["ssl_ca_certs={}&ssl_check_hostname=false", "ssl_cert_reqs=none"])
async def test_checks_of_certificates_can_be_switched_off_by_name(server: Server, certificate: Path, options: str):
    async with TcpProxy(server.port, tls=spoken(certificate)) as proxy:
        store = open_redis(
            f"rediss://{HOST}:{proxy.port}?{options.format(certificate.with_name('authority.pem'))}", "ns"
        )

        assert (await store.read("pool/x"))[0] is None
        await store.aclose()


def test_hosts_read_as_they_are_written():
    assert [str(Host("h", 7)), str(Host("::1", 7)), str(Host("/run/s", 0))] == ["h:7", "[::1]:7", "/run/s"]
