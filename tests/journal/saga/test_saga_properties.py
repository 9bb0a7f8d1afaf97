"""Random plans with every trigger rule, run and killed at random: resuming from the records is as never having died."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coterie import Plan
from coterie._rules.saga import Next, SagaProgress, StepRecord, Why
from coterie._rules.saga_policy import SagaPolicy
from coterie._rules.undo import UndoEnd
from coterie.task import Undoable
from tests.core.random_plans import Story, stories
from tests.journal.saga.saga_world import clone, view

POLICIES = st.builds(
    SagaPolicy, fails_on=st.sampled_from(["any", "outputs"]), stop_on_failed_compensation=st.booleans()
)


@dataclass
class Play:
    """One run of a story, by chance; what is recorded outlives its crashes, `log` is what really happened."""

    story: Story
    undoable: list[Undoable | None]
    policy: SagaPolicy
    chance: random.Random
    steps: dict[int, StepRecord] = field(default_factory=dict)
    ended: dict[int, UndoEnd] = field(default_factory=dict)
    why: Why | None = None
    log: list[tuple[str, int]] = field(default_factory=list)
    running: set[int] = field(default_factory=set)
    crashes: int = 0

    def __post_init__(self) -> None:
        self.plan: Plan = self.story.plan
        self.resume()

    def resume(self, *, shuffled: bool = True) -> None:
        records = list(self.steps.items())
        if shuffled:
            self.chance.shuffle(records)
        self.live = self.progress()
        self.running = set()
        self.open: set[int] = set()
        self.undoing: set[int] = set()
        self.take(self.live.resume(dict(records), dict(self.ended), why=self.why))

    def progress(self) -> SagaProgress:
        plan = self.plan
        outputs = [plan.graph.position[name] for name in plan.output_ids]
        return SagaProgress(plan.graph, [t.trigger_rule for t in plan.tasks], self.undoable, outputs, self.policy)

    def take(self, following: Next) -> None:
        self.open |= set(following.steps)
        self.undoing |= set(following.compensations)
        if self.live.why is not None:
            self.open.clear()

    def run(self, *, crashes: int, demanded: bool) -> None:
        demand_at = self.chance.randrange(40) if demanded else None
        for turn in range(2000):
            if turn == demand_at:
                self.take(self.live.demand("cancelled"))
                self.why = self.live.why
            if self.crashes < crashes and self.chance.random() < 0.1:
                self.crashes += 1
                self.crash()
                continue
            if self.live.outcome is not None and (demand_at is None or turn > demand_at):
                return
            moves = [*self.open, *self.running, *self.undoing]
            if moves:
                self.move(self.chance.choice(sorted(moves)))
        raise AssertionError(f"it does not end: {self.log}")

    def move(self, i: int) -> None:
        if i in self.open:
            assert self.live.begin(i)
            self.open.discard(i)
            self.running.add(i)
            self.steps[i] = StepRecord(None)
            self.log.append(("began", i))
        elif i in self.running:
            self.end(i)
        else:
            self.undoing.discard(i)
            end: UndoEnd = self.chance.choice(["done", "done", "failed"])
            self.ended[i] = end
            self.log.append((f"undoing {end}", i))
            self.take(self.live.undone(i, end))

    def end(self, i: int) -> None:
        self.running.discard(i)
        if self.chance.random() < 0.1:
            self.take(self.live.lose(i))
            return
        state = self.story.outcomes[self.plan.tasks[i].id]
        in_part = state == "failed" and self.plan.tasks[i].foreach is not None and self.chance.random() < 0.5
        self.steps[i] = StepRecord(state, in_part)
        self.log.append((state, i))
        self.take(self.live.settle(i, state, in_part=in_part))

    def crash(self) -> None:
        """Go on from the records: all that the process knew beyond them is which steps ran."""
        lost, told = clone(self.live), set[int]()
        for i in self.running:
            told |= set(lost.lose(i).steps)
        before = self.open | told if lost.why is None else set()
        self.resume()
        assert view(self.live) == view(lost)
        assert self.open == before


def check_end(play: Play) -> None:
    """What must hold of what happened, whatever the rule says."""
    undone = [(n, i) for n, (what, i) in enumerate(play.log) if what.startswith("undoing")]
    place = {i: n for n, i in undone}
    owed = {i for i, record in play.steps.items() if is_owed(play.undoable[i], record)}
    assert len(place) == len(undone), "a compensation ended twice"
    assert set(place) <= owed, "something was undone that did not finish"
    if play.live.outcome == "succeeded":
        assert not undone
        return
    stopped = play.policy.stop_on_failed_compensation and play.live.outcome == "compensation_failed"
    assert stopped or set(place) == owed, "something that finished was not undone"
    assert len(play.log) - len(undone) <= min(place.values(), default=len(play.log)), "a step moved after undoing began"
    for i, when in place.items():
        behind = [place.get(after, len(play.log)) for after in dependants(play.plan, i) & owed]
        assert all(earlier < when for earlier in behind), "undone before what depends on it"


def is_owed(undoable: Undoable | None, record: StepRecord) -> bool:
    if undoable is None or record.state == "skipped":
        return False
    return undoable == "started" or record.state == "succeeded" or record.in_part


def dependants(plan: Plan, i: int) -> set[int]:
    found, pending = set[int](), [i]
    while pending:
        for after in plan.graph.dependents[pending.pop()]:
            if after not in found:
                found.add(after)
                pending.append(after)
    return found


@st.composite
def plays(draw: st.DrawFn, *, most: int = 12) -> Play:
    """A run that has not begun, of up to `most` steps."""
    story = draw(stories(most=most))
    kinds = draw(st.lists(st.sampled_from([None, "succeeded", "started"]), min_size=1, max_size=7))
    size = len(story.plan.tasks)
    return Play(story, (kinds * size)[:size], draw(POLICIES), random.Random(draw(st.integers(0, 2**32))))


CHANCES = settings(max_examples=150, deadline=None)


@CHANCES
@given(plays(), st.integers(0, 8), st.booleans())
def test_whatever_happens_what_finished_is_undone_once_and_in_order(play: Play, crashes: int, demanded: bool):
    play.run(crashes=crashes, demanded=demanded)

    check_end(play)


@CHANCES
@given(plays())
def test_a_run_in_which_nothing_is_undone_ends_as_its_plan_says(play: Play):
    play.run(crashes=0, demanded=False)

    if play.live.outcome == "succeeded":
        assert dict(zip(play.plan.graph.ids, play.live.states, strict=True)) == play.story.expected()


@CHANCES
@given(plays())
def test_what_a_run_comes_to_does_not_depend_on_the_order_of_its_records(play: Play):
    play.run(crashes=0, demanded=False)

    play.resume(shuffled=False)
    first = view(play.live)
    play.resume(shuffled=True)

    assert view(play.live) == first


@pytest.mark.full
@settings(max_examples=5000, deadline=None)
@given(plays(most=30), st.integers(0, 30), st.booleans())
def test_whatever_happens_in_large_plans_what_finished_is_undone_once_and_in_order(
    play: Play, crashes: int, demanded: bool
):
    test_whatever_happens_what_finished_is_undone_once_and_in_order.hypothesis.inner_test(play, crashes, demanded)
