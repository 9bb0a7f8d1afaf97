"""The reader notices what is wrong: a harness that lets everything pass would prove nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.expectation import difference
from tests.docs.markdown import Page
from tests.docs.reader import Reader

FENCE = "```"
# Two SHA-256.
ONE, OTHER = "a" * 64, "b" * 64


def page(*blocks: tuple[str, str]) -> Page:
    """A page with blocks of (language, text)."""
    return Page("page.md", "\n\n".join(f"{FENCE}{language}\n{text}\n{FENCE}" for language, text in blocks))


def follow(folder: Path, *blocks: tuple[str, str]) -> list[str]:
    with Reader(folder) as reader:
        return reader.follow(page(*blocks))


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("", "anything"),
        ("rust", "fn main() {}"),
        ("text", "printed by nobody"),
        ("python", "raise ValueError"),
        ("python", "# broken.py\n1 +"),
        ("yaml", "name: a\ntasks: []"),
        ("yaml", "some: thing"),
        ("json", '{"name": "a", "tasks": [{"id": "a"}]}'),
        ("console", "$ coterie run nothing.yaml --team none:none"),
        ("console", "$ curl example.org"),
        ("console", "coterie --version"),
        ("console", "make no-such-target"),
        ("console", 'pip install "coterie[no-such-extra]"'),
        ("console", "pip install a-package-that-nobody-constrained"),
        ("console", "pip install './core[no-such-extra]'"),
        ("console", "pip install ./no-such-folder"),
        ("console", "pip install ./docs"),
        ("console", "$ coterie --version\ncoterie 0.0.0"),
        ("mermaid", "picture of a plan"),
        ("mermaid", "flowchart TD\n    a[one --> b"),
    ],
)
def test_a_block_that_is_wrong_is_told_with_its_place(language: str, text: str, tmp_path: Path):
    problems = follow(tmp_path, (language, text))

    assert len(problems) == 1
    assert problems[0].startswith("page.md:1: ")


def test_a_package_may_be_installed_from_a_clone(tmp_path: Path):
    assert follow(tmp_path, ("console", "pip install './core[cli,code-review]' ./airflow_provider")) == []


def test_output_that_differs_is_told(tmp_path: Path):
    problems = follow(tmp_path, ("python", "print('one')"), ("text", "two"))

    assert "-two" in problems[0]
    assert "+one" in problems[0]


def test_blocks_share_a_namespace_and_a_folder(tmp_path: Path):
    problems = follow(
        tmp_path,
        ("python", "# there.py\nvalue = 1"),
        ("python", "from there import value"),
        ("python", "print(value + 1)"),
        ("text", "2"),
    )

    assert problems == []


@pytest.mark.parametrize("name", ["PREFECT_HOME", "AIRFLOW_HOME", "COTERIE_ARTIFACTS"])
@pytest.mark.parametrize("begin", ["", "# show.py\n"])
def test_what_a_page_exports_reaches_the_blocks_after_it(name: str, begin: str, tmp_path: Path):
    problems = follow(
        tmp_path,
        ("console", f"$ export OTHER=1 {name}=$PWD/there"),
        ("python", f"{begin}import os\nprint(os.environ['OTHER'], os.environ[{name!r}])"),
        ("text", "1 /srv/demo/there"),
    )

    assert problems == []


def test_an_exit_code_that_is_shown_may_be_any(tmp_path: Path):
    assert follow(tmp_path, ("console", "$ coterie validate none.yaml\n$ echo $?\n2")) == []


@pytest.mark.parametrize(
    ("expected", "printed"),
    [
        ("in 0.1 s", "in 12 s"),
        ("run 01a20307-119a-7240-8f8d-3ee8aa5a379d", "run 01a20307-a800-747c-a5cd-dbded7ed653c"),
        (f"digest {ONE}", f"digest {OTHER}"),
        (f"  hash    {ONE}", f" hash {ONE}"),
        ("a  b", "a b"),
        ("first\n...\nlast", "first\nsecond\nthird\nlast"),
        ("...\nlast", "last"),
    ],
)
def test_what_varies_is_compared_by_its_kind(expected: str, printed: str):
    assert difference(expected, printed) is None


@pytest.mark.parametrize(
    ("expected", "printed"),
    [
        ("a", "b"),
        ("a\n...\nb", "a"),
        ("...\nb", "b\nc"),
        ("a", "a\nb"),
        ("2 tasks", "3 tasks"),
        (f"  hash    {ONE}", f"  hash    {OTHER}"),
        (f'"plan_hash": "{ONE}"', f'"plan_hash": "{OTHER}"'),
    ],
)
def test_what_differs_is_shown(expected: str, printed: str):
    assert difference(expected, printed) is not None


def test_a_block_that_is_not_closed_is_an_error():
    with pytest.raises(ValueError, match="not closed"):
        list(Page("page.md", f"{FENCE}python\n1").blocks())
