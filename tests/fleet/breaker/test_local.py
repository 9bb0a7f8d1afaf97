"""A breaker of one process: what passes, what counts, when it opens and closes."""

from __future__ import annotations

import asyncio
import gc
import random
import warnings
from collections.abc import Callable

import pytest

from coterie._rules.breaker import View, record
from coterie.breaker import BreakerPolicy, CircuitBreaker, Classifier
from coterie.errors import BreakerOpen, Misuse
from coterie.events import Event
from coterie.testing.clock import ManualClock
from tests.fleet.breaker.world import CERTAIN, Broken, Held, end_of, fail, failures, work


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def events() -> list[Event]:
    return []


@pytest.fixture
def make(clock: ManualClock, events: list[Event]) -> Callable[..., CircuitBreaker]:
    def made(policy: BreakerPolicy = CERTAIN, **options: object) -> CircuitBreaker:
        return CircuitBreaker("agent", policy, clock=clock, on_event=events.append, **options)  # type: ignore[arg-type]

    return made


async def test_results_and_errors_come_out_untouched(make):
    breaker = make()
    error = Broken("mine")

    async def raising() -> None:
        raise error

    assert await breaker.call(work, 7) == 7
    assert await breaker.call(lambda: "plain") == "plain"
    assert await breaker.call(lambda: asyncio.sleep(0, "awaited")) == "awaited"
    with pytest.raises(Broken) as raised:
        await breaker.call(raising)
    assert raised.value is error


async def test_it_opens_after_the_threshold_and_says_when_to_come_back(make, clock):
    breaker = make()
    await failures(breaker, 4)
    assert breaker.get_state().state == "closed"
    assert breaker.get_state().failures == 4

    await failures(breaker, 1)

    clock.advance(20)
    with pytest.raises(BreakerOpen) as refused:
        await breaker.call(work)
    assert refused.value.retry_after_s == pytest.approx(40)
    assert refused.value.breaker == "agent"
    assert refused.value.state == "open"
    assert breaker.get_state().retry_after_s == pytest.approx(40)


async def test_a_success_ends_the_row_of_failures(make):
    breaker = make()

    await failures(breaker, 4)
    await breaker.call(work)
    await failures(breaker, 4)

    assert breaker.get_state().state == "closed"


async def test_each_refusal_is_an_exception_of_its_own(make):
    breaker = make()
    await failures(breaker, 5)

    refusals = [await end_of(breaker.call(work)) for _ in range(50)]

    assert len({id(refusal) for refusal in refusals}) == 50
    depths = []
    for refusal in refusals:
        assert isinstance(refusal, BreakerOpen)
        assert refusal.__context__ is None
        depth, trace = 0, refusal.__traceback__
        while trace is not None:
            depth, trace = depth + 1, trace.tb_next
        depths.append(depth)
    # A shared object would grow with each raise.
    assert len(set(depths)) == 1


async def test_a_trial_closes_it(make, clock, events):
    breaker = make()
    await failures(breaker, 5)
    clock.advance(60)

    assert await breaker.call(work) == "done"
    assert breaker.get_state().state == "half_open"
    assert await breaker.call(work) == "done"

    assert breaker.get_state().state == "closed"
    assert [event.name for event in events] == ["breaker.opened", "breaker.half_opened", "breaker.closed"]
    assert events[0].fields["breaker"] == "agent"
    assert events[0].fields["before"] == "closed"


async def test_a_failed_trial_opens_it_for_longer(make, clock):
    breaker = make()
    await failures(breaker, 5)
    clock.advance(60)

    await failures(breaker, 1)

    assert breaker.get_state().state == "open"
    assert breaker.get_state().retry_after_s == pytest.approx(120)
    assert breaker.get_state().opened == 2


@pytest.mark.parametrize("ok", [True, False])
async def test_of_64_callers_no_more_than_the_permits_run_in_a_trial(make, clock, ok):
    policy = BreakerPolicy(jitter=0.0, success_threshold=3, half_open_max_calls=3)
    breaker, agent = make(policy), Held(ok=ok)
    await failures(breaker, 5)
    clock.advance(60)

    calls = [asyncio.ensure_future(end_of(breaker.call(agent))) for _ in range(64)]
    await asyncio.sleep(0)
    assert sum(isinstance(call.result(), BreakerOpen) for call in calls if call.done()) == 61
    agent.let_go.set()
    ends = await asyncio.gather(*calls)

    assert agent.began == agent.most == 3
    assert sum(end == "done" for end in ends) == (3 if ok else 0)
    assert breaker.get_state().state == ("closed" if ok else "open")


async def test_cancelled_in_a_trial_a_caller_gives_its_permit_back(make, clock):
    breaker, agent = make(BreakerPolicy(jitter=0.0, half_open_max_calls=1, success_threshold=1)), Held()
    await failures(breaker, 5)
    clock.advance(60)
    call = asyncio.ensure_future(breaker.call(agent))
    await asyncio.sleep(0)
    assert isinstance(await end_of(breaker.call(work)), BreakerOpen)

    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call

    assert await breaker.call(work) == "done"
    assert breaker.get_state().state == "closed"


@pytest.mark.parametrize("error", [asyncio.CancelledError, SystemExit, KeyboardInterrupt, GeneratorExit, Misuse])
async def test_what_says_nothing_never_counts_and_is_raised(make, clock, error):
    breaker = make()
    raised = error("x")

    def neutral() -> None:
        raise raised

    for _ in range(10):
        with pytest.raises(error) as seen:
            await breaker.call(neutral)
        assert seen.value is raised
    assert breaker.get_state().calls == 0

    await failures(breaker, 5)
    clock.advance(60)
    for _ in range(10):
        with pytest.raises(error):
            await breaker.call(neutral)
    assert breaker.get_state().state == "half_open"
    await breaker.call(work)
    await breaker.call(work)
    assert breaker.get_state().state == "closed"


async def test_a_time_out_around_the_breaker_is_neutral_and_one_inside_counts(make):
    breaker = make()

    async def inside() -> None:
        async with asyncio.timeout(0):
            await asyncio.sleep(60)

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await breaker.call(asyncio.sleep, 60)
    assert breaker.get_state().failures == 0
    with pytest.raises(TimeoutError):
        await breaker.call(inside)

    assert breaker.get_state().failures == 1


@pytest.mark.parametrize("late", [True, False], ids=["success", "failure"])
async def test_late_results_of_a_closed_generation_change_nothing(make, clock, late):
    breaker, agent = make(BreakerPolicy(jitter=0.0, half_open_max_calls=3, success_threshold=3)), Held(ok=late)
    calls = [asyncio.ensure_future(end_of(breaker.call(agent))) for _ in range(10)]
    await asyncio.sleep(0)
    await failures(breaker, 5)
    clock.advance(60)
    await breaker.call(work)
    before = breaker.get_state()

    agent.let_go.set()
    await asyncio.gather(*calls)

    assert breaker.get_state() == before
    assert before.state == "half_open"


async def test_a_late_success_does_not_close_an_open_breaker(make):
    breaker, agent = make(), Held()
    calls = [asyncio.ensure_future(breaker.call(agent)) for _ in range(10)]
    await asyncio.sleep(0)
    await failures(breaker, 5)

    agent.let_go.set()
    await asyncio.gather(*calls)

    assert breaker.get_state().state == "open"


async def test_a_late_trial_call_changes_nothing_after_its_permit_has_expired(make, clock):
    policy = BreakerPolicy(jitter=0.0, half_open_max_calls=1, success_threshold=1, probe_timeout_s=10)
    breaker, agent = make(policy), Held(ok=False)
    await failures(breaker, 5)
    clock.advance(60)
    late = asyncio.ensure_future(end_of(breaker.call(agent)))
    await asyncio.sleep(0)
    refused = await end_of(breaker.call(work))
    assert isinstance(refused, BreakerOpen)
    assert refused.retry_after_s == pytest.approx(10)
    clock.advance(10)

    assert await breaker.call(work) == "done"
    agent.let_go.set()
    assert isinstance(await late, Broken)

    assert breaker.get_state().state == "closed"
    assert breaker.get_state().failures == 0


async def test_slow_calls_open_it(make, clock):
    policy = BreakerPolicy(mode="count", min_calls=4, window_calls=4, slow_call_s=2.0, slow_rate=0.5)
    breaker = make(policy)

    async def slow() -> None:
        clock.advance(2)

    await breaker.call(work)
    await breaker.call(work)
    await breaker.call(slow)
    assert breaker.get_state().slow == 1
    await breaker.call(slow)

    assert breaker.get_state().state == "open"


async def test_a_success_may_be_the_call_that_opens_it(make):
    breaker = make(BreakerPolicy(mode="count", min_calls=10, failure_rate=0.5))
    await failures(breaker, 5)
    for _ in range(4):
        await breaker.call(work)
    assert breaker.get_state().state == "closed"

    await breaker.call(work)

    assert breaker._shadow.view.state == "open"


async def test_a_failed_result_is_a_failure_that_returns(make):
    breaker = make(classify=Classifier(failed_if=lambda result: result == 503))

    for _ in range(5):
        assert await breaker.call(work, 503) == 503

    assert breaker.get_state().state == "open"


@pytest.mark.parametrize("what", ["failed_if", "ignored_if"])
async def test_a_predicate_that_raises_is_the_callers_and_keeps_no_permit(make, clock, what):
    def wrong(_: object) -> bool:
        raise LookupError("predicate")

    breaker = make(BreakerPolicy(jitter=0.0, half_open_max_calls=1, success_threshold=1))
    await failures(breaker, 5)
    clock.advance(60)
    breaker._classify, breaker._judges = Classifier(**{what: wrong}), what == "failed_if"

    with pytest.raises(LookupError, match="predicate"):
        await breaker.call(work if what == "failed_if" else fail)

    breaker._classify, breaker._judges = Classifier(), False
    assert await breaker.call(work) == "done"
    assert breaker.get_state().state == "closed"


async def test_a_guarded_block_counts_like_a_call(make, clock):
    breaker = make(classify=Classifier(failed_if=lambda result: result is None))

    async with breaker.guard() as call:
        assert call.result("value") == "value"
    async with breaker.guard() as call:
        call.result(None)
    assert breaker.get_state().failures == 1
    for _ in range(4):
        with pytest.raises(Broken):
            async with breaker.guard():
                raise Broken
    assert breaker.get_state().state == "open"
    with pytest.raises(BreakerOpen):
        async with breaker.guard():
            pytest.fail("it was refused")
    clock.advance(60)
    for _ in range(2):
        async with breaker.guard() as call:
            call.result("value")

    assert breaker.get_state().state == "closed"


async def test_a_decorated_function_is_guarded(make):
    breaker = make()

    @breaker
    async def divide(number: int, *, by: int) -> float:
        """Divide."""
        return number / by

    assert await divide(6, by=3) == 2
    assert divide.__doc__ == "Divide."
    assert asyncio.iscoroutinefunction(divide)
    for _ in range(5):
        with pytest.raises(ZeroDivisionError):
            await divide(1, by=0)
    with pytest.raises(BreakerOpen):
        await divide(6, by=3)


def test_a_plain_function_is_not_decorated_by_the_async_form(make):
    with pytest.raises(Misuse, match="sync_breaker"):
        make()(lambda: None)


async def test_states_by_hand_apply_at_once_with_or_without_await(make, clock, events):
    breaker = make()

    breaker.force_open()
    clock.advance(10_000)
    refused = await end_of(breaker.call(work))
    assert isinstance(refused, BreakerOpen)
    assert refused.state == "forced_open"
    assert refused.retry_after_s > 0
    await breaker.disable()
    await failures(breaker, 20)
    assert breaker.get_state().state == "disabled"
    await breaker.metrics_only()
    await failures(breaker, 20)
    assert breaker.get_state().state == "metrics_only"
    assert breaker.get_state().failures == 20
    await breaker.auto()
    assert breaker.get_state().state == "closed"
    await failures(breaker, 5)
    assert breaker.get_state().state == "open"
    await breaker.force_closed()
    assert await breaker.call(work) == "done"
    await failures(breaker, 5)
    await breaker.reset()

    assert breaker.get_state().state == "closed"
    assert breaker.get_state().opened == 0
    assert [event.name for event in events].count("breaker.forced") == 3


def test_a_breaker_of_one_process_works_in_many_event_loops_one_after_the_other(make, clock):
    breaker = make()

    for _ in range(5):
        asyncio.run(failures(breaker, 1))
    assert isinstance(asyncio.run(end_of(breaker.call(work))), BreakerOpen)
    clock.advance(60)
    assert asyncio.run(breaker.call(work)) == "done"
    breaker.reset()

    assert breaker.get_state().state == "closed"


async def test_closed_for_good_it_refuses_new_calls_and_lets_running_ones_end(make):
    breaker, agent = make(), Held()
    running = asyncio.ensure_future(breaker.call(agent))
    await asyncio.sleep(0)

    await breaker.aclose()
    await breaker.aclose()

    with pytest.raises(Misuse, match="closed for good"):
        await breaker.call(work)
    agent.let_go.set()
    assert await running == "done"


async def test_a_listener_that_raises_fails_no_call(make, caplog):
    def listener(event: Event) -> None:
        raise RuntimeError("listener")

    breaker = CircuitBreaker("agent", CERTAIN, on_event=listener)

    await failures(breaker, 5)

    assert breaker.get_state().state == "open"
    assert "listener of the circuit breaker 'agent' failed" in caplog.text


@pytest.mark.parametrize("options", [{"residence": "x"}, {"on_store_failure": "open"}])
def test_unknown_choices_are_refused(options):
    with pytest.raises(Misuse, match="choose one of"):
        CircuitBreaker("agent", **options)


def test_an_unusable_name_is_refused():
    with pytest.raises(Misuse, match="'a/b'"):
        CircuitBreaker("a/b")


async def test_a_decision_that_nobody_awaits_warns_of_nothing(make):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        make().reset()
        gc.collect()


@pytest.mark.parametrize("mode", ["consecutive", "count", "time"])
@pytest.mark.parametrize("seed", range(6))
async def test_batches_decide_exactly_as_one_by_one(mode, seed, clock):
    """Against the rule itself, told of each call alone: equal views after every call."""
    chance = random.Random(seed)
    policy = BreakerPolicy(
        mode=mode,
        failure_threshold=chance.randint(2, 6) if mode == "consecutive" else 5,
        failure_rate=0.5 if mode == "consecutive" else chance.choice([0.2, 0.5]),
        slow_call_s=5.0,
        slow_rate=chance.choice([0.3, 1.0]),
        min_calls=chance.randint(1, 12),
        window_calls=chance.randint(12, 30),
        window_s=chance.randint(2, 8),
        jitter=0.0,
    )
    breaker, state, history = CircuitBreaker("agent", policy, clock=clock), None, []
    for _ in range(400):
        # Exact in binary, so that five seconds are five.
        clock.advance(chance.choice([0, 0, 0, 0.25, 1.125]))
        code = chance.choices("sftg", [80, chance.choice([5, 30]), 3, 2])[0]

        async def agent(code: str = code) -> None:
            if code in "tg":
                clock.advance(5)
            if code in "fg":
                raise Broken

        await end_of(breaker.call(agent))
        history.append(code)
        now = int(clock.now() * 1_000_000)
        state, view, _ = record("agent", policy, generation=0, runs=[(code, 1)], chance=0)(state, now)
        opened = breaker._shadow.view.state == "open"
        assert opened == (view.state == "open"), f"mode {mode}, seed {seed}: {''.join(history)}"
        if opened:
            return
        if chance.random() < 0.05:
            seen = breaker.get_state()
            assert isinstance(view, View)
            assert (seen.failures, seen.calls, seen.slow) == (view.failures, view.calls, view.slow), f"seed {seed}"
