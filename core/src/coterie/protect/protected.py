"""The gate that tasks pass, around any code, in any process: without a plan, a task or an agent."""

from __future__ import annotations

import copy
import functools
import inspect
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import replace
from types import CoroutineType, MappingProxyType, ModuleType, NoneType, TracebackType
from typing import TYPE_CHECKING, Any, ParamSpec, Self, TypeVar, cast

from coterie import sync
from coterie.errors import Misuse, PolicyError, Unavailable
from coterie.events import Listener
from coterie.ids import AgentId, WorkflowId, check_name, check_workflow_id, content_hash
from coterie.policies import Policies
from coterie.ports import StateStore
from coterie.protect.call import Call, making
from coterie.protect.home import Home
from coterie.protect.visit import Manner, Visit, heard
from coterie.task import Retry

if TYPE_CHECKING:
    from coterie.protect.blocking import BlockingProtected

__all__ = ["Protected"]

_log = logging.getLogger("coterie.protect")

P = ParamSpec("P")
T = TypeVar("T")


class Protected:
    """Any code behind a breaker, a pool, limits, budgets and retries, shared by all that share its name and store.

    name: what is protected, such as `openai`; tasks of an agent type of that name, with the same policies, share it.
    store: the shared state or its URL; by default `COTERIE_STORE`, else a file of this machine. A store that is an
        object must not be used in an event loop other than that of `coterie.sync`.
    capacity: calls at the same time (1); of the whole fleet if the policies have a pool, else of this process.
    agents: instead of it, several that do the same (keys, endpoints) with their capacities; `Call.agent_id` says which
        one a call is to use.
    namespace: by default `COTERIE_NAMESPACE`, else `default`.
    retry: how failed calls are tried again; by default they are not.
    ignored: exceptions that are no failures, such as a 404 or a scheduler's skip: they count neither way, and are
        raised at once.
    meaning: told each other exception, it may answer with one that says what that means: an `AgentThrottled` or
        `AgentUnavailable`, with the seconds to wait, a `StepFailed` where trying again is useless; None: it is a
        failure like others. What callers see is the exception itself.
    run_id: whose own budgets (`per_run`) pay; by default this object is a run.
    on_event: told what breakers do and what is waited for, in the thread of the background loop.

    One object serves every thread and event loop of a process, and works on in a forked one. The code runs where it is
    called. Cancellation and other exceptions that are no `Exception`, such as a scheduler's control flow, pass through
    untouched, count neither way, and give back what is held. Close it when done; at a normal end of the process that
    happens by itself.

    Raises:
        Misuse: a name or URL that cannot be one. PolicyError: settings that cannot work.
    """

    def __init__(
        self,
        name: str,
        policies: Policies,
        *,
        store: StateStore | str | None = None,
        capacity: int | None = None,
        agents: Mapping[AgentId, int] | None = None,
        namespace: str | None = None,
        retry: Retry | None = None,
        ignored: tuple[type[Exception], ...] = (),
        meaning: Callable[[Exception], Exception | None] | None = None,
        run_id: WorkflowId | None = None,
        on_event: Listener | None = None,
    ) -> None:
        self.name = check_name(name, "what is protected")
        _check_policies(name, policies)
        self._run_id = f"protected.{name}.{os.urandom(8).hex()}" if run_id is None else check_workflow_id(run_id)
        self.manner = Manner(retry=retry, ignored=ignored, meaning=meaning)
        if agents is not None and capacity is not None:
            raise PolicyError(f"{name!r} has a capacity and agents, which have their own; give one of them")
        self.home = Home(
            name,
            policies,
            store=store,
            namespace=namespace or os.environ.get("COTERIE_NAMESPACE") or "default",
            agents=_checked(agents if agents is not None else {name: 1 if capacity is None else capacity}),
            on_event=on_event,
        )

    def __repr__(self) -> str:
        return f"Protected({self.name!r})"

    def __deepcopy__(self, memo: object) -> Self:
        # Schedulers copy what operators are given; a copy that shares nothing would protect nothing.
        return self

    async def __aenter__(self) -> Self:
        if self.home.closed:
            raise Misuse(f"{self.name!r} is closed; make a new one")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    @property
    def policies(self) -> Policies:
        """The policies that it was made with."""
        return self.home.policies

    def asking(
        self,
        *,
        priority: int | None = None,
        key: str | None = None,
        wait_s: float | None = None,
        retry: Retry | None = None,
        ignored: tuple[type[Exception], ...] | None = None,
        meaning: Callable[[Exception], Exception | None] | None = None,
    ) -> Self:
        """The same, whose calls ask in another manner; what is not given stays as it is.

        priority: higher ones come first. key: calls of one key go to one agent under the strategy `consistent_hash`.
        wait_s: how long a call waits while it is refused, at most as long as the policies say; 0: not at all.
        """
        given: dict[str, Any] = {
            "priority": priority,
            "key": key,
            "wait_s": wait_s,
            "retry": retry,
            "ignored": ignored,
            "meaning": meaning,
        }
        other = copy.copy(self)
        other.manner = replace(self.manner, **{name: value for name, value in given.items() if value is not None})
        return other

    async def call(self, func: Callable[P, Awaitable[T] | T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call `func` and return, or raise, what it does; `this_call()` tells it about the call.

        A failed call is made again as `retry` says. When it has failed for good, what the policies' `fallback` names
        stands in: a value, or the last result to the same arguments where both are JSON. Of methods and other callable
        objects nothing is remembered, as the object counts too; what a closure holds must not change the result.

        Raises:
            BreakerOpen, PoolBusy, NoLiveAgent, QuotaSpent, BudgetSpent: not now, and the time to wait is over.
            BudgetExhausted: never again. LeaseLost: its slot was given to others while it ran. Unavailable: the
            store failed, and the policies do not let calls through without it.
        """
        visit = self.visit(func, args, kwargs)
        try:
            self.home.start(visit)
            while (turn := await visit.turn()) is not None:
                with visit.trying(turn), making(visit.call):
                    made = func(*args, **kwargs)
                    turn.succeeded(await made if inspect.isawaitable(made) else made)
            return cast("T", visit.result)
        except Exception as error:
            if not self.is_replaceable(error):
                raise
            ended = sync.begin(self.home.stand_in(visit, error))
            await heard(ended)
            if (found := ended.result()) is None:
                raise
            return cast("T", found[0])
        finally:
            await visit.leave()

    def __call__(self, func: Callable[P, CoroutineType[Any, Any, T]]) -> Callable[P, CoroutineType[Any, Any, T]]:
        """Protect every call of a coroutine function: a decorator.

        Raises:
            Misuse: it is a plain function; `@protected.blocking()` decorates those.
        """
        if not inspect.iscoroutinefunction(func):
            raise Misuse(f"{func!r} is no coroutine function; decorate plain functions with protected.blocking()")

        @functools.wraps(func)
        async def protected(*args: P.args, **kwargs: P.kwargs) -> T:
            return await self.call(func, *args, **kwargs)

        return cast("Callable[P, CoroutineType[Any, Any, T]]", protected)

    @asynccontextmanager
    async def admit(
        self, *, priority: int | None = None, key: str | None = None, wait_s: float | None = None
    ) -> AsyncIterator[Call]:
        """Do it in the block, once; an exception there is its failure. The arguments: as of `asking`.

        Raises:
            As `call` does. A block cannot be repeated or replaced: it is neither tried again, nor does anything
            stand in.
        """
        asked = self.asking(priority=priority, key=key, wait_s=wait_s)
        visit = asked.visit()
        try:
            self.home.start(visit)
            turn = await visit.turn()
            assert turn is not None
            with visit.trying(turn):
                yield visit.call
                turn.succeeded()
            await visit.turn()
        finally:
            await visit.leave()

    @asynccontextmanager
    async def enter(
        self, make: Callable[P, AbstractAsyncContextManager[T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> AsyncIterator[T]:
        """Enter what `make` makes, such as a stream, and hold the slot until the block ends.

        What fails while it is entered is tried again as `retry` says; the block is not, and nothing stands in for it.
        While it is made and entered, `this_call()` is the call.

        Raises:
            As `call` does.
        """
        visit = self.visit(make, (), {})
        try:
            self.home.start(visit)
            while (turn := await visit.turn()) is not None:
                with visit.trying(turn):
                    async with AsyncExitStack() as stack:
                        with making(visit.call):
                            entered = await stack.enter_async_context(make(*args, **kwargs))
                        visit.retry = None
                        yield entered
                    turn.succeeded()
        finally:
            await visit.leave()

    def blocking(self) -> BlockingProtected:
        """The same for code that cannot await."""
        from coterie.protect.blocking import BlockingProtected

        return BlockingProtected(self)

    async def aclose(self) -> None:
        """Let calls in progress end, at most 5 s, and give back what is held; safe to call twice."""
        ended = sync.begin(self.home.aclose())
        await heard(ended)
        ended.result()

    def visit(
        self,
        func: object = None,
        args: tuple[object, ...] = (),
        kwargs: Mapping[str, object] = MappingProxyType({}),
    ) -> Visit:
        """One call of `func`, or of a block, which cannot be repeated; for the forms of this class."""
        call = Call(self.name, self._run_id)
        if func is None:
            return Visit(call, self.manner, repeats=False)
        return Visit(call, self.manner, cache_key=self._cache_key(func, args, kwargs))

    def is_replaceable(self, error: Exception) -> bool:
        """Whether something may stand in for a call that has failed with `error`."""
        return bool(self.policies.fallback) and not isinstance(error, (Unavailable, *self.manner.ignored))

    def _cache_key(self, func: object, args: tuple[object, ...], kwargs: Mapping[str, object]) -> str | None:
        if not any(fallback.cached_s for fallback in self.policies.fallback):
            return None
        if isinstance(func, functools.partial):
            return self._cache_key(func.func, (*func.args, *args), {**func.keywords, **kwargs})
        if not inspect.isroutine(func) or not isinstance(getattr(func, "__self__", None), (ModuleType, NoneType)):
            # What it answers depends on the object as well: another's answer must not stand in.
            _log.info("protected.not_remembered %s: %r belongs to an object", self.name, type(func).__qualname__)
            return None
        named = [getattr(func, "__module__", ""), getattr(func, "__qualname__", "")]
        try:
            return content_hash(["protected", self.name, *named, list(args), dict(kwargs)])[:32]
        except Misuse:
            _log.info("protected.not_remembered %s: the arguments of %r are no JSON", self.name, func)
            return None


def _check_policies(name: str, policies: Policies) -> None:
    if not isinstance(policies, Policies):
        raise Misuse(f"the policies of {name!r} are {policies!r:.200}; pass coterie.Policies")
    for fallback in policies.fallback:
        if fallback.agent is not None or fallback.agent_type is not None:
            raise PolicyError(f"{name!r} falls back on {fallback}, which only a team has; use value or cached_s")


def _checked(agents: Mapping[AgentId, int]) -> dict[AgentId, int]:
    if not agents:
        raise PolicyError("agents is empty; name at least one, with its capacity")
    for agent_id, capacity in agents.items():
        check_name(agent_id, "agent id")
        if type(capacity) is not int or capacity < 1:
            raise PolicyError(f"the agent {agent_id!r} has capacity {capacity!r}; give a whole number >= 1")
    return dict(agents)
