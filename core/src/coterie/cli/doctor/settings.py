"""What can be said without asking anybody: the variables that are set, the folder of this user, the packages."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from pathlib import Path
from urllib.parse import urlsplit

from coterie.bus.signing import Signing
from coterie.cli.doctor.finding import Finding, because, fault, ok, warning
from coterie.cli.doctor.place import Place, may_be_made
from coterie.cli.formats import Journalling, LogFormat
from coterie.errors import CoterieError
from coterie.errors.root import listed
from coterie.ids import check_name
from coterie.shutdown import check_timeout_s
from coterie.stores.opening import default_path
from coterie.telemetry.links import TraceUrl

__all__ = ["check_home", "check_variables"]

_PREFIX = "COTERIE_"
# Of example teams, between parts of coterie, and of the units and images in `deploy/`: nobody is told of them.
_OTHERS = (
    *("COTERIE_OUTCOMES", "COTERIE_TARGET", "COTERIE_PROVIDER_URL"),
    *("COTERIE_TEAM", "COTERIE_TYPES", "COTERIE_HEALTH"),
)
_SHARED = ("redis", "unix")
# As URLs name this machine; a socket has no host.
_LOCAL = re.compile(r"localhost|127(\.\d{1,3}){3}|::1")


async def check_variables(place: Place) -> list[Finding]:
    """Variables that are set but empty, unknown, impossible, or at odds with each other."""
    del place
    return variables_of(os.environ)


def variables_of(environment: Mapping[str, str]) -> list[Finding]:
    """The same of any environment; values are not shown."""
    ours = {name: value for name, value in environment.items() if name.startswith(_PREFIX)}
    found = [*_empty(ours), *_unknown(ours), *_impossible(ours), *_at_odds(ours)]
    return found or [ok(f"{listed(ours)} set" if ours else "none is set: all is kept on this machine")]


def _empty(ours: Mapping[str, str]) -> list[Finding]:
    return [
        warning(f"{name} is set, but empty: it counts as not set", f"give it a value, or unset {name}")
        for name, value in sorted(ours.items())
        if not value.strip() and name in _KNOWN
    ]


def _unknown(ours: Mapping[str, str]) -> list[Finding]:
    found = []
    for name in sorted(ours):
        if name in _KNOWN or name in _OTHERS or name.endswith(("_PACE_S", "_FOLDER")):
            continue
        meant = get_close_matches(name, _KNOWN, 1)
        if meant:
            found.append(warning(f"{name} is set, which nothing reads", f"did you mean {meant[0]}?"))
    return found


def _impossible(ours: Mapping[str, str]) -> list[Finding]:
    found = []
    for name, check in _KNOWN.items():
        value = ours.get(name, "")
        if not value.strip() or check is None:
            continue
        try:
            check(value)
        except CoterieError as error:
            found.append(because(error, f"correct {name}, or unset it"))
        except ValueError as error:
            found.append(fault(f"{name} cannot be read: {error}", f"correct {name}, or unset it"))
    return found


def _at_odds(ours: Mapping[str, str]) -> list[Finding]:
    store, artifacts = ours.get("COTERIE_STORE", ""), ours.get("COTERIE_ARTIFACTS", "")
    found = []
    if store.startswith("memory:"):
        found.append(
            fault(
                "COTERIE_STORE is in memory: no other process sees it, and it ends with each",
                "name a file (sqlite:///path) or a server (redis://host:6379/0)",
            )
        )
    if _is_shared(store) and _scheme(artifacts) in ("", "file", "local"):
        said = "COTERIE_ARTIFACTS names a folder" if artifacts else "COTERIE_ARTIFACTS is not set"
        found.append(
            warning(
                f"COTERIE_STORE is shared by a fleet, but {said}: what this machine stores, others cannot load",
                "set COTERIE_ARTIFACTS to a URL that all machines reach (s3://bucket/…), or a folder that they share",
            )
        )
    if ours.get("COTERIE_JOURNAL") == "off":
        found.append(
            warning("COTERIE_JOURNAL is off: what is finished is not remembered", "set it to strict, or relaxed")
        )
    return found


def _is_shared(store: str) -> bool:
    """Whether other machines reach it: not a server that this one has for itself."""
    return _scheme(store) in _SHARED and not _LOCAL.fullmatch(urlsplit(store).hostname or "localhost")


def _scheme(url: str) -> str:
    return urlsplit(url).scheme.partition("+")[0].replace("rediss", "redis") if "://" in url else ""


def _one_of(kind: type[Journalling | LogFormat]) -> Callable[[str], object]:
    def check(value: str) -> object:
        if value not in [str(each) for each in kind]:
            raise ValueError(f"{value[:40]!r} is not one of {', '.join(kind)}")
        return value

    return check


def _check_namespace(value: str) -> object:
    return check_name(value, "COTERIE_NAMESPACE")


def _check_seconds(value: str) -> object:
    return check_timeout_s(float(value))


def _check_keys(value: str) -> object:
    del value
    return Signing.from_environment()


# What is read, and what refuses a value; of the store and the artifacts, that is for checks of their own.
_KNOWN: dict[str, Callable[[str], object] | None] = {
    "COTERIE_ARTIFACTS": None,
    "COTERIE_DEBUG": None,
    "COTERIE_GRACEFUL_SHUTDOWN_TIMEOUT_S": _check_seconds,
    "COTERIE_HOME": None,
    "COTERIE_JOURNAL": _one_of(Journalling),
    "COTERIE_LOG_FORMAT": _one_of(LogFormat),
    "COTERIE_NAMESPACE": _check_namespace,
    "COTERIE_SIGNING_KEYS": _check_keys,
    "COTERIE_STORE": None,
    "COTERIE_TRACE_URL": TraceUrl,
}


async def check_home(place: Place) -> Finding:
    """The folder that holds what is this machine's own: whose it is, and who may change it."""
    del place
    try:
        folder = default_path().parent
    except CoterieError as error:
        return because(error, "set COTERIE_HOME to a folder")
    return home_of(folder)


def home_of(folder: Path) -> Finding:
    """The same of any folder."""
    if (problem := may_be_made(folder)) is not None:
        return fault(
            f"{folder}: {problem}", "give this user the right to, or set COTERIE_HOME to a folder it may write"
        )
    if not folder.exists():
        return ok(f"{folder} is not there yet: it is made when it is needed")
    if not folder.is_dir():
        return fault(f"{folder} is not a folder", "set COTERIE_HOME to a folder")
    exposed = [path for path in (folder, *sorted(folder.glob("*.db*"))) if _others_may_write(path)]
    if exposed:
        return fault(
            f"{exposed[0]} can be changed by other users (mode {stat.S_IMODE(exposed[0].stat().st_mode):04o}), "
            "and so what coterie takes for its own state",
            f"chmod -R go-w {folder}",
        )
    return ok(f"{folder} is this user's own")


def _others_may_write(path: Path) -> bool:
    try:
        mode = path.stat().st_mode
    except OSError:
        # Gone meanwhile.
        return False
    return bool(mode & (stat.S_IWGRP | stat.S_IWOTH)) and not mode & stat.S_ISVTX
