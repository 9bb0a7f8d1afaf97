"""What agents return, on its way into a journal and out of it again: as it was, or a failure that says why."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from coterie import ForEach, Plan, Task
from coterie.artifacts import ArtifactStore
from coterie.errors import Misuse
from coterie.ref import Ref
from coterie.stores.journal_memory import MemoryJournalStore
from tests.journal.bench import RUN_ID, Bench

PLAN = Plan("p", [Task("a", "work"), Task("b", "work", depends_on=["a"], trigger_rule="all_done"), Task("c", "work")])
SOON_S = 20.0


async def both_times(bench: Bench, plan: Plan = PLAN) -> list[Any]:
    """The results of a run, and of its replay; a run that hangs fails here."""
    async with asyncio.timeout(SOON_S):
        first = await bench.run(plan)
        calls = len(bench.calls)
        again = await bench.run(plan)
    assert len(bench.calls) == calls
    return [first, again]


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


_json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(value=_json, usage=st.integers(0, 3), force=st.none() | st.text(max_size=3), demand=st.integers(0, 2))
def test_any_output_is_replayed_as_it_was(value: Any, usage: int, force: str | None, demand: int):
    def work(task_input: Any, ctx: Any) -> Any:
        ctx.report_usage(requests=usage)
        return value

    async def twice() -> list[Any]:
        bench = Bench(a=work)
        how = {"force": force, "demand": demand, "engine_run": f"e{demand}"}
        return [await bench.run(PLAN, **how), await bench.run(PLAN)]

    first, again = asyncio.run(twice())

    assert again["a"].output == first["a"].output
    assert [one.replayed for one in again] == [True] * 3
    assert again.status_document() == first.status_document()


@pytest.mark.parametrize(
    "value",
    ["\ud800", {"\udfff": 1}, ["ok", "\udce9"], 10**5000, nested(2000), float("nan"), float("inf"), object()],
    ids=["half", "half key", "half inside", "huge number", "deep", "nan", "inf", "object"],
)
async def test_what_cannot_be_written_down_fails_its_task_alone(value: Any):
    first, again = await both_times(Bench(a=lambda *_: value))

    assert [one.state for one in first] == ["failed", "succeeded", "succeeded"]
    assert first["a"].error.type == "Misuse"
    assert again.status_document() == first.status_document()


@pytest.mark.parametrize(
    "error",
    [ValueError("\ud800"), OSError(2, "No such file", "caf\udce9"), Unspeakable(), ValueError()],
    ids=["half", "file name", "unspeakable", "nothing"],
)
async def test_whatever_an_agent_raises_fails_its_task_alone(error: Exception):
    first, again = await both_times(Bench(a=error))

    assert [one.state for one in first] == ["failed", "succeeded", "succeeded"]
    assert again.status_document() == first.status_document()
    str(first["a"].error).encode()


async def test_an_output_that_is_too_large_for_a_record_fails_its_task_and_says_what_to_do():
    first, again = await both_times(Bench(a="x" * 2**20))

    assert [one.state for one in first] == ["failed", "succeeded", "succeeded"]
    assert "artifact store" in first["a"].error.message
    assert again.status_document() == first.status_document()


async def test_items_that_are_too_large_fail_alone():
    bench = Bench(m=lambda _, ctx: "x" * 2**20 if ctx.item == 2 else ctx.item)
    plan = Plan("m", [Task("m", "work", foreach=ForEach(items=[1, 2, 3], tolerate_failures=1))])

    first, again = await both_times(bench, plan)

    assert first["m"].output == [1, 3]
    assert again.status_document() == first.status_document()


async def test_outputs_of_any_size_are_replayed_where_artifacts_lie(tmp_path: Path):
    bench = Bench(a="x" * 5_000_000, b="small")
    artifacts = ArtifactStore(f"file://{tmp_path}")

    results = [
        await bench.orchestrator(artifacts=artifacts).execute_workflow(PLAN, workflow_id=RUN_ID) for _ in range(2)
    ]

    assert bench.calls == ["a", "c", "b"]
    for result in results:
        assert isinstance(result["a"].output, Ref)
        assert await artifacts.load(result["a"].output) == "x" * 5_000_000
        assert isinstance(result["b"].output, Ref)
        assert await artifacts.load(result["b"].output) == "small"
    assert sum(map(len, (await bench.store.read(RUN_ID)).values())) < 10_000


async def test_many_large_outputs_at_once_are_all_recorded():
    count, size = 60, 900_000
    plan = Plan("p", [Task(f"t{n}", "work") for n in range(count)])
    bench = Bench(**{f"t{n}": f"{n:02}" + "x" * size for n in range(count)})

    _, again = await both_times(bench, plan)

    assert [one.output[:2] for one in again] == [f"{n:02}" for n in range(count)]


async def test_what_ends_together_is_written_in_parts_of_a_bearable_size():
    sizes: list[int] = []

    class Sized(MemoryJournalStore):
        async def write(self, run: str, texts: Mapping[str, str | None], **more: Any) -> None:
            sizes.append(sum(len(text or "") for text in texts.values()))
            await super().write(run, texts, **more)

    bench = Bench(Sized(), **{f"t{n}": "x" * 900_000 for n in range(20)})

    await bench.run(Plan("p", [Task(f"t{n}", "work") for n in range(20)]))

    assert sum(sizes) > 20 * 900_000
    assert max(sizes) < 5_000_000
    assert len(sizes) < 10


async def test_what_an_agent_does_to_its_output_afterwards_is_not_recorded():
    kept: list[Any] = [1]
    bench = Bench(a=lambda *_: kept, b=lambda *_: kept.append(2))

    first, again = await both_times(bench)

    assert first["a"].output == again["a"].output


async def test_a_parameter_that_cannot_be_written_down_is_refused():
    bench = Bench()
    plan = Plan("p", [Task("a", "work")], params={"n": 1})

    with pytest.raises(Misuse, match="parameters cannot be written down"):
        await bench.orchestrator().execute_workflow(plan, params={"n": 10**5000})

    assert bench.calls == []
