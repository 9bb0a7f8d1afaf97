"""When a run stops going forward, what it undoes then, in which order, and how that ends: each by a small example."""

from __future__ import annotations

from typing import Any

import pytest

from coterie import Plan, Task
from coterie._rules.saga import SagaProgress, StepRecord
from coterie._rules.saga_policy import SagaPolicy
from coterie.errors import Misuse, PolicyError
from coterie.task import Compensation

UNDO = Compensation("remover")
UNDO_STARTED = Compensation("remover", when="started")
SUCCEEDED, FAILED, BEGAN = StepRecord("succeeded"), StepRecord("failed"), StepRecord(None)


def task(name: str, *needs: str, undo: Compensation | None = UNDO, **fields: Any) -> Task:
    return Task(name, "maker", depends_on=needs, compensation=undo, **fields)


class Told:
    """A run whose steps have names; remembers what was told to start."""

    def __init__(self, *tasks: Task, policy: SagaPolicy | None = None, outputs: list[str] | None = None) -> None:
        plan = Plan("p", tasks, outputs=outputs)
        self.ids, self.at = plan.graph.ids, plan.graph.position
        self.progress = SagaProgress(
            plan.graph,
            [one.trigger_rule for one in plan.tasks],
            [one.compensation and one.compensation.when for one in plan.tasks],
            [self.at[name] for name in plan.output_ids],
            policy or SagaPolicy(),
        )

    def resume(self, steps: dict[str, StepRecord] | None = None, undone: Any = None, **fields: Any) -> list[list[str]]:
        records = {self.at[name]: record for name, record in (steps or {}).items()}
        ended = {self.at[name]: end for name, end in (undone or {}).items()}
        return self._names(self.progress.resume(records, ended, **fields))

    def begin(self, *names: str) -> list[bool]:
        return [self.progress.begin(self.at[name]) for name in names]

    def settle(self, name: str, state: Any = "succeeded", **fields: Any) -> list[list[str]]:
        return self._names(self.progress.settle(self.at[name], state, **fields))

    def lose(self, name: str) -> list[list[str]]:
        return self._names(self.progress.lose(self.at[name]))

    def undone(self, name: str, end: Any = "done") -> list[list[str]]:
        return self._names(self.progress.undone(self.at[name], end))

    def states(self) -> dict[str, Any]:
        return dict(zip(self.ids, self.progress.states, strict=True))

    def left(self) -> dict[str, Any]:
        assert self.progress.undoing is not None
        return {self.ids[i]: self.progress.undoing.states[i] for i in self.progress.undoing.left}

    def _names(self, following: Any) -> list[list[str]]:
        """Steps, and compensations, that may start."""
        return [[self.ids[i] for i in following.steps], [self.ids[i] for i in following.compensations]]


def test_a_run_that_succeeds_undoes_nothing():
    told = Told(task("a"), task("b", "a"))

    assert told.resume() == [["a"], []]
    told.begin("a")
    assert told.settle("a") == [["b"], []]
    told.begin("b")
    assert told.settle("b") == [[], []]

    assert (told.progress.outcome, told.progress.status) == ("succeeded", "succeeded")


def test_a_failure_undoes_what_finished_last_first():
    told = Told(task("a"), task("b", "a"), task("c", "b"))
    told.resume({"a": SUCCEEDED, "b": SUCCEEDED})
    told.begin("c")

    assert told.settle("c", "failed") == [[], ["b"]]
    assert told.progress.outcome is None
    assert told.undone("b") == [[], ["a"]]
    assert told.undone("a") == [[], []]

    assert (told.progress.outcome, told.progress.status) == ("compensated", "failed")


def test_branches_are_undone_side_by_side_and_what_both_need_after_both():
    told = Told(task("net"), task("vm", "net"), task("disk", "net"), task("check", "vm", "disk"))
    told.resume({"net": SUCCEEDED, "vm": SUCCEEDED, "disk": SUCCEEDED})
    told.begin("check")

    assert told.settle("check", "failed") == [[], ["vm", "disk"]]
    assert told.undone("disk") == [[], []]
    assert told.undone("vm") == [[], ["net"]]


def test_the_order_holds_through_steps_without_a_compensation():
    told = Told(task("a"), task("look", "a", undo=None), task("c", "look"), task("d", "c"))
    told.resume({"a": SUCCEEDED, "look": SUCCEEDED, "c": SUCCEEDED})
    told.begin("d")

    assert told.settle("d", "failed") == [[], ["c"]]
    assert told.undone("c") == [[], ["a"]]


def test_once_a_step_failed_none_begins_and_those_that_run_are_waited_for():
    told = Told(task("a"), task("b"), task("c"), task("after", "a"))
    told.resume()
    told.begin("a", "b")

    assert told.settle("b", "failed") == [[], []]
    assert told.begin("c") == [False]
    assert told.settle("a") == [[], ["a"]]

    assert told.states() == {"a": "succeeded", "b": "failed", "c": "cancelled", "after": "cancelled"}


def test_what_a_failure_blocks_is_told_as_blocked_and_not_as_cancelled():
    told = Told(task("a"), task("b", "a"), task("c"))
    told.resume()
    told.begin("a")

    told.settle("a", "failed")

    assert told.states() == {"a": "failed", "b": "upstream_failed", "c": "cancelled"}
    assert (told.progress.outcome, told.progress.status) == ("compensated", "failed")


def test_a_step_that_failed_is_undone_only_if_its_compensation_is_for_what_started():
    told = Told(task("a", undo=UNDO_STARTED), task("b", "a"))
    told.resume()
    told.begin("a")

    assert told.settle("a", "failed") == [[], ["a"]]

    told = Told(task("a"), task("b", "a"))
    told.resume()
    told.begin("a")
    assert told.settle("a", "failed") == [[], []]


def test_a_foreach_that_failed_is_undone_if_any_of_its_items_succeeded():
    told = Told(task("a"), task("b", "a"))
    told.resume()
    told.begin("a")

    assert told.settle("a", "failed", in_part=True) == [[], ["a"]]
    assert Told(task("a"), task("b", "a")).resume({"a": StepRecord("failed", in_part=True)}) == [[], ["a"]]


def test_a_skipped_step_did_nothing_that_could_be_undone():
    told = Told(task("a", undo=UNDO_STARTED), task("b"))
    told.resume({"a": StepRecord("skipped")})
    told.begin("b")

    assert told.settle("b", "failed") == [[], []]


def test_a_step_lost_on_the_way_forward_begins_again():
    told = Told(task("a"))
    told.resume()
    told.begin("a")

    assert told.lose("a") == [["a"], []]
    assert told.begin("a") == [True]
    told.settle("a")
    assert told.progress.outcome == "succeeded"


def test_a_step_lost_in_a_failing_run_is_undone_if_its_compensation_is_for_what_started():
    told = Told(task("a", undo=UNDO_STARTED), task("b"))
    told.resume()
    told.begin("a", "b")
    told.settle("b", "failed")

    assert told.lose("a") == [[], ["a"]]
    assert told.states() == {"a": "failed", "b": "failed"}


def test_a_step_of_which_nobody_knows_whether_it_succeeded_is_left_for_a_person():
    told = Told(task("a"), task("b", "a"), task("c"))

    assert told.resume({"a": SUCCEEDED, "b": BEGAN, "c": FAILED}) == [[], ["a"]]
    told.undone("a")

    assert told.left() == {"b": "unclear"}
    assert (told.progress.outcome, told.progress.status) == ("compensation_failed", "failed")


def test_a_step_that_was_lost_is_undone_if_a_part_of_it_is_known_to_have_succeeded():
    told = Told(task("a"), task("b"))

    assert told.resume({"a": StepRecord(None, in_part=True), "b": FAILED}) == [[], ["a"]]
    assert told.states() == {"a": "failed", "b": "failed"}


def test_a_compensation_that_failed_is_left_for_a_person_and_the_others_go_on():
    told = Told(task("a"), task("b", "a"), task("c", "b"))
    told.resume({"a": SUCCEEDED, "b": SUCCEEDED, "c": FAILED})

    assert told.undone("b", "failed") == [[], ["a"]]
    told.undone("a")

    assert told.left() == {"b": "failed"}
    assert told.progress.outcome == "compensation_failed"


def test_a_compensation_that_failed_stops_those_before_it_and_no_others_if_so_wanted():
    told = Told(
        task("net"),
        task("other"),
        task("look", "net", undo=None),
        task("vm", "look"),
        task("last", "vm", "other"),
        policy=SagaPolicy(stop_on_failed_compensation=True),
    )
    told.resume({"net": SUCCEEDED, "other": SUCCEEDED, "look": SUCCEEDED, "vm": SUCCEEDED, "last": FAILED})

    assert told.undone("vm", "failed") == [[], []]
    assert told.undone("other") == [[], []]

    assert told.left() == {"net": "blocked", "vm": "failed"}
    assert told.progress.outcome == "compensation_failed"


def test_a_compensation_that_is_recorded_never_runs_again():
    told = Told(task("a"), task("b", "a"), task("c", "b"))

    following = told.resume({"a": SUCCEEDED, "b": SUCCEEDED, "c": FAILED}, {"b": "done"})

    assert following == [[], ["a"]]


def test_a_run_whose_every_compensation_is_recorded_is_over():
    told = Told(task("a"), task("b", "a"))

    assert told.resume({"a": SUCCEEDED, "b": FAILED}, {"a": "done"}) == [[], []]
    assert told.progress.outcome == "compensated"


def test_a_person_s_hand_settles_what_was_unclear():
    told = Told(task("a"), task("b"))

    told.resume({"a": BEGAN, "b": FAILED}, {"a": "done"})

    assert told.progress.outcome == "compensated"


def test_a_run_that_has_been_undone_in_part_never_goes_forward_again():
    told = Told(task("a"), task("b", "a"), task("c", "b"))

    following = told.resume({"a": SUCCEEDED, "b": SUCCEEDED}, {"b": "done"})

    assert following == [[], ["a"]]
    assert told.progress.status is None
    told.undone("a")
    assert told.progress.status == "failed"


def test_a_run_that_is_on_record_as_undone_never_goes_forward_again():
    told = Told(task("a"), task("b", "a"))

    assert told.resume({"a": SUCCEEDED}, why="failed") == [[], ["a"]]


def test_a_run_is_undone_because_a_person_wants_it_so():
    told = Told(task("a"), task("b", "a"))
    told.resume({"a": SUCCEEDED})
    told.begin("b")

    assert told._names(told.progress.demand("cancelled")) == [[], []]
    assert told.settle("b") == [[], ["b"]]
    told.undone("b")
    told.undone("a")

    assert (told.progress.outcome, told.progress.status) == ("compensated", "cancelled")


def test_a_run_that_succeeded_can_still_be_undone():
    told = Told(task("a"))
    told.resume({"a": SUCCEEDED})

    assert told._names(told.progress.demand("cancelled")) == [[], ["a"]]


def test_a_run_undone_only_when_no_output_succeeded_goes_on_past_a_failure():
    told = Told(task("a"), task("b"), task("c", "a"), policy=SagaPolicy(fails_on="outputs"))
    told.resume()
    told.begin("a", "b")

    assert told.settle("b", "failed") == [[], []]
    assert told.settle("a") == [["c"], []]
    told.begin("c")
    told.settle("c")

    assert (told.progress.outcome, told.progress.status) == ("succeeded", "partial")


def test_a_run_undone_only_when_no_output_succeeded_is_undone_then():
    told = Told(task("a"), task("b", "a"), task("c", "a"), policy=SagaPolicy(fails_on="outputs"))
    told.resume()
    told.begin("a")
    told.settle("a")
    told.begin("b", "c")

    assert told.settle("b", "failed") == [[], []]
    assert told.settle("c", "failed") == [[], ["a"]]


def test_a_failure_beside_the_outputs_undoes_nothing_if_they_decide():
    told = Told(task("a"), task("side"), policy=SagaPolicy(fails_on="outputs"), outputs=["a"])
    told.resume({"a": SUCCEEDED, "side": FAILED})

    assert (told.progress.outcome, told.progress.status) == ("succeeded", "partial")


def test_outputs_that_a_failure_blocked_are_undone_as_if_they_had_failed():
    told = Told(task("a"), task("b", "a"), task("c", "b"), policy=SagaPolicy(fails_on="outputs"))
    told.resume({"a": SUCCEEDED})
    told.begin("b")

    assert told.settle("b", "failed") == [[], ["a"]]
    assert told.states()["c"] == "upstream_failed"


def test_outputs_that_were_skipped_are_no_failure():
    told = Told(task("a"), policy=SagaPolicy(fails_on="outputs"))
    told.resume({"a": StepRecord("skipped")})

    assert (told.progress.outcome, told.progress.status) == ("succeeded", "succeeded")


def test_a_success_is_undone_though_by_the_rules_it_could_not_have_come_about():
    told = Told(task("a"), task("b", "a"), task("c"))

    assert told.resume({"b": SUCCEEDED, "c": FAILED}) == [[], ["b"]]
    assert told.states() == {"a": "cancelled", "b": "succeeded", "c": "failed"}


def test_a_failure_counts_though_by_the_rules_it_could_not_have_come_about():
    told = Told(task("a"), task("b", "a"), task("c"))

    assert told.resume({"b": FAILED, "c": SUCCEEDED}) == [[], ["c"]]


def test_a_run_that_failed_stays_so_when_a_person_wants_it_undone():
    told = Told(task("a"))
    told.resume({"a": FAILED})

    told.progress.demand("cancelled")

    assert told.progress.status == "failed"


def test_a_step_begins_only_when_it_may_and_ends_only_once():
    told = Told(task("a"), task("b", "a"))
    told.resume()

    with pytest.raises(Misuse, match="'b' waits, runs or has ended"):
        told.begin("b")
    with pytest.raises(Misuse, match="'a' cannot end 'succeeded', or does not run"):
        told.settle("a")
    told.begin("a")
    with pytest.raises(Misuse, match="'a' waits, runs or has ended"):
        told.begin("a")
    with pytest.raises(Misuse, match="'a' cannot end 'cancelled'"):
        told.settle("a", "cancelled")
    told.settle("a")
    with pytest.raises(Misuse, match="'a' cannot end"):
        told.settle("a")
    with pytest.raises(Misuse, match="'a' does not run; only what began can be lost"):
        told.lose("a")


def test_a_compensation_ends_once_and_only_if_it_was_started():
    told = Told(task("a"), task("b", "a"))
    with pytest.raises(Misuse, match="the run is not undone yet"):
        told.undone("a")

    told.resume({"a": SUCCEEDED, "b": FAILED})
    with pytest.raises(Misuse, match="the compensation of 'b' does not run"):
        told.undone("b")
    told.undone("a")
    with pytest.raises(Misuse, match="the compensation of 'a' does not run"):
        told.undone("a")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"fails_on": "all"}, "a saga fails_on 'all'; use one of any, outputs"),
        ({"stop_on_failed_compensation": 1}, "stop_on_failed_compensation is 1; give True or False"),
    ],
)
def test_a_policy_that_cannot_work_is_refused(fields: Any, message: str):
    with pytest.raises(PolicyError, match=message):
        SagaPolicy(**fields)


def test_ten_thousand_steps_in_a_chain_and_side_by_side_are_undone():
    size = 10_000
    chain = [task(f"t{i}", *([f"t{i - 1}"] if i else [])) for i in range(size)]
    wide = [task("a"), *(task(f"t{i}", "a") for i in range(size))]

    told = Told(*chain)
    (_, ready) = told.resume({**{f"t{i}": SUCCEEDED for i in range(size - 1)}, f"t{size - 1}": FAILED})
    while ready:
        (_, ready) = told.undone(ready[0])
    assert told.progress.outcome == "compensated"

    told = Told(*wide)
    (_, ready) = told.resume({"a": SUCCEEDED, **{f"t{i}": SUCCEEDED for i in range(size - 1)}, f"t{size - 1}": FAILED})
    assert [told.undone(name)[1] for name in ready][-1] == ["a"]
