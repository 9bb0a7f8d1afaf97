"""The differential harness itself: equal twins pass any history, and each kind of difference is seen."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fleet.twins.counting import TWIN, count, twins
from tests.fleet.twins.harness import FELL_BACK, ScriptRunner, assert_storable, assert_twins
from tests.support.redis_servers import Server, valkey

EPOCH = 1_764_000_000_000_000
# Steps of up to an hour, mostly forward.
DRIFT = st.integers(-5_000_000, 3_600_000_000)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with valkey() as running:
        yield running


@pytest.fixture(scope="module")
def counter(server: Server) -> Iterator[ScriptRunner]:
    with ScriptRunner(server, twins=twins) as running:
        yield running


@settings(max_examples=100, deadline=None)
@given(steps=st.lists(st.tuples(st.integers(0, 30), DRIFT), max_size=20))
def test_equal_twins_agree_on_every_history(counter: ScriptRunner, steps: list[tuple[int, int]]):
    now, history = EPOCH, []
    for by, passed in steps:
        now += passed
        history.append((count(by), now))

    assert_twins(counter, history)


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("before + step.by", "before + step.by + 1"),
        ("since = at, none", "since = at + 1, none"),
        ("'limit/counter', 'at '", "'limit/other', 'at '"),
        ("return nil,", "return state,"),
        ("total = state.total, since = at, none = null", "total = state.total, since = at"),
        ("if step.by == 0 then", "if step.by == 0 and not state then"),
    ],
)
def test_a_difference_of_any_kind_is_seen(server: Server, right: str, wrong: str):
    assert right in TWIN
    history = [(count(by), EPOCH + number) for number, by in enumerate([5, 0, 10, 0, 90, 3])]

    with (
        ScriptRunner(server, twins=partial(twins, body=TWIN.replace(right, wrong))) as runner,
        pytest.raises(AssertionError, match=r"step \d, test\.count"),
    ):
        assert_twins(runner, history)


def test_a_step_left_to_the_rule_is_gone_on_from(counter: ScriptRunner):
    history = [(count(5), EPOCH), (count(7, skip=True), EPOCH + 1), (count(9), EPOCH + 2)]

    steps = assert_twins(counter, history, may_fall_back=True)

    assert steps[-1].result == {"total": 21, "since": 2, "none": None}


def test_falling_back_unexpectedly_fails(counter: ScriptRunner):
    with pytest.raises(AssertionError, match="fell back"):
        assert_twins(counter, [(count(7, skip=True), EPOCH)])


@pytest.mark.parametrize(
    "stored",
    [
        {"v": 2, "t0": 1_764_000_000, "at": 0},
        {"v": 1, "t0": 1_764_000_000},
        {"v": 1, "t0": 1_764_000_000 - 60_000_000, "at": 0},
        {},
    ],
    ids=["newer", "without a time", "older than its clock has room", "not ours"],
)
def test_what_only_the_rule_can_read_is_left_to_it_unchanged(counter: ScriptRunner, stored: dict[str, int]):
    counter.store("{form}", stored)  # type: ignore[arg-type]

    assert counter.run(count(5), "{form}", EPOCH) == FELL_BACK
    assert counter.stored("{form}") == stored


@pytest.mark.parametrize("value", [1.5, 10**14, [], {"a": {"b": [1, []]}}])
def test_what_lua_would_write_otherwise_is_not_storable(value: object):
    with pytest.raises(AssertionError):
        assert_storable(value)
