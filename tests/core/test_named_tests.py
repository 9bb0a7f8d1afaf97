"""Documents name the tests that prove what they say; a test that moves takes its names along."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
CONTRACTS = REPOSITORY / "core/src/coterie/testing"
_NAMED = re.compile(r"(?<![\w/])tests/[\w/]+\.py(?:::\w+)*")


def missing(text: str) -> list[str]:
    """What the text names of the form `tests/a/test_b.py` or `tests/a/test_b.py::test_c` and is not there."""
    return [named for named in _NAMED.findall(text) if not _exists(named)]


def _exists(named: str) -> bool:
    file, _, test = named.partition("::")
    return (REPOSITORY / file).is_file() and (not test or test in _definitions(REPOSITORY / file))


@cache
def _definitions(path: Path) -> frozenset[str]:
    """`test_a`, `TestB` and `TestB::test_c` for each function, class and method, and for each name that is assigned."""
    found = set()
    for node in ast.parse(path.read_text("utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            found.add(node.name)
        elif isinstance(node, ast.ClassDef):
            inherited = [name for base in node.bases for name in _contracts().get(ast.unparse(base), ())]
            found |= {node.name, *(f"{node.name}::{name}" for name in [*_methods(node), *inherited])}
        elif isinstance(node, ast.Assign):
            found |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return frozenset(found)


@cache
def _contracts() -> dict[str, list[str]]:
    """Class -> its methods, of what stores and engines have to hold: their tests inherit it."""
    trees = [ast.parse(path.read_text("utf-8")) for path in CONTRACTS.glob("*_contract.py")]
    return {node.name: _methods(node) for tree in trees for node in tree.body if isinstance(node, ast.ClassDef)}


def _methods(node: ast.ClassDef) -> list[str]:
    return [each.name for each in node.body if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)]


def documents() -> list[Path]:
    """Every Markdown file that is ours, decisions and runbooks included."""
    folders = ("docs", "deploy", "benchmarks", "core", "airflow_provider", "prefect_blocks")
    return sorted([*REPOSITORY.glob("*.md"), *(path for name in folders for path in (REPOSITORY / name).rglob("*.md"))])


def test_every_test_that_a_document_names_is_there():
    absent = {
        path.relative_to(REPOSITORY).as_posix(): gone
        for path in documents()
        if (gone := missing(path.read_text("utf-8")))
    }

    assert absent == {}


def test_the_documents_do_name_tests():
    assert sum(len(_NAMED.findall(path.read_text("utf-8"))) for path in documents()) > 200


@pytest.mark.parametrize(
    "named",
    [
        "tests/core/test_named_tests.py",
        "tests/core/test_named_tests.py::test_the_documents_do_name_tests",
        "tests/core/test_blobs.py::TestAFolder::test_a_name_that_could_lead_out_is_refused",
        "tests/fleet/rules/test_breaker_properties.py::TestFleet",
    ],
)
def test_what_is_there_is_found(named: str):
    assert missing(f"see `{named}`, or not") == []


@pytest.mark.parametrize(
    "named",
    [
        "tests/core/test_of_yesterday.py",
        "tests/core/test_named_tests.py::test_moved_elsewhere",
        "tests/core/test_named_tests.py::missing::inner",
        "tests/core/test_blobs.py::TestAFolder::test_that_its_contract_does_not_hold",
    ],
)
def test_what_has_moved_is_missed(named: str):
    assert missing(f"see `{named}`, or not") == [named]
