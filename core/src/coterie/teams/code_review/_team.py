"""The team: who reviews. The tools themselves are imported when an agent first needs them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from coterie._json import JsonValue
from coterie.team import Team
from coterie.teams.code_review.analyzer import analyze
from coterie.teams.code_review.documenter import document
from coterie.teams.code_review.linter import lint
from coterie.teams.code_review.security import search
from coterie.teams.code_review.snapshot import snapshot
from coterie.teams.code_review.tester import examine_tests

if TYPE_CHECKING:
    from coterie.context import TaskContext

__all__ = ["team"]

team = Team("code-review")

# A model's plan may not choose what is fetched, nor have the reviewed code executed.
team.agent("snapshotter", version="1", plannable=False)(snapshot)
team.agent("tester", version="1", plannable=False)(examine_tests)

team.agent("linter", version="1")(lint)
team.agent("security", version="1", capacity=4)(search)
team.agent("analyzer", version="1", capacity=4)(analyze)
team.agent("documenter", version="1")(document)


@team.agent("reporter", version="1")
async def report(task_input: dict[str, JsonValue], ctx: TaskContext) -> JsonValue:
    """Merge what the others found into one report, in every format."""
    from coterie.teams.code_review.reporter import report as write

    return await write(task_input, ctx)
