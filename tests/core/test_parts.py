"""A foreach in parts, as schedulers run it: the same result for every cut, and nothing stale counts."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coterie import (
    ArtifactStore,
    ForEach,
    Orchestrator,
    Part,
    PartResult,
    Parts,
    Ref,
    Task,
    TaskContext,
    TaskResult,
    When,
)
from coterie._rules.foreach import part_bounds
from coterie.errors import CorruptArtifact, Misuse, UnknownAgentType
from coterie.testing import MemoryBlobs

LONG = "long enough to be stored " * 30


async def work(task_input: dict[str, Any], ctx: TaskContext) -> Any:
    if task_input["item"] == "bad":
        raise ValueError("bad item")
    return {"item": ctx.item, "text": LONG}


def worker(blobs: MemoryBlobs) -> Orchestrator:
    orchestrator = Orchestrator(artifacts=ArtifactStore(blobs))
    orchestrator.register_agent("a", "x", 3, handler=work)
    return orchestrator


@pytest.fixture
def orchestrator() -> Orchestrator:
    return worker(MemoryBlobs())


def over(items: list[Any], **fields: Any) -> Task:
    return Task("each", "x", foreach=ForEach(items=items, **fields))


async def in_parts(
    orchestrator: Orchestrator, task: Task, most: int, params: dict[str, Any] | None = None
) -> TaskResult:
    parts = await orchestrator.split(task, max_parts=most, workflow_id="one", params=params)
    assert parts is not None
    results = [await orchestrator.execute_part(task, part, workflow_id="one", params=params) for part in parts]
    return await orchestrator.gather(task, parts, reversed(results), workflow_id="one")


@given(st.integers(0, 5000), st.integers(1, 1024))
def test_parts_cover_every_item_once_and_differ_by_at_most_one(items: int, most: int):
    parts = min(most, items)
    bounds = [part_bounds(items, parts, index) for index in range(parts)]

    assert [item for start, stop in bounds for item in range(start, stop)] == list(range(items))
    sizes = {stop - start for start, stop in bounds}
    assert not sizes or max(sizes) - min(sizes) <= 1


async def test_a_gathered_foreach_may_take_parameters(orchestrator: Orchestrator):
    task = Task("each", "x", input={"day": {"$param": "day"}}, foreach=ForEach(items=["a", "b"]))

    result = await in_parts(orchestrator, task, 2, {"day": "today"})

    assert result.state == "succeeded"


@pytest.mark.parametrize("items", [[], ["a"], ["a", "b", "a", "bad", "c", "d", "bad"]])
async def test_every_cut_gives_the_same_result(items: list[Any]):
    results = [
        await in_parts(worker(MemoryBlobs()), over(items, tolerate_failures=2), most) for most in (1, 2, 3, 1000)
    ]
    whole = await worker(MemoryBlobs()).execute_task(over(items, tolerate_failures=2), workflow_id="one")

    assert {json.dumps(result.status_document()) for result in results} == {json.dumps(whole.status_document())}


async def test_the_result_does_not_depend_on_where_the_items_lie(orchestrator: Orchestrator):
    here = await in_parts(worker(MemoryBlobs("test://here")), over(["a", "b"]), 2)
    there = await in_parts(worker(MemoryBlobs("test://a/far/away/place")), over(["a", "b"]), 2)

    assert here.status_document() == there.status_document()


async def test_parts_are_a_sequence_however_long_the_list_is(orchestrator: Orchestrator):
    parts = await orchestrator.split(over(list(range(2000))), max_parts=64)

    assert parts is not None
    assert (len(parts), parts.items) == (64, 2000)
    assert parts[-1] == list(parts)[63] == parts[63]
    assert [part.index for part in parts[10:12]] == [10, 11]
    assert len(json.dumps(parts.serialize())) < 500
    with pytest.raises(IndexError):
        parts[64]


async def test_parts_and_results_travel(orchestrator: Orchestrator):
    parts = await orchestrator.split(over(["a"]), max_parts=4)
    assert parts is not None
    result = await orchestrator.execute_part(over(["a"]), parts[0])

    for one in (parts, parts[0], result):
        assert type(one).deserialize(json.loads(json.dumps(one.serialize())), 1) == one
        with pytest.raises(Misuse, match="has version 2, this coterie reads 1; upgrade it"):
            type(one).deserialize(one.serialize(), 2)


async def test_results_of_another_list_or_cut_are_left_out(orchestrator: Orchestrator):
    task = over(["a", "b", "c"])
    before = await orchestrator.split(task, max_parts=3)
    now = await orchestrator.split(task, max_parts=2)
    assert before is not None
    assert now is not None
    stale = [await orchestrator.execute_part(task, part) for part in before]
    fresh = [await orchestrator.execute_part(task, part) for part in now]

    mixed = await orchestrator.gather(task, now, [*stale, *fresh, *stale])
    only_stale = await orchestrator.gather(task, now, stale)

    assert mixed.state == "succeeded"
    assert mixed.items is not None
    assert mixed.items.total == 3
    assert only_stale.state == "failed"


async def test_a_lost_part_counts_all_its_items_as_failed(orchestrator: Orchestrator):
    task = over(["a", "b", "c", "d"], tolerate_failures=1)
    parts = await orchestrator.split(task, max_parts=2)
    assert parts is not None
    kept = await orchestrator.execute_part(task, parts[0])

    result = await orchestrator.gather(task, parts, [kept])

    assert result.state == "failed"
    assert result.items is not None
    assert (result.items.total, result.items.failed) == (4, 2)
    assert result.error is not None
    assert result.error.message == "2 of 4 items failed, 2 lost with their worker"


async def test_the_outputs_of_a_gathered_foreach_are_read_one_by_one(orchestrator: Orchestrator):
    seen: list[Any] = []

    async def read(task_input: Any, ctx: TaskContext) -> None:
        seen.append([value["item"] for value in await ctx.output("each")])
        seen.append([(item.index, item.state, item.key) for item in await ctx.items("each")])

    orchestrator.register_agent("r", "reader", 1, handler=read)
    gathered = await in_parts(orchestrator, over(["a", "bad", "c"], tolerate_failures=1, key=""), 2)
    travelled = TaskResult.from_dict(json.loads(json.dumps(gathered.to_dict())))

    result = await orchestrator.execute_task(Task("r", "reader", depends_on=["each"]), upstream={"each": travelled})

    assert result.error is None
    assert seen == [["a", "c"], [(0, "succeeded", "a"), (1, "failed", "bad"), (2, "succeeded", "c")]]


async def test_a_skipped_foreach_has_no_parts(orchestrator: Orchestrator):
    task = Task("each", "x", foreach=ForEach(items=[1]), when=When("a", "/go"))

    assert await orchestrator.split(task, max_parts=2, upstream={"a": TaskResult("a", "succeeded", {})}) is None


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda o: o.split(over([1]), max_parts=0), "max_parts is 0; give a number from 1 to 1024"),
        (lambda o: o.split(over([1]), max_parts=1025), "max_parts is 1025"),
        (lambda o: o.split(Task("t", "x"), max_parts=1), "'t' has no foreach; run it with execute_task"),
        (lambda o: Orchestrator().split(over([1]), max_parts=1), "type 'x'"),
    ],
)
async def test_a_split_that_cannot_be_is_refused(orchestrator: Orchestrator, call: Any, error: str):
    with pytest.raises((Misuse, UnknownAgentType), match=error):
        await call(orchestrator)


async def test_parts_need_a_store():
    orchestrator = Orchestrator()
    orchestrator.register_agent("a", "x", 1, handler=work)

    with pytest.raises(Misuse, match="give the orchestrator an artifact store"):
        await orchestrator.split(over([1]), max_parts=1)


@pytest.mark.parametrize("content", [b"[]", b"{}", b'{"items": 5}', b'{"items": [5]}', b'{"items": [{"key": "a"}]}'])
async def test_an_index_that_is_none_is_corrupt(orchestrator: Orchestrator, content: bytes):
    parts = await orchestrator.split(over(["a"]), max_parts=1)
    assert parts is not None
    forged = PartResult(Ref.inline(content), parts.token, 0, 1, 0)

    with pytest.raises(CorruptArtifact, match="is not an index of items"):
        await orchestrator.gather(over(["a"]), parts, [forged])


async def test_a_part_of_something_else_is_refused(orchestrator: Orchestrator):
    part = Part(Ref.inline(b"{}"), "token", 0, 0, 1)

    with pytest.raises(Misuse, match="is not a list; pass what `split` returned"):
        await orchestrator.execute_part(over(["a"]), part)


def test_a_list_that_was_cut_before_it_said_when_is_read_all_the_same():
    parts = Parts(Ref.inline(b"[1,2]"), 2, 2, 1_700_000_000.5)
    older = {name: value for name, value in parts.serialize().items() if name != "cut_at"}

    assert Parts.deserialize(parts.serialize()).cut_at == 1_700_000_000.5
    assert Parts.deserialize(older).cut_at is None
    assert Parts.deserialize(older) == parts


def test_no_items_make_no_parts():
    assert list(Parts(Ref.inline(b"[]"), 0, 0)) == []


@pytest.mark.parametrize(("start", "stop"), [(-1, 1), (1, 9), (2, 1)])
async def test_a_part_that_its_list_does_not_have_is_refused(orchestrator: Orchestrator, start: int, stop: int):
    with pytest.raises(Misuse, match="the list has 2 items, and no part"):
        await orchestrator.execute_part(over([1, 2]), Part(Ref.inline(b"[1,2]"), "token", 0, start, stop))
