"""The tester: what tests there are and what they reach; and, only when asked, how they end."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, TypeGuard

from coterie._json import JsonValue
from coterie.teams.code_review.conventions import is_test
from coterie.teams.code_review.dependencies import reachable, read_dependencies
from coterie.teams.code_review.finding import Finding, Problem, Severity, judgement
from coterie.teams.code_review.manifest import Manifest, fresh_folder, materialise
from coterie.teams.code_review.parallel import in_thread
from coterie.teams.code_review.sizes import count_lines
from coterie.teams.code_review.source import read_manifest, read_modules, require_store
from coterie.teams.code_review.syntax import Unreadable, decoded, parse_all
from coterie.teams.code_review.tool import tool_version
from coterie.teams.code_review.trial import Trial, trial_findings, try_tests

if TYPE_CHECKING:
    from coterie.context import TaskContext

__all__ = ["examine_tests", "judge_tests"]

# Fewer lines of tests than this share of the source's are few, once there is something to test.
FEW_TESTS = 0.2
_WORTH_TESTING_LINES = 100
_TRIAL_TIMEOUT_S = 600.0
# Run by people or tools, not imported by tests.
_SCRIPTS = frozenset({"__init__.py", "__main__.py", "conf.py", "setup.py", "manage.py", "noxfile.py"})


async def examine_tests(task_input: dict[str, JsonValue], ctx: TaskContext) -> dict[str, JsonValue]:
    """Judge the tests of the snapshot. Input: run_tests (false), test_timeout_s (600).

    With run_tests the reviewed code is executed: see `trial`.
    """
    manifest = await read_manifest(task_input, ctx)
    modules = await read_modules(manifest, ctx)
    trial = None
    if task_input.get("run_tests"):
        trial = await _try(manifest, ctx, float(str(task_input.get("test_timeout_s") or _TRIAL_TIMEOUT_S)))
    return await in_thread(judge_tests, modules, trial)


def judge_tests(modules: Mapping[str, bytes], trial: Trial | None = None) -> dict[str, JsonValue]:
    """Count tests, compare their size with the source's, and find modules that no test can reach."""
    texts = {path: decoded(data) for path, data in modules.items()}
    trees, problems = parse_all(texts)
    tests = {path: list(_tests(tree)) for path, tree in trees.items() if _holds_tests(path)}
    lines = _code_lines({path: texts[path] for path in trees}, problems)
    ratio = lines[True] / lines[False] if lines[False] else None
    metrics: dict[str, JsonValue] = {
        "test_files": len(tests),
        "tests": sum(map(len, tests.values())),
        "test_lines": lines[True],
        "source_lines": lines[False],
        "test_to_source": ratio,
        "run": None if trial is None else trial.metrics(),
    }
    findings = [
        *_few(sum(map(len, tests.values())), lines),
        *_empty(tests),
        *_unreached(trees, [path for path in trees if is_test(path)]),
        *(trial_findings(trial, modules) if trial is not None else ()),
    ]
    tool = tool_version("coterie") if trial is None else tool_version("pytest")
    return judgement(findings, metrics=metrics, tool=tool, problems=problems)


async def _try(manifest: Manifest, ctx: TaskContext, timeout_s: float) -> Trial:
    with fresh_folder("tests") as scratch:
        root = scratch / "tree"
        root.mkdir()
        await materialise(manifest.files, require_store(ctx), root)
        return await try_tests(root, scratch, timeout_s=timeout_s)


def _holds_tests(path: str) -> bool:
    stem = PurePosixPath(path).stem
    return stem.startswith("test_") or stem.endswith("_test")


def _tests(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Test functions, and the test methods of classes that pytest or unittest collect."""
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and (node.name.startswith("Test") or _is_test_case(node)):
            yield from (part for part in node.body if _is_test_function(part))
        elif _is_test_function(node):
            yield node


def _is_test_function(node: ast.stmt) -> TypeGuard[ast.FunctionDef | ast.AsyncFunctionDef]:
    return isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test")


def _is_test_case(node: ast.ClassDef) -> bool:
    return any(ast.unparse(base).endswith("TestCase") for base in node.bases)


def _code_lines(texts: Mapping[str, str], problems: list[Problem]) -> dict[bool, int]:
    """Lines of code in tests (True) and in the source (False)."""
    lines = {True: 0, False: 0}
    for path, text in texts.items():
        try:
            lines[is_test(path)] += count_lines(text).code
        except Unreadable as reason:
            problems.append(Problem(path, str(reason)))
    return lines


def _few(count: int, lines: Mapping[bool, int]) -> Iterator[Finding]:
    if not count and lines[False]:
        yield _finding("no-tests", "warning", "there are no tests; begin with the code that may not break")
    elif lines[False] > _WORTH_TESTING_LINES and lines[True] < FEW_TESTS * lines[False]:
        message = f"{lines[True]} lines of tests stand against {lines[False]} lines of code; test the risky parts first"
        yield _finding("few-tests", "note", message)


def _empty(tests: Mapping[str, list[ast.FunctionDef | ast.AsyncFunctionDef]]) -> Iterator[Finding]:
    for path, functions in tests.items():
        for function in functions:
            if all(_does_nothing(node) for node in function.body):
                message = f"the test {function.name!r} does nothing and always passes; write or delete it"
                yield _finding("empty-test", "warning", message, path, function.lineno)


def _does_nothing(node: ast.stmt) -> bool:
    return isinstance(node, ast.Pass) or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))


def _unreached(trees: Mapping[str, ast.Module], tests: list[str]) -> Iterator[Finding]:
    """Modules that no test loads, directly or through others, wherever an import says so."""
    if not tests:
        return
    reached = reachable(read_dependencies(trees), tests)
    for path, tree in trees.items():
        code = any(isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) for node in tree.body)
        if path not in reached and code and not is_test(path) and PurePosixPath(path).name not in _SCRIPTS:
            message = "no test imports this module, directly or through others; test it, or delete it if it is dead"
            yield _finding("unreached-module", "note", message, path, 1)


def _finding(rule: str, severity: Severity, message: str, path: str | None = None, line: int | None = None) -> Finding:
    return Finding(agent="tester", tool="coterie", rule=rule, severity=severity, message=message, path=path, line=line)
