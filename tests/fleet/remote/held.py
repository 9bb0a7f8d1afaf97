"""What tests of workers share: an agent that is held, calls of it, and how they end."""

from __future__ import annotations

import asyncio
from typing import Any

from coterie import Task, TaskContext, Team
from coterie.remote import Call
from coterie.runtime import Runtime
from tests.fleet.remote.fleet import Fleet, call_of


class Held:
    """An agent that says when it begins, and ends when it is told to."""

    def __init__(self, agent_type: str = "held", capacity: int = 4) -> None:
        self.began: list[str] = []
        self.cancelled: list[str] = []
        self.release = asyncio.Event()
        self.team = Team("worker")
        self.team.agent(agent_type, capacity=capacity)(self.perform)

    async def perform(self, _: dict[str, Any], context: TaskContext) -> str:
        self.began.append(context.task_id)
        try:
            await self.release.wait()
        except asyncio.CancelledError:
            self.cancelled.append(context.task_id)
            raise
        return context.task_id


def held_call(name: str = "t", agent_type: str = "held", **more: Any) -> Call:
    return call_of(Task(name, agent_type, **more))


async def submitted(fleet: Fleet, *calls: Call) -> None:
    for call in calls:
        await fleet.calls.submit(call, owner="me")


async def waited(fleet: Fleet, call: Call) -> Any:
    return await asyncio.wait_for(fleet.calls.wait(call.id), 15)


async def names_told(fleet: Fleet, runtime: Runtime) -> list[str]:
    return [recorded.event.name async for recorded in runtime.bus.replay()]
