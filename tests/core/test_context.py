"""What agents are given: keys that stay the same, copies that nobody shares, outputs on demand."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from coterie import ArtifactStore, ForEach, Orchestrator, Plan, Retry, Task, TaskContext, TaskResult, WorkflowResult
from coterie.errors import CorruptArtifact

AT_ONCE = Retry(max_attempts=3, base_s=0, cap_s=0)


async def run(
    handler: Any, *tasks: Task, store: ArtifactStore | None = None, namespace: str = "default", **fields: Any
) -> WorkflowResult:
    orchestrator = Orchestrator(artifacts=store, namespace=namespace)
    orchestrator.register_agent("a", "x", 4, handler=handler)
    params = fields.pop("params", {})
    plan = Plan("p", tasks, params=params)
    return await orchestrator.execute_workflow(plan, workflow_id=fields.pop("workflow_id", "one"))


class Keys:
    """Notes the idempotency key of each (task, item, attempt), after spoiling its input."""

    def __init__(self, fail_until: int = 1) -> None:
        self.seen: dict[tuple[str, Any, int], str] = {}
        self._fail_until = fail_until

    async def __call__(self, task_input: dict[str, Any], ctx: TaskContext) -> str:
        task_input["spoilt"] = True
        self.seen[ctx.task_id, ctx.item_index, ctx.attempt] = ctx.idempotency_key
        if ctx.attempt < self._fail_until:
            raise ConnectionError
        return ctx.task_id


async def keys(*tasks: Task, fail_until: int = 1, **more: Any) -> dict[tuple[str, Any, int], str]:
    noted = Keys(fail_until)
    await run(noted, *tasks, **more)
    return noted.seen


async def test_the_key_is_the_same_in_every_attempt():
    seen = await keys(Task("t", "x", input={"n": [1]}, retry=AT_ONCE), fail_until=3)

    assert len(seen) == 3
    assert len(set(seen.values())) == 1


async def test_the_key_is_the_same_for_the_same_work_and_with_a_store(tmp_path: Path):
    tasks = [Task("a", "x"), Task("t", "x", input={"n": 1}, depends_on=["a"])]

    first = await keys(*tasks)
    second = await keys(*tasks, store=ArtifactStore(f"file://{tmp_path}"))

    assert first == second


@pytest.mark.parametrize(
    "change",
    [
        {"task": Task("t", "x", input={"n": 2})},
        {"task": Task("u", "x", input={"n": 1})},
        {"workflow_id": "two"},
        {"namespace": "other"},
    ],
)
async def test_the_key_is_another_for_other_work(change: dict[str, Any]):
    task = change.pop("task", Task("t", "x", input={"n": 1}))

    assert set((await keys(Task("t", "x", input={"n": 1}))).values()).isdisjoint((await keys(task, **change)).values())


async def test_every_item_has_a_key_of_its_own_even_among_equals():
    seen = await keys(Task("t", "x", foreach=ForEach(items=["a", "b", "a"]), retry=AT_ONCE), fail_until=2)

    assert len(seen) == 6
    assert len(set(seen.values())) == 3


async def test_an_items_key_does_not_depend_on_its_place():
    forwards = await keys(Task("t", "x", foreach=ForEach(items=["a", "b", "c"])))
    backwards = await keys(Task("t", "x", foreach=ForEach(items=["c", "b", "a"])))

    assert sorted(forwards.values()) == sorted(backwards.values())


async def test_the_key_follows_the_outputs_before_it():
    task = Task("t", "x", depends_on=["a"])
    seen = []
    for output in (1, 2):
        noted = Keys()
        orchestrator = Orchestrator()
        orchestrator.register_agent("a", "x", 1, handler=noted)
        await orchestrator.execute_task(task, upstream={"a": TaskResult("a", "succeeded", output)}, workflow_id="one")
        seen += noted.seen.values()

    assert seen[0] != seen[1]


async def test_the_key_of_one_success_does_not_depend_on_who_was_quick():
    task = Task("t", "x", depends_on=["a", "b"], trigger_rule="one_success")
    seen = []
    for upstream in ({"a": TaskResult("a", "succeeded", 1)}, {name: TaskResult(name, "succeeded", 1) for name in "ab"}):
        noted = Keys()
        orchestrator = Orchestrator()
        orchestrator.register_agent("a", "x", 1, handler=noted)
        await orchestrator.execute_task(task, upstream=upstream, workflow_id="one")
        seen += noted.seen.values()

    assert seen[0] == seen[1]


# Nobody's changes reach anybody else.


async def spoil(task_input: dict[str, Any], ctx: TaskContext) -> Any:
    """Return what was given, then change every bit of it."""
    before = [await ctx.output(name) for name in ctx.upstream]
    given = {"input": task_input, "item": ctx.item, "params": dict(ctx.params), "before": before}
    copy = _copied(given)
    for value in [task_input, *before, *ctx.params.values(), ctx.item]:
        _spoil(value)
    if ctx.attempt < ctx.task.priority:
        raise ConnectionError
    return copy


def _copied(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copied(item) for key, item in value.items()}
    return [_copied(item) for item in value] if isinstance(value, list) else value


def _spoil(value: Any) -> None:
    if isinstance(value, dict):
        for item in list(value.values()):
            _spoil(item)
        value["spoilt"] = True
    elif isinstance(value, list):
        for item in value:
            _spoil(item)
        value.append("spoilt")


async def test_what_an_agent_does_to_its_input_reaches_nobody(tmp_path: Path):
    shared = {"$param": "shared"}
    source = [{"deep": [1]}, {"deep": [2]}]
    tasks = [
        Task("a", "x", input={"own": {"n": [1]}, "p": shared}, priority=2, retry=AT_ONCE),
        Task("b", "x", input={"p": shared}, depends_on=["a"]),
        Task("c", "x", input={"p": shared}, depends_on=["a", "b"]),
        Task("each", "x", input={"p": shared}, foreach=ForEach(items=source), priority=3, retry=AT_ONCE),
        Task("all", "x", depends_on=["each", "c"]),
    ]

    for store in (None, ArtifactStore(f"file://{tmp_path}")):
        plan = Plan("p", tasks, params={"shared": {"list": [1, {"x": 1}]}})
        orchestrator = Orchestrator(artifacts=store)
        orchestrator.register_agent("a", "x", 1, handler=spoil)
        for _ in range(2):
            result = await orchestrator.execute_workflow(plan)

            assert result.status == "succeeded"
            outputs = [await store.load(one.output) if store else one.output for one in result]  # type: ignore[arg-type]  # Refs
            assert "spoilt" not in str(outputs)
        assert "spoilt" not in str(plan.to_dict())


async def test_a_log_line_knows_its_run_task_item_and_attempt(caplog: pytest.LogCaptureFixture):
    async def log(task_input: Any, ctx: TaskContext) -> None:
        ctx.logger.info("hello")

    with caplog.at_level(logging.INFO, "coterie.task"):
        await run(log, Task("t", "x", foreach=ForEach(items=["i"], key="")))

    (record,) = [record for record in caplog.records if record.getMessage() == "hello"]
    bound = {name: getattr(record, name) for name in ("workflow_id", "task_id", "item_key", "attempt")}
    assert bound == {"workflow_id": "one", "task_id": "t", "item_key": "i", "attempt": 1}


async def test_an_output_is_verified_when_it_is_asked_for(tmp_path: Path):
    seen: list[BaseException] = []

    async def agent(task_input: Any, ctx: TaskContext) -> Any:
        if ctx.task_id == "a":
            return "long " * 1000
        (stored,) = [path for path in tmp_path.rglob("*") if path.is_file()]  # noqa: ASYNC240
        stored.write_bytes(stored.read_bytes().replace(b"long", b"lung"))
        try:
            await ctx.output("a")
        except CorruptArtifact as error:
            seen.append(error)
            raise
        return None

    result = await run(
        agent,
        Task("a", "x"),
        Task("b", "x", depends_on=["a"], retry=AT_ONCE),
        store=ArtifactStore(f"file://{tmp_path}"),
    )

    assert result["b"].error is not None
    assert result["b"].error.type == "CorruptArtifact"
    assert result["b"].attempts == 1
    assert len(seen) == 1


async def test_an_output_becomes_the_type_that_is_asked_for():
    async def agent(task_input: Any, ctx: TaskContext) -> Any:
        if ctx.task_id == "a":
            return {"n": [1, 2]}
        value = await ctx.output("a", dict[str, tuple[int, int]])
        return [type(value["n"]).__name__]

    result = await run(agent, Task("a", "x"), Task("b", "x", depends_on=["a"]))

    assert result["b"].output == ["tuple"]
