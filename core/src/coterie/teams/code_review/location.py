"""Read what a person calls the source: a folder, or the address of a git repository.

Nothing is fetched or opened here. Addresses are refused rather than repaired where they could run a
program (`ext::`), be taken for an option, or put a secret into a log.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from coterie.teams.code_review.errors import CredentialsInURL, MissingSource, UnknownRevision, UnsupportedURL

__all__ = ["TRANSPORTS", "Folder", "Remote", "check_revision", "read_source"]

TRANSPORTS = ("file", "git", "http", "https", "ssh")

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)(://|::)")
# host:path or user@host:path, as ssh and scp write it; the host may not look like an option.
_SCP = re.compile(r"(?:(?P<user>[\w.+-]+)@)?(?P<host>\w[\w.-]*):(?P<path>[^:\s@][^@]*)", re.ASCII)
_REVISION = re.compile(r"[^\s\x00-\x1f\x7f:?*\[\\-][^\s\x00-\x1f\x7f:?*\[\\]{0,254}")


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder on this machine."""

    path: Path

    @property
    def name(self) -> str:
        """The last part of the path: what the report calls the source."""
        return self.path.resolve().name or "root"


@dataclass(frozen=True, slots=True)
class Remote:
    """A git repository. `url` is what git is given, `name` what people are shown."""

    url: str
    name: str

    @property
    def place(self) -> str:
        """Where nothing was found, if so: for that, the name alone of a repository on this machine says too little."""
        return self.url if self.url[:7].lower() == "file://" else self.name


def read_source(source: str) -> Folder | Remote:
    """Tell a folder from an address.

    Raises:
        MissingSource: neither an address nor an existing folder.
        UnsupportedURL: a transport that is not in `TRANSPORTS`, or no host.
        CredentialsInURL: a password or token; it is in no part of the error.
    """
    if not source or source != source.strip() or any(ord(character) < 32 for character in source):
        raise MissingSource(
            f"the source {_shown(source)!r} is empty, or holds control characters or blanks at an end; "
            "name a folder or URL"
        )
    scheme = _SCHEME.match(source)
    if scheme is not None:
        return _read_url(source, scheme[1].lower(), scheme[2])
    # Not Path's own, which raise for a user without a home and for a name that is too long.
    path = os.path.expanduser(source)  # noqa: PTH111
    exists = os.path.exists(path)  # noqa: PTH110
    scp = _SCP.fullmatch(source)
    if scp is not None and not exists:
        return Remote(source, f"ssh://{scp['host']}/{scp['path'].lstrip('/')}")
    if not exists or not Path(path).is_dir():
        what = "is not a folder" if exists else "does not exist"
        raise MissingSource(f"the source {_shown(source)!r} {what}; name an existing folder, or a git URL")
    return Folder(Path(path))


def check_revision(revision: str | None, name: str) -> str | None:
    """Return the revision if git can take it for nothing else; an empty one means the default.

    Raises:
        UnknownRevision: it begins with a dash or holds characters that no branch, tag or commit has.
    """
    if not revision:
        return None
    if not _REVISION.fullmatch(revision) or ".." in revision or "@{" in revision:
        raise UnknownRevision(f"{revision!r} cannot be a revision of {name!r}; give a branch, a tag or a commit's hash")
    return revision


def _read_url(source: str, scheme: str, mark: str) -> Remote:
    if mark == "::" or scheme not in TRANSPORTS:
        raise UnsupportedURL(
            f"the address {_shown(source)!r} uses {scheme + mark!r}; a review fetches by {', '.join(TRANSPORTS)}"
        )
    try:
        parts = urlsplit(source)
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        raise UnsupportedURL(f"the address {_shown(source)!r} is no URL; write scheme://host/path") from error
    name = _shown(source)
    if parts.query or parts.fragment:
        raise UnsupportedURL(f"the address {name!r} goes on after '?' or '#', which git has no use for; leave that out")
    # An ssh user name is no secret, but https hosts take tokens in the same place.
    if parts.password is not None or (parts.username is not None and scheme != "ssh"):
        raise CredentialsInURL(
            f"the address {name!r} carries credentials; leave them out, and give git access by an ssh key or ~/.netrc"
        )
    if scheme == "file":
        return Remote(source, Path(unquote(parts.path)).name or "root")
    if not host or host.startswith("-") or not parts.path.strip("/"):
        raise UnsupportedURL(f"the address {name!r} has no usable host or path; write {scheme}://host/path")
    if (parts.username or "").startswith("-"):
        raise UnsupportedURL(f"the address {name!r} has a user that ssh would take for an option; correct it")
    return Remote(source, f"{scheme}://{host}{f':{port}' if port else ''}{parts.path}")


def _shown(source: str) -> str:
    """The source without anything that could be a secret: what precedes an `@`, what follows `?` or `#`."""
    scheme, mark, rest = source.partition("://") if "://" in source else ("", "", source)
    secret, at, public = rest.rpartition("@")
    if "?" in secret or "#" in secret:
        return f"{scheme}{mark}..."
    # A folder may well be called "a@b"; only a colon before the @ makes it look like a password.
    hidden = at and (mark or ":" in secret)
    return scheme + mark + re.split(r"[?#]", public if hidden else rest, maxsplit=1)[0]
