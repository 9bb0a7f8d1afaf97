"""One shared state as a shell sees it: in a store, or in this process alone while the store does not answer."""

from __future__ import annotations

import logging
import warnings
from contextlib import suppress
from typing import Literal, TypeAlias, TypeVar, get_args

from coterie._rules.decided import Decide, State
from coterie._rules.timeline import SECOND
from coterie.clock import Clock, SystemClock
from coterie.errors import Misuse, Unavailable
from coterie.events import Event, Listener
from coterie.ports import StateStore

__all__ = ["SharedState", "StoreFailure", "check_store", "warn"]

_log = logging.getLogger("coterie.state")

T = TypeVar("T")

# While the store does not answer: decide in this process alone, or raise `Unavailable`.
StoreFailure: TypeAlias = Literal["fail_open", "fail_closed"]

# How long a store that failed is left alone before it is asked again.
AWAY_S = 1.0


# Whether Python's own warning was given in this process.
_warned = False


def warn(log: logging.Logger, text: str) -> None:
    """Log that what the fleet shares does not hold here for now.

    A program that has set up no logging would never learn of it: there it is a RuntimeWarning, once a process.
    """
    global _warned  # noqa: PLW0603  # of the process, as what it is about
    log.warning("%s", text)
    if not _warned and not _is_heard(log):
        _warned = True
        # Made an error by a program's filters, it must not become that of a call.
        with suppress(RuntimeWarning):
            warnings.warn(f"{text} (set logging up to be told of this and more)", RuntimeWarning, stacklevel=2)


def _is_heard(log: logging.Logger | None) -> bool:
    while log is not None:
        if any(not isinstance(handler, logging.NullHandler) for handler in log.handlers):
            return True
        log = log.parent if log.propagate else None
    return False


def check_store(store: object, what: str) -> None:
    """Refuse what is no open store, such as a URL: whoever opens one also closes it.

    Raises:
        Misuse: names `what` was given it, and no URL, as that may hold a password.
    """
    if store is None or callable(getattr(store, "update", None)):
        return
    given = "a URL" if isinstance(store, str) else repr(store)[:200]
    raise Misuse(
        f"{what} was given {given} as its store; open it with coterie.stores.opening.open_state_store(url, namespace), "
        "give what that returns, and close it when done"
    )


class SharedState:
    """The state of one key. Without a store it is this process's own.

    A failing store is told of once, in the log and to `on_event`, and asked again after a second; by one caller alone
    where it is done without. Nothing needs a restart.

    Raises:
        Misuse: an unknown policy, or a store that is none.
    """

    __slots__ = ("_away_until", "_clock", "_fails_open", "_keep_s", "_lost", "_on_event", "_own", "key", "store")

    def __init__(
        self,
        key: str,
        store: StateStore | None,
        *,
        keep_s: float,
        on_store_failure: StoreFailure,
        on_event: Listener | None = None,
        clock: Clock | None = None,
    ) -> None:
        if on_store_failure not in get_args(StoreFailure):
            raise Misuse(f"on_store_failure is {on_store_failure!r}; choose one of {', '.join(get_args(StoreFailure))}")
        check_store(store, repr(key))
        self.key = key
        self.store = store
        self._keep_s = keep_s
        self._fails_open = on_store_failure == "fail_open"
        self._on_event = on_event
        self._clock = clock or SystemClock()
        self._own: State | None = None
        self._lost = False
        self._away_until = 0.0

    @property
    def is_alone(self) -> bool:
        """Whether decisions are made in this process now, without a word to any store."""
        return self.store is None or (self._lost and self._fails_open and self._clock.monotonic() < self._away_until)

    async def update(self, decide: Decide[T]) -> T:
        """Apply a decision.

        Raises:
            Unavailable: the store failed, and decisions are not made without it.
        """
        if self.store is None or self.is_alone:
            return self._update_own(decide)
        self._ask_alone()
        try:
            result = await self.store.update(self.key, decide, keep_s=self._keep_s)
        except Unavailable as error:
            self._lose(error)
            if not self._fails_open:
                raise
            return self._update_own(decide)
        if self._lost:
            self._lost, self._own = False, None
            _log.info("state.store_recovered %s", self.key)
            self._tell("state.store_recovered")
        return result

    async def read(self) -> tuple[State | None, int]:
        """The state, and the clock that it lives by, in microseconds since the epoch."""
        if self.store is None or self.is_alone:
            return self._own, self._now()
        self._ask_alone()
        try:
            return await self.store.read(self.key)
        except Unavailable as error:
            self._lose(error)
            if not self._fails_open:
                raise
            return self._own, self._now()

    def _ask_alone(self) -> None:
        """Of those who come while the store is away, one a second asks it: it may take long to fail."""
        if self._lost:
            self._away_until = self._clock.monotonic() + AWAY_S

    def _update_own(self, decide: Decide[T]) -> T:
        decided = decide(self._own, self._now())
        self._own = decided.state
        return decided.result

    def _now(self) -> int:
        return round(self._clock.now() * SECOND)

    def _lose(self, error: Unavailable) -> None:
        self._away_until = self._clock.monotonic() + AWAY_S
        if not self._lost:
            self._lost = True
            told = f"state.store_failed {self.key}: until it answers again, calls are"
            if self._fails_open:
                warn(_log, f"{told} decided in this process alone: {error}")
            else:
                _log.warning("%s refused: %s", told, error)
            self._tell("state.store_failed", error=f"{type(error).__name__}: {error}")

    def _tell(self, name: str, **fields: str) -> None:
        if self._on_event is None:
            return
        try:
            self._on_event(Event(name, "", None, {"state": self.key, **fields}))
        except Exception:  # noqa: BLE001  # logged: what a listener does wrong is its own
            _log.exception("state.listener_failed %s", self.key)
