"""Measure one module: cyclomatic complexity and maintainability (radon), and sizes."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Any

from coterie._json import JsonValue
from coterie.teams.code_review.conventions import is_test
from coterie.teams.code_review.finding import Finding, Problem, Severity, judgement
from coterie.teams.code_review.sizes import Sizes, count_lines
from coterie.teams.code_review.syntax import Unreadable, decoded, syntax_tree
from coterie.teams.code_review.tool import tool_version

__all__ = ["measure_file"]

# radon's ranks: C from 11, D from 21, E from 31, F from 41.
_COMPLEX: tuple[tuple[int, str, Severity], ...] = (
    (41, "F", "error"),
    (31, "E", "error"),
    (21, "D", "warning"),
    (11, "C", "note"),
)
# radon's ranks of the maintainability index: above 19 A, above 9 B, else C.
_HARD_TO_MAINTAIN = 9.0
LONG_FUNCTION_LINES = 100
LONG_MODULE_LINES = 1000
_COMPLEXITY_HELP = "https://radon.readthedocs.io/en/latest/intro.html#cyclomatic-complexity"
_MAINTAINABILITY_HELP = "https://radon.readthedocs.io/en/latest/intro.html#maintainability-index"


def measure_file(path: str, data: bytes) -> dict[str, JsonValue]:
    """Metrics of a module, and findings where it is complex, long or hard to maintain."""
    tool = tool_version("radon")
    try:
        text = decoded(data)
        tree = syntax_tree(text)
        sizes = count_lines(text)
        blocks, maintainability = _judge(tree, sizes)
    except Unreadable as reason:
        return judgement([], metrics={}, tool=tool, problems=[Problem(path, str(reason))])
    complexities = [block.complexity for block in blocks]
    metrics: dict[str, JsonValue] = {
        "lines": sizes.lines,
        "code_lines": sizes.code,
        "comment_lines": sizes.comments,
        "docstring_lines": sizes.strings,
        "blank_lines": sizes.blank,
        "functions": len(blocks),
        "complexity_max": max(complexities, default=0),
        "complexity_mean": sum(complexities) / len(blocks) if blocks else 0.0,
        "maintainability": round(maintainability, 2),
    }
    findings = [*_complex(blocks, path), *_long(tree, sizes, path), *_unmaintainable(maintainability, path)]
    return judgement(findings, metrics=metrics, tool=tool)


def _judge(tree: ast.Module, sizes: Sizes) -> tuple[list[Any], float]:
    """Functions and methods as radon counts them, and the maintainability index (0 to 100)."""
    from radon.metrics import h_visit_ast, mi_compute
    from radon.visitors import ComplexityVisitor

    try:
        visitor = ComplexityVisitor.from_ast(tree)
        volume = h_visit_ast(tree).total.volume
    except RecursionError as error:
        raise Unreadable("radon cannot judge it: nested too deeply") from error
    statements = sum(isinstance(node, ast.stmt) for node in ast.walk(tree))
    comments = 100.0 * (sizes.comments + sizes.strings) / sizes.code if sizes.code else 0.0
    index = mi_compute(volume, visitor.total_complexity, statements, comments)
    return [block for block in visitor.blocks if hasattr(block, "is_method")], index


def _complex(blocks: list[Any], path: str) -> Iterator[Finding]:
    for block in blocks:
        rank = next(((name, level) for least, name, level in _COMPLEX if block.complexity >= least), None)
        if rank is not None:
            yield _finding(
                "complex-function",
                rank[1],
                f"{block.fullname!r} has a cyclomatic complexity of {block.complexity} (rank {rank[0]}); "
                "split it, or replace branches by a table",
                path,
                (block.lineno, block.endline),
                help_uri=_COMPLEXITY_HELP,
            )


def _long(tree: ast.Module, sizes: Sizes, path: str) -> Iterator[Finding]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            end = node.end_lineno or node.lineno
            if end - node.lineno + 1 > LONG_FUNCTION_LINES:
                message = f"{node.name!r} is {end - node.lineno + 1} lines long; split it"
                yield _finding("long-function", _lenient("warning", path), message, path, (node.lineno, end))
    if sizes.code > LONG_MODULE_LINES:
        message = f"the module has {sizes.code} lines of code; split it by what changes together"
        yield _finding("long-module", _lenient("warning", path), message, path)


def _unmaintainable(index: float, path: str) -> Iterator[Finding]:
    if index <= _HARD_TO_MAINTAIN:
        message = (
            f"the maintainability index is {index:.1f} of 100 (rank C); "
            "make the module smaller and its functions simpler"
        )
        level = _lenient("warning", path)
        yield _finding("low-maintainability", level, message, path, help_uri=_MAINTAINABILITY_HELP)


def _lenient(severity: Severity, path: str) -> Severity:
    return "note" if is_test(path) else severity


def _finding(
    rule: str,
    severity: Severity,
    message: str,
    path: str,
    lines: tuple[int, int] | None = None,
    *,
    help_uri: str | None = None,
) -> Finding:
    line, end_line = lines or (1, None)
    return Finding(
        agent="analyzer",
        tool="radon",
        rule=rule,
        severity=severity,
        message=message,
        path=path,
        line=line,
        end_line=end_line,
        help_uri=help_uri,
    )
