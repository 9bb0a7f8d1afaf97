"""`coterie worker --metrics`: what its page shows of the worker and of its stores, and what it does in trouble."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from prometheus_client.parser import text_string_to_metric_families

from coterie import Plan, Policies, PoolPolicy, Task, TaskContext, Team
from coterie._rules.log import GroupStatus
from coterie.cli.worker.measuring import Measuring
from coterie.errors import Misuse, Unavailable
from coterie.remote import Worker
from coterie.remote.health import Health, Page
from coterie.telemetry.exposition import Exposition
from tests.core.metrics.collected import Collected
from tests.fleet.remote.fleet import Fleet, call_of, until
from tests.fleet.remote.held import Held
from tests.support.command_line import coterie, folder, start

__all__ = ["coterie", "folder", "start"]


@pytest.fixture
async def fleet() -> AsyncIterator[Fleet]:
    fleet = Fleet()
    async with fleet.held:
        yield fleet


async def asked(port: int, request: str) -> tuple[int, str, str]:
    """Status, content type and body of an answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request.encode())
    head, _, body = (await asyncio.wait_for(reader.read(), 20)).decode().partition("\r\n\r\n")
    writer.close()
    kind = next(line for line in head.split("\r\n") if line.startswith("Content-Type: "))
    return int(head.split(" ")[1]), kind.removeprefix("Content-Type: "), body


async def shown(worker: Worker) -> dict[tuple[str, ...], float]:
    """What the page says: by name, and the values of labels in the order of their names."""
    assert worker.health is not None
    status, kind, body = await asked(worker.health.port, "GET /metrics HTTP/1.1\r\n\r\n")
    assert (status, kind) == (200, "text/plain; version=0.0.4; charset=utf-8")
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(body)
        for sample in family.samples
    }


async def test_it_shows_what_waits_in_the_store_what_is_at_work_and_that_the_worker_drains(fleet: Fleet):
    held, measuring = Held(), Measuring(health=("127.0.0.1", 0))
    runtime = await fleet.runtime(held.team, on_event=measuring)
    worker = Worker(runtime, health=("127.0.0.1", 0), capacity=1)
    measuring.of(worker, runtime)
    work = asyncio.create_task(worker.run())
    await until(lambda: worker.status()["ready"] is True)
    before = await shown(worker)

    for n in range(3):
        await fleet.calls.submit(call_of(Task(f"t{n}", "held")))
    await until(lambda: worker.in_use == 1)
    during = await shown(worker)
    worker.stop()
    draining = await shown(worker)
    held.release.set()
    await asyncio.wait_for(work, 20)

    state = ("coterie_worker_ready",), ("coterie_worker_in_use",), ("coterie_queue_depth", "held", "worker")
    assert [before[each] for each in state] == [1, 0, 0]
    assert [during[each] for each in state] == [1, 1, 2]
    assert draining["coterie_worker_ready",] == 0
    assert during["coterie_worker_capacity",] == 1


async def test_a_refusal_that_gives_the_task_back_is_counted_where_it_was_refused(fleet: Fleet):
    collected = Collected()
    team = Team("t")
    release = asyncio.Event()

    @team.agent("scarce")
    async def scarce(task_input: dict[str, object]) -> str:
        await release.wait()
        return "done"

    team.protect("scarce", Policies(pool=PoolPolicy(), max_wait_s=60))
    holder, other = [await fleet.runtime(team, on_event=listener) for listener in (None, collected.metrics)]
    collected.metrics.watch(other.orchestrator)
    taken = asyncio.create_task(holder.orchestrator.execute_task(Task("first", "scarce")))
    await until(lambda: holder.orchestrator.get_status().agents[0].in_use == 1)
    async with asyncio.timeout(20):
        worker = Worker(other)
        work = asyncio.create_task(worker.run())
        await fleet.calls.submit(call_of(Task("second", "scarce")))
        await until(lambda: collected.points("coterie.refusals")["scarce", "pool"] >= 1)
        release.set()
        await until(lambda: collected.points("coterie.task.completed")["scarce", "succeeded"] == 1)
        worker.stop()
        await work
        await taken

    assert collected.points("coterie.agent.calls")["scarce", "succeeded"] == 1


async def test_who_stands_in_line_for_an_agent_that_another_process_holds_waits_in_the_pool(fleet: Fleet):
    collected, team, release = Collected(), Team("t"), asyncio.Event()

    @team.agent("scarce")
    async def scarce(task_input: dict[str, object]) -> None:
        await release.wait()

    team.protect("scarce", Policies(pool=PoolPolicy(), max_wait_s=60))
    holder, other = [await fleet.runtime(team, on_event=listener) for listener in (None, collected.metrics)]
    collected.metrics.watch(other.orchestrator)
    first = asyncio.create_task(holder.orchestrator.execute_task(Task("first", "scarce")))
    await until(lambda: holder.orchestrator.get_status().agents[0].in_use == 1)
    second = asyncio.create_task(other.orchestrator.execute_task(Task("second", "scarce")))
    depths = []
    async with asyncio.timeout(20):
        while ("scarce", "pool") not in [name for name, count in (depths[-1] if depths else {}).items() if count]:
            await collected.metrics.refresh()
            depths.append(collected.points("coterie.queue.depth"))
            await asyncio.sleep(0.01)
    release.set()
    await asyncio.gather(first, second)
    await collected.metrics.refresh()

    assert depths[-1] == {("scarce", "pool"): 1, ("scarce", "local"): 0}
    assert collected.points("coterie.queue.depth") == {("scarce", "pool"): 0, ("scarce", "local"): 0}


async def test_a_task_that_a_worker_performs_is_counted_there_and_not_where_the_plan_runs(fleet: Fleet):
    team, at_work, at_desk = Team("t"), Collected(), Collected()

    @team.agent("adder", capacity=2)
    async def add(task_input: dict[str, object], ctx: TaskContext) -> int:
        ctx.report_usage(cost_micros=1_000_000)
        return 1

    runtimes = [await fleet.runtime(team, on_event=each.metrics) for each in (at_work, at_desk)]
    for collected, runtime in zip((at_work, at_desk), runtimes, strict=True):
        collected.metrics.watch(runtime.orchestrator)
    worker = Worker(runtimes[0])
    work = asyncio.create_task(worker.run())
    near = Task("near", "adder", placement="local")
    plan = Plan("p", [near, *(Task(f"far{n}", "adder", placement="remote") for n in range(3))])

    result = await runtimes[1].orchestrator.execute_workflow(plan)
    worker.stop()
    await work

    assert result.status == "succeeded"
    assert at_work.points("coterie.task.completed")["adder", "succeeded"] == 3
    assert at_desk.points("coterie.task.completed")["adder", "succeeded"] == 1
    assert at_work.points("coterie.task.duration") == {("adder", "succeeded"): 3}
    assert [each.points("coterie.run.cost")[("adder",)] for each in (at_work, at_desk)] == [3, 1]
    assert at_desk.points("coterie.run.completed")[("succeeded",)] == 1


class Away:
    """A log whose store does not answer."""

    def __init__(self, *, hangs: bool) -> None:
        self.hangs = hangs

    async def groups(self, topic: str, /) -> list[GroupStatus]:
        if self.hangs:
            await asyncio.Event().wait()
        raise Unavailable(f"no answer about {topic}")


@pytest.mark.parametrize("hangs", [True, False])
async def test_a_store_that_is_away_hides_what_lies_in_it_and_nothing_else(fleet: Fleet, hangs: bool):
    collected = Collected()
    runtime = await fleet.runtime(Held().team)
    worker = Worker(runtime)
    collected.metrics.watch(runtime.orchestrator)
    collected.metrics.watch_worker(worker, runtime.remote.log, queues={"held": "tasks/held"})
    await collected.metrics.refresh()
    before = collected.points("coterie.queue.depth")

    collected.metrics.watch_worker(worker, Away(hangs=hangs), queues={"held": "tasks/held"})
    await collected.metrics.refresh(within_s=0.05)

    assert before == {("held", "worker"): 0, ("held", "local"): 0}
    assert collected.points("coterie.queue.depth") == {("held", "local"): 0}
    assert collected.points("coterie.worker.capacity") == {(): 4}


async def test_a_page_that_cannot_be_made_is_an_error_and_health_goes_on():
    async def broken() -> bytes:
        raise RuntimeError("a mistake")

    health = Health("127.0.0.1", 0, lambda: {"ready": True})
    health.pages["/metrics"] = Page("text/plain", broken)
    await health.start()

    failed = await asked(health.port, "GET /metrics HTTP/1.1\r\n\r\n")
    posted = await asked(health.port, "POST /metrics HTTP/1.1\r\n\r\n")
    live = await asked(health.port, "GET /live HTTP/1.1\r\n\r\n")
    await health.aclose()

    assert failed[0] == 500
    assert "mistake" not in failed[2]
    assert (posted[0], live[0]) == (405, 200)


async def test_head_has_the_length_and_no_body():
    exposition = Exposition()
    health = Health("127.0.0.1", 0, lambda: {"ready": True})
    health.pages["/metrics"] = Page(exposition.content_type, exposition.page)
    await health.start()

    head = await asked(health.port, "HEAD /metrics?x=1 HTTP/1.1\r\n\r\n")
    await health.aclose()
    exposition.close()

    assert head == (200, exposition.content_type, "")


def test_without_a_port_to_answer_at_it_is_misuse(coterie: Callable[..., CompletedProcess[str]], folder: Path):
    ended = coterie("worker", "--team", "work:team", "--store", f"sqlite://{folder}/state.db", "--metrics")

    assert ended.returncode == 2
    assert "--health HOST:PORT" in ended.stderr


def test_without_the_packages_it_says_which_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "prometheus_client", None)

    with pytest.raises(Misuse, match=r"pip install 'coterie\[metrics\]'"):
        Exposition()


async def test_two_workers_in_one_process_have_pages_of_their_own(fleet: Fleet):
    pages = []
    for name in ("one", "two"):
        runtime = await fleet.runtime(Held().team)
        measuring = Measuring(health=("127.0.0.1", 0))
        worker = Worker(runtime, health=("127.0.0.1", 0), worker_id=name, capacity=len(pages) + 1)
        measuring.of(worker, runtime)
        assert worker.health is not None
        pages.append((await worker.health.pages["/metrics"].content()).decode())

    assert "coterie_worker_capacity 1.0" in pages[0]
    assert "coterie_worker_capacity 2.0" in pages[1]
