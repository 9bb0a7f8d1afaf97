"""What a task's log says of what was spared."""

from __future__ import annotations

from coterie.events import Event
from coterie.journal.sparing import replay_line, resume_line


def replayed(task_id="logic", *, at=0.0, by="airflow.d.r", state="succeeded", duration_s=1.5, usage=None, item=None):
    fields = {"state": state, "by": by, "at": at, "duration_s": duration_s, "usage": usage or {}}
    return Event("task.replayed", "run", task_id, fields | ({"item": item} if item else {}))


FORGET = "to have it done anew: coterie runs forget run logic, then run it again"


def test_of_one_task_it_says_who_did_it_when_and_what_that_saves():
    usage = {"requests": 1, "input_tokens": 900, "output_tokens": 100, "cost_micros": 12_345}

    assert replay_line("run", [replayed(at=1.0, usage=usage)]) == (
        "replayed 'logic', not done again: airflow.d.r finished it at 1970-01-01T00:00:01+00:00; "
        f"saved 1.5 s, 1000 tokens, 0.012345 in money; {FORGET}"
    )


def test_of_a_failure_it_says_so():
    assert replay_line("run", [replayed(state="failed")]).startswith(
        "replayed the failure of 'logic', not done again: "
    )


def test_of_many_it_sums_up():
    events = [
        replayed(item="'a'", at=60.0, usage={"input_tokens": 1}),
        replayed(item="'b'", at=0.0, by="local"),
        replayed(item="'c'", at=30.0, state="failed"),
    ]

    assert replay_line("run", events) == (
        "replayed 3 items ('logic'; 1 of them failures), not done again: airflow.d.r and 1 others finished it "
        f"from 1970-01-01T00:00:00+00:00 to 1970-01-01T00:01:00+00:00; saved 4.5 s, 1 token; {FORGET}"
    )


def test_of_several_tasks_the_whole_run_is_forgotten():
    events = [replayed(f"task-{n}") for n in range(7)] + [replayed("task-0", item="'a'")]

    line = replay_line("run", events)

    assert line.startswith(
        "replayed 1 item and 7 tasks ('task-0', 'task-1', 'task-2', 'task-3', 'task-4' and 2 more), not done again: "
    )
    assert "coterie runs forget run, then" in line


def test_how_an_engine_is_asked_again_is_said_in_its_words():
    line = replay_line("run", [replayed()], again="clear this task")

    assert line.endswith("to have it done anew: coterie runs forget run logic, then clear this task")


def test_of_work_that_goes_on_it_says_from_how_many_steps():
    lines = [resume_line(Event("task.resumed", "run", "logic", {"steps": steps})) for steps in (1, 2)]

    assert lines == [
        "went on with 'logic': 1 step finished before, not done again",
        "went on with 'logic': 2 steps finished before, not done again",
    ]
