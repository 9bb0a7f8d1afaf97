"""Random plans with decided outcomes, and a slow interpreter that says how their tasks must end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

from hypothesis import strategies as st

from coterie import ForEach, Plan, Task, When
from coterie.ids import TaskState
from coterie.task import TriggerRule

RULES: tuple[TriggerRule, ...] = get_args(TriggerRule)


@dataclass(frozen=True)
class Story:
    """A plan, and what each task does when it runs: succeeds, fails or is skipped by its own condition."""

    plan: Plan
    outcomes: dict[str, TaskState]

    def expected(self) -> dict[str, TaskState]:
        """How every task ends, found by reading the rules as they are documented, again and again."""
        ends: dict[str, TaskState] = {}
        while len(ends) < len(self.plan.tasks):
            for task in self.plan.tasks:
                if task.id not in ends and all(name in ends for name in task.upstream):
                    ends[task.id] = self._end(task, [ends[name] for name in task.upstream])
        return ends

    def _end(self, task: Task, before: list[TaskState]) -> TaskState:
        failed = [state for state in before if state in ("failed", "upstream_failed")]
        succeeded = [state for state in before if state == "succeeded"]
        runs = {
            "all_success": len(succeeded) == len(before),
            "all_done": True,
            "one_success": bool(succeeded) or not before,
            "none_failed": not failed,
        }
        if runs[task.trigger_rule]:
            return self.outcomes[task.id]
        return "upstream_failed" if failed else "skipped"


@st.composite
def stories(draw: st.DrawFn, *, most: int = 12) -> Story:
    """A story of up to `most` tasks, in any order, with any edges that make no cycle."""
    tasks, outcomes = [], {}
    for number in range(draw(st.integers(1, most))):
        before = draw(st.sets(st.integers(0, number - 1), max_size=4)) if number else set()
        names = [f"t{one}" for one in sorted(before)]
        rule = draw(st.sampled_from(RULES))
        readable = names and (rule != "one_success" or len(names) == 1)
        outcome = draw(st.sampled_from(["succeeded", "failed", "skipped"] if readable else ["succeeded", "failed"]))
        never = When(names[0], "", "eq", "what nobody says") if outcome == "skipped" else None
        tasks.append(
            Task(
                f"t{number}",
                draw(st.sampled_from(["wide", "narrow"])),
                depends_on=names,
                trigger_rule=rule,
                priority=draw(st.integers(-1, 1)),
                when=never,
                foreach=draw(st.sampled_from([None, None, ForEach(items=[1, 2])])),
            )
        )
        outcomes[f"t{number}"] = outcome
    return Story(Plan("random", draw(st.permutations(tasks))), outcomes)
