"""What decides, touches nothing outside: `_rules` uses lower layers and what computes, and nothing else."""

from __future__ import annotations

import ast
from collections.abc import Mapping

import pytest

from tests.core.architecture.sources import CORE, all_imports, fake, is_of, modules_under, report, unit

# All that a rule may use besides lower layers: no I/O, clock, chance, logging or event loop.
PURE = {
    "__future__", "abc", "bisect", "collections", "dataclasses", "enum", "fractions", "functools", "hashlib",
    "heapq", "itertools", "json", "math", "operator", "re", "string", "types", "typing", "typing_extensions",
}  # fmt: skip
IMPURE_BUILTINS = {"open", "print", "input", "exec", "eval", "__import__"}


def impure_rules(modules: Mapping[str, tuple[str, bool]]) -> list[str]:
    """One sentence for each use of the outside by a module of `_rules`."""
    rules = {name: module for name, module in modules.items() if unit(name) == "_rules"}
    problems = [
        f"{found}: a rule decides, without I/O, clock, chance or logging; pass the value in"
        for found in all_imports(rules)
        if not is_of(found.target, ["coterie"]) and found.target.partition(".")[0] not in PURE
    ]
    for name, (source, _) in rules.items():
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.AsyncFunctionDef):
                problems.append(f"{name}:{node.lineno} defines the coroutine {node.name!r}: a rule is synchronous")
            called = node.func.id if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else ""
            if called in IMPURE_BUILTINS and isinstance(node, ast.Call):
                problems.append(f"{name}:{node.lineno} calls {called!r}: a rule touches nothing outside")
    return problems


# The repository.


def test_the_rules_are_pure():
    problems = impure_rules(modules_under(CORE))

    assert not problems, report(problems)


# The checker itself.


@pytest.mark.parametrize(
    "source",
    [
        "import time",
        "import random",
        "from asyncio import sleep",
        "import logging",
        "import os.path",
        "from pathlib import Path",
        "def now():\n    from time import time",
        "import pydantic",
        "async def decide(): ...",
        "def decide(): print('hello')",
        "text = open('policy.yaml').read()",
    ],
)
def test_a_rule_that_reaches_outside_is_caught(source: str):
    (problem,) = impure_rules(fake(_rules__breaker=source))

    assert problem.startswith("coterie._rules.breaker:")
