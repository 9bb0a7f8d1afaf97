"""The security agent: bandit, one file at a time, in this process.

A process for each file would cost half a second of start-up a file; bandit itself needs a few milliseconds.
"""

from __future__ import annotations

import logging
import re
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coterie._json import JsonValue
from coterie.teams.code_review.conventions import is_test
from coterie.teams.code_review.finding import Finding, Problem, Severity, judgement
from coterie.teams.code_review.parallel import in_thread
from coterie.teams.code_review.source import read_item
from coterie.teams.code_review.syntax import READING, Unreadable, decoded, syntax_tree
from coterie.teams.code_review.tool import tool_version

if TYPE_CHECKING:
    from coterie.context import TaskContext

__all__ = ["search", "search_file"]

# Imports whose dangerous calls have rules of their own: to import is no finding.
_IMPORTS = frozenset({"B403", "B404", "B405", "B406", "B407", "B408", "B409", "B410"})
# Tests assert, and their passwords and temporary files are nobody's.
_IN_TESTS = frozenset({"B101", "B105", "B106", "B107", "B108"})
# bandit quotes the passwords that it finds: a report is no place for them.
_SECRET = re.compile(r"(?<=^Possible hardcoded password): .*", re.DOTALL)
_SEVERITIES: dict[str, Severity] = {"HIGH": "error", "MEDIUM": "warning", "LOW": "note"}
_WEAKER: dict[Severity, Severity] = {"error": "warning", "warning": "note", "note": "note"}


async def search(task_input: dict[str, JsonValue], ctx: TaskContext) -> dict[str, JsonValue]:
    """Search one file of the snapshot for insecure code. Input: item, an entry of python_files."""
    return await in_thread(search_file, *await read_item(task_input, ctx))


def search_file(path: str, data: bytes) -> dict[str, JsonValue]:
    """Search a file; `# nosec` comments count. A file that bandit cannot read is a problem, not an error."""
    tool = tool_version("bandit")
    try:
        issues = _issues(decoded(data), excluded=_IMPORTS | _IN_TESTS if is_test(path) else _IMPORTS)
    except Unreadable as reason:
        return judgement([], metrics={"findings": 0}, tool=tool, problems=[Problem(path, str(reason))])
    findings = [_finding(issue, path) for issue in issues]
    return judgement(findings, metrics={"findings": len(findings)}, tool=tool)


def _issues(text: str, *, excluded: frozenset[str]) -> list[Any]:
    # It logs about single files as if it ran alone; what matters comes back as skipped files.
    logging.getLogger("bandit").setLevel(logging.CRITICAL)
    with tempfile.TemporaryDirectory(prefix="coterie-search-") as scratch:
        # One name for all: bandit derives module names from paths.
        module = Path(scratch, "module.py")
        module.write_text(text, encoding="utf-8", newline="\n")
        # Its rules keep their settings on the functions themselves: one run at a time.
        with READING, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from bandit.core.config import BanditConfig
            from bandit.core.manager import BanditManager

            manager = BanditManager(BanditConfig(), "file", quiet=True, profile={"exclude": set(excluded)})
            manager.files_list = [str(module)]
            manager.run_tests()
    if manager.skipped:
        # The interpreter says where; bandit only that.
        syntax_tree(text)
        raise Unreadable(f"bandit cannot judge it: {manager.skipped[0][1]}")
    issues: list[Any] = manager.results
    return issues


def _finding(issue: Any, path: str) -> Finding:
    from bandit.core.docs_utils import get_url

    severity = _SEVERITIES.get(issue.severity, "note")
    return Finding(
        agent="security",
        tool="bandit",
        rule=issue.test_id,
        severity=_WEAKER[severity] if issue.confidence == "LOW" else severity,
        message=_SECRET.sub("", issue.text),
        path=path,
        line=issue.lineno,
        column=issue.col_offset + 1 if issue.col_offset >= 0 else None,
        end_line=max([issue.lineno, *issue.linerange]),
        help_uri=get_url(issue.test_id),
    )
