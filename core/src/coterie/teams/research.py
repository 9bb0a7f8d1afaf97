"""An example team that works for long and is paid by the call: what is finished survives whatever ends its process.

`coterie.teams.research:team` is what the example DAG and flow `durable_research` work with. No model is called: each
call takes `COTERIE_RESEARCH_PACE_S` seconds (1) and costs a cent, so that it is seen what is not done, and paid, twice.
"""

from __future__ import annotations

import asyncio
import os
from typing import TypedDict

from coterie import ForEach, Plan, Task, TaskContext, Team

__all__ = ["plan", "team"]

_CENT_MICROS = 10_000
_ASPECTS = ("history", "practice", "cost", "risk")
_QUESTIONS = ("What is known?", "Who says so?", "What follows?")

team = Team("research")

plan = Plan(
    "durable-research",
    [
        Task("outline", "planner", input={"subject": {"$param": "subject"}}),
        Task(
            "research",
            "researcher",
            foreach=ForEach(task="outline", pointer="/sections", bind="section"),
        ),
        Task("draft", "writer", depends_on=("research",)),
        Task("edit", "editor", depends_on=("draft",)),
    ],
    params={"subject": "what a scheduler forgets"},
)


class Outline(TypedDict):
    """What a report is to be about."""

    subject: str
    sections: list[str]


@team.agent("planner")
async def outline(task_input: dict[str, str], ctx: TaskContext) -> Outline:
    """Cut a subject into sections."""
    subject = task_input["subject"]
    await _asked(ctx, "think", subject)
    return {"subject": subject, "sections": [f"{subject}: {aspect}" for aspect in _ASPECTS]}


@team.agent("researcher", capacity=2)
async def research(task_input: dict[str, str], ctx: TaskContext) -> list[str]:
    """Answer three questions about a section, one after the other: killed after the second, only the third is left."""
    return [await _asked(ctx, "ask", f"{task_input['section']}. {question}") for question in _QUESTIONS]


@team.agent("writer")
async def draft(_: dict[str, str], ctx: TaskContext) -> str:
    """Put the sections together, in their order."""
    sections: list[list[str]] = await ctx.output("research")
    await _asked(ctx, "write", f"{len(sections)} sections")
    return "\n\n".join("\n".join(section) for section in sections)


@team.agent("editor")
async def edit(_: dict[str, str], ctx: TaskContext) -> str:
    """Number the paragraphs."""
    text: str = await ctx.output("draft")
    await _asked(ctx, "read", f"{len(text)} characters")
    return "\n\n".join(f"{number}. {part}" for number, part in enumerate(text.split("\n\n"), start=1))


async def _asked(ctx: TaskContext, step: str, prompt: str) -> str:
    """What stands for a model was asked, once: it takes its time, costs a cent, and says what it was asked."""

    async def call(prompt: str) -> str:
        await asyncio.sleep(float(os.environ.get("COTERIE_RESEARCH_PACE_S") or 1.0))
        ctx.report_usage(requests=1, cost_micros=_CENT_MICROS)
        return f"Of {prompt}"

    answer: str = await ctx.step(step, call, prompt)
    return answer
