"""The journal under `dag.test()`: what a retry, another process and a refusal find of what was finished."""

from __future__ import annotations

import asyncio
import json
import threading
from contextlib import contextmanager
from dataclasses import dataclass

import pytest
from airflow.sdk import DAG

from airflow_provider_coterie import CoterieAgentOperator, ledger, seen, triggers
from airflow_provider_coterie.operators import journalled
from coterie import Orchestrator, Task, Team
from coterie._rules.journal import RUN
from coterie._rules.journal_text import Record
from coterie.errors import Misuse
from coterie.journal import Intent, Journal
from coterie.journal.header import Header
from coterie.journal.place import place_of
from coterie.stores.opening import open_journal_store
from tests.airflow.billing import billing_server
from tests.airflow.conftest import connection
from tests.airflow.paying_agents import team

ONE = """
    from datetime import timedelta
    from airflow.sdk import DAG
    from airflow_provider_coterie import CoterieAgentOperator, CoterieDecomposeOperator
    from tests.airflow.losing_operators import LosesItsFirstPlan, LosesItsFirstTry

    args = {{"team_path": "tests.airflow.paying_agents:team", "retries": 2, "retry_delay": timedelta(0)}}
    with DAG("one", schedule=None, default_args=args) as dag:
        {task}
"""


WHOLE = """
    from airflow.sdk import DAG
    from airflow_provider_coterie import CoterieWorkflowOperator
    from tests.airflow import plans

    with DAG("whole", schedule=None) as dag:
        CoterieWorkflowOperator(task_id="plan", plan=plans.{plan}, team_path=plans.TEAM_PATH, {more})
"""


def one(operator, *, more="", agent_type="payer", **given):
    """A DAG of one task, for an agent with that input."""
    arguments = f'task_id="pay", agent_type={agent_type!r}, input={given!r}'
    return ONE.format(task=f"{operator}({arguments}{more})")


@pytest.fixture
def state_url(artifacts, tmp_path, monkeypatch):
    """A database of this test's own, named by the default connection."""
    url = f"sqlite://{tmp_path}/state.db"
    monkeypatch.setenv("AIRFLOW_CONN_COTERIE_DEFAULT", connection(artifacts, store=url))
    return url


@pytest.fixture(scope="module")
def billing():
    with billing_server() as running:
        yield running


@dataclass
class Waits:
    """busy: set as soon as somebody was found at the work that a task is about to do. woken: by what, in order."""

    busy: threading.Event
    woken: list[str]


@pytest.fixture
def waits(monkeypatch):
    """How the tasks of this test waited for others."""
    seen_to_wait = Waits(threading.Event(), [])
    for_claim = triggers.CoterieClaimTrigger._for_claim

    def is_known_dead(owner):
        seen_to_wait.busy.set()
        return False

    async def noted(self):
        seen_to_wait.woken.append(await for_claim(self))
        return seen_to_wait.woken[-1]

    monkeypatch.setattr("coterie.journal.journal.is_known_dead", is_known_dead)
    monkeypatch.setattr(triggers.CoterieClaimTrigger, "_for_claim", noted)
    return seen_to_wait


@pytest.fixture
def told(monkeypatch):
    """What the journal had the tasks' logs say, in order."""
    lines = []
    replay_line = ledger.replay_line

    def kept(run, events, *, again):
        lines.append(replay_line(run, events, again=again))
        return lines[-1]

    monkeypatch.setattr(ledger, "replay_line", kept)
    return lines


def in_journal(url, work):
    """Do something with the journal, from another process's point of view."""

    async def run():
        journal = Journal(open_journal_store(url, "default"))
        try:
            return await work(journal)
        finally:
            await journal.aclose()

    return asyncio.run(run())


def texts(url, run_id):
    return in_journal(url, lambda journal: journal.store.read(run_id))


def record(url, run_id, path):
    return Record.read(texts(url, run_id)[path], path)


def test_a_retry_replays_what_the_lost_try_had_finished(in_airflow, state_url, billing, told):
    run = in_airflow.test(one("LosesItsFirstTry", billing=billing.url, what="retried"))

    assert run.states() == {("pay", -1): "success"}
    assert run.tries() == {"pay": 2}
    assert (billing.requests("retried"), billing.keys("retried")) == (1, 1)
    (line,) = told
    name = f"airflow.one.{run.run_id}"
    assert line.startswith(f"replayed 'pay', not done again: {name} finished it at 20")
    assert " s, 1200 tokens, 0.0025 in money; to have it done anew: " in line
    assert f"coterie runs forget {name} pay, then clear this task; or trigger a run with coterie_force" in line


def test_a_success_is_noted_once_airflow_has_taken_it(in_airflow, state_url, billing):
    run = in_airflow.test(one("CoterieAgentOperator", billing=billing.url, what="noted"))

    name = f"airflow.one.{run.run_id}"
    assert record(state_url, name, "task/pay").seen == {name: 0}


def test_a_success_that_airflow_refused_to_hear_of_is_not_noted(in_airflow, state_url, billing, monkeypatch):
    monkeypatch.setattr(journalled, "is_success", lambda _: False)

    run = in_airflow.test(one("CoterieAgentOperator", billing=billing.url, what="refused"))

    assert record(state_url, f"airflow.one.{run.run_id}", "task/pay").seen == {}


def test_a_journal_that_cannot_note_a_success_does_not_disturb_the_task(in_airflow, state_url, billing, monkeypatch):
    async def never(self, *_):
        await asyncio.sleep(600)

    monkeypatch.setattr(Journal, "note_all_seen", never)
    monkeypatch.setattr(ledger, "SEEN_S", 0.05)

    run = in_airflow.test(one("CoterieAgentOperator", billing=billing.url, what="undisturbed"))

    assert run.states() == {("pay", -1): "success"}


def test_the_listener_leaves_other_tasks_alone():
    class Accepting:
        def accepted(self, _):
            raise AssertionError("it is none of ours")

    class Instance:
        task = Accepting()

    seen.on_task_instance_success(previous_state="running", task_instance=Instance())
    seen.on_task_instance_success(previous_state=None, task_instance=None)


def test_mapped_tasks_with_equal_inputs_are_work_of_their_own(in_airflow, state_url, billing):
    source = one("CoterieAgentOperator.partial", billing=billing.url, what="mapped")

    run = in_airflow.test(f"{source.rstrip()}.expand(agent_priority=[0] * 3)")

    assert run.states() == {("pay", index): "success" for index in range(3)}
    assert (billing.requests("mapped"), billing.keys("mapped")) == (3, 3)


def test_work_that_another_process_is_at_is_waited_for_without_a_worker_and_replayed(
    in_airflow, state_url, billing, told, waits
):
    given = {"billing": billing.url, "what": "elsewhere"}

    with elsewhere(perform, state_url, "shared-run", given, waits.busy):
        run = in_airflow.test(one("CoterieAgentOperator", **given), coterie_run_id="shared-run")

    assert run.states() == {("pay", -1): "success"}
    assert run.tries() == {"pay": 1}
    assert waits.woken == ["claim"]
    assert billing.requests("elsewhere") == 1
    assert run.load("pay")["paid"] == "elsewhere"
    assert told[0].startswith("replayed 'pay', not done again: local finished it at ")


def test_without_deferral_it_is_waited_for_in_the_worker(in_airflow, state_url, billing, waits):
    source = one("CoterieAgentOperator", billing=billing.url, what="in place", more=", deferrable=False")

    with elsewhere(hold, state_url, "held-run", place_of("pay"), waits.busy):
        run = in_airflow.test(source, coterie_run_id="held-run")

    assert run.states() == {("pay", -1): "success"}
    assert waits.busy.is_set()
    assert waits.woken == []
    assert billing.requests("in place") == 1


@pytest.mark.parametrize("deferrable", [True, False])
def test_a_whole_plan_that_another_process_is_at_is_waited_for(in_airflow, state_url, waits, deferrable):
    with elsewhere(hold, state_url, f"held-{deferrable}.plan", RUN, waits.busy):
        source = WHOLE.format(plan="stored", more=f"deferrable={deferrable}")
        run = in_airflow.test(source, coterie_run_id=f"held-{deferrable}")

    assert run.states() == {("plan", -1): "success"}
    assert waits.busy.is_set()
    assert waits.woken == ["claim"] * deferrable


def test_work_that_was_taken_over_meanwhile_uses_a_retry(in_airflow, state_url, tmp_path):
    given = {"store": state_url, "robbed": str(tmp_path / "robbed")}

    run = in_airflow.test(one("CoterieAgentOperator", agent_type="robbed", **given))

    assert run.states() == {("pay", -1): "success"}
    assert run.tries() == {"pay": 2}
    assert run.load("pay") == "done"


def test_force_has_it_done_anew_once_in_a_run(in_airflow, state_url, billing):
    source = one("LosesItsFirstTry", billing=billing.url, what="forced")

    in_airflow.test(source, coterie_run_id="forced-run")
    in_airflow.test(source, coterie_run_id="forced-run")
    assert billing.requests("forced") == 1, "another DAG run that goes on with the run replays"
    in_airflow.test(source, coterie_run_id="forced-run", coterie_force=True)

    assert (billing.requests("forced"), billing.keys("forced")) == (2, 2), "its own retry replays"


def test_a_plan_that_was_made_is_not_made_again(in_airflow, state_url, billing, told):
    run = in_airflow.test(made("LosesItsFirstPlan", "a plan", billing=billing.url))

    assert run.states() == {("made", -1): "success"}
    assert run.tries() == {"made": 2}
    assert billing.requests("a plan") == 1
    assert told[0].startswith("replayed 'made', not done again: ")


def test_an_error_of_a_decomposer_s_own_is_airflow_s_affair(in_airflow, state_url, tmp_path):
    run = in_airflow.test(made("CoterieDecomposeOperator", "stumble", stumbled=str(tmp_path / "stumbled")))

    assert run.states() == {("made", -1): "success"}
    assert run.tries() == {"made": 2}


def test_the_last_task_of_a_plan_tells_the_journal_how_the_run_ended(in_airflow, state_url):
    run = in_airflow.test(
        """
        from airflow_provider_coterie import plan_to_dag
        from tests.airflow import plans

        dag = plan_to_dag(plans.failed, team_path=plans.TEAM_PATH)
        """
    )

    name = f"airflow.failed.{run.run_id}"
    status = json.loads(texts(state_url, name)["status"])
    assert (status["status"], status["by"]) == ("failed", name)


def test_a_whole_plan_in_one_task_notes_what_succeeded_in_it(in_airflow, state_url):
    run = in_airflow.test(WHOLE.format(plan="partial", more=""))

    kept = texts(state_url, f"airflow.whole.{run.run_id}.plan")
    records = {path: Record.read(text, path) for path, text in kept.items() if path.startswith(("task/", "item/"))}
    assert {"task/list", "task/report", "item/strict/item-0", "item/lenient/item-5"} <= records.keys()
    assert {path for path, found in records.items() if not found.seen} == {
        "task/broken",
        "task/hanging",
        "item/strict/item-2",
        "item/lenient/item-1",
        "item/lenient/item-4",
    }


def test_a_dag_run_goes_on_with_what_its_dag_has_become_but_not_with_another_s(state_url):
    async def begun(journal):
        await journal.begin("r", Header("p", "1" * 64, engine_run="airflow.mine"), Intent())
        ledgers = [
            ledger.Ledger(journal, "r", Intent(name), conn_id="coterie_default", tell=print)
            for name in ("airflow.mine", "airflow.other")
        ]
        for one in ledgers:
            await one.begin()
        return [one.intent.allow_changes for one in ledgers]

    assert in_journal(state_url, begun) == [True, False]


def test_what_a_clear_does_is_one_of_two_things():
    with DAG("d", schedule=None), pytest.raises(Misuse, match="on_clear is 'again'; choose one of run, replay"):
        CoterieAgentOperator(task_id="t", agent_type="a", on_clear="again")


def made(operator, objective, **facts):
    """A DAG of one task that has a plan made."""
    decomposer = 'decomposer_path="tests.airflow.paying_agents:decomposer"'
    return ONE.format(task=f'{operator}(task_id="made", objective={objective!r}, {decomposer}, facts={facts!r})')


@contextmanager
def elsewhere(work, *arguments):
    """In a thread with an event loop of its own, `work(journal, began, ...)`; within, it is at it."""
    url, *more = arguments
    began = threading.Event()

    def run():
        in_journal(url, lambda journal: work(journal, began, *more))

    thread = threading.Thread(target=run)
    thread.start()
    try:
        assert began.wait(60)
        yield
    finally:
        thread.join()


async def perform(journal, began, run_id, given, busy):
    """Do what the task `pay` would do, as a local engine; finish when somebody else wants to."""
    local = Team("local")

    @local.agent("payer", capacity=4)
    async def pay(task_input, ctx):
        began.set()
        await asyncio.to_thread(busy.wait, 60)
        return await team.agents["payer"].handler(task_input, ctx)

    result = await Orchestrator(local, journal=journal).execute_task(
        Task("pay", "payer", input=given), workflow_id=run_id
    )
    assert result.state == "succeeded"


async def hold(journal, began, run_id, place, busy):
    """Claim work; hand it back when somebody else wants it."""
    granted = await journal.claim(run_id, place, journal.asked(Intent()), what="it", patience_s=0.0)
    began.set()
    await asyncio.to_thread(busy.wait, 60)
    await journal.hand_back(run_id, place.pulse, granted.guard)
