"""The blocking form: plain functions, in the calling thread, from many threads."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from coterie import breaker, sync
from coterie.breaker import BreakerPolicy
from coterie.errors import BreakerOpen, Misuse
from coterie.stores.sqlite import SqliteStateStore
from coterie.sync_breaker import CircuitBreaker
from tests.fleet.breaker.world import Broken


def fail() -> None:
    raise Broken


@pytest.fixture(params=["local", "shared"])
def guarding(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[CircuitBreaker]:
    store = SqliteStateStore(tmp_path / "state.db") if request.param == "shared" else None
    guarding = CircuitBreaker(breaker.CircuitBreaker("agent", BreakerPolicy(failure_threshold=8), store=store))
    yield guarding
    guarding.close()
    if store is not None:
        sync.run(store.aclose())


def test_a_function_runs_in_the_calling_thread(guarding: CircuitBreaker):
    assert guarding.call(threading.get_ident) == threading.get_ident()


def test_failures_open_it_and_a_reset_closes_it(guarding: CircuitBreaker):
    for _ in range(8):
        with pytest.raises(Broken):
            guarding.call(fail)

    with pytest.raises(BreakerOpen):
        guarding.call(int)
    guarding.reset()

    assert guarding.call(int) == 0
    assert guarding.get_state().state == "closed"


def test_a_decorated_function_and_a_block_are_guarded(guarding: CircuitBreaker):
    @guarding
    def double(number: int) -> int:
        return 2 * number

    assert double(4) == 8
    with guarding.guard() as call:
        assert call.result(3) == 3
    guarding.force_open()
    with pytest.raises(BreakerOpen):
        double(4)
    guarding.disable()
    assert double(1) == 2
    guarding.metrics_only()
    guarding.auto()
    guarding.force_closed()
    assert guarding.refresh().state == "closed"


def test_threads_at_once_lose_no_failure(guarding: CircuitBreaker):
    ready = threading.Barrier(7)

    def one() -> None:
        ready.wait()
        with pytest.raises(Broken):
            guarding.call(fail)

    with ThreadPoolExecutor(7) as pool:
        for ended in [pool.submit(one) for _ in range(7)]:
            ended.result()

    assert guarding.refresh().failures == 7


def test_calls_of_threads_run_at_the_same_time(guarding: CircuitBreaker):
    together = threading.Barrier(4, timeout=20)

    with ThreadPoolExecutor(4) as pool:
        ended = [pool.submit(guarding.call, together.wait) for _ in range(4)]

        assert sorted(one.result() for one in ended) == [0, 1, 2, 3]


def test_an_interruption_is_neutral(guarding: CircuitBreaker):
    def interrupted() -> None:
        raise KeyboardInterrupt

    for _ in range(9):
        with pytest.raises(KeyboardInterrupt):
            guarding.call(interrupted)

    assert guarding.refresh().calls == 0


def test_a_coroutine_function_is_refused(guarding: CircuitBreaker):
    async def coroutine() -> None: ...

    with pytest.raises(Misuse, match="coroutine function"):
        guarding(coroutine)


def test_a_listener_may_look_at_the_breaker_that_tells_it():
    seen: list[str] = []
    local = breaker.CircuitBreaker(
        "agent", BreakerPolicy(failure_threshold=1), on_event=lambda _: seen.append(guarding.get_state().state)
    )
    guarding = CircuitBreaker(local)

    def fail_once() -> None:
        with pytest.raises(Broken):
            guarding.call(fail)

    calling = threading.Thread(target=fail_once, daemon=True)
    calling.start()
    calling.join(timeout=20)

    assert not calling.is_alive()
    assert seen == ["open"]
