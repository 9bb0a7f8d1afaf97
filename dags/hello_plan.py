"""Three agents, one plan, one Airflow DAG, triggered by hand.

The connection `coterie_default` says where outputs go; on one machine, for example, this environment variable:
AIRFLOW_CONN_COTERIE_DEFAULT='{"conn_type": "coterie", "extra": {"artifacts": "file:///var/lib/coterie"}}'
"""

from __future__ import annotations

from airflow_provider_coterie import plan_to_dag
from coterie import JsonValue, Plan, Task, TaskContext, Team

team = Team("hello")


@team.agent("greeter")
async def greet(task_input: dict[str, JsonValue]) -> str:
    """Greet somebody by name."""
    return f"Hello, {task_input['name']}!"


@team.agent("counter")
async def count(_: dict[str, JsonValue], ctx: TaskContext) -> dict[str, int]:
    """Count the letters of the greeting."""
    greeting = await ctx.output("greet", str)
    return {"letters": sum(letter.isalpha() for letter in greeting)}


@team.agent("reporter")
async def report(_: dict[str, JsonValue], ctx: TaskContext) -> str:
    """Put both together."""
    greeting, counted = await ctx.output("greet", str), await ctx.output("count")
    return f"{greeting} ({counted['letters']} letters)"


plan = Plan(
    "hello-plan",
    [
        Task("greet", "greeter", input={"name": {"$param": "name"}}),
        Task("count", "counter", depends_on=("greet",)),
        Task("report", "reporter", depends_on=("greet", "count"), trigger_rule="all_done"),
    ],
    params={"name": "world"},
)

dag = plan_to_dag(plan, team_path="hello_plan:team", tags={"coterie"})
