"""Machines that several tests run, and a journal's store that fails when it is told to."""

from __future__ import annotations

from typing import Any

from coterie.errors import (
    Unavailable,
)
from coterie.machine import StateMachine
from coterie.state import Action, Go, State
from tests.journal.machine.conftest import Desk

DONE, LOST = State("done", final="succeeded"), State("lost", final="failed")


def draft(**task_input: Any) -> Action:
    return Action("worker", input=task_input)


REVIEW = StateMachine(
    "review",
    [
        State(
            "draft",
            action=draft(
                topic={"$param": "topic"},
                why={"$data": "/event/payload/why", "default": None},
                who={"$data": "/event/who", "default": None},
                before={"$data": "/outputs/draft/text", "default": None},
                time={"$data": "/visit"},
            ),
            timeout_s=300,
            max_visits=3,
            transitions=[Go("review"), Go("lost", "failed"), Go("lost", "timeout"), Go("lost", "exhausted")],
        ),
        State(
            "review", timeout_s=3600, transitions=[Go("done", "approve"), Go("draft", "reject"), Go("lost", "timeout")]
        ),
        DONE,
        LOST,
    ],
    initial="draft",
    params={"topic": "agents"},
)


ONCE = StateMachine("once", [State("a", action=draft(), transitions=[Go("done")]), DONE], initial="a")


class Failing:
    """A journal's store of which some calls fail, before they do anything or after they have."""

    def __init__(self, desk: Desk) -> None:
        self._store = desk.store
        self.fail: Any = lambda call, paths: None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def change(self, run: str, paths: Any, decide: Any) -> Any:
        when = self.fail("change", tuple(paths))
        if when == "before":
            raise Unavailable("down")
        result = await self._store.change(run, paths, decide)
        if when == "after":
            raise Unavailable("down")
        return result

    async def get(self, run: str, paths: Any) -> Any:
        if self.fail("get", tuple(paths)):
            raise Unavailable("down")
        return await self._store.get(run, paths)
