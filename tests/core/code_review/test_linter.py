"""The linter, with the real ruff."""

from __future__ import annotations

from pathlib import Path

import pytest

from coterie.teams.code_review.errors import ToolFailed
from coterie.teams.code_review.linter import IGNORE, SELECT, lint_tree, severity_of


def write(root: Path, files: dict[str, str]) -> Path:
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    return root


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return write(tmp_path / "scratch" / "tree", {"a.py": "import os\nx = undefined\n"})


def rules(answer: dict) -> list[tuple[str, str, int]]:
    return [(each["path"], each["rule"], each["line"]) for each in answer["findings"]]


async def test_findings_name_places_within_the_tree(tree: Path):
    answer = await lint_tree(tree)

    assert rules(answer) == [("a.py", "F401", 1), ("a.py", "F821", 2)]
    assert str(tree) not in str(answer)
    assert answer["tool"]["name"] == "ruff"


async def test_the_place_of_the_tree_changes_nothing(tree: Path, tmp_path: Path):
    other = write(tmp_path / "deep" / "er" / "tree", {"a.py": "import os\nx = undefined\n"})

    assert await lint_tree(tree) == await lint_tree(other)


async def test_a_file_that_does_not_parse_is_a_finding_and_hides_no_other(tree: Path):
    write(tree, {"b.py": "def f(:\n"})

    found = rules(await lint_tree(tree))

    assert ("b.py", "invalid-syntax", 1) in found
    assert ("a.py", "F821", 2) in found


async def test_folders_that_ruff_leaves_out_by_itself_are_linted(tree: Path):
    write(tree, {"build/b.py": "import os\n", ".gitignore": "*.py\n"})

    assert ("build/b.py", "F401", 1) in rules(await lint_tree(tree))


async def test_by_default_no_configuration_of_the_repository_counts(tree: Path):
    write(tree, {"ruff.toml": "exclude = ['*']\n", "sub/pyproject.toml": "[tool.ruff]\nextend = '/no'\n"})

    assert ("a.py", "F821", 2) in rules(await lint_tree(tree))


async def test_on_request_the_configuration_of_the_repository_counts(tree: Path):
    write(tree, {"ruff.toml": "lint.select = ['D100']\n"})

    answer = await lint_tree(tree, repository_config=True)

    assert rules(answer) == [("a.py", "D100", 1)]
    assert answer["findings"][0]["severity"] == "note"


async def test_where_the_repository_configures_nothing_the_teams_rules_count(tree: Path, tmp_path: Path):
    # Configurations above the reviewed tree are nobody's.
    write(tmp_path, {"ruff.toml": "lint.select = ['D100']\n"})

    assert rules(await lint_tree(tree, repository_config=True)) == rules(await lint_tree(tree))


async def test_a_broken_configuration_is_named_without_its_place(tree: Path):
    write(tree, {"ruff.toml": "lint.select = ['NOSUCHRULE']\n"})

    with pytest.raises(ToolFailed, match=r"ruff\.toml.*correct the repository's ruff configuration") as refused:
        await lint_tree(tree, repository_config=True)

    assert str(tree) not in str(refused.value)


async def test_a_module_called_ruff_is_not_executed(tree: Path, tmp_path: Path):
    bad = f"open({str(tmp_path / 'executed')!r}, 'w')\n"
    write(tree, {"ruff.py": bad, "ruff/__init__.py": bad, "sitecustomize.py": bad})

    await lint_tree(tree)

    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    ("rule", "severity"),
    [("F821", "error"), ("F401", "warning"), ("E722", "warning"), ("E711", "note"), ("B904", "note"), ("D100", "note")],
)
def test_rules_weigh_by_their_longest_known_prefix(rule: str, severity: str):
    assert severity_of(rule) == severity


def test_no_rule_is_both_selected_and_ignored():
    assert not set(SELECT) & set(IGNORE)
