"""What people do to runs in a journal: have work done anew, end what is nobody's, remove what is old."""

from __future__ import annotations

import pytest

from coterie import ForEach, Intent, Orchestrator, Plan, Task, Team
from coterie._rules.journal_text import FORMAT, Claim, dumped
from coterie.errors import ClaimedElsewhere, Misuse, StaleToken, UnknownRun
from coterie.journal import Journal
from coterie.journal.header import Header
from coterie.journal.place import book_of_call, place_of
from coterie.journal.tending import erase_run, forget_run, prune_runs, reap_runs
from coterie.journal.view import view_run
from coterie.stores.journal_memory import MemoryJournalStore
from coterie.stores.opening import open_journal_store
from tests.journal.test_view import ASKED, GONE_AFTER_S, Desk, dead_owner, question

HOUR_S = 3600.0


@pytest.fixture
def desk() -> Desk:
    return Desk()


class Items:
    """A run with a foreach whose items have readable and unreadable keys."""

    def __init__(self) -> None:
        self.journal = Journal(MemoryJournalStore("test"))
        self.calls: list[str] = []
        self.team = Team("desk")
        self.team.agent("each", version="1")(self._work)

    async def _work(self, task_input, ctx):
        self.calls.append(ctx.item_key)
        return ctx.item_key

    async def run(self) -> list[str]:
        self.calls.clear()
        plan = Plan("p", [Task("each", "each", foreach=ForEach(items=["x", "xy", "a/b c", "a/b d"], key=""))])
        await Orchestrator(self.team, journal=self.journal).execute_workflow(plan, workflow_id="r1")
        return sorted(self.calls)


@pytest.mark.parametrize(
    ("given", "again"),
    [
        (None, ["a/b c", "a/b d", "x", "xy"]),
        ("each", ["a/b c", "a/b d", "x", "xy"]),
        ("each/x", ["x"]),
        ("each/xy", ["xy"]),
        ("each/a/b c", ["a/b c"]),
    ],
)
async def test_what_is_forgotten_is_done_anew_and_nothing_else(given, again):
    items = Items()
    await items.run()

    await forget_run(items.journal, "r1", given)

    assert await items.run() == again
    assert await items.run() == []


async def test_the_first_characters_of_an_item_s_name_do_if_they_are_no_other_s():
    items = Items()
    await items.run()
    name = next(unit.name for unit in (await view_run(items.journal, "r1")).units if "~" in unit.name)

    assert await forget_run(items.journal, "r1", name[:14]) == [name]
    with pytest.raises(Misuse, match="several items"):
        await forget_run(items.journal, "r1", "each/~")


@pytest.mark.parametrize("given", ["nope", "eac", "each/", "each/nope", ""])
async def test_a_name_that_nothing_has_is_refused_and_nothing_forgotten(given):
    items = Items()
    await items.run()

    with pytest.raises(Misuse, match="it has: each/x"):
        await forget_run(items.journal, "r1", given)

    assert await items.run() == []


async def test_whoever_is_at_what_is_forgotten_is_refused_when_he_is_done(desk: Desk):
    await desk.begun()
    asked = desk.journal.asked(Intent("airflow.a.b"), "fp", "worker")
    granted = await desk.journal.claim("r1", place_of("a"), asked, what="a", patience_s=0)

    await forget_run(desk.journal, "r1", "a")

    with pytest.raises(StaleToken):
        await desk.journal.store.write("r1", {"task/a": "x"}, guard=granted.guard)


async def test_an_erased_run_is_unknown(desk: Desk):
    await desk.begun()

    await erase_run(desk.journal, "r1")

    for act in (view_run, erase_run, forget_run):
        with pytest.raises(UnknownRun):
            await act(desk.journal, "r1")


@pytest.fixture(params=["memory", "sqlite"])
async def kept(request, tmp_path):
    """A desk whose clock moves with its journal's only in memory."""
    desk = Desk()
    if request.param == "sqlite":
        desk.journal = Journal(open_journal_store(f"sqlite://{tmp_path}/state.db", "test"))
    yield desk
    await desk.journal.aclose()


@pytest.mark.parametrize("whole", [True, False])
async def test_a_run_that_somebody_is_at_is_not_erased_and_it_is_said_how_to_end_it(kept: Desk, whole: bool):
    await kept.begun()
    await (kept.at_whole() if whole else kept.at("a"))
    before = await kept.journal.store.read("r1")

    with pytest.raises(ClaimedElsewhere, match=r"somebody is at work on the run 'r1'.*end it first.*then erase it"):
        await erase_run(kept.journal, "r1")

    assert await kept.journal.store.read("r1") == before


@pytest.mark.parametrize("whole", [True, False])
async def test_a_run_whose_process_is_known_to_have_ended_is_erased(kept: Desk, whole: bool):
    dead = dead_owner()
    await kept.begun()
    await (kept.at_whole(owner=dead) if whole else kept.at("a", owner=dead))

    await erase_run(kept.journal, "r1")

    assert await kept.journal.store.read("r1") == {}


async def test_a_run_whose_claims_cannot_be_read_can_be_erased(desk: Desk):
    await desk.begun()
    await desk.journal.store.write("r1", {"claim/a": "{", "pulse/a": "tomorrow"})

    await erase_run(desk.journal, "r1")

    assert await desk.journal.store.read("r1") == {}


async def test_a_run_that_was_stopped_while_it_asked_is_not_pruned_until_nobody_can_answer(desk: Desk):
    await desk.begun()
    await desk.journal.store.write("r1", {ASKED: question()})
    await desk.journal.conclude("r1", "cancelled", by="local")
    desk.later(10 * HOUR_S)

    stopped = await prune_runs(desk.journal, older_than_s=HOUR_S)
    await desk.journal.conclude("r1", "failed", by="local")
    desk.later(10 * HOUR_S)

    assert (stopped, await prune_runs(desk.journal, older_than_s=HOUR_S)) == ([], ["r1"])


async def test_a_run_whose_process_was_killed_while_it_asked_is_not_lost(desk: Desk):
    await desk.at_whole(owner=dead_owner())
    await desk.journal.store.write("r1", {ASKED: question()})
    desk.later(100 * HOUR_S)

    assert await reap_runs(desk.journal, idle_s=HOUR_S) == []
    assert await desk.state() == "waiting"


async def test_only_runs_that_ended_and_are_old_are_pruned(desk: Desk):
    for run in ("old", "unended", "young"):
        if run == "young":
            desk.later(10 * HOUR_S)
        await desk.begun(run)
        if run != "unended":
            await desk.journal.conclude(run, "succeeded", by="local")

    would = await prune_runs(desk.journal, older_than_s=5 * HOUR_S, dry_run=True)
    kept = [entry.run for entry in (await desk.journal.store.runs(limit=10)).runs]
    pruned = await prune_runs(desk.journal, older_than_s=5 * HOUR_S)

    assert would == pruned == ["old"]
    assert kept == ["young", "unended", "old"]
    assert [entry.run for entry in (await desk.journal.store.runs(limit=10)).runs] == ["young", "unended"]


async def test_a_run_that_ended_and_that_a_worker_is_at_is_not_pruned(desk: Desk):
    await desk.begun()
    await desk.journal.conclude("r1", "succeeded", by="local")
    await desk.at("a")
    desk.later(1)

    assert await prune_runs(desk.journal, older_than_s=0) == []
    desk.later(GONE_AFTER_S)
    assert await prune_runs(desk.journal, older_than_s=0) == ["r1"]


async def test_a_run_that_nobody_is_at_is_ended_as_lost(desk: Desk):
    await desk.at_whole("whole")
    await desk.begun("tasks")
    await desk.at("a", "tasks")
    desk.later(HOUR_S + 1)

    assert await reap_runs(desk.journal, idle_s=HOUR_S, dry_run=True) == ["tasks", "whole"]
    assert await desk.state("whole") == await desk.state("tasks") == "interrupted"
    assert await reap_runs(desk.journal, idle_s=HOUR_S) == ["tasks", "whole"]
    assert await desk.state("whole") == await desk.state("tasks") == "lost"
    assert await reap_runs(desk.journal, idle_s=HOUR_S) == []


async def test_neither_a_live_run_nor_one_that_changed_lately_nor_one_that_ended_is_ended(desk: Desk):
    await desk.begun("ended")
    await desk.journal.conclude("ended", "failed", by="local")
    desk.later(HOUR_S + 1)
    await desk.at_whole("live")
    await desk.begun("lately")

    assert await reap_runs(desk.journal, idle_s=HOUR_S) == []
    assert await reap_runs(desk.journal, idle_s=0) == ["lately"]


async def test_single_tasks_without_a_plan_are_not_lost_and_are_pruned_when_they_are_old(desk: Desk):
    await desk.journal.begin("done", Header(), Intent("airflow.a.b"))
    await desk.journal.begin("left", Header(), Intent("airflow.a.b"))
    await desk.at("a", "left")
    desk.later(HOUR_S + 1)

    assert await prune_runs(desk.journal, older_than_s=2 * HOUR_S) == []
    assert await reap_runs(desk.journal, idle_s=HOUR_S) == ["left"]
    assert await desk.state("done") == "open"
    assert await prune_runs(desk.journal, older_than_s=HOUR_S) == ["done"]


async def test_what_workers_keep_of_a_call_is_never_lost(desk: Desk):
    await desk.begun(book_of_call("0" * 40))
    await desk.at("a", book_of_call("0" * 40))
    desk.later(HOUR_S + 1)

    assert await reap_runs(desk.journal, idle_s=HOUR_S, dry_run=True) == []


async def test_whoever_wakes_up_in_a_run_that_was_ended_is_refused(desk: Desk):
    await desk.begun()
    task = desk.journal.asked(Intent("airflow.a.b"), "fp", "worker")
    granted = await desk.journal.claim("r1", place_of("a"), task, what="a", patience_s=0)
    whole = await desk.journal.claim_run("r2", desk.journal.asked(Intent(), "", "process"), patience_s=0)
    desk.later(HOUR_S + 1)

    await reap_runs(desk.journal, idle_s=HOUR_S)

    for run, guard in (("r1", granted.guard), ("r2", whole.guard)):
        with pytest.raises(StaleToken):
            await desk.journal.store.write(run, {"task/a": "x"}, guard=guard)


async def test_a_process_that_is_known_to_have_ended_is_not_waited_for(desk: Desk):
    dead = dead_owner()
    await desk.at_whole("r1", owner=dead)
    await desk.begun("r2")
    await desk.at("a", "r2", owner=dead)

    assert await reap_runs(desk.journal, idle_s=0) == ["r2", "r1"]
    assert await desk.state("r1") == await desk.state("r2") == "lost"


async def test_a_run_that_somebody_took_up_while_it_was_looked_at_is_left_to_him(desk: Desk, monkeypatch):
    await desk.at_whole(owner="gone")
    desk.later(HOUR_S + 1)
    change = desk.journal.store.change

    async def overtaken(run, paths, decide):
        monkeypatch.undo()
        await desk.at_whole(owner="the next")
        return await change(run, paths, decide)

    monkeypatch.setattr(desk.journal.store, "change", overtaken)

    assert await reap_runs(desk.journal, idle_s=HOUR_S) == []
    assert await desk.state() == "running"


async def test_a_machine_that_waits_for_a_person_for_days_is_not_lost(desk: Desk):
    await desk.begun()
    await desk.journal.store.write("r1", {"machine": dumped({"v": FORMAT})})
    desk.later(100 * HOUR_S)

    assert await reap_runs(desk.journal, idle_s=HOUR_S) == []


async def test_what_was_demanded_before_a_run_was_ended_is_demanded_no_second_time(desk: Desk):
    await desk.begun()
    first = desk.journal.asked(Intent("local", force="again"), "fp", "worker")
    await desk.journal.claim("r1", place_of("a"), first, what="a", patience_s=0)
    desk.later(HOUR_S + 1)

    await reap_runs(desk.journal, idle_s=HOUR_S)

    texts, _ = await desk.journal.store.get("r1", ["claim/a"])
    left = Claim.read(texts["claim/a"], "claim/a")
    assert (left.owner, left.forced, left.token) == ("", ("again",), 2)


async def test_a_lost_run_goes_on_when_somebody_resumes_it(desk: Desk):
    team = Team("desk")
    calls = []

    @team.agent("work", version="1")
    async def work(task_input, ctx):
        calls.append(ctx.task_id)
        return 1

    plan = Plan("plan", [Task("a", "work"), Task("b", "work", depends_on=["a"])])
    journal = Journal(MemoryJournalStore("test"))
    await Orchestrator(team, journal=journal).execute_workflow(plan, workflow_id="r1")
    await journal.store.write("r1", {"status": None, "task/b": None})
    lost = await reap_runs(journal, idle_s=0)
    calls.clear()

    result = await Orchestrator(team, journal=journal).execute_workflow(
        plan, workflow_id="r1", intent=Intent(goes_on=True)
    )

    assert lost == ["r1"]
    assert (result.status, calls) == ("succeeded", ["b"])
    assert (await view_run(journal, "r1")).state == "succeeded"
