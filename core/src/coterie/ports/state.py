"""The port of state stores: small states that processes share, each changed atomically."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

from coterie._rules.decided import Decide, State
from coterie.ports.words import Notice, Scope

__all__ = ["StateStore"]

T = TypeVar("T")


class StateStore(Protocol):
    """Small shared states by key, each changed atomically, with wake-ups. Async, for one event loop at a time.

    Keys are `kind/name`, the names checked by `coterie.ids.check_name`; the namespace is the store's own affair, so
    that keys of two namespaces never meet. Nothing is atomic across keys. Every call has a deadline of the store's own.

    Raises, from every call:
        Unavailable: the store did not answer in time, or failed; `__cause__` is the driver's error. Whether a change
            was made is then not known.
    """

    @property
    def url(self) -> str:
        """Where the state lies, without credentials."""
        ...

    @property
    def scope(self) -> Scope:
        """Who shares the state."""
        ...

    @property
    def namespace(self) -> str:
        """What sets this deployment's keys apart."""
        ...

    async def update(self, key: str, decide: Decide[T], *, keep_s: float | None = None) -> T:
        """Apply a decision to the state of `key`, atomically, and return its result.

        `decide` is synchronous and pure: it may be run several times, also together with others that wait for the same
        key. What it raises is raised here, and nothing is changed by it. Where it returns the state that it was given,
        nothing is written.

        keep_s: after that many seconds without a change the state may be dropped, and no sooner.
        """
        ...

    async def read(self, key: str) -> tuple[State | None, int]:
        """The state of `key`, and the store's clock in microseconds since the epoch."""
        ...

    async def keys(self, kind: str) -> Sequence[str]:
        """All keys that begin with `kind/`, sorted; those that come or go meanwhile may be in it or not."""
        ...

    async def publish(self, channel: str, message: str) -> None:
        """Tell all who listen on a channel now; nobody else will ever learn of it."""
        ...

    async def subscribe(self, channel: str, notice: Notice) -> None:
        """Have `notice` called for each message from now on. Once this returns, no message is missed silently."""
        ...

    async def unsubscribe(self, channel: str, notice: Notice) -> None:
        """Stop calling `notice`; unknown ones are ignored."""
        ...

    async def aclose(self) -> None:
        """Give up connections and wake-ups, within a bound; safe to call twice."""
        ...
