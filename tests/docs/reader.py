"""A reader who does what a page says, from its first block to its last, in an empty folder."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml

from coterie import Plan, StateMachine
from tests.docs.console import Command, check_help, check_install, check_make, read_commands, run_shell
from tests.docs.environments import Answer, Interpreter, environment_of, interpreter_path, variables
from tests.docs.expectation import difference
from tests.docs.markdown import REPOSITORY, Block, Page
from tests.docs.object_storage import s3_endpoint
from tests.support.redis_servers import SYNCED, valkey

__all__ = ["Reader"]

_MERMAID = ("flowchart TD", "flowchart LR", "stateDiagram-v2", "sequenceDiagram")
_PAIRS = {")": "(", "]": "[", "}": "{"}
_SHELL = {"cat", "cp", "echo", "grep", "head", "ls", "mkdir", "printf", "sed", "touch"}
_SCHEDULERS = {"airflow", "prefect"}
_PROGRAMS = {"coterie", "opentelemetry-instrument", "python"}


class Reader:
    """Follows one page. Blocks share the folder, and Python blocks of one environment share a namespace."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "demo"
        self._home = folder / "home"
        self._blocks = folder / "blocks"
        for path in (self.folder, self._home, self._blocks):
            path.mkdir()
        self._interpreters: dict[str, Interpreter] = {}
        self._exported: dict[str, str] = {}
        self._exit_code = 0
        self._printed: str | None = None
        self._has_redis = False
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def follow(self, page: Page) -> list[str]:
        """Do what every block says; what went wrong, with its place."""
        problems = []
        for block in page.blocks():
            try:
                self.do(block)
            except (AssertionError, ValueError, subprocess.TimeoutExpired) as error:
                problems.append(f"{block.place}: {error}")
        return problems

    def do(self, block: Block) -> None:
        """Do what one block says.

        Raises:
            AssertionError, ValueError: it does not work, or is not what the document shows.
        """
        deeds = {
            "console": self._type,
            "json": self._read_json,
            "mermaid": self._look,
            "python": self._execute,
            "text": self._compare,
            "yaml": self._read_yaml,
        }
        if block.marks.get("needs") == "s3" and "AWS_ENDPOINT_URL" not in self._exported:
            self._exported |= self._stack.enter_context(s3_endpoint(self._home, bucket="coterie-demo"))
        if block.marks.get("needs") == "redis" and not self._has_redis:
            # The page names a server of its reader's; ours stands for it.
            self._has_redis = True
            self._export(f"export COTERIE_STORE={self._stack.enter_context(valkey(arguments=SYNCED)).url}")
        deed = deeds.get(block.language)
        assert deed is not None, f"a block of {block.language!r} cannot be checked; use one of {', '.join(deeds)}"
        deed(block)

    def _execute(self, block: Block) -> None:
        environment = environment_of(block)
        self._printed = None
        if block.file_name is not None:
            self._save(block)
            if "not run" in block.marks:
                self._load(environment, block.file_name)
                return
            command = f"{shlex.quote(str(interpreter_path(environment)))} {shlex.quote(block.file_name)}"
            self._printed = self._succeed(command, environment).stdout
            return
        path = self._blocks / f"line_{block.line}.py"
        path.write_text(block.text + "\n", "utf-8")
        self._printed = self._answered(self._interpreter(environment).run(path))

    def _load(self, environment: str, name: str) -> None:
        """Import a file that would not end if it were run."""
        load = f"import runpy; runpy.run_path({name!r}, run_name='loaded')"
        self._succeed(f"{shlex.quote(str(interpreter_path(environment)))} -c {shlex.quote(load)}", environment)

    def _compare(self, block: Block) -> None:
        assert self._printed is not None, "nothing before this block prints anything"
        problem = difference(block.text, self._printed, folder=self.folder)
        assert problem is None, f"the output is another:\n{problem}"

    def _read_yaml(self, block: Block) -> None:
        document = yaml.safe_load(block.text)
        assert isinstance(document, dict), "the block is no mapping"
        self._save(block)
        if "tasks" in document:
            Plan.from_yaml(block.text)
        elif "states" in document:
            StateMachine.from_yaml(block.text)
        elif "agents" in document:
            assert block.file_name is not None, "a team needs a file: begin with the line `# team.yaml`"
            self._check_team(block.file_name)
        elif set(document) == {"processors"}:
            # A collector's, which only it could read; `tests/core/metrics/test_reference.py` compares its figures.
            pass
        else:
            assert "deployments" in document, "neither a plan, a machine, a team, deployments nor a collector"
            _check_deployments(document, self.folder)

    def _read_json(self, block: Block) -> None:
        document = json.loads(block.text)
        self._save(block)
        if isinstance(document, dict) and "tasks" in document and "schema" not in document:
            Plan.from_json(block.text)
            return
        assert self._printed is not None, "neither a plan nor the output of the block before"
        printed: Any = json.loads(self._printed)
        problem = difference(json.dumps(document, indent=1), json.dumps(printed, indent=1), folder=self.folder)
        assert problem is None, f"the output is another:\n{problem}"

    def _look(self, block: Block) -> None:
        lines = block.text.splitlines()
        assert lines[0].startswith(_MERMAID), f"a Mermaid picture begins with one of {', '.join(_MERMAID)}"
        assert len(lines) > 1, "the picture is empty"
        _check_brackets(block.text)
        if (self._printed or "").startswith("flowchart"):
            self._compare(block)

    def _type(self, block: Block) -> None:
        commands = read_commands(block.text)
        assert commands, "the block holds no command"
        for number, command in enumerate(commands):
            then = commands[number + 1].text if number + 1 < len(commands) else ""
            self._enter(command, block, may_fail=then == "echo $?")

    def _enter(self, command: Command, block: Block, *, may_fail: bool) -> None:
        words = command.words
        assert words, f"{command.text!r} is no command"
        environment = words[0] if words[0] in _SCHEDULERS else environment_of(block)
        if words[0] == "make":
            check_make(words)
        elif words[0] == "pip":
            check_install(words)
        elif command.text == "echo $?":
            self._show(command, f"{self._exit_code}\n")
        elif words[0] == "export":
            self._export(command.text)
        elif command.prompted:
            self._run(command, words[0], environment, may_fail=may_fail)
        else:
            assert words[0] in _SCHEDULERS, f"{command.text!r} is not executed: begin the line with a prompt, '$ '"
            check_help(command.text, words, self.folder, self._settings(environment))

    def _run(self, command: Command, program: str, environment: str, *, may_fail: bool) -> None:
        assert program in {*_PROGRAMS, *_SCHEDULERS, *_SHELL}, f"{program!r} is no command known here"
        done = run_shell(command.text, self.folder, self._settings(environment))
        self._exit_code = done.returncode
        assert may_fail or not done.returncode, f"{command.text!r} exited with {done.returncode}: {done.stderr}"
        self._show(command, done.stdout or done.stderr)

    def _show(self, command: Command, printed: str) -> None:
        self._printed = printed
        if not any(line.strip() for line in command.expected):
            return
        problem = difference("\n".join(command.expected), printed, folder=self.folder)
        assert problem is None, f"{command.text!r} prints something else:\n{problem}"

    def _export(self, text: str) -> None:
        done = run_shell(f"{text}; env -0", self.folder, self._settings("core"))
        now = dict(entry.split("=", 1) for entry in done.stdout.split("\0") if "=" in entry)
        names = re.findall(r"(?:^export|\s)\s*([A-Z_]+)=", text)
        self._exported.update({name: now[name] for name in names})
        path = self._blocks / "export.py"
        path.write_text(f"import os\nos.environ.update({ ({name: now[name] for name in names})!r})\n", "utf-8")
        for running in self._interpreters.values():
            self._answered(running.run(path))

    def _succeed(self, command: str, environment: str) -> subprocess.CompletedProcess[str]:
        done = run_shell(command, self.folder, self._settings(environment))
        assert done.returncode == 0, f"it exits with {done.returncode}:\n{done.stdout}{done.stderr}"
        return done

    def _answered(self, answer: Answer) -> str:
        assert answer.error is None, f"it raises:\n{answer.error}"
        return answer.printed

    def _check_team(self, name: str) -> None:
        path = self._blocks / "team.py"
        path.write_text(f"from coterie import Team\nTeam.load({name!r})\n", "utf-8")
        self._answered(self._interpreter("core").run(path))

    def _save(self, block: Block) -> None:
        if block.file_name is None:
            return
        path = self.folder / block.file_name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(block.text + "\n", "utf-8")

    def _settings(self, environment: str) -> dict[str, str]:
        return {**variables(environment, self._home), **self._exported}

    def _interpreter(self, environment: str) -> Interpreter:
        if environment not in self._interpreters:
            started = Interpreter(environment, self.folder, self._settings(environment))
            self._interpreters[environment] = started
            self._stack.callback(started.close)
        return self._interpreters[environment]


def _check_brackets(text: str) -> None:
    waiting: list[str] = []
    for letter in re.sub(r'"[^"\n]*"', "", re.sub(r"[-=.]+>|\[\*\]", "", text)):
        if letter in _PAIRS.values():
            waiting.append(letter)
        elif letter in _PAIRS:
            assert waiting, f"a {letter!r} closes nothing"
            assert waiting.pop() == _PAIRS[letter], f"a {letter!r} closes another bracket"
    assert not waiting, f"{waiting!r} are not closed"


def _check_deployments(document: dict[str, Any], folder: Path) -> None:
    for deployment in document["deployments"]:
        name, _, attribute = deployment["entrypoint"].partition(":")
        places = [path for path in (folder / name, REPOSITORY / name) if path.is_file()]
        assert places, f"the entrypoint {name!r} is no file here or in the repository"
        assert attribute in places[0].read_text("utf-8"), f"{name!r} has no {attribute!r}"
