"""The team that these tests' plans are for, importable by every task's process."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

from coterie import Team

team = Team("airflow-tests")

# Starts a child that ignores a polite end, leaves both process ids in a file, and goes on for ever.
LINGER = """
import json, os, pathlib, subprocess, sys, time
stubborn = "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(600)"
child = subprocess.Popen([sys.executable, "-c", stubborn])
target = pathlib.Path(json.load(sys.stdin)["pids"])
partial = target.with_suffix(".partial")
partial.write_text(json.dumps([os.getpid(), child.pid]))
partial.rename(target)
time.sleep(600)
"""


async def opened(gate):
    """Wait until the file is there; where none is named, it is open."""
    while gate and not os.path.exists(gate):  # noqa: ASYNC110, ASYNC240, PTH110  # the test is another process
        await asyncio.sleep(0.05)


team.command("lingerer", (sys.executable, "-c", LINGER))


@team.agent("echo", capacity=8)
async def echo(task_input, ctx):
    return {"task": ctx.task_id, "input": task_input}


@team.agent("pid")
async def pid(task_input, ctx):
    return os.getpid()


@team.agent("lister")
async def list_items(task_input, ctx):
    return {"items": [{"name": f"item-{i}"} for i in range(task_input["items"])]}


@team.agent("file_lister")
def list_from_file(task_input, ctx):
    count = int(Path(task_input["path"]).read_text())
    return {"items": [{"name": f"item-{i}", "of": count} for i in range(count)]}


@team.agent("worker", capacity=16)
async def work(task_input, ctx):
    if task_input["item"]["name"] in task_input.get("bad", []):
        raise ValueError(f"cannot work on {task_input['item']['name']}")
    return {"name": task_input["item"]["name"], "padding": "x" * task_input.get("padding", 0)}


@team.agent("payload")
async def payload(task_input, ctx):
    return {"text": "p" * task_input["bytes"]}


@team.agent("measurer")
async def measure(task_input, ctx):
    return {name: len((await ctx.output(name))["text"]) for name in ctx.upstream}


@team.agent("failing")
async def fail(task_input, ctx):
    await opened(task_input.get("gate"))
    raise ValueError("this agent always fails")


@team.agent("gated")
async def wait_at_gate(task_input, ctx):
    await opened(task_input["gate"])
    return "passed"


@team.agent("slow")
async def be_slow(task_input, ctx):
    await asyncio.sleep(task_input["seconds"])
    return "done"


@team.agent("dying")
async def die(task_input, ctx):
    os.kill(os.getpid(), signal.SIGKILL)


@team.agent("summer")
async def sum_up(task_input, ctx):
    """What a reporter sees: states, errors, what came out of a foreach, and which items failed."""
    seen = {}
    for name, result in ctx.upstream.items():
        seen[name] = {"state": result.state, "error": result.error and result.error.type}
        if result.items is not None:
            items = await ctx.items(name)
            seen[name]["succeeded"] = [item.output["name"] for item in items if item.state == "succeeded"]
            seen[name]["failed"] = [item.key for item in result.failed_items]
    return seen
