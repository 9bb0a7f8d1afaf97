"""What the repository must be: free of one machine's addresses and paths, examples short and in pairs."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path, PurePosixPath

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
THIS_FILE = PurePosixPath("tests/core/test_repository.py")

# Each matches what only one workplace or one index has. Written so that this file does not match itself.
FOREIGN = {
    "a path of one machine": re.compile(
        r"(?<![\w.$)}~*-])/(?:work|root|home/\w+|Users/\w+)/[\w.]|file:///(?:opt|home|root|work)\b"
    ),
    "the host of a package registry": re.compile(
        r"(?:files\.pythonhosted|registry\.npmjs|proxy\.golang|repo\.maven|static\.crates)\.\w+"
        r"|(?:test\.)?pypi\.(?:org|python\.org)/(?:simple|packages|pypi)"
        r"|\b(?:artifactory|nexus|devpi|jfrog|codeartifact)\.[\w.-]+/"
        r"|(?:--(?:extra-)?index-url|--find-links|--trusted-host)[ =]+\S*(?:://|\.\w+/)"
    ),
}
LOCK_FILES = {"uv.lock", "poetry.lock", "pdm.lock", "Pipfile.lock", "package-lock.json", "conda-lock.yml"}
EXAMPLE_LINES = 60


def tracked_files() -> list[PurePosixPath]:
    """Files that git tracks, or would on the next `git add`; in an unpacked archive, every file."""
    try:
        command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        listed = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True, timeout=60)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout")
    names = [PurePosixPath(name) for name in listed.stdout.split("\0") if name]
    return [name for name in names if (REPOSITORY / name).is_file()]


def lines_of(name: PurePosixPath) -> list[str]:
    """The lines of a text file; none for a binary one."""
    content = (REPOSITORY / name).read_bytes()
    return [] if b"\0" in content else content.decode("utf-8", "replace").splitlines()


def foreign_parts(text: str) -> list[str]:
    return [what for what, pattern in FOREIGN.items() if pattern.search(text)]


def examples(folder: str) -> dict[str, int]:
    """Name -> number of lines of each example in the folder."""
    paths = sorted((REPOSITORY / folder).glob("*.py"))
    return {path.name: len(path.read_text("utf-8").splitlines()) for path in paths}


def test_no_file_names_a_registry_or_a_path_of_one_machine():
    found = [
        f"{name}:{number}: {what}: {line.strip()[:100]}"
        for name in tracked_files()
        if name != THIS_FILE
        for number, line in enumerate(lines_of(name), start=1)
        for what in foreign_parts(line)
    ]

    assert not found, "\n".join(["", *found])


@pytest.mark.parametrize(
    "text",
    [
        "see /work/main/core",
        "cache in '/root/.cache'",
        "/home/ann/coterie",
        "find-links = file:///opt/wheels",
        "https://files.pythonhosted.org/packages/a.whl",
        "https://pypi.org/simple/coterie/",
        "--extra-index-url https://mirror.example/simple",
        "https://artifactory.example.com/api/pypi",
    ],
)
def test_an_address_or_a_path_of_one_machine_is_caught(text: str):
    assert foreign_parts(text)


@pytest.mark.parametrize(
    "text",
    [
        "core/src/coterie",
        "tmp_path / 'work' / 'a'",
        "$(VENVS)/work/",
        "file:///var/lib/coterie",
        "https://example.com/framework/root/",
        "--index-url of your own",
    ],
)
def test_ordinary_text_is_not(text: str):
    assert foreign_parts(text) == []


def test_no_lock_file_is_tracked():
    found = [str(name) for name in tracked_files() if name.name in LOCK_FILES or name.match("pylock*.toml")]

    assert found == []


def test_constraints_hold_names_and_versions_alone():
    pin = re.compile(r"[a-z0-9][a-z0-9._-]*(?:\[[a-z0-9,_-]+\])?==[^\s;/@]+(?: ; .+)?")
    found = [
        f"{path.name}: {line}"
        for path in sorted((REPOSITORY / "constraints").glob("*.txt"))
        for line in path.read_text("utf-8").splitlines()
        if not pin.fullmatch(line)
    ]

    assert found == []


@pytest.mark.parametrize("folder", ["dags", "flows"])
def test_an_example_fits_on_a_page(folder: str):
    too_long = {name: lines for name, lines in examples(folder).items() if lines >= EXAMPLE_LINES}

    assert too_long == {}


def test_every_example_is_told_for_both_schedulers():
    assert examples("dags").keys() == examples("flows").keys()


def test_what_the_documents_import_is_promised():
    (row,) = re.findall(
        r"^\| public names \|(.*)$", (REPOSITORY / "docs/reference/versions.md").read_text(), re.MULTILINE
    )
    promised = set(re.findall(r"`((?:coterie|airflow_provider_coterie|prefect_coterie)[\w.]*)`", row))
    pages = [*(REPOSITORY / "docs").rglob("*.md"), *REPOSITORY.glob("*.md"), *REPOSITORY.glob("*/README.md")]
    form = re.compile(r"^\s*from ((?:coterie|airflow_provider_coterie|prefect_coterie)[\w.]*) import", re.MULTILINE)

    imported = {name: page.name for page in pages for name in form.findall(page.read_text())}

    assert "coterie" in imported
    assert {name: page for name, page in imported.items() if name not in promised} == {}
