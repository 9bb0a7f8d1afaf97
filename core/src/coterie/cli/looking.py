"""`coterie validate` and `coterie graph`: plans looked at, not run."""

from __future__ import annotations

import sys
from collections import Counter

from rich.text import Text

from coterie.cli.drawing import LEGEND, draw
from coterie.cli.sources import load_team, read_plan
from coterie.cli.streams import write_json
from coterie.cli.summary import output_console
from coterie.cli.words import count_of
from coterie.plan import Plan

__all__ = ["graph_command", "validate_command"]


def validate_command(plan_path: str, team_path: str | None, *, as_json: bool) -> int:
    """Read a plan, which checks it; check that a team can run it."""
    plan = read_plan(plan_path)
    if team_path is not None:
        load_team(team_path).check(plan)
    types = Counter(task.agent_type for task in plan.tasks if task.approval is None)
    people = {task.agent_type for task in plan.tasks if task.approval is not None}
    if as_json:
        document = {
            "valid": True,
            "name": plan.name,
            "hash": plan.hash,
            "tasks": len(plan.tasks),
            "dependencies": _edges(plan),
            "depth": plan.graph.depth(),
            "agent_types": sorted(types),
            **({"people": sorted(people)} if people else {}),
            "params": dict(plan.params),
            "outputs": list(plan.output_ids),
        }
        write_json(document)
        return 0
    console = output_console()
    console.print(Text.assemble(("✓ valid", "green"), f": {_size(plan)}"))
    console.print(f"  agents  {', '.join(sorted(types))}", markup=False)
    if people:
        console.print(f"  people  {', '.join(sorted(people))}", markup=False)
    if plan.params:
        console.print(f"  params  {', '.join(sorted(plan.params))}", markup=False)
    console.print(f"  hash    {plan.hash}", markup=False)
    return 0


def graph_command(plan_path: str, *, mermaid: bool, limit: int) -> int:
    """Write a plan as Mermaid, or draw it."""
    plan = read_plan(plan_path)
    if mermaid:
        sys.stdout.write(plan.to_mermaid())
        return 0
    console = output_console()
    console.print(Text(_size(plan), style="bold"))
    lines = draw(plan, max_rows=limit)
    ids = max(len(line.label) for line in lines)
    types = max(len(line.agent_type) for line in lines)
    for line in lines:
        text = Text.assemble(
            (f"{line.lanes}  ", "cyan"),
            line.label.ljust(ids),
            "  ",
            (line.agent_type.ljust(types), "dim"),
            (f"  {line.note}" if line.note else "", "magenta"),
        )
        text.rstrip()
        console.print(text, soft_wrap=True)
    console.print(LEGEND, style="dim", markup=False, soft_wrap=True)
    return 0


def _size(plan: Plan) -> str:
    edges = f"{_edges(plan):,} dependencies" if _edges(plan) != 1 else "1 dependency"
    return f"{plan.name}: {count_of(len(plan.tasks), 'task')}, {edges}, {plan.graph.depth():,} deep"


def _edges(plan: Plan) -> int:
    return sum(map(len, plan.graph.upstream))
