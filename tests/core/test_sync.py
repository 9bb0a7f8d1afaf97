"""The blocking façade: one background loop a process, after a fork too; and `Ref.load()`."""

from __future__ import annotations

import asyncio
import contextvars
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from coterie import ArtifactStore, Orchestrator, Ref, Task, TaskContext, sync
from coterie.errors import ForbiddenLocation, MissingArtifact, Misuse
from coterie.sync import portal

LONG = ["long enough to be stored"] * 40


@pytest.fixture
def url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.delenv("COTERIE_ARTIFACTS", raising=False)
    monkeypatch.delenv("COTERIE_NAMESPACE", raising=False)
    return f"file://{tmp_path}/artifacts"


def test_a_store_is_used_without_awaiting(url: str, tmp_path: Path):
    store = sync.ArtifactStore(url)
    (tmp_path / "in").write_bytes(b"file")

    refs = [store.put(LONG), store.put_bytes(b"bytes"), store.put_file(tmp_path / "in")]
    store.copy_to(refs[2], tmp_path / "out")

    assert store.load(refs[0]) == LONG
    assert store.read_bytes(refs[1]) == b"bytes"
    assert (tmp_path / "out").read_bytes() == b"file"
    assert store.url == url


def test_a_plan_runs_without_awaiting():
    async def agent(task_input: Any, ctx: TaskContext) -> str:
        return threading.current_thread().name

    orchestrator = Orchestrator()
    orchestrator.register_agent("a", "x", 1, handler=agent)

    result = sync.Orchestrator(orchestrator).execute_workflow([Task("t", "x")])
    single = sync.Orchestrator(orchestrator).execute_task(Task("t", "x"))

    assert result["t"].output == single.output == "coterie-sync"


async def test_inside_a_running_loop_it_is_refused(url: str):
    store = sync.ArtifactStore(url)
    ref = await ArtifactStore(url).put(LONG)

    with pytest.raises(Misuse, match="inside a running event loop, which it would block; await instead"):
        store.put(LONG)
    with sync.using_artifacts(ArtifactStore(url)), pytest.raises(Misuse, match="await instead"):
        ref.load()


async def test_a_small_reference_loads_anywhere():
    assert Ref.inline(b'{"a":1}').load() == {"a": 1}


def test_many_threads_share_one_loop():
    loops = []

    async def where() -> None:
        loops.append(asyncio.get_running_loop())

    threads = [threading.Thread(target=lambda: sync.run(where())) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(loops) == 10
    assert len(set(loops)) == 1


@pytest.mark.parametrize("error", [ValueError("mine"), SystemExit(3), asyncio.CancelledError(), KeyboardInterrupt()])
def test_an_error_comes_out_as_it_is_and_the_loop_lives(error: BaseException):
    async def fail() -> None:
        raise error

    async def one() -> int:
        return 1

    with pytest.raises(type(error)):
        sync.run(fail())

    assert sync.run(one()) == 1


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_a_task_that_raises_what_ends_programs_does_not_end_the_loop(error: type[BaseException]):
    async def fail() -> None:
        raise error

    async def group() -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(fail())

    async def say() -> str:
        return "alive"

    before = sync.begin(group())

    assert isinstance(before.exception(timeout=20), error)
    assert sync.begin(say()).result(timeout=20) == "alive"


def test_the_work_sees_the_context_of_its_caller():
    request = contextvars.ContextVar("request", default="none")
    request.set("of the caller")

    async def see() -> str:
        return request.get()

    assert sync.run(see()) == "of the caller"


class Interrupted(BaseException): ...


def test_an_interrupted_call_ends_its_work_before_it_goes_on():
    """As when a scheduler's time-out, a signal in the main thread, strikes."""
    cleaned = threading.Event()
    caller = threading.get_ident()

    async def careful() -> None:
        signal.pthread_kill(caller, signal.SIGUSR1)
        try:
            await asyncio.Event().wait()
        finally:
            for _ in range(20):
                await asyncio.sleep(0.001)
            cleaned.set()

    def interrupt(*_: Any) -> None:
        raise Interrupted

    before = signal.signal(signal.SIGUSR1, interrupt)
    try:
        with pytest.raises(Interrupted):
            sync.run(careful())
    finally:
        signal.signal(signal.SIGUSR1, before)

    assert cleaned.is_set()


def test_work_that_is_cancelled_before_it_begins_answers_its_caller_at_once():
    began = []

    async def work() -> None:
        began.append(1)

    loop = asyncio.new_event_loop()
    call = portal._Call(work(), loop)
    call.start()
    call._cancel()
    loop.run_until_complete(asyncio.sleep(0))
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()

    assert isinstance(call.future.exception(timeout=0), asyncio.CancelledError)
    assert began == []


@pytest.mark.parametrize("fails", [False, True])
def test_work_goes_on_and_ends_in_peace_when_nobody_wants_its_answer_any_more(fails: bool):
    ended = []

    async def work() -> None:
        await asyncio.sleep(0)
        ended.append(1)
        if fails:
            raise ValueError("no")

    loop = asyncio.new_event_loop()
    told: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: told.append(context))
    call = portal._Call(work(), loop)
    call.start()
    assert call.future.cancel()
    (task,) = asyncio.all_tasks(loop)
    loop.run_until_complete(asyncio.wait([task]))
    loop.close()

    assert (ended, told, task.exception()) == ([1], [], None)


# `Ref.load()`.


def test_a_reference_loads_from_the_store_that_the_environment_names(url: str, monkeypatch: pytest.MonkeyPatch):
    ref = sync.ArtifactStore(url, namespace="mine").put(LONG)
    monkeypatch.setenv("COTERIE_ARTIFACTS", url)

    with pytest.raises(ForbiddenLocation):
        ref.load()
    monkeypatch.setenv("COTERIE_NAMESPACE", "mine")
    assert ref.load() == LONG


def test_a_reference_without_a_store_says_what_to_set(url: str):
    ref = sync.ArtifactStore(url).put(LONG)

    with pytest.raises(Misuse, match="set COTERIE_ARTIFACTS to its URL"):
        ref.load()


def test_the_surrounding_store_goes_before_the_environment(url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("COTERIE_ARTIFACTS", f"file://{tmp_path}/other")
    ref = sync.ArtifactStore(url).put(LONG)

    with sync.using_artifacts(ArtifactStore(url)):
        assert ref.load() == LONG
    with pytest.raises(ForbiddenLocation):
        ref.load()


@pytest.mark.parametrize("kind", ["async", "sync"])
def test_inside_an_agent_a_reference_loads_from_the_runs_store(url: str, kind: str):
    ref = sync.ArtifactStore(url).put(LONG)

    def load(task_input: Any) -> Any:
        return ref.load()

    async def load_in_a_thread(task_input: Any, ctx: TaskContext) -> Any:
        return await asyncio.to_thread(ref.load)

    async def scenario() -> list[Any]:
        orchestrator = Orchestrator(artifacts=ArtifactStore(url))
        orchestrator.register_agent("a", "x", 1, handler=load if kind == "sync" else load_in_a_thread)
        whole = await orchestrator.execute_workflow([Task("t", "x")])
        return [whole["t"], await orchestrator.execute_task(Task("t", "x"))]

    results = asyncio.run(scenario())

    assert [result.error for result in results] == [None, None]
    assert sync.ArtifactStore(url).load(results[0].output) == LONG
    with pytest.raises(Misuse):
        ref.load()


def test_a_lost_object_is_a_typed_error(url: str, tmp_path: Path):
    ref = sync.ArtifactStore(url).put(LONG)
    for path in (tmp_path / "artifacts").rglob("*"):
        if path.is_file():
            path.unlink()

    with sync.using_artifacts(ArtifactStore(url)), pytest.raises(MissingArtifact):
        ref.load()


FORKING_PROGRAM = """
import os, sys
from coterie import Ref, sync

store = sync.ArtifactStore(os.environ["COTERIE_ARTIFACTS"])
ref = store.put(["long enough to be stored"] * 40)
pid = os.fork()
if pid == 0:
    assert len(ref.load()) == 40
    assert store.put_bytes(b"child").size_bytes == 5
    sys.exit(7)
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
assert len(ref.load()) == 40
print("both")
"""


def test_a_forked_child_has_a_loop_of_its_own(url: str):
    ended = subprocess.run(
        # Newer Pythons warn of any fork beside threads; schedulers fork all the same.
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", FORKING_PROGRAM],
        env={**os.environ, "COTERIE_ARTIFACTS": url},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "both\n", "")


CLEAN_PROGRAM = """
import asyncio
from coterie import sync
sync.run(asyncio.sleep(0))
"""


def test_the_background_loop_ends_with_the_program():
    ended = subprocess.run(
        [sys.executable, "-X", "dev", "-c", CLEAN_PROGRAM], capture_output=True, text=True, timeout=60, check=False
    )

    assert (ended.returncode, ended.stderr) == (0, "")
