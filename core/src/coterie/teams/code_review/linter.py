"""The linter: ruff over the whole tree, by this team's rules or by the repository's own."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coterie._json import JsonValue
from coterie.teams.code_review.errors import ToolFailed
from coterie.teams.code_review.finding import Finding, Severity, judgement
from coterie.teams.code_review.manifest import fresh_folder, materialise
from coterie.teams.code_review.process import complaint, run_program
from coterie.teams.code_review.source import read_manifest, require_store
from coterie.teams.code_review.tool import tool_version

if TYPE_CHECKING:
    from coterie.context import TaskContext

__all__ = ["lint", "lint_tree"]

# What is likely wrong or dead, not how it looks: a team's taste is in its own configuration.
SELECT = [
    *("ASYNC", "B", "E4", "E7", "E9", "F", "LOG", "PIE794", "PIE796", "PLE", "PLW0", "PLW15", "PLW21"),
    *("RUF006", "RUF008", "RUF009", "RUF013", "RUF016", "RUF018", "T10", "W605", "YTT"),
]
# Patterns that frameworks and older Python ask for.
IGNORE = ["ASYNC109", "B008", "B905", "E402", "PLW0603"]

# The longest prefix that fits a rule decides; what is in no row is a matter of taste.
_SEVERITIES: dict[str, Severity] = {
    "ASYNC": "warning",
    "B": "warning",
    "B007": "note",
    "B009": "note",
    "B010": "note",
    "B024": "note",
    "B027": "note",
    "B028": "note",
    "B904": "note",
    "E722": "warning",
    "E9": "error",
    "F": "warning",
    "F5": "error",
    "F541": "note",
    "F63": "error",
    "F7": "error",
    "F82": "error",
    "LOG": "warning",
    "PIE79": "warning",
    "PLE": "error",
    "PLW": "warning",
    "RUF0": "warning",
    "T10": "warning",
    "W605": "warning",
    "YTT": "warning",
    "invalid-syntax": "error",
}
_CONFIGURATION = frozenset({"pyproject.toml", "ruff.toml", ".ruff.toml"})
# The newest grammar: code for an older Python reads the same, code for a newer one is not refused.
_NEWEST = "py314"
_TIMEOUT_S = 1800.0


async def lint(task_input: dict[str, JsonValue], ctx: TaskContext) -> dict[str, JsonValue]:
    """Run ruff over the snapshot's Python files. Input: repository_config (false)."""
    manifest = await read_manifest(task_input, ctx)
    own_rules = bool(task_input.get("repository_config"))
    configuration = [file for file in manifest.files if file.path.rpartition("/")[2] in _CONFIGURATION]
    wanted = [*manifest.python, *(configuration if own_rules else [])]
    with fresh_folder("lint") as scratch:
        root = scratch / "tree"
        root.mkdir()
        await materialise(wanted, require_store(ctx), root)
        return await lint_tree(root, repository_config=own_rules)


async def lint_tree(root: Path, *, repository_config: bool = False) -> dict[str, Any]:
    """Run ruff over a folder. With `repository_config`, its configuration counts where it has one.

    Writes `ruff.toml` beside the folder, for the files that no configuration in it covers.

    Raises:
        ToolFailed: ruff is not installed, or refused the repository's configuration.
    """
    tool = tool_version("ruff")
    (root.parent / "ruff.toml").write_text(_configuration())
    chosen = ["--config", "exclude=[]", *_rules()] if not repository_config else ["--force-exclude"]
    argv = [sys.executable, "-P", "-m", "ruff", "check", "--no-cache", "--quiet", "--no-fix", "--exit-zero"]
    argv += ["--output-format", "json", "--no-respect-gitignore", *chosen, str(root)]
    env = {name: value for name, value in os.environ.items() if not name.startswith("RUFF_")}
    done = await run_program(argv, name="ruff", cwd=root.parent, env=env, timeout_s=_TIMEOUT_S)
    if done.exit_code != 0:
        reason = complaint(done).replace(f"{root}{os.sep}", "").replace(str(root), ".")
        raise ToolFailed(f"ruff gave up: {reason!r}; correct the repository's ruff configuration, or review without")
    findings = [_finding(entry, root) for entry in json.loads(done.stdout or b"[]")]
    return judgement(findings, metrics={"findings": len(findings)}, tool=tool)


def _rules() -> list[str]:
    return ["--isolated", "--target-version", _NEWEST, "--select", ",".join(SELECT), "--ignore", ",".join(IGNORE)]


def _configuration() -> str:
    document = {"select": SELECT, "ignore": IGNORE}
    lines = [f"{name} = {json.dumps(rules)}" for name, rules in document.items()]
    return "\n".join([f'target-version = "{_NEWEST}"', "[lint]", *lines, ""])


def _finding(entry: dict[str, Any], root: Path) -> Finding:
    rule = entry["code"] or "invalid-syntax"
    return Finding(
        agent="linter",
        tool="ruff",
        rule=rule,
        severity=severity_of(rule),
        message=entry["message"].replace(f"{root}{os.sep}", ""),
        path=Path(entry["filename"]).relative_to(root).as_posix(),
        line=entry["location"]["row"],
        column=entry["location"]["column"],
        end_line=entry["end_location"]["row"],
        help_uri=entry["url"],
    )


def severity_of(rule: str) -> Severity:
    """How much a rule of ruff weighs here."""
    prefixes = (rule[:length] for length in range(len(rule), 0, -1))
    return next((_SEVERITIES[prefix] for prefix in prefixes if prefix in _SEVERITIES), "note")
