"""An example of agents that know neither each other nor who orchestrates them: they know a topic of events.

The example DAG and flow `event_driven` publish `task.created` there, and go on with what `task.completed` says. Whoever
does the work runs elsewhere, as often as you like, with the same store (`COTERIE_STORE`):

    python -m coterie.teams.newsdesk

Each agent is a group of consumers: every task goes to one of its processes. One that is killed in the middle is
replaced by another; its task is delivered again, and what it says twice has the same id, and is kept once. No model is
called: what the agents say depends on what they are asked alone.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, TypeAlias

from coterie import CloudEvent, EventBus, JsonValue
from coterie.errors import MalformedEvent, StepFailed
from coterie.teams import service

__all__ = ["AGENTS", "TOPIC", "main", "serve"]

TOPIC = "newsdesk"

_Work: TypeAlias = Callable[[Mapping[str, Any]], Awaitable[JsonValue]]


async def research(asked: Mapping[str, Any]) -> JsonValue:
    """Find out three things about a subject."""
    subject = str(asked.get("subject") or "").strip()
    if not subject:
        raise StepFailed("there is no subject to look into; say which")
    await _think()
    return [f"{subject}: {fact}" for fact in ("who says so", "what follows", "what it costs")]


async def write(asked: Mapping[str, Any]) -> JsonValue:
    """Make an article of facts."""
    facts = asked.get("facts")
    if not isinstance(facts, list) or not facts:
        raise StepFailed("there are no facts to write about; have them found first")
    await _think()
    return "\n".join(f"{number}. {fact}." for number, fact in enumerate(facts, start=1))


AGENTS: Mapping[str, _Work] = {"researcher": research, "writer": write}


async def serve(bus: EventBus, *, stop: asyncio.Event | None = None) -> None:
    """Do what is asked for on the bus, until `stop` is set."""
    async with asyncio.TaskGroup() as agents:
        for agent_type, work in AGENTS.items():
            handler = partial(_perform, bus, agent_type, work)
            agents.create_task(
                bus.serve(handler, "task.created", group=agent_type, begin="begin", concurrency=4, stop=stop)
            )


async def main() -> None:
    """Serve until SIGTERM or Ctrl-C; what is at work then is finished."""
    bus = EventBus.open(topic=TOPIC, source="newsdesk")
    listens = ["task.created for the agent types " + ", ".join(AGENTS)]
    await service.run(lambda bus, stop: serve(bus, stop=stop), bus, listens=listens)


async def _perform(bus: EventBus, agent_type: str, work: _Work, event: CloudEvent) -> None:
    asked = event.data
    if not isinstance(asked, dict) or not isinstance(task_input := asked.get("input"), dict):
        raise MalformedEvent(f"the event {event.id!r} asks for nothing: its data need an 'agent_type' and an 'input'")
    if asked.get("agent_type") != agent_type:
        return
    about: dict[str, JsonValue] = {"task_id": asked.get("task_id"), "agent_type": agent_type}

    async def tell(what: str, **more: JsonValue) -> None:
        # The same ids however often the task is delivered: it is told once.
        await bus.publish(
            what,
            {**about, **more},
            id=f"{event.id}.{what}",
            key=event.key,
            correlation_id=event.correlation_id,
            causation_id=event.id,
        )

    await tell("task.assigned")
    try:
        output = await work(task_input)
    except StepFailed as error:
        await tell("task.failed", error=str(error))
        end = f"failed: {error}"
    else:
        await tell("task.completed", output=output)
        end = "completed"
    service.said(f"{agent_type}: the task {asked.get('task_id')!r} {end}", event_id=event.id, run=event.correlation_id)


async def _think() -> None:
    await asyncio.sleep(float(os.environ.get("COTERIE_NEWSDESK_PACE_S") or 0.5))


if __name__ == "__main__":
    asyncio.run(main())
