"""The check of slots finds what it is there for: in logs that were doctored, and not in those that are sound."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.slot_log import Happening, ends_of, idle_slots


def worker(at: float, name: str = "w", capacity: int = 1, **slots: int) -> Happening:
    return Happening(at, "agent.registered", {"worker": name, "capacity": capacity, "slots": slots or {"a": capacity}})


def created(at: float, call: str, agent_type: str = "a") -> Happening:
    return Happening(at, "task.created", {"call": call, "agent_type": agent_type})


def told(at: float, name: str, call: str, by: str = "w", **more: Any) -> Happening:
    return Happening(at, f"task.{name}", {"call": call, "worker": by, **more})


SOUND = [
    worker(0.0),
    created(1.0, "x"),
    created(1.0, "y"),
    told(1.1, "assigned", "x"),
    told(5.0, "completed", "x"),
    told(5.2, "assigned", "y"),
    told(6.0, "completed", "y"),
]


def test_a_sound_log_shows_no_idle_slot():
    assert idle_slots(SOUND, within_s=0.25) == []
    assert ends_of(SOUND) == {"x": ["w"], "y": ["w"]}


def test_a_task_that_is_begun_late_shows_the_slot_that_stood_free():
    doctored = [one._replace(at_s=5.4) if one == SOUND[5] else one for one in SOUND]

    (idle,) = idle_slots(doctored, within_s=0.25)

    assert (idle.worker, idle.agent_type, idle.from_s, idle.to_s) == ("w", "a", 5.0, 5.4)


def test_a_task_that_nobody_ever_begins_shows_too():
    doctored = [one for one in SOUND if one.data.get("call") != "y" or one.name == "task.created"]

    assert [idle.seconds for idle in idle_slots([*doctored, created(9.0, "z")], within_s=0.25)] == [4.0]


def test_a_free_slot_of_another_type_or_above_the_type_s_own_is_none():
    log = [
        worker(0.0, capacity=3, a=1, b=1),
        created(1.0, "x"),
        created(1.0, "y"),
        told(1.1, "assigned", "x"),
        told(5.0, "completed", "x"),
        told(5.1, "assigned", "y"),
        told(6.0, "completed", "y"),
    ]

    assert idle_slots(log, within_s=0.25) == []


def test_a_draining_or_killed_worker_has_no_free_slots():
    log = [
        worker(0.0),
        worker(0.0, "v"),
        Happening(0.5, "agent.draining", {"worker": "w"}),
        created(1.0, "x"),
        told(3.0, "assigned", "x", "u"),
    ]
    other = worker(2.9, "u")

    assert idle_slots([*log, other], within_s=0.25, gone={"v": 0.6}) == []
    assert [idle.worker for idle in idle_slots([*log, other], within_s=0.25)] == ["v"]


def test_a_task_that_was_refused_waits_only_from_when_it_is_due():
    log = [
        worker(0.0),
        created(1.0, "x"),
        told(1.1, "assigned", "x"),
        told(1.2, "returned", "x", why="refused", delay_s=5.0),
        told(6.3, "assigned", "x"),
        told(7.0, "completed", "x"),
    ]

    assert idle_slots(log, within_s=0.25) == []
    late = [one._replace(at_s=6.6) if one.at_s == 6.3 else one for one in log]
    assert len(idle_slots(late, within_s=0.25)) == 1


def test_what_a_lost_worker_was_at_waits_from_when_that_is_known():
    log = [
        worker(0.0, "dead"),
        created(0.1, "x"),
        told(0.2, "assigned", "x", "dead"),
        worker(0.3),
        Happening(9.0, "agent.lost", {"worker": "dead"}),
        told(9.1, "assigned", "x"),
        told(9.9, "completed", "x"),
    ]

    assert idle_slots(log, within_s=0.25, gone={"dead": 0.5}) == []
    late = [one._replace(at_s=9.5) if one.at_s == 9.1 else one for one in log]
    assert len(idle_slots(late, within_s=0.25, gone={"dead": 0.5})) == 1


def test_a_log_that_proves_nothing_is_refused():
    with pytest.raises(ValueError, match="no worker"):
        idle_slots([created(1.0, "x")], within_s=0.25)
    with pytest.raises(ValueError, match="nobody asked"):
        idle_slots([worker(0.0), told(1.0, "assigned", "x")], within_s=0.25)
