"""Agents that are paid for each call, and what may happen to them in the midst of it."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

from coterie import ForEach, Plan, Task, Team
from coterie.journal import Journal
from coterie.journal.place import place_of
from coterie.stores.opening import open_journal_store
from tests.airflow.agents import opened
from tests.airflow.billing import bill

TEAM_PATH = "tests.airflow.paying_agents:team"

team = Team("paying")


def is_first(path):
    """Whether this is the first time that anybody asks."""
    try:
        Path(path).touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def leave_pid(path):
    """Add the process's id to those of earlier tries."""
    with Path(path).open("a") as file:
        file.write(f"{os.getpid()}\n")


@team.agent("payer", capacity=4)
async def pay(task_input, ctx):
    """Leave the process's id if it is asked for, wait for a file if one is named, then pay."""
    if task_input.get("pid"):
        leave_pid(task_input["pid"])
    await opened(task_input.get("gate"))
    ctx.report_usage(requests=1, input_tokens=1000, output_tokens=200, cost_micros=2500)
    await asyncio.to_thread(bill, task_input["billing"], task_input["what"], ctx.idempotency_key)
    return {"paid": task_input["what"], "by": os.getpid()}


@team.agent("stepper")
def step(task_input, ctx):
    """Pay, and two steps that are paid for; then a failure while there is a file of that name; then a third step."""
    url, what = task_input["billing"], task_input["what"]
    bill(url, what, ctx.idempotency_key)

    def pay_for(part):
        return bill(url, f"{what}/{part}", ctx.idempotency_key)

    ctx.step("draft", pay_for, "draft")
    ctx.step("check", pay_for, "check")
    if Path(task_input["broken"]).exists():
        raise ValueError("this agent fails for now")
    return ctx.step("print", pay_for, "print")


@team.agent("item_payer", capacity=4)
def pay_for_item(task_input, ctx):
    """Pay for an item; fail for those whose names are in a file."""
    name = task_input["item"]["name"]
    bill(task_input["billing"], f"items/{name}", ctx.idempotency_key)
    if name in Path(task_input["bad"]).read_text():
        raise ValueError(f"no luck with {name}")
    return {"name": name}


@team.agent("killer")
def kill_the_worker_once(task_input, ctx):
    """End the worker as a lack of memory would, the first time."""
    if is_first(task_input["killed"]):
        os.kill(os.getpid(), signal.SIGKILL)
    return "alive"


@team.agent("robbed")
async def be_robbed_once(task_input, ctx):
    """See the work go to somebody else while it is being done, the first time."""
    if not is_first(task_input["robbed"]):
        return "done"
    journal = Journal(open_journal_store(task_input["store"], "default"))
    await journal.forget(ctx.workflow_id, place_of(ctx.task_id))
    await journal.aclose()
    return "in vain"


items = Plan(
    "items",
    [
        Task(
            "pay",
            "item_payer",
            input={"billing": {"$param": "billing"}, "bad": {"$param": "bad"}},
            foreach=ForEach(items=tuple({"name": f"item-{n}"} for n in range(4)), key="/name"),
        )
    ],
    params={"billing": "", "bad": ""},
)

whole = Plan(
    "whole",
    [
        Task("first", "payer", input={"billing": {"$param": "billing"}, "what": "whole/first"}),
        Task("second", "killer", input={"killed": {"$param": "killed"}}, depends_on=("first",)),
        Task("third", "payer", input={"billing": {"$param": "billing"}, "what": "whole/third"}, depends_on=("second",)),
    ],
    params={"billing": "", "killed": ""},
)


class _Decomposer:
    """Is paid for; stumbles once where it is told to."""

    async def decompose(self, objective, context, *, team):
        if objective == "stumble" and is_first(context["stumbled"]):
            raise KeyError(objective)
        if "billing" in context:
            await asyncio.to_thread(bill, context["billing"], objective, "a plan")
        return items


decomposer = _Decomposer()
