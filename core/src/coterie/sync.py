"""The blocking façade: one background event loop a process, under the same names.

Made for code that cannot await: scheduler tasks, scripts, agents that are plain functions. Calling it from a
running event loop would block that loop, and is refused.
"""

from __future__ import annotations

import asyncio
import atexit
import io
import os
import threading
from collections.abc import Coroutine, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, InvalidStateError, wait
from contextlib import suppress
from contextvars import copy_context
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Generic, Literal, TypeVar, overload

from coterie._json import JsonValue
from coterie.artifacts import BYTES_MEDIA_TYPE, TEXT_MEDIA_TYPE, ChunkFile, surrounding_artifacts, using_artifacts
from coterie.errors import LeaseLost, Misuse
from coterie.ids import TaskId, WorkflowId
from coterie.ref import JSON_MEDIA_TYPE, Ref, parsed
from coterie.result import ItemResult, TaskResult, WorkflowResult

if TYPE_CHECKING:
    from collections.abc import Callable

    from coterie import artifacts, context, orchestrator
    from coterie.plan import Plan
    from coterie.task import Task

__all__ = ["ArtifactStore", "Orchestrator", "TaskContext", "begin", "run", "using_artifacts"]

T = TypeVar("T")

# How long an interrupted caller waits for its work to end: a command agent has its children killed meanwhile.
CANCEL_GRACE_S = 15.0

_fallbacks: list[Callable[[], artifacts.ArtifactStore | None]] = []
_lock = threading.Lock()
_portal: _Portal | None = None


def run(work: Coroutine[Any, Any, T]) -> T:
    """Await `work` in this process's background loop and return its result.

    Interrupted (Ctrl-C, a scheduler's time-out), the work is cancelled and waited for before the interruption
    goes on.

    Raises:
        Misuse: the calling thread runs an event loop; await instead.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return _get_portal().run(work)
    work.close()
    raise Misuse("coterie.sync was called inside a running event loop, which it would block; await instead")


def begin(work: Coroutine[Any, Any, T]) -> Future[T]:
    """Start `work` in this process's background loop, with this thread's context variables, and do not wait.

    Unlike `run` it may be called where an event loop runs. Cancelling what it returns does not end the work.
    """
    return _get_portal().begin(work)


class ArtifactStore:
    """`coterie.ArtifactStore`, blocking. options: as the other takes them, for a URL."""

    def __init__(
        self,
        url: str | artifacts.ArtifactStore,
        *,
        namespace: str = "default",
        compress: Literal["zstd"] | None = None,
        copies: str | Path | None = None,
    ) -> None:
        from coterie.artifacts import ArtifactStore as Async

        if isinstance(url, str):
            url = Async(url, namespace=namespace, compress=compress, copies=copies)
        self._store = url

    @property
    def url(self) -> str:
        """The root's URL."""
        return self._store.url

    def recall(self, data: Mapping[str, Any]) -> Ref:
        """See `coterie.ArtifactStore.recall`."""
        return self._store.recall(data)

    def put(self, value: object, *, media_type: str = JSON_MEDIA_TYPE) -> Ref:
        """See `coterie.ArtifactStore.put`."""
        return run(self._store.put(value, media_type=media_type))

    def put_text(self, text: str, media_type: str = TEXT_MEDIA_TYPE) -> Ref:
        """See `coterie.ArtifactStore.put_text`."""
        return run(self._store.put_text(text, media_type))

    def put_bytes(self, content: bytes, media_type: str = BYTES_MEDIA_TYPE) -> Ref:
        """See `coterie.ArtifactStore.put_bytes`."""
        return run(self._store.put_bytes(content, media_type))

    def put_file(self, path: str | Path, media_type: str = BYTES_MEDIA_TYPE) -> Ref:
        """See `coterie.ArtifactStore.put_file`."""
        return run(self._store.put_file(path, media_type))

    def put_stream(self, source: BinaryIO | Iterable[bytes], media_type: str = BYTES_MEDIA_TYPE) -> Ref:
        """See `coterie.ArtifactStore.put_stream`. The source is read in another thread."""
        return run(self._store.put_stream(source, media_type))

    @overload
    def load(self, ref: Ref) -> JsonValue: ...
    @overload
    def load(self, ref: Ref, type_: type[T]) -> T: ...
    @overload
    def load(self, ref: Ref, type_: Any) -> Any: ...
    def load(self, ref: Ref, type_: Any = None) -> Any:
        """See `coterie.ArtifactStore.load`."""
        return run(self._store.load(ref, type_))

    def load_text(self, ref: Ref) -> str:
        """See `coterie.ArtifactStore.load_text`."""
        return run(self._store.load_text(ref))

    def read_bytes(self, ref: Ref) -> bytes:
        """See `coterie.ArtifactStore.read_bytes`."""
        return run(self._store.read_bytes(ref))

    def copy_to(self, ref: Ref, path: str | Path) -> None:
        """See `coterie.ArtifactStore.copy_to`."""
        run(self._store.copy_to(ref, path))

    def open(self, ref: Ref) -> BinaryIO:
        """The content as a file to be read once, verified at its end: see `coterie.ArtifactStore.stream`."""
        return io.BufferedReader(ChunkFile(self.stream(ref)))

    def stream(self, ref: Ref, *, chunk_bytes: int = 2**20) -> Iterator[bytes]:
        """See `coterie.ArtifactStore.stream`."""
        reader = self._store.open(ref, chunk_bytes=chunk_bytes)
        try:
            while chunk := run(reader.read(chunk_bytes)):
                yield chunk
        finally:
            run(reader.aclose())

    def path(self, ref: Ref) -> Path:
        """See `coterie.ArtifactStore.path`."""
        return run(self._store.path(ref))

    def collect(
        self, reachable: Iterable[artifacts.Root], *, min_age_s: float, dry_run: bool = False
    ) -> artifacts.Collected:
        """See `coterie.ArtifactStore.collect`."""
        return run(self._store.collect(reachable, min_age_s=min_age_s, dry_run=dry_run))


class Orchestrator:
    """`coterie.Orchestrator`, blocking."""

    def __init__(self, wrapped: orchestrator.Orchestrator) -> None:
        self._wrapped = wrapped

    def execute_workflow(
        self,
        plan_or_tasks: Plan | Sequence[Task],
        *,
        workflow_id: WorkflowId | None = None,
        params: Mapping[str, JsonValue] | None = None,
    ) -> WorkflowResult:
        """See `coterie.Orchestrator.execute_workflow`."""
        return run(self._wrapped.execute_workflow(plan_or_tasks, workflow_id=workflow_id, params=params))

    def execute_task(
        self,
        task: Task,
        *,
        upstream: Mapping[TaskId, TaskResult] | None = None,
        workflow_id: WorkflowId | None = None,
        params: Mapping[str, JsonValue] | None = None,
        epoch: int = 0,
    ) -> TaskResult:
        """See `coterie.Orchestrator.execute_task`."""
        return run(
            self._wrapped.execute_task(task, upstream=upstream, workflow_id=workflow_id, params=params, epoch=epoch)
        )

    def shut_down(self, *, timeout_s: float | None = None, grace_s: float = 10.0) -> None:
        """See `coterie.Orchestrator.shut_down`; called in another thread than the one that waits for the work.

        A signal handler starts such a thread: `Thread(target=orchestrator.shut_down).start()`.
        """
        run(self._wrapped.shut_down(timeout_s=timeout_s, grace_s=grace_s))


class TaskContext:
    """`coterie.TaskContext` for an agent that is a plain function: the same names, blocking."""

    def __init__(self, wrapped: context.TaskContext, loop: asyncio.AbstractEventLoop) -> None:
        self._wrapped = wrapped
        self._loop = loop
        self._attempt = wrapped.attempt

    def __getattr__(self, name: str) -> Any:
        return getattr(self._wrapped, name)

    @property
    def artifacts(self) -> ArtifactStore | None:
        """The run's artifact store, blocking, if it has one."""
        store = self._wrapped.artifacts
        return None if store is None else ArtifactStore(store)

    def output(self, task_id: TaskId, type_: Any = None) -> Any:
        """See `coterie.TaskContext.output`."""
        return self._wait(self._wrapped.output(task_id, type_))

    def items(self, task_id: TaskId) -> list[ItemResult]:
        """See `coterie.TaskContext.items`."""
        return self._wait(self._wrapped.items(task_id))

    def publish(self, *event: Any, **fields: Any) -> Any:
        """See `coterie.TaskContext.publish`."""
        return self._wait(self._wrapped.publish(*event, **fields))

    def step(
        self,
        name: str,
        function: Callable[..., Any],
        *arguments: Any,
        key: str | None = None,
        version: str = "0",
        type_: Any = None,
    ) -> Any:
        """See `coterie.TaskContext.step`; the function is called in this thread.

        Raises:
            LeaseLost: this attempt was cut off, and another is at the work.
        """
        from coterie.journal.steps import StepCall, typed

        if self._attempt != self._wrapped.attempt:
            # Nobody could stop this thread; the next attempt must not find steps of its own begun by it.
            raise LeaseLost(
                f"the attempt {self._attempt} at {self._wrapped.task_id!r} was cut off; stop: another is at it"
            )
        with StepCall(self._wrapped, name, arguments, key=key, version=version) as call:
            found = self._wait(call.recall())
            value = found[0] if found is not None else self._wait(call.keep(function(*arguments)))
        return typed(value, type_)

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        if _runs_here(self._loop):
            work.close()
            raise Misuse(
                f"an agent of {self._wrapped.task.agent_type!r} is a plain function that returned a coroutine, which "
                "would block the event loop it waits for; declare the function with `async def`"
            )
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()


def _runs_here(loop: asyncio.AbstractEventLoop) -> bool:
    try:
        return asyncio.get_running_loop() is loop
    except RuntimeError:
        return False


def add_artifacts_fallback(find: Callable[[], artifacts.ArtifactStore | None]) -> None:
    """Ask `find` for a store when `Ref.load()` has no other: for integrations that know a default connection."""
    if find not in _fallbacks:
        _fallbacks.append(find)


def load_ref(ref: Ref) -> JsonValue:
    """What `Ref.load` does."""
    if ref.is_inline:
        return parsed(ref, ref.inline_bytes())
    return run(_ambient_store().load(ref))


def _ambient_store() -> artifacts.ArtifactStore:
    store = surrounding_artifacts()
    if store is not None:
        return store
    if url := os.environ.get("COTERIE_ARTIFACTS"):
        from coterie.artifacts import ArtifactStore as Async

        return Async(url, namespace=os.environ.get("COTERIE_NAMESPACE") or "default")
    for find in _fallbacks:
        found = find()
        if found is not None:
            return found
    raise Misuse(
        "no artifact store is known here; set COTERIE_ARTIFACTS to its URL, or use ArtifactStore(url).load(ref)"
    )


class _Portal:
    """An event loop in a daemon thread."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, name="coterie-sync", daemon=True)
        self._thread.start()

    def begin(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Start `work` there."""
        call = _Call(work, self._loop)
        self._loop.call_soon_threadsafe(call.start, context=copy_context())
        return call.future

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Await `work` there, with this thread's context variables; cancel it there if this thread is interrupted."""
        call = _Call(work, self._loop)
        try:
            # In here too: an interruption may strike as soon as the work is on its way.
            self._loop.call_soon_threadsafe(call.start, context=copy_context())
            return call.future.result()
        except BaseException:
            call.cancel_and_wait(CANCEL_GRACE_S)
            raise

    def close(self) -> None:
        """Stop the loop."""
        if self.pid == os.getpid() and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(timeout=1.0)

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()


def _get_portal() -> _Portal:
    global _portal  # noqa: PLW0603
    with _lock:
        # After a fork the thread is gone: schedulers fork, so the process id decides.
        if _portal is None or _portal.pid != os.getpid():
            _portal = _Portal()
            atexit.register(_portal.close)
        return _portal


def _renew_lock() -> None:
    # Another thread may have held it when this process was forked; here nobody would ever release it.
    global _lock  # noqa: PLW0603
    _lock = threading.Lock()


os.register_at_fork(after_in_child=_renew_lock)


class _Call(Generic[T]):
    """One piece of work on its way through the background loop."""

    def __init__(self, work: Coroutine[Any, Any, T], loop: asyncio.AbstractEventLoop) -> None:
        self.future: Future[T] = Future()
        self._work = work
        self._loop = loop
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """In the loop: begin."""
        self._task = self._loop.create_task(self._settle())
        self._task.add_done_callback(self._close)

    def cancel_and_wait(self, grace_s: float) -> None:
        """In the calling thread: have the work cancelled, and wait for its end, but not for ever."""
        if not self.future.done():
            self._loop.call_soon_threadsafe(self._cancel)
            wait([self.future], timeout=grace_s)

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()
        else:
            self._close()

    async def _settle(self) -> None:
        with suppress(InvalidStateError):  # It was cancelled: nobody waits for an answer.
            try:
                self.future.set_result(await self._work)
            # Also SystemExit and its like: they belong to the caller; left here they would end the loop's thread.
            except BaseException as error:  # noqa: BLE001
                self.future.set_exception(error)

    def _close(self, _: asyncio.Task[None] | None = None) -> None:
        # Cancelled before its first step, the work never ran: nobody else answers the caller.
        if not self.future.done():
            self._work.close()
            self.future.set_exception(asyncio.CancelledError())
