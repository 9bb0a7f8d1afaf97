"""Console blocks: what they ask to be typed, and what each kind of command is worth as a test."""

from __future__ import annotations

import re
import shlex
import subprocess
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.docs.environments import TIMEOUT_S, end_group
from tests.docs.markdown import REPOSITORY

__all__ = ["Command", "check_help", "check_install", "check_make", "read_commands", "run_shell"]

_PROMPT = "$ "
_OUR_PROJECTS = ("core", "airflow_provider", "prefect_blocks")


@dataclass(slots=True)
class Command:
    """One command, and the lines that the document shows beneath it. With a prompt it is executed here."""

    text: str
    prompted: bool = True
    expected: list[str] = field(default_factory=list)

    @property
    def words(self) -> list[str]:
        """Its words, without comments and variables that are set for it alone."""
        words = shlex.split(self.text, comments=True)
        while words and re.match(r"[A-Z_]+=", words[0]):
            del words[0]
        return words


def read_commands(text: str) -> list[Command]:
    """The commands of a block: those after `$ `, to be executed; without any prompt, every line, to be checked."""
    lines = re.sub(r"\\\n\s*", "", text).splitlines()
    if not any(line.startswith(_PROMPT) for line in lines):
        return [Command(line, prompted=False) for line in lines if line.strip() and not line.startswith("#")]
    commands: list[Command] = []
    for line in lines:
        if line.startswith(_PROMPT):
            commands.append(Command(line.removeprefix(_PROMPT)))
        else:
            assert commands, f"{line!r} stands before the first command"
            commands[-1].expected.append(line)
    return commands


def run_shell(text: str, folder: Path, settings: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Type it into bash; whatever it leaves running is ended.

    Raises:
        subprocess.TimeoutExpired: it did not end in time.
    """
    process = subprocess.Popen(
        ["bash", "-c", text],
        cwd=folder,
        env=dict(settings),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        printed, told = process.communicate(timeout=TIMEOUT_S)
    finally:
        end_group(process)
    return subprocess.CompletedProcess(text, process.returncode, printed, told)


def check_make(words: list[str]) -> None:
    """Every target exists, and make knows what to do for it."""
    done = subprocess.run(
        ["make", "-n", *words[1:]], cwd=REPOSITORY, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip(), f"make has nothing to do for {words[1:]!r}"


def check_install(words: list[str]) -> None:
    """What pip is told to install is ours, by name or as a folder of a clone (`./core`), with extras that exist, or
    something that our constraints name.
    """
    wanted = [word for word in words[2:] if not word.startswith("-")]
    assert words[1:2] == ["install"], f"{words!r} installs nothing"
    assert wanted, f"{words!r} installs nothing"
    for word in wanted:
        requirement = Requirement(_project_in(word) if word.startswith(".") else word)
        extras = _extras().get(canonicalize_name(requirement.name))
        if extras is None:
            assert canonicalize_name(requirement.name) in _constrained(), f"{word!r} is in no constraints/*.txt"
        else:
            assert requirement.extras <= extras, f"{word!r}: the extras are {sorted(extras)}"


def check_help(text: str, words: list[str], folder: Path, settings: Mapping[str, str]) -> None:
    """The program knows the command and its options, whatever it would do."""
    done = run_shell(shlex.join([*words, "--help"]), folder, settings)
    assert done.returncode == 0, f"{text!r}: {done.stderr or done.stdout}"
    for word in words:
        option = word.partition("=")[0]
        if option.startswith("--"):
            assert option in done.stdout, f"{text!r}: its help knows no {option!r}"


def _project_in(word: str) -> str:
    """What a folder of a clone brings, as if it were asked for by name."""
    folder, bracket, extras = word.removeprefix("./").partition("[")
    assert folder in _OUR_PROJECTS, f"{word!r} is no folder with a package; there are ./{', ./'.join(_OUR_PROJECTS)}"
    return f"{_name_of(folder)}{bracket}{extras}"


def _name_of(folder: str) -> str:
    return str(tomllib.loads((REPOSITORY / folder / "pyproject.toml").read_text("utf-8"))["project"]["name"])


def _extras() -> dict[str, set[str]]:
    found = {}
    for folder in _OUR_PROJECTS:
        project = tomllib.loads((REPOSITORY / folder / "pyproject.toml").read_text("utf-8"))["project"]
        found[canonicalize_name(project["name"])] = set(project.get("optional-dependencies", {}))
    return {str(name): extras for name, extras in found.items()}


def _constrained() -> set[str]:
    text = "\n".join(path.read_text("utf-8") for path in REPOSITORY.glob("constraints/*.txt"))
    return {str(canonicalize_name(name)) for name in re.findall(r"^([A-Za-z0-9._-]+)", text, re.MULTILINE)}
