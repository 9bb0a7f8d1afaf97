"""An example agent that plans, delegates by request and reply, and plans anew when a step comes to nothing.

`coterie.teams.supervisor:team` is what the example DAG and flow `supervisor` work with. The supervisor knows skills,
not who has them; whoever has them runs elsewhere, as often as you like, with the same store (`COTERIE_STORE`):

    python -m coterie.teams.supervisor

Each answer is a durable step: a supervisor that is killed asks nobody twice for what was answered. That nobody answered
is kept nowhere: whoever goes on with the run asks again. No model is called; the interview always falls through, so
that it is seen what the supervisor makes of it.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypedDict, cast

from coterie import CloudEvent, EventBus, JsonValue, TaskContext, Team
from coterie.errors import NoReply, StepFailed
from coterie.teams import service

__all__ = ["SKILLS", "Report", "main", "serve", "team"]

ASKED = "com.example.desk"
# What else leads on, where a step comes to nothing.
INSTEAD: Mapping[str, tuple[str, ...]] = {"interview": ("archive", "letters")}
PATIENCE_S = 60.0

team = Team("supervisor")


class Answer(TypedDict, total=False):
    """What a skill gave; or why it gave nothing, and whether that is since nobody was there."""

    output: JsonValue
    failed: str
    silent: bool


class Report(TypedDict):
    """What came of an objective. steps: each skill that was asked, and how that went."""

    text: str
    steps: list[str]


@team.agent("supervisor", capacity=4)
async def supervise(task_input: dict[str, JsonValue], ctx: TaskContext) -> Report:
    """Have a subject looked into, and a summary written of whatever was found."""
    subject = str(task_input.get("subject") or "what a scheduler forgets")
    plan = ["facts", "interview", "summary"]
    found: list[JsonValue] = []
    steps: list[str] = []
    while plan:
        skill = plan.pop(0)
        # Numbered: a plan may come to ask the same skill again.
        answer = await _answer_of(ctx, skill, [subject, *found], key=f"{len(steps)}-{skill}")
        if "failed" not in answer:
            found.append(answer.get("output"))
            steps.append(f"{skill}: done")
            continue
        steps.append(f"{skill}: {answer['failed']}")
        if skill not in INSTEAD:
            mend = " Have somebody serve it, then go on with the run." if answer.get("silent") else ""
            raise StepFailed(f"there is no way around {skill!r}: {answer['failed']}{mend}")
        plan = [*INSTEAD[skill], *plan]
    return {"text": str(found[-1]), "steps": steps}


async def _answer_of(ctx: TaskContext, skill: str, given: list[JsonValue], *, key: str) -> Answer:
    """What a skill answers, asked once; that nobody answers is no answer, and asked again by another attempt."""

    async def delegate(given: list[JsonValue]) -> JsonValue:
        return (await ctx.request(f"{ASKED}.{skill}", given, timeout_s=PATIENCE_S)).data

    try:
        return cast("Answer", await ctx.step("delegate", delegate, given, key=key))
    # Outside of the step: a step that raises is not kept.
    except NoReply as error:
        return {"failed": str(error), "silent": True}


def look_up(given: list[Any]) -> Answer:
    """Two facts about a subject."""
    return {"output": [f"{given[0]}: since when", f"{given[0]}: at what price"]}


def interview(_: list[Any]) -> Answer:
    """Nothing: nobody ever picks up."""
    return {"failed": "nobody picked up"}


def search(where: str, given: list[Any]) -> Answer:
    """What is kept of a subject."""
    return {"output": [f"{given[0]}, in the {where}"]}


def summarise(given: list[Any]) -> Answer:
    """All that was found, in its order."""
    return {"output": "\n".join(str(fact) for part in given[1:] for fact in part)}


SKILLS: Mapping[str, Callable[[list[Any]], Answer]] = {
    "facts": look_up,
    "interview": interview,
    "archive": partial(search, "archive"),
    "letters": partial(search, "letters"),
    "summary": summarise,
}


async def serve(bus: EventBus, *, stop: asyncio.Event | None = None) -> None:
    """Answer for every skill, until `stop` is set."""
    async with asyncio.TaskGroup() as desks:
        for skill, work in SKILLS.items():
            handler = partial(_answer, skill, work)
            desks.create_task(bus.serve(handler, f"{ASKED}.{skill}", group=f"desk-{skill}", begin="begin", stop=stop))


async def main() -> None:
    """Serve until SIGTERM or Ctrl-C."""
    listens = [f"{ASKED}.{skill}" for skill in SKILLS]
    await service.run(lambda bus, stop: serve(bus, stop=stop), EventBus.open(source="desk"), listens=listens)


async def _answer(skill: str, work: Callable[[list[Any]], Answer], event: CloudEvent) -> Answer:
    await asyncio.sleep(float(os.environ.get("COTERIE_DESK_PACE_S") or 0.2))
    answer = work(event.data if isinstance(event.data, list) and event.data else ["nothing in particular"])
    came = f"failed: {answer['failed']}" if "failed" in answer else "done"
    service.said(f"{skill}: {came}", event_id=event.id, run=event.correlation_id)
    return answer


if __name__ == "__main__":
    asyncio.run(main())
