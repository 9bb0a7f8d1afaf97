"""From a URL to the backend that serves it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, urlsplit

from coterie.errors import Misuse
from coterie.ports import BlobStore
from coterie.stores.blobs.folder import Folder

if TYPE_CHECKING:
    from upath import UPath

__all__ = ["open_backend", "refuse_credentials"]

_LOCAL_SCHEMES = ("", "file", "local")


def open_backend(url: str, options: Mapping[str, Any]) -> BlobStore:
    """The backend of a URL; what it raises is its driver's own.

    Raises:
        Misuse: the URL carries credentials, is relative, or its scheme has no driver here.
    """
    parts = refuse_credentials(url)
    if parts.scheme in _LOCAL_SCHEMES:
        local = _local_path(url, parts)
        if not (local.startswith("/") and parts.netloc in ("", "localhost")):
            raise Misuse(
                f"the artifact store {url!r} is a relative path; give an absolute path, as in 'file:///var/lib/x'"
            )
        return Folder(Path(local))
    return _open_remote(url, options)


def refuse_credentials(url: str) -> SplitResult:
    """The parts of a URL that everybody may see.

    Raises:
        Misuse: it carries credentials, or is none.
    """
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise Misuse(f"the artifact store URL is not a URL: {error}; give an absolute path or a URL") from error
    if _has_credentials(parts):
        raise Misuse(
            f"the artifact store URL with the scheme {parts.scheme!r} carries credentials; "
            "give them to the driver by its environment, a connection or a block"
        )
    return parts


def _open_remote(url: str, options: Mapping[str, Any]) -> BlobStore:
    from coterie.stores.blobs.memory import InMemory
    from coterie.stores.blobs.objects import Objects
    from coterie.stores.blobs.s3 import S3

    root = _driver(url, options)
    kinds: dict[str, type[Objects]] = {"memory": InMemory, "s3": S3, "s3a": S3}
    return kinds.get(root.protocol, Objects)(root)


def _driver(url: str, options: Mapping[str, Any]) -> UPath:
    from upath import UPath

    try:
        root: UPath = UPath(url, **options)
        # Finds the driver now, not at the first write.
        root.fs  # noqa: B018
    # Each driver has its own errors for its own settings.
    except Exception as error:
        raise Misuse(
            f"no driver for the artifact store {url!r}: {error}; install it (for S3: pip install 'coterie[s3]')"
        ) from error
    return root


def _local_path(url: str, parts: SplitResult) -> str:
    """The path as it is written: `?`, `#` and `%` mean nothing in the name of a folder."""
    rest = url[len(parts.scheme) + 1 :] if parts.scheme else url
    return rest[2 + len(parts.netloc) :] if rest.startswith("//") else rest


def _has_credentials(parts: SplitResult) -> bool:
    """A user in the URL; also where a slash in the password hides it from the parser (`s3://key:a/b@bucket`)."""
    port = parts.netloc.rpartition(":")[2]
    return "@" in parts.netloc or (":" in parts.netloc and not port.isdecimal() and "@" in parts.path)
