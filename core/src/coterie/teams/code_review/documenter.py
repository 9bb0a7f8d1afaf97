"""The documenter: how much of the public code says what it is for, and what does not."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, TypeAlias

from coterie._json import JsonValue
from coterie.teams.code_review.conventions import is_test
from coterie.teams.code_review.finding import Finding, Severity, judgement
from coterie.teams.code_review.parallel import in_thread
from coterie.teams.code_review.source import read_manifest, read_modules
from coterie.teams.code_review.syntax import decoded, parse_all
from coterie.teams.code_review.tool import tool_version

if TYPE_CHECKING:
    from coterie.context import TaskContext

__all__ = ["document", "judge_documentation"]

_Definition: TypeAlias = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
_KINDS = {"Module": "module", "ClassDef": "class", "FunctionDef": "function", "AsyncFunctionDef": "function"}
# Documented elsewhere: by the method that is overridden, the getter, or the function that they overload.
_EXEMPT_DECORATORS = frozenset({"overload", "override", "setter", "deleter", "singledispatch", "register"})
# A smaller function is read as fast as a docstring would be.
_LARGE_STATEMENTS = 15


@dataclass(frozen=True, slots=True)
class _Public:
    """A public definition: its dotted name within the module (empty for the module itself)."""

    node: _Definition
    name: str

    @property
    def documented(self) -> bool:
        return ast.get_docstring(self.node, clean=False) is not None


async def document(task_input: dict[str, JsonValue], ctx: TaskContext) -> dict[str, JsonValue]:
    """Judge the docstrings of the snapshot's modules, tests aside, and whether there is a README."""
    manifest = await read_manifest(task_input, ctx)
    modules = await read_modules(manifest, ctx)
    readme = any(file.path.lower().startswith("readme") for file in manifest.files)
    return await in_thread(judge_documentation, modules, readme)


def judge_documentation(modules: Mapping[str, bytes], has_readme: bool) -> dict[str, JsonValue]:  # noqa: FBT001
    """Docstring coverage (share of public definitions, 0 to 1), and a finding for each that has none."""
    trees, problems = parse_all({path: decoded(data) for path, data in modules.items() if not is_test(path)})
    public = [(path, each) for path, tree in trees.items() for each in _public(path, tree)]
    missing = [(path, each) for path, each in public if not each.documented]
    findings = [_missing(path, each) for path, each in missing]
    if not has_readme:
        findings.append(_no_readme())
    metrics: dict[str, JsonValue] = {
        "public": len(public),
        "documented": len(public) - len(missing),
        "coverage": 1.0 - len(missing) / len(public) if public else 1.0,
        "readme": has_readme,
    }
    return judgement(findings, metrics=metrics, tool=tool_version("coterie"), problems=problems)


def _public(path: str, tree: ast.Module) -> Iterator[_Public]:
    """The module, its public classes and functions, and their public methods, in order."""
    pure = PurePosixPath(path)
    parts = (*pure.parent.parts, pure.stem)
    if any(part.startswith("_") and part != "__init__" for part in parts):
        return
    if any(not isinstance(node, ast.Import | ast.ImportFrom) for node in tree.body):
        yield _Public(tree, "")
    exported = _exported(tree)
    for node in _definitions(tree.body):
        if node.name in exported if exported is not None else not node.name.startswith("_"):
            yield from _with_members(node, node.name)


def _with_members(node: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef, name: str) -> Iterator[_Public]:
    if not _EXEMPT_DECORATORS.intersection(map(_last_name, node.decorator_list)):
        yield _Public(node, name)
    if isinstance(node, ast.ClassDef):
        for member in _definitions(node.body):
            if not member.name.startswith("_"):
                yield from _with_members(member, f"{name}.{member.name}")


def _definitions(body: list[ast.stmt]) -> Iterator[ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield node
        elif isinstance(node, ast.If | ast.Try):
            yield from _definitions(node.body)


def _exported(tree: ast.Module) -> set[str] | None:
    """The names in `__all__`, if the module spells them out in one list or tuple."""
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else []
        if any(isinstance(target, ast.Name) and target.id == "__all__" for target in targets):
            value = node.value if isinstance(node, ast.Assign) else None
            if isinstance(value, ast.List | ast.Tuple):
                return {str(item.value) for item in value.elts if isinstance(item, ast.Constant)}
    return None


def _last_name(decorator: ast.expr) -> str:
    target = decorator.func if isinstance(decorator, ast.Call) else decorator
    return target.attr if isinstance(target, ast.Attribute) else target.id if isinstance(target, ast.Name) else ""


def _missing(path: str, each: _Public) -> Finding:
    kind = _KINDS[type(each.node).__name__]
    what = f"the public {kind} {each.name!r}" if each.name else "the module"
    line = None if isinstance(each.node, ast.Module) else each.node.lineno
    return Finding(
        agent="documenter",
        tool="coterie",
        rule=f"undocumented-{kind}",
        severity=_severity(each.node),
        message=f"{what} has no docstring; say what it promises",
        path=path,
        line=line or 1,
    )


def _severity(node: _Definition) -> Severity:
    if isinstance(node, ast.Module | ast.ClassDef):
        return "note"
    statements = sum(isinstance(part, ast.stmt) for part in ast.walk(node)) - 1
    return "warning" if statements > _LARGE_STATEMENTS else "note"


def _no_readme() -> Finding:
    return Finding(
        agent="documenter",
        tool="coterie",
        rule="missing-readme",
        severity="warning",
        message="there is no README; tell a newcomer what this is and how to run it",
    )
