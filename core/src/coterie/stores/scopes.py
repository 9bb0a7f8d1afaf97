"""What stores are alike in by their scope, whatever they keep: of one process, one machine, or a fleet."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from coterie._rules.timeline import SECOND
from coterie.clock import Clock, SystemClock
from coterie.errors import Misuse
from coterie.ids import check_name
from coterie.ports import Scope

if TYPE_CHECKING:
    from coterie.stores.redis.address import Address

__all__ = ["FleetStore", "MachineStore", "ProcessStore", "closed"]


class ProcessStore:
    """In memory. kind: what it keeps: "state", "journal", "log". clock: its wall clock, this machine's if not given.

    Raises:
        Misuse: the namespace is no name.
    """

    def __init__(self, kind: str, namespace: str, clock: Clock | None) -> None:
        self._kind = kind
        self._namespace = check_name(namespace, "the namespace")
        self._clock = clock or SystemClock()
        self._closed = False

    @property
    def url(self) -> str:
        """Always the same: nobody else can open it."""
        return "memory://"

    @property
    def scope(self) -> Scope:
        """The tasks of one process."""
        return "process"

    @property
    def namespace(self) -> str:
        """As it was given."""
        return self._namespace

    def _check_open(self) -> None:
        if self._closed:
            raise closed(self._kind)

    def _now(self) -> int:
        """Its clock, in microseconds."""
        return round(self._clock.now() * SECOND)


class MachineStore:
    """In a SQLite file.

    Raises:
        Misuse: the namespace is no name.
    """

    def __init__(self, path: str | Path, namespace: str) -> None:
        self._path = Path(path)
        self._namespace = check_name(namespace, "the namespace")

    @property
    def url(self) -> str:
        """`sqlite://` and the path of the store's own file."""
        return f"sqlite://{self._path}"

    @property
    def scope(self) -> Scope:
        """All processes of this machine."""
        return "machine"

    @property
    def namespace(self) -> str:
        """As it was given."""
        return self._namespace


class FleetStore:
    """On Redis; the namespace was checked before."""

    def __init__(self, address: Address, namespace: str) -> None:
        self._address = address
        self._namespace = namespace

    @property
    def url(self) -> str:
        """The URL, without credentials and options."""
        return self._address.url

    @property
    def scope(self) -> Scope:
        """All machines that reach the server."""
        return "fleet"

    @property
    def namespace(self) -> str:
        """As it was given."""
        return self._namespace


def closed(kind: str) -> Misuse:
    """What is raised by every call of a store that was closed."""
    return Misuse(f"this {kind} store is closed; open a new one")
