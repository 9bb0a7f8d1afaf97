"""An example team that makes what somebody else has to take away again: three resources of a provider, one on another.

`coterie.teams.provisioning:team` is what the example DAG and flow `saga_provisioning` work with. The provider is a
folder, `COTERIE_PROVISIONING_FOLDER` (by default `coterie-provider` among the temporary files): a file for each
resource, and a `log` of all that was asked for. Each request takes `COTERIE_PROVISIONING_PACE_S` seconds (1), so that
it can be killed.
"""

from __future__ import annotations

import asyncio
import logging
import os
import tempfile
from pathlib import Path
from typing import TypedDict

from coterie import Compensation, Plan, Retry, Task, TaskContext, Team
from coterie.errors import StepFailed

__all__ = ["plan", "provider", "team"]

_log = logging.getLogger("coterie.provisioning")

team = Team("provisioning")


def _step(name: str, *needs: str) -> Task:
    """One resource. Its remover is for what began: whoever was killed while making it may have made it."""
    remover = Compensation("remover", input={"kind": name}, when="started", timeout_s=60, retry=Retry(max_attempts=5))
    return Task(
        name,
        "maker",
        input={"kind": name, "sold_out": {"$param": "sold_out"}},
        depends_on=needs,
        timeout_s=60,
        compensation=remover,
    )


plan = Plan(
    "saga-provisioning",
    [_step("network"), _step("machine", "network"), _step("address", "machine")],
    params={"sold_out": "address"},
)


class Resource(TypedDict):
    """What the provider has made."""

    kind: str
    id: str


def provider() -> Path:
    """The folder that stands for the provider."""
    folder = Path(os.environ.get("COTERIE_PROVISIONING_FOLDER") or Path(tempfile.gettempdir(), "coterie-provider"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@team.agent("maker", capacity=2)
async def make(task_input: dict[str, str], ctx: TaskContext) -> Resource:
    """Have a resource made: asked again, the same one. `sold_out` names a kind of which the provider has none left."""
    kind = task_input["kind"]
    resource = Resource(kind=kind, id=_named(kind, ctx))
    await _asked("make", resource["id"])
    if kind == task_input.get("sold_out"):
        raise StepFailed(f"the provider has no {kind} left; try again with another sold_out, or none")
    (provider() / resource["id"]).touch()
    return resource


@team.agent("remover", capacity=2)
async def remove(task_input: dict[str, str], ctx: TaskContext) -> str | None:
    """Have a resource taken away, whether anybody heard that it was made or not; None if there is none."""
    name = _named(task_input["kind"], ctx)
    if not (provider() / name).exists():
        return None
    await _asked("remove", name)
    (provider() / name).unlink(missing_ok=True)
    return name


def _named(kind: str, ctx: TaskContext) -> str:
    """What a run's resource of a kind is called: so it is found again whoever made it, and was not told."""
    return f"{kind}.{ctx.workflow_id}"


async def _asked(what: str, name: str) -> None:
    await asyncio.sleep(float(os.environ.get("COTERIE_PROVISIONING_PACE_S") or 1.0))
    _log.info("%s %s", what, name)
    with (provider() / "log").open("a") as log:
        log.write(f"{what} {name}\n")
