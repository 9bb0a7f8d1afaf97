"""Command agents: bounded output, no inherited secrets, and no survivors."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from coterie import Command, Orchestrator, Retry, Task, TaskResult, Team
from coterie.command import run_command
from coterie.errors import PolicyError

PYTHON = sys.executable


def python(source: str, **options: Any) -> Command:
    return Command([PYTHON, "-c", source], **options)


async def perform(command: Command, *, task_input: dict[str, Any] | None = None, **fields: Any) -> TaskResult:
    orchestrator = Orchestrator()
    orchestrator.register_agent("a", "x", 1, handler=command)
    return await orchestrator.execute_task(Task("t", "x", input=task_input or {}, **fields))


def message_of(result: TaskResult) -> str:
    assert result.state == "failed"
    assert result.error is not None
    assert result.error.type == "CommandFailed"
    return result.error.message


def alive(pid: int) -> bool:
    """Whether the process runs; one that has ended but nobody has waited for does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


async def pids_in(folder: Path, count: int) -> list[int]:
    """Wait until so many processes have left their number in the folder."""
    async with asyncio.timeout(30):
        while True:
            pids = [int(path.name) for path in folder.iterdir() if path.name.isdecimal()]  # noqa: ASYNC240
            if len(pids) >= count:
                return pids
            await asyncio.sleep(0.01)


async def gone(pids: list[int]) -> None:
    async with asyncio.timeout(30):
        while any(map(alive, pids)):  # noqa: ASYNC110
            await asyncio.sleep(0.01)


# Input and output.


async def test_a_program_reads_its_input_and_writes_its_result():
    command = python("import json, sys; print(json.dumps([json.load(sys.stdin), 'é']))")

    result = await perform(command, task_input={"b": 1, "a": [None]})

    assert result.output == [{"a": [None], "b": 1}, "é"]


async def test_text_output_is_kept_as_text():
    result = await perform(Command([PYTHON, "-c", r"import os; os.write(1, b'caf\xe9 \xc3\xa9\n')"], output="text"))

    assert result.output == "caf� é\n"


@pytest.mark.parametrize("printed", ["", "not json", "[1", "[" * 100_000, "{} {}"])
async def test_output_that_is_not_json_is_a_failure(printed: str):
    result = await perform(python(f"print('{printed}')"))

    assert "did not write JSON" in message_of(result)
    assert "or set output='text'" in message_of(result)


async def test_nan_is_not_json():
    result = await perform(python("print('[NaN]')"))

    assert result.error is not None
    assert (result.error.type, result.error.message.split(";")[0]) == (
        "Misuse",
        "the output of 't'/0 is nan, which JSON cannot say",
    )


async def test_a_program_need_not_read_its_input():
    result = await perform(python("print(1)"), task_input={"long": "x" * 5_000_000})

    assert result.output == 1


async def test_long_input_and_output_do_not_block_each_other():
    command = python("import sys; sys.stdout.write(sys.stdin.read())")
    value = {"long": "x" * 3_000_000}

    result = await perform(command, task_input=value)

    assert result.output == value


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
async def test_a_program_that_prints_without_end_is_killed(stream: str):
    command = python(f"import sys\nwhile True: sys.{stream}.write('x' * 65536)", output_limit_bytes=100_000)

    message = message_of(await perform(command))

    assert "wrote more than 100000 bytes and was killed" in message
    assert "raise output_limit_bytes" in message


async def test_output_up_to_the_limit_is_fine():
    result = await perform(python("print('x' * 999)", output="text", output_limit_bytes=1000))

    assert result.output == "x" * 999 + "\n"


# How it ended.


async def test_an_exit_code_and_the_last_words_are_reported():
    message = message_of(
        await perform(python("import sys; print('first', 'x' * 500, 'the end', file=sys.stderr); sys.exit(3)"))
    )

    assert "ended with exit code 3; it said: '" in message
    assert message.endswith("the end'")
    assert len(message) <= 300


async def test_a_program_that_ended_badly_is_tried_again_where_the_task_says_so(tmp_path: Path):
    flaky = (
        f"import pathlib, sys; came = pathlib.Path({str(tmp_path / 'came')!r}); first = not came.exists(); "
        "came.touch(); sys.exit(75) if first else print(1)"
    )

    result = await perform(python(flaky), retry=Retry(max_attempts=2, base_s=0, cap_s=0))

    assert (result.state, result.attempts, result.output) == ("succeeded", 2, 1)


async def test_a_missing_program_is_not_looked_for_again():
    result = await perform(Command(["no-such-program"]), retry=Retry(max_attempts=3, base_s=0, cap_s=0))

    assert (result.state, result.attempts) == ("failed", 1)


async def test_an_exit_code_may_count_as_success():
    result = await perform(python("import sys; print('[]'); sys.exit(1)", ok_exit_codes=(0, 1)))

    assert result.output == []


@pytest.mark.parametrize("name", ["SIGKILL", "SIGSEGV", "SIGTERM"])
async def test_death_by_signal_is_named(name: str):
    message = message_of(await perform(python(f"import os, signal; os.kill(os.getpid(), signal.{name})")))

    assert f"was ended by {name}; it said nothing on standard error" in message


@pytest.mark.parametrize("argv", [["no-such-program-here"], ["/"], [PYTHON, "nul\0byte"]])
async def test_a_program_that_cannot_start_is_named(argv: list[str]):
    message = message_of(await perform(Command(argv)))

    assert message.startswith(f"cannot start {argv[0]!r}: ")
    assert message.endswith("; install it, or correct argv")


async def test_a_missing_folder_is_a_failure_of_the_task():
    assert "cannot start" in message_of(await perform(python("print(1)", cwd="/no/such/folder")))


@pytest.mark.parametrize(
    "options",
    [
        {"argv": []},
        {"argv": "ls -l"},
        {"argv": ["ls", 1]},
        {"output_limit_bytes": 0},
        {"kill_grace_s": -1},
        {"output": "xml"},
    ],
)
def test_a_command_that_cannot_work_is_refused(options: dict[str, Any]):
    with pytest.raises(PolicyError):
        Command(**{"argv": ["true"], **options})


# What it is given.


async def test_the_environment_is_not_inherited(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("SECRET_TOKEN", "hunter2")
    monkeypatch.setenv("LANG", "C.UTF-8")

    result = await perform(
        python(
            "import json, os; print(json.dumps([dict(os.environ), os.getcwd()]))",
            env={"MODE": "test"},
            cwd=str(tmp_path),
        )
    )

    assert isinstance(result.output, list)
    environment, folder = result.output
    assert "SECRET_TOKEN" not in environment
    assert (environment["MODE"], environment["LANG"], environment["PATH"]) == ("test", "C.UTF-8", os.environ["PATH"])
    assert folder == str(tmp_path.resolve())  # noqa: ASYNC240


def test_a_models_plan_may_not_use_a_command():
    team = Team("t")

    agent = team.command("x", ["true"])

    assert not agent.plannable
    assert team.plannable_types == ()


# No survivors.

# Starts a child, which starts a grandchild; each leaves its number in the folder and sleeps.
FAMILY = """
import os, subprocess, sys, time
from pathlib import Path
folder, depth, ignore = sys.argv[1], int(sys.argv[2]), sys.argv[3]
if ignore:
    import signal
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if depth:
    subprocess.Popen([sys.executable, "-c", sys.argv[4], folder, str(depth - 1), ignore, sys.argv[4]])
Path(folder, str(os.getpid())).touch()
if depth == 2 and "leave" in sys.argv[5:]:
    while len(list(Path(folder).iterdir())) < 3:
        time.sleep(0.01)
    print("{}", flush=True)
    os._exit(0)
time.sleep(1000)
"""


def family(folder: Path, *, ignores_sigterm: bool = False, leave: bool = False, **options: Any) -> Command:
    ignore = "ignore" if ignores_sigterm else ""
    return Command([PYTHON, "-c", FAMILY, str(folder), "2", ignore, FAMILY, *(["leave"] if leave else [])], **options)


@pytest.mark.parametrize("ignores_sigterm", [False, True])
async def test_a_cancelled_command_takes_its_children_and_theirs_along(tmp_path: Path, ignores_sigterm: bool):
    orchestrator = Orchestrator()
    command = family(tmp_path, ignores_sigterm=ignores_sigterm, kill_grace_s=0.2)
    orchestrator.register_agent("a", "x", 1, handler=command)
    run = asyncio.ensure_future(orchestrator.execute_workflow([Task("t", "x")], workflow_id="one"))
    pids = await pids_in(tmp_path, 3)

    orchestrator.cancel("one")
    result = await run

    assert result.status == "cancelled"
    assert len(pids) == 3
    await gone(pids)


async def test_a_command_past_its_time_out_takes_its_children_along(tmp_path: Path):
    orchestrator = Orchestrator()
    orchestrator.register_agent("a", "x", 1, handler=family(tmp_path, kill_grace_s=0.2))
    run = asyncio.ensure_future(orchestrator.execute_task(Task("t", "x", timeout_s=2)))
    pids = await pids_in(tmp_path, 1)

    result = await run

    assert result.error is not None
    assert result.error.type == "TaskTimedOut"
    await gone(pids)


async def test_children_that_outlive_a_finished_program_are_ended(tmp_path: Path):
    result = await asyncio.wait_for(perform(family(tmp_path, leave=True, kill_grace_s=0.2)), 30)

    assert result.output == {}
    await gone([int(path.name) for path in tmp_path.iterdir()])  # noqa: ASYNC240


async def test_a_program_may_clean_up_within_the_grace(tmp_path: Path):
    source = (
        "import signal, sys, time; from pathlib import Path\n"
        f"folder = Path({str(tmp_path)!r})\n"
        "def end(*_): (folder / 'clean').touch(); sys.exit()\n"
        "signal.signal(signal.SIGTERM, end); (folder / '1').touch(); time.sleep(1000)"
    )
    run = asyncio.ensure_future(perform(python(source, kill_grace_s=30)))
    await pids_in(tmp_path, 1)

    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run

    assert (tmp_path / "clean").exists()


async def test_an_impatient_end_of_the_event_loop_still_kills(tmp_path: Path):
    """As when Ctrl-C is pressed twice: everything is cancelled once more, the clean-up too."""
    command = family(tmp_path, ignores_sigterm=True, kill_grace_s=1000)
    run = asyncio.ensure_future(run_command(command.argv, kill_grace_s=1000))
    pids = await pids_in(tmp_path, 3)
    run.cancel()
    await asyncio.sleep(0)
    await asyncio.sleep(0)

    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run

    await gone(pids)


async def test_a_child_that_escapes_to_a_session_of_its_own_does_not_hold_the_command(tmp_path: Path):
    source = (
        "import subprocess, sys; from pathlib import Path\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(1000)'], start_new_session=True)\n"
        f"(Path({str(tmp_path)!r}) / str(child.pid)).touch(); print('{{}}', flush=True)\n"
    )
    run = asyncio.ensure_future(perform(python(source, kill_grace_s=0.1)))
    (escaped,) = await pids_in(tmp_path, 1)

    try:
        result = await asyncio.wait_for(run, 30)
    finally:
        os.kill(escaped, signal.SIGKILL)

    assert result.output == {}
