"""What a run waits for, put together from what the fleet shares."""

from __future__ import annotations

from collections import Counter

from coterie.cli.top.blocking import Queued, in_queues, placed
from coterie.cli.top.snapshot import At, Due, QueueRow
from tests.fleet.top.frames import a_run

TAKEN = {("r", "lint", "w-1"): 2, ("r", "lint", "w-2"): 1, ("other", "lint", "w-1"): 4}


def a_queue(**fields) -> QueueRow:
    return QueueRow(**{"agent_type": "linter", "waiting": 3, "claimed": 3, "dead": 0, "workers": 1, **fields})


def test_only_what_lost_workers_had_begun_is_lost():
    queued = in_queues([a_queue(calls={("r", "lint"): 3}, taken=TAKEN)], frozenset({"w-1", "w-9"}))

    assert queued == Queued({"r": Counter(lint=3)}, frozenset(), {"r": Counter(lint=2), "other": Counter(lint=4)})


def test_what_lost_workers_had_begun_is_at_work_no_more():
    row = a_run("r", running=6, at=(At("lint", "linter", tuple("abcdef")),))
    queued = Queued({"r": Counter(lint=3)}, frozenset({"linter"}), {"r": Counter(lint=1)})

    found = placed(row, {}, queued)

    assert found.running == 2
    assert found.now == "lint: 3 in the queue, 1 taken by a worker that is gone, 2 at work"


def test_without_a_queue_too_they_are_named():
    row = a_run("r", running=3, at=(At("lint", "linter", ("a", "b")), At("sum", "summer", ("sum",))))

    found = placed(row, {}, Queued({}, frozenset({"linter"}), {"r": Counter(lint=2)}))

    assert (found.running, found.now) == (1, "lint: 2 taken by workers that are gone (nobody serves it), sum")


def test_of_a_run_that_one_process_has_they_are_told_as_why_it_waits():
    row = a_run("r", due=(Due("lint 0/9", "linter", "lint"),))
    queued = Queued({"r": Counter(lint=7)}, frozenset({"linter"}), {"r": Counter(lint=2)})

    found = placed(row, {}, queued)

    assert found.now == "lint 0/9 (7 in the queue, 2 taken by workers that are gone, nobody serves it)"
