"""The real command in processes of its own: exit codes, streams, start-up."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import coterie as package
from coterie.ids import item_keys

# The second item of [1, 2, 3], to which nobody gave a key.
NAMED_TWO = f"[1] ({item_keys([2])[0][:8]}…)"


@pytest.mark.parametrize(
    ("plan", "code", "status"),
    [("work:good", 0, "succeeded"), ("work:partial", 3, "partial"), ("work:failed", 1, "failed")],
)
def test_the_exit_code_says_how_the_run_ended(coterie, plan, code, status):
    done = coterie("run", plan, "--team", "work:team")

    assert done.returncode == code, done.stderr
    assert status in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


def test_with_json_standard_output_holds_json_alone(coterie):
    done = coterie("run", "work:good", "--team", "work:team", "--json")

    document = json.loads(done.stdout)
    assert document["status"] == "succeeded"
    assert document["exit_code"] == 0
    assert document["values"] == {"join": {"value": {"sum": 8}}}
    assert [task["task_id"] for task in document["tasks"]] == ["split", "double", "join"]
    assert "an agent prints" in done.stderr
    assert "a program prints" in done.stderr


def test_progress_is_plain_lines_where_there_is_no_terminal(coterie):
    done = coterie("run", "work:good", "--team", "work:team")

    assert "split: started (split)" in done.stderr
    assert f"double: item {NAMED_TWO} failed: ValueError: two is [bold]bad[/bold]" in done.stderr
    assert "double: succeeded 3/3 items, 1 failed" in done.stderr
    assert "join: a word of warning" in done.stderr
    assert "\x1b" not in done.stderr + done.stdout


def test_quiet_shows_no_progress(coterie):
    done = coterie("run", "work:made", "-t", "work:team", "-p", "count=1", "--quiet")

    assert "t0:" not in done.stderr
    assert "succeeded" in done.stdout


def test_a_summary_lists_tasks_failed_items_and_outputs(coterie):
    done = coterie("run", "work:good", "--team", "work:team", "--run-id", "run-7")

    assert "2/3" in done.stdout
    assert f"double: item {NAMED_TWO} failed: " in done.stdout
    assert "succeeded: 3 of 3 tasks succeeded" in done.stdout
    assert "run run-7" in done.stdout
    assert '{"sum": 8}' in done.stdout


def test_on_a_terminal_progress_is_drawn_and_the_cursor_given_back(start):
    master, slave = os.openpty()
    process = start("run", "work:good", "--team", "work:team", stderr=slave)
    os.close(slave)
    drawn = _read_all(master)
    stdout, _ = process.communicate(timeout=60)

    assert process.returncode == 0
    assert "\x1b[?25l" in drawn
    assert drawn.rindex("\x1b[?25h") > drawn.rindex("\x1b[?25l")
    assert "an agent prints" in drawn
    assert "succeeded: 3 of 3" in stdout


def test_artifacts_are_kept_in_the_folder_for_them(coterie, folder):
    coterie("run", "work:good", "--team", "work:team")

    assert list((folder / "home" / "artifacts").rglob("*"))


def test_a_reader_that_has_enough_breaks_nothing(start, folder):
    process = start("graph", "work:made")
    process.communicate(timeout=60)
    process = start("run", "work:good", "--team", "work:team", "--json")
    process.stdout.close()
    stderr = process.stderr.read()
    process.stderr.close()

    assert process.wait(timeout=60) == 1
    assert "Traceback" not in stderr
    assert "BrokenPipe" not in stderr


def test_the_version_is_told(coterie):
    assert coterie("--version").stdout == f"coterie {package.__version__}\n"


def test_importing_the_command_line_loads_neither_typer_nor_rich(folder):
    program = "import sys, coterie.cli; print(*{'typer', 'rich', 'pydantic', 'asyncio'} & set(sys.modules))"

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout.split() == []


@pytest.mark.parametrize(
    ("argv", "usage"),
    [
        ((), "coterie [OPTIONS] COMMAND [ARGS]..."),
        (("run",), "coterie run [OPTIONS] PLAN"),
        (("review",), "coterie review [OPTIONS] PATH_OR_URL"),
    ],
)
def test_help_is_written_as_other_programs_write_it(coterie, argv, usage):
    done = coterie(*argv, "--help")

    assert f"Usage: {usage}" in [line.strip() for line in done.stdout.splitlines()]
    assert "<bool>" not in done.stdout


def test_help_loads_no_engine(folder):
    program = (
        "import sys\nfrom coterie.cli import main\nassert main(['--help']) == 0\n"
        "print(*{'pydantic', 'yaml', 'fsspec', 'coterie.orchestrator'} & set(sys.modules), file=sys.stderr)"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stderr.split() == []
    assert all(name in done.stdout for name in ("run", "validate", "graph", "review"))


@pytest.mark.parametrize("absent", ["typer", "rich"])
def test_without_its_packages_one_line_says_what_to_install(folder, absent):
    program = f"import sys; sys.modules[{absent!r}] = None\nfrom coterie.cli import main\nsys.exit(main(['--version']))"

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)

    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == (
        f"error: the command line needs '{absent}', which is not installed; run: pip install 'coterie[cli]'\n"
    )


def test_the_installed_command_is_the_same(folder):
    command = Path(sys.executable).with_name("coterie")

    done = subprocess.run([str(command), "--version"], capture_output=True, text=True, check=True)

    assert done.stdout == f"coterie {package.__version__}\n"


def _read_all(descriptor: int) -> str:
    content = b""
    try:
        while chunk := os.read(descriptor, 65_536):
            content += chunk
    except OSError:
        # Linux says EIO when the last writer of a terminal has gone.
        pass
    finally:
        os.close(descriptor)
    return content.decode()
