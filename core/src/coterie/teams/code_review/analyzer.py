"""The analyzer: one module by radon, or what only the whole tree shows (duplicates, import cycles)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from coterie._json import JsonValue
from coterie.errors import Misuse
from coterie.teams.code_review.conventions import is_test
from coterie.teams.code_review.dependencies import Cycle, find_cycles, read_dependencies
from coterie.teams.code_review.duplication import Clone, find_clones
from coterie.teams.code_review.finding import Finding, judgement
from coterie.teams.code_review.measure import measure_file
from coterie.teams.code_review.parallel import in_thread
from coterie.teams.code_review.source import read_item, read_manifest, read_modules
from coterie.teams.code_review.syntax import decoded, parse_all
from coterie.teams.code_review.tool import tool_version

if TYPE_CHECKING:
    from coterie.context import TaskContext

__all__ = ["analyze", "analyze_structure"]

# The findings are the largest; the metrics count all.
MAX_CLONE_FINDINGS = 200
_SHOWN_PLACES = 3


async def analyze(task_input: dict[str, JsonValue], ctx: TaskContext) -> dict[str, JsonValue]:
    """Input: scope, `file` (with item, an entry of python_files) or `tree`.

    Raises:
        Misuse: another scope.
    """
    scope = task_input.get("scope")
    if scope == "file":
        return await in_thread(measure_file, *await read_item(task_input, ctx))
    if scope == "tree":
        manifest = await read_manifest(task_input, ctx)
        return await in_thread(analyze_structure, await read_modules(manifest, ctx))
    raise Misuse(f"the analyzer's scope is {scope!r}; give 'file' or 'tree'")


def analyze_structure(modules: Mapping[str, bytes]) -> dict[str, JsonValue]:
    """Repeated code and import cycles between modules."""
    texts = {path: decoded(data) for path, data in modules.items()}
    trees, problems = parse_all(texts)
    clones, uncompared = find_clones({path: texts[path] for path in trees})
    cycles = find_cycles(read_dependencies(trees))
    repeated = {
        (place.path, line)
        for clone in clones
        for place in clone.places
        for line in range(place.line, place.end_line + 1)
    }
    metrics: dict[str, JsonValue] = {
        "modules": len(trees),
        "duplicated_blocks": len(clones),
        "duplicated_lines": len(repeated),
        "import_cycles": len(cycles),
    }
    findings = [*map(_clone_finding, clones[:MAX_CLONE_FINDINGS]), *map(_cycle_finding, cycles)]
    return judgement(findings, metrics=metrics, tool=tool_version("coterie"), problems=[*problems, *uncompared])


def _clone_finding(clone: Clone) -> Finding:
    first, *others = clone.places
    shown = ", ".join(f"{place.path}:{place.line}" for place in others[:_SHOWN_PLACES])
    more = f" and {len(others) - _SHOWN_PLACES} more" if len(others) > _SHOWN_PLACES else ""
    return Finding(
        agent="analyzer",
        tool="coterie",
        rule="duplicated-code",
        severity="note" if all(is_test(place.path) for place in clone.places) else "warning",
        message=f"{clone.statements} statements are repeated at {shown}{more}; keep them in one place",
        path=first.path,
        line=first.line,
        end_line=first.end_line,
    )


def _cycle_finding(cycle: Cycle) -> Finding:
    size = len(cycle.members)
    more = f" ({size} modules import each other in all)" if size > len(cycle.path) - 1 else ""
    return Finding(
        agent="analyzer",
        tool="coterie",
        rule="import-cycle",
        severity="warning",
        message=f"modules import each other while they load: {' -> '.join(cycle.path)}{more}; "
        "move what they share into a module of its own",
        path=cycle.path[0],
        line=cycle.line,
    )
