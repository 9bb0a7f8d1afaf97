"""Stop calling what fails, for this process or for the whole fleet, and try it again with a few calls."""

from __future__ import annotations

import asyncio
import functools
import inspect
import logging
import math
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, replace
from types import CoroutineType
from typing import Any, Literal, ParamSpec, TypeVar, get_args, overload

from coterie._rules.breaker import BreakerState, Forced, View, force, reset
from coterie._rules.breaker_policy import BreakerPolicy
from coterie._rules.decided import Operation
from coterie._rules.timeline import micros
from coterie.breaker.guard import Confirmation, Guard
from coterie.breaker.local import LocalRule, Pass, chance
from coterie.breaker.outcome import Classifier, Outcome
from coterie.breaker.residence import Pace, Residence, Stand, StoreFailure
from coterie.breaker.shadow import NOTHING_KNOWN, Shadow, Tally
from coterie.breaker.shared import SharedBreaker
from coterie.breaker.telling import LastFailure, said, transition
from coterie.clock import Clock, SystemClock
from coterie.errors import CoterieError, Misuse, Unavailable
from coterie.events import Event, Listener
from coterie.ids import check_name
from coterie.ports import StateStore
from coterie.shared_state import check_store

__all__ = ["BreakerPolicy", "BreakerStatus", "CircuitBreaker", "Classifier", "Guard", "Pace"]

_log = logging.getLogger("coterie.breaker")

P = ParamSpec("P")
T = TypeVar("T")

# What a decision by hand comes to, before a store has confirmed it.
_PRETENDED: dict[Forced, BreakerState] = {
    "forced_open": "forced_open",
    "disabled": "disabled",
    "metrics_only": "metrics_only",
    "open": "open",
    "closed": "closed",
}


@dataclass(frozen=True, slots=True)
class BreakerStatus:
    """A breaker as this process sees it.

    retry_after_s: how long a call must wait at least, as far as is known here; 0: it may try.
    failures, calls, slow: what the rule counts (fleet-wide, as last heard, where a store is shared).
    opened: how many times in a row it opened without having closed.
    store: "none"; "new" before the first call; "resident"; "transient"; "away" while the store does not answer, when
        all the rest is of this process alone.
    """

    name: str
    state: BreakerState
    generation: int
    retry_after_s: float
    failures: int
    calls: int
    slow: int
    opened: int
    store: Literal["none"] | Stand


class CircuitBreaker:
    """One circuit breaker, for one event loop at a time.

    Without a store it is this process's own. With one, all that give it the same name share it: outcomes are counted
    together, and a transition reaches everybody. Their policies should be equal.

    name: letters, digits, `_` and `-`.
    classify: which ends of calls are failures, and which say nothing.
    residence: "resident" listens to the store and calls it seldom; "transient" asks it before and tells it after each
        call, for processes that make few; "auto" is transient at first and resident after some seconds.
    on_store_failure: while the store does not answer, "fail_open" decides alone, on what happens here; "fail_closed"
        refuses with `Unavailable`. Said once in the log, ended without a restart; what happened meanwhile is not told.
    on_event: told of `breaker.opened`, `breaker.half_opened`, `breaker.closed`, `breaker.forced`, once a transition, in
        the process that made it; of `breaker.store_failed` and `breaker.store_recovered` in each process. Its errors
        are logged.
    pace: how often the store is talked to.

    Raises:
        Misuse: the name, or a choice, is unusable, or the store is none.
    """

    def __init__(
        self,
        name: str,
        policy: BreakerPolicy | None = None,
        *,
        store: StateStore | None = None,
        classify: Classifier | None = None,
        residence: Residence = "auto",
        on_store_failure: StoreFailure = "fail_open",
        on_event: Listener | None = None,
        pace: Pace | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.name = check_name(name, "the circuit breaker")
        self.policy = policy or BreakerPolicy()
        _check_choice("residence", residence, get_args(Residence))
        _check_choice("on_store_failure", on_store_failure, get_args(StoreFailure))
        check_store(store, f"the circuit breaker {name!r}")
        self._classify = classify or Classifier()
        self._judges = self._classify.failed_if is not None
        self._on_event = on_event
        clock = clock or SystemClock()
        self._monotonic = clock.monotonic
        self._slow_s = math.inf if self.policy.slow_call_s is None else self.policy.slow_call_s
        self._last = LastFailure()
        self._shadow = Shadow(clock.monotonic, self.policy.half_open_max_calls)
        self._local = LocalRule(self.name, self.policy, self._shadow, clock, self._changed)
        self._shared: SharedBreaker | None = None
        self._closed = False
        if store is None:
            self._local.start()
        else:
            self._shared = SharedBreaker(
                self.name,
                self.policy,
                store,
                self._shadow,
                self._local,
                clock=clock,
                pace=pace or Pace(),
                residence=residence,
                on_store_failure=on_store_failure,
                changed=self._changed,
                told=self._store_changed,
            )

    def __repr__(self) -> str:
        return f"CircuitBreaker({self.name!r}, state={self._shadow.view.state!r})"

    @property
    def is_shared(self) -> bool:
        """Whether it has a store."""
        return self._shared is not None

    # Calls

    @overload
    async def call(self, func: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> T: ...

    @overload
    async def call(self, func: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T: ...

    async def call(self, func: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Call `func` and await what it returns, if that can be awaited; what it returns or raises comes out untouched.

        A plain function runs in the event loop: use `asyncio.to_thread` for one that blocks.

        Raises:
            BreakerOpen: it was not called; `.retry_after_s`.
            Unavailable: it was not called, since the store does not answer and `on_store_failure` is "fail_closed".
            Misuse: the breaker is closed for good.
        """
        tally = self._shadow.tally
        if tally is None or self._judges:
            return await self._call_with_care(func, args, kwargs)
        began_s = self._monotonic()
        try:
            result = func(*args, **kwargs)
            # Almost all are coroutines, and this comparison is the cheapest.
            if type(result) is CoroutineType or hasattr(type(result), "__await__"):
                result = await result
        except Exception as error:
            code = self._classify.of_error(error)
            if code == "f":
                tally.add(self.judged(code, self._monotonic() - began_s, error))
            raise
        ended_s = self._monotonic()
        if ended_s - began_s >= self._slow_s:
            tally.add(self.judged("s", ended_s - began_s))
            return result
        tally.ok += 1
        if tally.ok >= tally.limit or ended_s >= tally.until_s:
            tally.due(tally)
        return result

    def guard(self) -> Guard:
        """Guard a block: `async with breaker.guard() as call: call.result(await work())`; raises as `call` does.

        The block's exceptions are classified like a function's.
        """
        return Guard(self)

    def __call__(self, func: Callable[P, Awaitable[T]]) -> Callable[P, Coroutine[Any, Any, T]]:
        """Guard every call of a coroutine function: a decorator.

        Raises:
            Misuse: it is no coroutine function; `coterie.sync_breaker` has the blocking form.
        """
        if not inspect.iscoroutinefunction(func):
            raise Misuse(
                f"{func!r} is no coroutine function; decorate it with coterie.sync_breaker.CircuitBreaker, "
                "or await breaker.call(...)"
            )

        @functools.wraps(func)
        async def guarded(*args: P.args, **kwargs: P.kwargs) -> T:
            return await self.call(func, *args, **kwargs)

        return guarded

    # Looking

    def get_state(self) -> BreakerStatus:
        """What this process knows, without asking anybody; `refresh` asks."""
        if self._shared is None:
            self._local.refresh()
        view = self._shadow.view
        free = self._shadow.tally is not None
        return BreakerStatus(
            name=self.name,
            state=view.state,
            generation=view.generation,
            retry_after_s=0.0 if free else self._shadow.refused_s() or 0.0,
            failures=view.failures,
            calls=view.calls,
            slow=view.slow,
            opened=view.opened,
            store="none" if self._shared is None else self._shared.stand,
        )

    async def refresh(self) -> BreakerStatus:
        """Tell the store what waits, learn from it, and look for it if it was away; then as `get_state`.

        A store that fails raises nothing here: `.store` is then "away". Once it is closed, the store is not asked.
        """
        if self._shared is not None and not self._closed:
            await self._shared.refresh()
        return self.get_state()

    def store_is_away(self, error: Unavailable) -> None:
        """Told by who shares the store that it does not answer: calls do not wait to find that out for themselves."""
        if self._shared is not None and not self._closed:
            self._shared.lose(error)

    # By hand. Each applies here at once, and returns what can be awaited for the store's confirmation.

    def reset(self) -> Awaitable[None]:
        """Close it, with nothing counted, also out of a forced state.

        Awaited, every decision by hand raises `Unavailable` if the store did not confirm it.

        Raises:
            Misuse: the breaker is shared, and no event loop runs here.
        """
        return self._decide(reset(self.name, self.policy), "closed")

    def force_open(self) -> Awaitable[None]:
        """Refuse all calls until `auto`, `reset` or another force."""
        return self._force("forced_open")

    def force_closed(self) -> Awaitable[None]:
        """Close it now; it may open again by itself."""
        return self._force("closed")

    def disable(self) -> Awaitable[None]:
        """Let all calls pass and count nothing, until told otherwise."""
        return self._force("disabled")

    def metrics_only(self) -> Awaitable[None]:
        """Let all calls pass, but count, until told otherwise."""
        return self._force("metrics_only")

    def auto(self) -> Awaitable[None]:
        """Leave a forced state: closed, with nothing counted."""
        return self._force("auto")

    async def aclose(self) -> None:
        """Tell the store what waits and stop listening, within a few seconds; safe to call twice.

        Calls that still run end undisturbed; new ones are refused with `Misuse`. The store stays open.
        """
        self._closed = True
        if self._shared is not None:
            await self._shared.aclose()
        self._shadow.stop()

    # For guards

    async def enter(self) -> Pass:
        """Ask for one call. Prefer `call` and `guard`, which report its end too."""
        if self._closed:
            raise Misuse(f"the circuit breaker {self.name!r} is closed for good; make a new one")
        if self._shared is not None:
            return await self._shared.enter()
        return self._local.enter_now()

    def judged(self, code: Outcome, took_s: float, error: BaseException | None = None) -> Outcome:
        """The same, or its slow form; what went wrong is remembered. error: what the call raised."""
        if code == "f":
            self._last.failed(error)
        if took_s < self._slow_s or code not in "sf":
            return code
        if code == "f":
            return "g"
        self._last.was_slow(took_s)
        return "t"

    def count(
        self, tally: Tally, code: Outcome, began_s: float, ended_s: float, error: BaseException | None = None
    ) -> None:
        """Report how a call ended that passed freely; see `judged`."""
        code = self.judged(code, ended_s - began_s, error)
        if code != "s":
            if code != "i":
                tally.add(code)
            return
        tally.ok += 1
        if tally.ok >= tally.limit or ended_s >= tally.until_s:
            tally.due(tally)

    async def _call_with_care(self, func: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        async with Guard(self) as call:
            result = func(*args, **kwargs)
            if type(result) is CoroutineType or hasattr(type(result), "__await__"):
                result = await result
            return call.result(result)

    def _force(self, to: Forced) -> Awaitable[None]:
        standing = self._shadow.view.state
        pretended = _PRETENDED.get(to)
        if to == "auto" and standing in {"forced_open", "disabled", "metrics_only"}:
            pretended = "closed"
        return self._decide(force(self.name, self.policy, to=to, chance=chance()), pretended)

    def _decide(self, operation: Operation[View], pretended: BreakerState | None) -> Awaitable[None]:
        if self._shared is None:
            self._local.apply(operation)
            return Confirmation(None)
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            raise Misuse(
                f"the circuit breaker {self.name!r} is shared, and no event loop runs here; "
                "call this from a coroutine, or use coterie.sync_breaker"
            ) from None
        view = None
        if pretended is not None:
            known = self._shadow.view
            retry = micros(self.policy.timeout_s) if pretended in {"open", "forced_open"} else 0
            view = replace(NOTHING_KNOWN, state=pretended, generation=known.generation, retry_after_us=retry)
        return Confirmation(self._shared.by_hand(operation, view))

    # Telling

    def _changed(self, view: View) -> None:
        name, fields = transition(view, self._last)
        if name == "breaker.closed":
            self._last.forget()
        self._tell(name, **fields)
        if "error" in fields and self._shared is not None:
            self._shared.leave_note(fields["error"])

    def _store_changed(self, name: str, error: CoterieError | None) -> None:
        self._tell(name, **({} if error is None else {"error": f"{type(error).__name__}: {error}"}))

    def _tell(self, name: str, **fields: Any) -> None:
        if name not in {"breaker.store_failed", "breaker.store_recovered"}:
            # Whoever hears of warnings alone hears that calls are refused, and that they no longer are.
            level = logging.INFO if name == "breaker.half_opened" else logging.WARNING
            _log.log(level, "%s %s: %s", name, self.name, said(fields))
        if self._on_event is None:
            return
        try:
            self._on_event(Event(name, "", None, {"breaker": self.name, **fields}))
        # A listener's error is its own: no call fails, and no state is lost, because nobody could be told.
        except Exception:  # noqa: BLE001 - logged with its traceback
            _log.exception("the listener of the circuit breaker %r failed on %s", self.name, name)


def _check_choice(what: str, value: object, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise Misuse(f"{what}={value!r} is unknown; choose one of {', '.join(map(repr, choices))}")
