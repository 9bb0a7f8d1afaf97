"""What a plan's step does when Prefect itself cannot do its part."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from prefect.states import Completed

from coterie import ForEach, Parts, Ref, Task
from prefect_coterie import CoterieArtifacts
from prefect_coterie.plan_tasks import perform_part, split_items
from prefect_coterie.session import Job
from prefect_coterie.steps import Steps
from tests.prefect.trial import team

pytestmark = pytest.mark.prefect


async def test_a_part_that_prefect_cannot_run_leaves_no_other_at_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    ended: list[str] = []

    async def call(steps: Steps, what: Any, task: Task, title: str, **parameters: Any) -> Any:
        if what is split_items:
            return Completed(data={"cut": Parts(Ref.inline(b"[1,2,3]"), 3, 3).serialize()})
        assert what is perform_part
        if parameters["index"] == 0:
            raise ConnectionError("no server")
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(title)

    monkeypatch.setattr(Steps, "_call", call)
    steps = Steps(Job(team, CoterieArtifacts(url=f"file://{tmp_path}"), "w"), team, foreach_parts=3, submit=False)

    with pytest.raises(ExceptionGroup, match="unhandled") as raised:
        await steps.perform(Task("each", "any", foreach=ForEach(items=[1, 2, 3])), {})

    assert [type(error) for error in raised.value.exceptions] == [ConnectionError]
    assert sorted(ended) == ["each.1-1", "each.2-2"]
