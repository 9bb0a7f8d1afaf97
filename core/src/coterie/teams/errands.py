"""An example team that is worth running elsewhere: its tasks take their time, and nobody needs to sit beside them.

`coterie.teams.errands:team` is what the example DAG and flow `fan_out_remote` send out, and what workers perform:

    coterie worker --team coterie.teams.errands:team --capacity 8

The DAG and the flow name `coterie.teams.errands:away`, the same team as those see it who only ask.
"""

from __future__ import annotations

import asyncio

from coterie import JsonValue, TaskContext, Team
from coterie.errors import StepFailed

__all__ = ["away", "team"]

LONGEST_S = 3600.0

team = Team("errands")

# Whoever only asks for errands needs to know their type, and no code of them.
away = Team("errands")
away.remote("errand", capacity=200)


@team.agent("errand", capacity=8)
async def run_errand(task_input: dict[str, JsonValue], ctx: TaskContext) -> dict[str, JsonValue]:
    """Take `seconds` of time (by default 1), and say which errand it was."""
    seconds = task_input.get("seconds", 1.0)
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not 0 <= seconds <= LONGEST_S:
        raise StepFailed(f"seconds is {seconds!r}; give a number from 0 to {LONGEST_S:.0f}")
    await asyncio.sleep(seconds)
    return {"number": task_input.get("number"), "key": ctx.idempotency_key}
