"""The plans that these tests run, on Airflow and in this process."""

from __future__ import annotations

from coterie import ForEach, Plan, Task, When

TEAM_PATH = "tests.airflow.agents:team"


def each(task_id, *, of="list", agent_type="worker", **fields):
    foreach = ForEach(task=of, pointer="/items", key="/name", tolerate_failures=fields.pop("tolerate", 0))
    return Task(task_id, agent_type, foreach=foreach, **fields)


chain = Plan(
    "chain",
    [
        Task("first", "pid"),
        Task("second", "echo", input={"text": {"$param": "text"}, "literal": "{{ ds }}"}, depends_on=("first",)),
        Task("third", "echo", depends_on=("second",)),
    ],
    params={"text": "hello"},
)

wide = Plan(
    "wide",
    [
        Task("list", "lister", input={"items": {"$param": "items"}}),
        each("work", input={"padding": 40}),
        Task("text", "payload", input={"bytes": 200_000}),
        Task("same", "payload", input={"bytes": 200_000}),
        Task("measure", "measurer", depends_on=("text", "same")),
    ],
    params={"items": 2000},
)

partial = Plan(
    "partial",
    [
        Task("list", "lister", input={"items": 6}),
        Task("broken", "failing"),
        Task("hanging", "slow", input={"seconds": 600}, timeout_s=1.0),
        each("strict", input={"bad": ["item-2"]}),
        each("lenient", input={"bad": ["item-1", "item-4"]}, tolerate=0.5),
        Task("blocked", "echo", depends_on=("broken", "list")),
        Task("unwanted", "echo", when=When("list", "/items/99")),
        Task("after", "echo", depends_on=("unwanted",)),
        Task(
            "report",
            "summer",
            depends_on=("broken", "hanging", "strict", "lenient", "blocked", "after"),
            trigger_rule="all_done",
        ),
    ],
    outputs=("report",),
)

resplit = Plan(
    "resplit",
    [
        Task("list", "file_lister", input={"path": {"$param": "path"}}),
        each("work"),
        Task("report", "summer", depends_on=("work",)),
    ],
    params={"path": ""},
)

early = Plan(
    "early",
    [
        Task("quick", "echo"),
        Task("late_failure", "failing", input={"gate": {"$param": "gate"}}),
        Task("any", "echo", depends_on=("quick", "late_failure"), trigger_rule="one_success"),
        Task("failure", "failing"),
        Task("late_success", "gated", input={"gate": {"$param": "gate"}}),
        Task("both", "echo", depends_on=("failure", "late_success")),
    ],
    params={"gate": ""},
)

lost = Plan("lost", [Task("dying", "dying"), Task("report", "summer", depends_on=("dying",), trigger_rule="all_done")])

stored = Plan(
    "stored", [Task("text", "payload", input={"bytes": 50_000}), Task("measure", "measurer", depends_on=("text",))]
)

lingering = Plan("lingering", [Task("linger", "lingerer", input={"pids": {"$param": "pids"}})], params={"pids": ""})

# A foreach in every way in which it can end.
shapes = Plan(
    "shapes",
    [
        Task("list", "lister", input={"items": 5}),
        Task("none", "lister", input={"items": 0}),
        Task("broken", "failing"),
        each("empty", of="none"),
        each("whole"),
        Task("astray", "worker", foreach=ForEach(task="list", pointer="/nothing/here")),
        each("blocked", of="broken"),
        each("unwanted", when=When("list", "/items/99")),
        each("after_unwanted", of="unwanted"),
        Task("given", "worker", foreach=ForEach(items=({"name": "a"}, {"name": "b"}, {"name": "a"}))),
        each("none_failed", depends_on=("unwanted",), trigger_rule="none_failed"),
        Task("skipped_too", "echo", depends_on=("unwanted", "list")),
        Task("in_spite", "echo", depends_on=("unwanted", "list"), trigger_rule="none_failed"),
        Task("any", "echo", depends_on=("broken", "blocked", "unwanted"), trigger_rule="one_success"),
        Task(
            "report",
            "summer",
            depends_on=("empty", "whole", "astray", "blocked", "unwanted", "after_unwanted", "given", "any"),
            trigger_rule="all_done",
        ),
    ],
)

failed = Plan("failed", [Task("list", "lister", input={"items": 2}), Task("broken", "failing", depends_on=("list",))])


class _Decomposer:
    async def decompose(self, objective, context, *, team):
        return {"run the chain": chain}[objective]


decomposer = _Decomposer()
