"""Addresses of agents: which may be called, what of them may be shown, and which belong together."""

from __future__ import annotations

from urllib.parse import SplitResult, parse_qsl, unquote, urljoin, urlsplit

from coterie._rules.redaction import is_secret_name
from coterie.errors import PolicyError

__all__ = ["check_url", "resolved", "same_origin", "secrets_of_query", "shown"]

_PORTS = {"http": 80, "https": 443}
_SHOWN_CHARS = 80


def check_url(url: object) -> None:
    """Refuse what is no plain http or https address; the refusal repeats no credentials."""
    try:
        if not isinstance(url, str):
            raise PolicyError(f"the agent's url is {url!r}; give a text")
        parts = urlsplit(url)
        usable = parts.scheme in _PORTS and parts.hostname and parts.port != 0
    except ValueError:
        raise PolicyError("the agent's url cannot be read; give http://host:port/path") from None
    if parts.username is not None or parts.password is not None:
        raise PolicyError(
            f"the agent's url {shown(url)!r} holds credentials; give them as a header from an environment variable"
        )
    if not usable or parts.fragment or not url.isprintable() or " " in url:
        raise PolicyError(f"the agent's url {shown(url)!r} is not usable; give http:// or https://, host and path")


def resolved(url: str, location: str) -> str:
    """Where a redirect from `url` leads; empty where that is nowhere, or may be read in two ways."""
    try:
        target = urljoin(url, location)
        parts = urlsplit(target)
        parts.port  # noqa: B018  # raises for what is no port
    except ValueError:
        return ""
    plain = location.isprintable() and not {"\\", " "} & set(location) and "@" not in parts.netloc
    return target if location and plain else ""


def same_origin(one: str, other: str) -> bool:
    """Whether two addresses have scheme, host and port in common. Both can be read."""
    return _origin(urlsplit(one)) == _origin(urlsplit(other))


def _origin(parts: SplitResult) -> tuple[str, str | None, int | None]:
    return parts.scheme, parts.hostname, parts.port or _PORTS.get(parts.scheme)


def secrets_of_query(url: str) -> list[str]:
    """What an address holds of secrets behind its `?`, as it is and as it is written there."""
    query = urlsplit(url).query
    written = [part.partition("=") for part in query.split("&")]
    named = [value for name, _, value in written if value and _is_secret(unquote(name))]
    return named + [value for name, value in parse_qsl(query) if _is_secret(name)]


def _is_secret(name: str) -> bool:
    return is_secret_name(name) or name.lower() in ("key", "code")


def shown(url: str) -> str:
    """An address for people: without credentials, query and fragment, which may be secret, and bounded."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "an address that cannot be read"
    place = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
    line = "".join(letter for letter in place if letter.isprintable())
    return line if len(line) <= _SHOWN_CHARS else f"{line[: _SHOWN_CHARS - 1]}…"
