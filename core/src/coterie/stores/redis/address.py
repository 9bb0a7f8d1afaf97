"""URLs of Redis stores, taken apart; no error or repr ever shows what they hold of credentials."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from coterie.errors import Misuse

__all__ = ["Address", "Host", "Kind", "Login", "parse_address"]

Kind = Literal["server", "unix", "sentinel", "cluster"]

_DEFAULT_PORT = 6379
_SENTINEL_PORT = 26379
_MAX_PORT = 65_535
_KINDS: Mapping[str, tuple[Kind, bool]] = {
    "redis": ("server", False),
    "rediss": ("server", True),
    "unix": ("unix", False),
    "redis+sentinel": ("sentinel", False),
    "rediss+sentinel": ("sentinel", True),
    "redis+cluster": ("cluster", False),
    "rediss+cluster": ("cluster", True),
}
_FORMS = (
    "redis://host:6379/0, rediss://… (TLS), unix:///path?db=0, redis+sentinel://host1:26379,host2/service?db=0 "
    "or redis+cluster://host1:6379,host2"
)
_TLS = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs", "ssl_check_hostname")
_SENTINEL = ("sentinel_username", "sentinel_password")
_TRUE, _FALSE = ("true", "1", "yes"), ("false", "0", "no")


class Host(NamedTuple):
    """Where a server listens: a name or address and a port; for a unix socket its path, and port 0."""

    name: str
    port: int

    def __str__(self) -> str:
        if self.port == 0:
            return self.name
        return f"[{self.name}]:{self.port}" if ":" in self.name else f"{self.name}:{self.port}"


@dataclass(frozen=True, slots=True)
class Login:
    """Who logs in. Without a password nobody does."""

    user: str = field(default="default", repr=False)
    password: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Address:
    """hosts: of the server, the sentinels, or some nodes of the cluster. service: how sentinels call the primary.

    protocol: 3 is spoken where the server knows it, 2 where that is asked for. named_by: the setting with the URL.
    """

    kind: Kind
    hosts: tuple[Host, ...]
    db: int = 0
    login: Login = Login()
    sentinel_login: Login = Login()
    service: str = ""
    tls: ssl.SSLContext | None = field(default=None, repr=False)
    protocol: int = 3
    named_by: str | None = None

    @property
    def where(self) -> str:
        """The same for messages: with the setting to look at, where one is known."""
        return self.url if self.named_by is None else f"{self.url} (named by {self.named_by})"

    @property
    def url(self) -> str:
        """The URL, without credentials and options."""
        secure = "s" if self.tls else ""
        hosts = ",".join(map(str, self.hosts))
        if self.kind == "unix":
            return f"unix://{hosts}?db={self.db}"
        if self.kind == "sentinel":
            return f"redis{secure}+sentinel://{hosts}/{self.service}?db={self.db}"
        return f"redis{secure}+cluster://{hosts}" if self.kind == "cluster" else f"redis{secure}://{hosts}/{self.db}"

    def prefix(self, namespace: str) -> str:
        """What the channels of a namespace begin with; databases share their channels, and so are told apart by it."""
        return f"{namespace}:" if self.db == 0 else f"{namespace}@{self.db}:"


def parse_address(url: str, *, named_by: str | None = None) -> Address:
    """Take a store's URL apart.

    `user:password@` before the hosts is percent-encoded. Options after `?`: `db`, `protocol` (2 or 3); with TLS
    `ssl_ca_certs`, `ssl_certfile`, `ssl_keyfile` (paths), `ssl_cert_reqs` (required, none), `ssl_check_hostname`; for
    sentinels that have their own users, `sentinel_username` and `sentinel_password`.

    Raises:
        Misuse: the URL has none of the forms known, or an option that is not known or cannot be.
    """
    try:
        parts = urlsplit(url)
        options = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query)))
    except ValueError:
        # Python's message may quote a part of the password.
        raise Misuse(f"the URL of a Redis store is not a URL; give {_FORMS}") from None
    if parts.scheme not in _KINDS:
        raise Misuse(f"the scheme {parts.scheme!r} is not one of a Redis store; give {_FORMS}")
    kind, secure = _KINDS[parts.scheme]
    _check_options(options, kind, secure=secure)
    login, _, hosts = parts.netloc.rpartition("@")
    service, db = _place(parts, options, kind)
    return Address(
        kind=kind,
        hosts=(Host(unquote(parts.path), 0),) if kind == "unix" else _hosts(hosts, kind),
        db=db,
        login=_login(login),
        sentinel_login=Login(options.get("sentinel_username", "default"), options.get("sentinel_password")),
        service=service,
        tls=_tls(options) if secure else None,
        protocol=_whole(options.get("protocol", "3"), "protocol", (2, 3)),
        named_by=named_by,
    )


def _check_options(options: Mapping[str, str], kind: Kind, *, secure: bool) -> None:
    known = ["protocol", *(["db"] if kind != "cluster" else [])]
    known += [*(_TLS if secure else ()), *(_SENTINEL if kind == "sentinel" else ())]
    for name in options:
        if name not in known:
            hint = "; options of TLS need a rediss:// URL" if name in _TLS else ""
            raise Misuse(f"the URL of a Redis store has the option {name!r}; known here: {', '.join(known)}{hint}")


def _place(parts: SplitResult, options: Mapping[str, str], kind: Kind) -> tuple[str, int]:
    """The service and the number of the database, of which the path gives one."""
    path = unquote(parts.path).strip("/")
    db = options.get("db", "0")
    if kind == "sentinel":
        if not path or "/" in path:
            raise Misuse(
                "the URL of a sentinel store names the service after the hosts, as in redis+sentinel://h1/main"
            )
        return path, _whole(db, "db")
    if kind == "cluster" and path not in ("", "0"):
        raise Misuse("a Redis cluster has the database 0 alone; leave it out of the URL")
    if kind == "unix" and not path:
        raise Misuse("the URL of a unix socket has an absolute path, as in unix:///run/redis.sock?db=0")
    return "", _whole(path if kind == "server" and path else db, "db")


def _hosts(netloc: str, kind: Kind) -> tuple[Host, ...]:
    default = _SENTINEL_PORT if kind == "sentinel" else _DEFAULT_PORT
    found = []
    for text in netloc.split(","):
        name, port = _host(text)
        if not name:
            raise Misuse(f"the URL of a Redis store has an empty host; give {_FORMS}")
        found.append(Host(name, default if port is None else _whole(port, "port", range(1, _MAX_PORT + 1))))
    if kind == "server" and len(found) > 1:
        raise Misuse("a redis:// URL has one host; several belong to redis+sentinel:// or redis+cluster://")
    return tuple(found)


def _host(text: str) -> tuple[str, str | None]:
    if text.startswith("["):
        name, _, rest = text[1:].partition("]")
        return name, rest[1:] if rest.startswith(":") else None
    name, colon, port = text.partition(":")
    return name, port if colon else None


def _login(text: str) -> Login:
    user, colon, password = text.partition(":")
    if not text:
        return Login()
    if not colon or not password:
        raise Misuse("the URL of a Redis store has a user without a password; give user:password@, or :password@")
    return Login(unquote(user) or "default", unquote(password))


def _tls(options: Mapping[str, str]) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=options.get("ssl_ca_certs"))
        if "ssl_certfile" in options:
            context.load_cert_chain(options["ssl_certfile"], options.get("ssl_keyfile"))
    except OSError as error:
        raise Misuse(f"the certificates of a Redis store cannot be read: {error}; correct the paths") from error
    wanted = options.get("ssl_cert_reqs", "required")
    if wanted not in ("required", "none"):
        raise Misuse(f"ssl_cert_reqs={wanted!r} is neither 'required' nor 'none'")
    check = options.get("ssl_check_hostname", "true" if wanted == "required" else "false").lower()
    if check not in _TRUE + _FALSE:
        raise Misuse(f"ssl_check_hostname={check!r} is neither 'true' nor 'false'")
    context.check_hostname = check in _TRUE and wanted == "required"
    context.verify_mode = ssl.CERT_REQUIRED if wanted == "required" else ssl.CERT_NONE
    return context


def _whole(text: str, what: str, allowed: range | tuple[int, ...] | None = None) -> int:
    """Never quotes the text: where a password is not percent-encoded, it may be a part of it."""
    if not (text.isascii() and text.isdigit()) or (allowed is not None and int(text) not in allowed):
        raise Misuse(
            f"the {what} in the URL of a Redis store cannot be; percent-encode the password, and give {_FORMS}"
        )
    return int(text)
