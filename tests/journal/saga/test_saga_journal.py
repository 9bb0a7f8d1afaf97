"""With a journal, what a run has undone and what it has not is known to whoever goes on with it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from typing import Any

import pytest

from coterie import ForEach, Plan, Task, When
from coterie._rules.journal import RUN
from coterie.errors import Misuse, Unavailable, UnknownRun
from coterie.journal import Intent, Journal
from coterie.journal.tending import forget_run
from coterie.journal.view import view_run
from coterie.result import TaskResult
from coterie.saga import Saga
from coterie.stores.journal_memory import MemoryJournalStore
from tests.journal.bench import Busy, cancelled_at
from tests.journal.saga.cloud import Cloud, lost_in, performed, plan_of, step, until

CHAIN = plan_of(step("net"), step("vm", "net"), step("app", "vm"))
AGAIN = Intent(goes_on=True)


@pytest.fixture
def journal() -> Journal:
    return Journal(MemoryJournalStore())


async def ended(cloud: Cloud, plan: Plan, journal: Journal, *, at: str) -> None:
    """Run until something has begun, and end the process there, as far as that can be done to it from within."""
    cloud.gates[at] = asyncio.Event()
    running = asyncio.create_task(cloud.run(plan, journal))
    await until(lambda: at in cloud.log)
    running.cancel()
    await asyncio.wait([running])
    del cloud.gates[at]


async def test_a_run_that_ended_while_it_was_undone_is_undone_further(journal: Journal):
    cloud = Cloud(fails=Counter({"+app": 1}))
    await ended(cloud, CHAIN, journal, at="-net")
    assert "status" not in await journal.store.read("run")

    result = await cloud.run(CHAIN, journal)

    assert '"failed"' in (await journal.store.read("run"))["status"]
    assert (result.status, result.outcome) == ("failed", "compensated")
    assert cloud.log == ["+net", "+vm", "+app", "-vm", "-net", "-net"]
    assert len(set(cloud.keys["-net"])) == 1
    assert list(result.compensations) == ["net", "vm"]


async def test_a_run_that_failed_and_ended_before_anything_was_undone_does_not_go_forward(journal: Journal):
    cloud = Cloud(fails=Counter({"+bad": 1}))
    plan = plan_of(step("a"), step("bad", "a"), step("slow", "a"), step("z", "slow"))
    cloud.gates["+slow"] = asyncio.Event()
    running = asyncio.create_task(cloud.run(plan, journal))
    await until(lambda: any(e.name == "task.finished" and e.task_id == "bad" for e in cloud.events))
    running.cancel()
    await asyncio.wait([running])
    del cloud.gates["+slow"]

    result = await cloud.run(plan, journal)

    assert [name for name in cloud.log if name.startswith("+")] == ["+a", "+bad", "+slow"]
    assert cloud.undone() == ["-a"]
    assert result["z"].state == "upstream_failed"
    assert [(letter.task_id, letter.left) for letter in result.dead_letters] == [("slow", "unclear")]


async def test_a_foreach_that_failed_before_is_known_to_have_failed_before_anything_begins(journal: Journal):
    cloud = Cloud(fails=Counter({"+each": 1}), gates={"+slow": asyncio.Event()})
    plan = plan_of(step("slow", when="started"), step("each", foreach=ForEach(items=[1, 2])))
    running = asyncio.create_task(cloud.run(plan, journal))
    await until(lambda: any(e.name == "task.finished" and e.task_id == "each" for e in cloud.events))
    running.cancel()
    await asyncio.wait([running])
    del cloud.gates["+slow"]

    result = await cloud.run(plan, journal)

    assert cloud.log.count("+slow") == 1
    assert sorted(cloud.undone()) == ["-each", "-slow"]
    assert result.outcome == "compensated"


async def test_a_run_that_is_half_undone_is_undone_first_whatever_a_person_wants(journal: Journal):
    cloud = Cloud(fails=Counter({"+app": 1}))
    await ended(cloud, CHAIN, journal, at="-net")
    cloud.log.clear()

    result = await cloud.run(CHAIN, journal, intent=Intent(force="now"))

    assert cloud.log == ["-net"]
    assert len(set(cloud.keys["-net"])) == 1
    assert result.outcome == "compensated"
    # What the person wants is still to come.
    assert (await cloud.run(CHAIN, journal, intent=Intent(force="now"))).outcome == "succeeded"


async def test_a_run_done_anew_has_no_letters_of_before(journal: Journal):
    cloud = Cloud(fails=Counter({"+app": 1, "-vm": 3}))
    await cloud.run(CHAIN, journal)

    result = await cloud.run(CHAIN, journal, intent=Intent(force="now"))

    assert result.outcome == "succeeded"
    assert await Saga(cloud.orchestrator(journal)).dead_letters("run") == ()
    assert "saga" not in await journal.store.read("run")


async def test_a_task_that_a_worker_had_claimed_does_not_begin_once_the_run_has_failed(journal: Journal):
    cloud = Cloud()
    plan = plan_of(step("a"), Task("bad", "hasty", depends_on=["a"]), step("z", "bad", trigger_rule="all_done"))
    await lost_in(cloud, plan, journal, "z", {"bad": TaskResult("bad", "failed")})
    del cloud.gates["+z"]
    cloud.log.clear()

    result = await cloud.run(plan, journal)

    assert cloud.log == ["+a", "+bad", "-a"]
    assert [(letter.task_id, letter.left) for letter in result.dead_letters] == [("z", "unclear")]


async def test_a_step_whose_process_ended_in_it_is_undone_if_its_compensation_is_for_what_started(journal: Journal):
    cloud = Cloud(fails=Counter({"+bad": 1}))
    plan = plan_of(step("bad"), step("slow", when="started"))
    cloud.gates["+slow"] = asyncio.Event()
    running = asyncio.create_task(cloud.run(plan, journal))
    await until(lambda: any(e.name == "task.finished" and e.task_id == "bad" for e in cloud.events))
    running.cancel()
    await asyncio.wait([running])

    result = await cloud.run(plan, journal)

    assert cloud.undone() == ["-slow"]
    assert result.outcome == "compensated"


async def test_a_run_that_ended_on_its_way_forward_goes_forward(journal: Journal):
    cloud = Cloud()
    await ended(cloud, CHAIN, journal, at="+vm")

    result = await cloud.run(CHAIN, journal)

    assert result.outcome == "succeeded"
    assert cloud.log == ["+net", "+vm", "+vm", "+app"]


async def test_a_run_that_was_undone_is_told_again_and_nothing_is_done(journal: Journal):
    cloud = Cloud(fails=Counter({"+app": 1, "-vm": 3}))
    plan = Plan("p", [*CHAIN.tasks, Task("if", "maker", when=When("net", "/nothing"))])
    first = await cloud.run(plan, journal)
    log = list(cloud.log)
    assert first["if"].state == "skipped"

    again = await cloud.run(plan, journal)

    assert cloud.log == log
    assert again.status_document() == first.status_document()
    assert again.dead_letters == first.dead_letters


async def test_a_compensation_that_failed_for_good_is_tried_again_when_a_person_wants_the_run_to_go_on(
    journal: Journal,
):
    cloud = Cloud(fails=Counter({"+app": 1, "-vm": 3}))
    await cloud.run(CHAIN, journal)
    cloud.log.clear()

    result = await cloud.run(CHAIN, journal, intent=AGAIN)

    assert cloud.log == ["-vm"]
    assert len(set(cloud.keys["-vm"])) == 1
    assert (result.status, result.outcome, result.dead_letters) == ("failed", "compensated", ())
    assert await Saga(cloud.orchestrator(journal)).dead_letters("run") == ()


async def test_what_a_failed_compensation_stopped_is_undone_once_it_is(journal: Journal):
    cloud = Cloud(fails=Counter({"+app": 1, "-vm": 3}))
    plan = plan_of(step("net"), step("vm", "net"), step("app", "vm"), stop_on_failed_compensation=True)
    await cloud.run(plan, journal)
    cloud.log.clear()

    result = await cloud.run(plan, journal, intent=AGAIN)

    assert cloud.log == ["-vm", "-net"]
    assert result.outcome == "compensated"


async def test_a_run_that_was_undone_is_done_anew_when_a_person_wants_it_to_go_on(journal: Journal):
    cloud = Cloud(fails=Counter({"+app": 1}))
    plan = plan_of(step("net"), step("look", undo=False), step("vm", "net", "look"), step("app", "vm"))
    await cloud.run(plan, journal)
    cloud.log.clear()

    result = await cloud.run(plan, journal, intent=AGAIN)

    assert (result.status, result.outcome) == ("succeeded", "succeeded")
    assert cloud.log == ["+net", "+vm", "+app"]
    assert len(set(cloud.keys["+net"])) == 2


async def test_what_was_done_anew_and_failed_again_is_undone_again(journal: Journal):
    cloud = Cloud(fails=Counter({"+app": 2}))
    await cloud.run(CHAIN, journal)
    cloud.log.clear()

    result = await cloud.run(CHAIN, journal, intent=AGAIN)

    assert cloud.log == ["+net", "+vm", "+app", "-vm", "-net"]
    assert result.outcome == "compensated"
    assert len(set(cloud.keys["-net"])) == 2


async def test_a_run_that_was_undone_and_is_forgotten_is_done_anew_by_whoever_runs_it(journal: Journal):
    cloud = Cloud(fails=Counter({"+app": 1, "-net": 3}))
    assert (await cloud.run(CHAIN, journal)).outcome == "compensation_failed"
    cloud.log.clear()

    await forget_run(journal, "run")

    assert not (await view_run(journal, "run")).undone
    assert not await Saga(cloud.orchestrator(journal)).dead_letters("run")
    assert (await cloud.run(CHAIN, journal)).status == "succeeded"
    assert cloud.log == ["+net", "+vm", "+app"]
    assert [len(set(cloud.keys[f"+{name}"])) for name in ("net", "vm", "app")] == [2, 2, 2]


async def test_a_task_of_an_undone_run_that_is_forgotten_leaves_it_undone(journal: Journal):
    cloud = Cloud(fails=Counter({"+app": 1}))
    await cloud.run(CHAIN, journal)
    cloud.log.clear()

    await forget_run(journal, "run", "app")

    assert (await cloud.run(CHAIN, journal)).status == "failed"
    assert cloud.log == []


async def test_a_demand_that_was_met_is_not_met_twice(journal: Journal):
    cloud = Cloud(fails=Counter({"+app": 2}))
    await cloud.run(CHAIN, journal)
    await cloud.run(CHAIN, journal, intent=Intent(force="once more"))
    log = list(cloud.log)

    result = await cloud.run(CHAIN, journal, intent=Intent(force="once more"))

    assert log.count("+net") == 2
    assert cloud.log == log
    assert result.outcome == "compensated"


async def test_a_clear_of_an_engine_s_run_has_it_done_anew_and_its_retry_does_not(journal: Journal):
    cloud = Cloud(fails=Counter({"+app": 2}))
    first, cleared = Intent(engine_run="airflow.d.r"), Intent(engine_run="airflow.d.r", demand=1)
    await cloud.run(CHAIN, journal, intent=first)
    await cloud.run(CHAIN, journal, intent=first)
    assert cloud.log.count("+net") == 1

    await cloud.run(CHAIN, journal, intent=cleared)
    result = await cloud.run(CHAIN, journal, intent=cleared)

    assert cloud.log.count("+net") == 2
    assert cloud.log.count("-net") == 2
    assert result.outcome == "compensated"


async def test_a_failure_that_a_person_wants_tried_again_is_not_undone_first(journal: Journal):
    cloud = Cloud(fails=Counter({"+app": 1}))
    # It failed, and its process ended before that was seen to.
    await performed(cloud, CHAIN, journal, "net", "vm", "app")

    result = await cloud.run(CHAIN, journal, intent=AGAIN)

    assert result.outcome == "succeeded"
    assert cloud.log == ["+net", "+vm", "+app", "+app"]


async def test_a_new_version_of_an_agent_undoes_nothing_twice(journal: Journal):
    cloud = Cloud(fails=Counter({"+app": 1}))
    await ended(cloud, CHAIN, journal, at="-net")
    newer = cloud.orchestrator(journal)
    newer.register_agent("newer", "remover", 1, handler=cloud.remove, version="2")

    result = await Saga(newer).run(CHAIN, workflow_id="run")

    assert cloud.undone() == ["-vm", "-net", "-net"]
    assert result.outcome == "compensated"


async def test_letters_outlive_the_process_and_a_person_settles_them(journal: Journal):
    cloud = Cloud(fails=Counter({"+app": 1, "-vm": 3}))
    first = await cloud.run(CHAIN, journal)
    saga = Saga(cloud.orchestrator(journal))
    assert await saga.dead_letters("run") == first.dead_letters

    await saga.undone_by_hand("run", "vm", note="in the console")
    result = await cloud.run(CHAIN, journal)

    assert await saga.dead_letters("run") == ()
    assert (result.outcome, cloud.undone().count("-vm")) == ("compensated", 3)
    with pytest.raises(Misuse, match="the run 'run' has no dead letter about 'vm'"):
        await saga.undone_by_hand("run", "vm")


async def test_a_run_that_nobody_knows_has_no_letters(journal: Journal):
    with pytest.raises(UnknownRun, match="there is no run 'gone'"):
        await Saga(Cloud().orchestrator(journal)).dead_letters("gone")
    with pytest.raises(Misuse, match="without a journal nothing is kept"):
        await Saga(Cloud().orchestrator()).dead_letters("gone")


async def test_a_foreach_that_was_done_in_part_is_undone_after_its_process_ended(journal: Journal):
    cloud = Cloud(fails=Counter({"+bad": 1}))
    # Those that are not known are none that are tolerated.
    plan = plan_of(step("bad"), step("each", foreach=ForEach(items=[1, 2, 3], tolerate_failures=1)))
    hold = asyncio.Event()

    async def make(task_input: dict[str, Any], ctx: Any) -> Any:
        if ctx.item_index == 2:
            await hold.wait()
        return await cloud.make(task_input, ctx)

    orchestrator = cloud.orchestrator(journal, capacity=1)
    orchestrator.register_agent("second", "maker", 4, handler=make)
    running = asyncio.create_task(Saga(orchestrator).run(plan, workflow_id="run"))
    await until(lambda: sum(e.name == "item.finished" for e in cloud.events) == 2)
    await until(lambda: any(e.name == "task.finished" and e.task_id == "bad" for e in cloud.events))
    running.cancel()
    await asyncio.wait([running])

    result = await cloud.run(plan, journal)

    assert cloud.undone() == ["-each"]
    assert result["each"].state == "failed"
    assert result.outcome == "compensated"


async def test_a_saga_is_cancelled_at_any_moment_and_goes_on_at_once():
    for tick in range(200):
        cloud, journal = Cloud(fails=Counter({"+vm": 9})), Journal(Busy())
        plan = plan_of(step("net"), step("vm", "net"))

        if not await cancelled_at(tick, cloud.run(plan, journal)):
            break
        assert (await cloud.run(plan, journal)).outcome == "compensated", tick
    assert 10 < tick < 199


class NotClosed(MemoryJournalStore):
    """A store that is away for a moment, when the run's way forward is to be closed."""

    failures = 0

    async def write(self, run: str, texts: Mapping[str, str | None], **more: Any) -> None:
        if RUN.pulse in texts and not self.failures:
            self.failures += 1
            raise Unavailable("away for a moment")
        await super().write(run, texts, **more)


async def test_a_run_that_could_not_be_closed_does_not_wait_for_itself_before_it_is_undone():
    cloud, store = Cloud(fails=Counter({"+vm": 9})), NotClosed()

    result = await cloud.run(plan_of(step("net"), step("vm", "net")), Journal(store, lease_s=600.0))

    assert (result.outcome, store.failures) == ("compensated", 1)
