"""A limiter's scripts decide as its rules do, to the last microsecond, whatever came before."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from coterie._rules.decided import Operation
from coterie._rules.timeline import SECOND
from tests.fleet.limits.quota_histories import EPOCH, Story, crowds, stories
from tests.fleet.twins.harness import FELL_BACK, ScriptRunner, assert_storable, assert_twins, run_rule

EXAMPLES = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    print_blob=True,
)
MANY = settings(EXAMPLES, max_examples=2_000)
TWINS = {"quota.reserve", "quota.settle"}


class Recorded(Story):
    """A story that runs each step through the scripts too, where there is one."""

    runner: ScriptRunner
    key: str

    def apply(self, operation: Operation[Any]) -> Any:
        expected = run_rule(operation, self.state, self.now)
        assert_storable(expected.state)
        if operation.name in TWINS:
            got = self.runner.run(operation, self.key, self.now)
            assert not isinstance(got, str), "the script fell back"
            assert got.text() == expected.text(), f"{operation.name}{operation.args!r} at {self.now} from {self.state}"
        else:
            self.runner.store(self.key, expected.state)
        return super().apply(operation)


def the_same(runner: ScriptRunner, told: tuple[Story, list[tuple[Any, ...]]]) -> None:
    story = Recorded(told[0].quotas)
    story.runner, story.key = runner, "{twin}"
    runner.store(story.key, None)

    story.play(told[1])


@EXAMPLES
@given(told=st.one_of(stories(), crowds()))
def test_the_scripts_decide_as_the_rules_do(runner: ScriptRunner, told: tuple[Story, list[tuple[Any, ...]]]):
    the_same(runner, told)


@pytest.mark.full
@MANY
@given(told=st.one_of(stories(), crowds()))
def test_the_scripts_decide_as_the_rules_do_at_length(runner: ScriptRunner, told: tuple[Story, list[tuple[Any, ...]]]):
    the_same(runner, told)


def test_a_state_that_is_too_old_is_left_to_the_rule(runner: ScriptRunner):
    from coterie._rules import quota
    from coterie._rules.quota import Quota

    limits = {"requests": Quota(rate_per_s=2, burst=3)}
    ask = quota.reserve(limits, {"requests": 1}, max_wait_s=10)
    later = EPOCH + 60_000_000 * SECOND

    steps = assert_twins(runner, [(ask, EPOCH), (ask, later), (ask, later)], may_fall_back=True)

    assert steps[1].state is not None
    assert steps[1].state["at"] == 0
    runner.store("{old}", steps[0].state)
    assert runner.run(ask, "{old}", later) == FELL_BACK
