"""Agents that make things and take them away again, with a ledger of both; and plans whose runs are undone."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from pathlib import Path

from coterie import Compensation, ForEach, Plan, Policies, Quota, Retry, Task, Team, When
from coterie.saga import SagaPolicy

TEAM_PATH = "tests.support.provisioning:team"

# A remover that may be asked once in a while only.
team = Team("provisioning", policies={"rare-remover": Policies(limits={"requests": Quota(rate_per_s=0.2, burst=1)})})


def ledger(folder):
    """What was asked for, in order: `+a` and `-a`."""
    path = Path(folder, "ledger")
    return [line.split()[0] for line in path.read_text().splitlines()] if path.exists() else []


def keys(folder, what):
    """How often a provider that knows idempotency keys would have done it."""
    lines = [line.split() for line in Path(folder, "ledger").read_text().splitlines()]
    return len({key for name, key in lines if name == what})


def order(folder, what, orders):
    """Have an agent `fail`, `hang`, `die` with its worker once, or do as ever."""
    Path(folder, f"order{what}").write_text(orders)


def _asked(folder, what, ctx):
    with Path(folder, "ledger").open("a") as file:
        file.write(f"{what} {ctx.idempotency_key}\n")
    path = Path(folder, f"order{what}")
    orders = path.read_text() if path.exists() else ""
    if orders == "die":
        path.unlink()
        os.kill(os.getpid(), signal.SIGKILL)
    while orders == "hang" and path.exists():
        time.sleep(0.1)
    if orders == "fail":
        raise ValueError(f"{what} fails, as ordered")


@team.agent("maker", capacity=2)
def make(task_input, ctx):
    """Make it."""
    _asked(task_input["folder"], f"+{ctx.task_id}", ctx)
    return {"made": ctx.task_id, "ready": True}


@team.agent("remover", capacity=2)
async def remove(task_input, ctx):
    """Take away what the output of the step says."""
    step = ctx.task_id.removeprefix("undo-")
    if task_input.get("each") is None:
        made = await ctx.output(step)
        assert made["made"] == step
    _asked(task_input["folder"], f"-{step}", ctx)


@team.agent("rare-remover")
async def remove_rarely(task_input, ctx):
    """The same."""
    await remove(task_input, ctx)


def step(name, *needs, remover="remover", more=None, **fields):
    given = {"folder": {"$param": "folder"}, **(more or {})}
    undo = Compensation(remover, input=given, retry=Retry(max_attempts=2, base_s=0.01, cap_s=0.01))
    return Task(name, "maker", input=given, depends_on=needs, compensation=undo, **fields)


def plan_of(name, *tasks, **fields):
    return Plan(name, tasks, params={"folder": ""}, **fields)


chain = plan_of("chain", step("net"), step("vm", "net"), step("app", "vm"))

fleet = plan_of(
    "fleet",
    step("net"),
    Task("look", "maker", input={"folder": {"$param": "folder"}}, depends_on=("net",)),
    step("each", "look", foreach=ForEach(items=("a", "b")), more={"each": True}),
    step("unwanted", when=When("net", "/ready", "eq", value=False)),
    step("app", "each"),
)

lenient = plan_of("lenient", step("net"), step("app", "net"), outputs=("net",), saga=SagaPolicy(fails_on="outputs"))

rare = plan_of(
    "rare", step("net", remover="rare-remover"), step("vm", "net", remover="rare-remover"), step("app", "vm")
)


def count(folder):
    return Counter(ledger(folder))
