"""The link to a run's trace among the artifacts of its flow run, as the server has it."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from prefect.client.schemas.objects import Artifact

from coterie import Go, Plan, Retry, State, StateMachine, Task
from coterie.errors import PolicyError, Unavailable
from coterie.journal import Intent, Journal
from coterie.journal.header import Header
from coterie.telemetry.links import run_trace_id_text
from prefect_coterie import CoterieStore, machine_to_flow, plan_to_flow
from tests.prefect.runs import artifacts_of, logged, run
from tests.prefect.trial import TEAM

pytestmark = pytest.mark.prefect

BEGUN_IN = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
good = Plan("Led_There", [Task("sum", "adder"), Task("again", "adder", depends_on=["sum"])])
bad = Plan(
    "fallen",
    [Task("broken", "broken", retry=Retry(max_attempts=2, base_s=0.0)), Task("sum", "adder")],
    outputs=["broken"],
)


@pytest.fixture
def store(tmp_path: Path) -> CoterieStore:
    return CoterieStore(url=f"sqlite://{tmp_path}/state.db", journal="relaxed")


def with_template(store: CoterieStore, template: str) -> CoterieStore:
    return CoterieStore(url=store.url, journal="relaxed", trace_url=template)


def target(artifact: Artifact) -> str:
    """Prefect keeps a link as Markdown."""
    found = re.fullmatch(r"\[(.*)\]\((.*)\)", str(artifact.data))
    assert found, artifact.data
    return found[2]


async def test_a_run_that_ended_has_a_link_with_what_it_came_to(store: CoterieStore, store_url: str):
    template = "http://jaeger.example/trace/{trace_id}?run={run_id}&in={namespace}"
    flow = plan_to_flow(good, team=TEAM, artifacts=store_url, store=with_template(store, template))

    ended = await run(flow, store_url, coterie_run_id=f"mine+{uuid.uuid4()}")

    found = await artifacts_of(ended.flow_run_id)
    name = ended.data["workflow_id"]
    assert set(found) == {"led-there-result", "led-there-trace"}
    link, told = target(found["led-there-trace"]), str(found["led-there-trace"].description)
    trace_id = run_trace_id_text("default", name, None)
    assert link == f"http://jaeger.example/trace/{trace_id}?run={name.replace('+', '%2B')}&in=default"
    assert re.fullmatch(
        rf"Run `{re.escape(name)}` ended \*\*succeeded\*\* after \d+\.\d s\. Time: .* \d+ %.*\. Slowest: .*", told
    ), told
    assert "`sum` " in told
    assert "`again` " in told


async def test_a_run_that_failed_has_one_too_and_says_what_failed_first(store: CoterieStore, store_url: str):
    flow = plan_to_flow(bad, team=TEAM, artifacts=store_url, store=with_template(store, "http://t.example/{trace_id}"))

    ended = await run(flow, store_url)

    told = str((await artifacts_of(ended.flow_run_id))["fallen-trace"].description)
    assert ended.state.is_failed()
    assert "ended **failed** after " in told
    assert "First failed: `broken`, `RuntimeError`." in told


async def test_a_machine_has_one_when_it_has_ended(store: CoterieStore, store_url: str):
    states = [State("on", timeout_s=1, transitions=[Go("end", "timeout")]), State("end", final="succeeded")]
    machine = StateMachine("over", states, initial="on")
    given = with_template(store, "http://t.example/{run_id}")
    flow = machine_to_flow(machine, team=TEAM, artifacts=store_url, store=given, person="wait")

    state = await flow(return_state=True)

    flow_run_id = state.state_details.flow_run_id
    assert flow_run_id is not None
    found = (await artifacts_of(flow_run_id))["over-trace"]
    assert target(found) == f"http://t.example/prefect.{flow_run_id}"
    assert "ended **succeeded**" in str(found.description)


async def test_the_run_leads_to_the_trace_that_began_it(store: CoterieStore, store_url: str):
    name, journal = f"hop.{uuid.uuid4()}", Journal(store.get_journal_store())
    await journal.begin(name, Header(good.name, good.hash, document=good.to_dict(), traceparent=BEGUN_IN), Intent())
    await journal.aclose()
    flow = plan_to_flow(good, team=TEAM, artifacts=store_url, store=with_template(store, "http://t.example/{trace_id}"))

    ended = await run(flow, store_url, coterie_run_id=name)

    found = await artifacts_of(ended.flow_run_id)
    assert target(found["led-there-trace"]) == f"http://t.example/{BEGUN_IN[3:35]}"


async def test_the_template_may_be_the_environment_s_and_no_journal_is_needed(
    store_url: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("COTERIE_TRACE_URL", "http://env.example/{run_id}")
    flow = plan_to_flow(good, team=TEAM, artifacts=store_url, store="memory://")

    ended = await run(flow, store_url)

    found = (await artifacts_of(ended.flow_run_id))["led-there-trace"]
    assert target(found) == f"http://env.example/{ended.data['workflow_id']}"
    assert found.description == f"Run `{ended.data['workflow_id']}`; no journal tells more."


async def test_without_a_template_there_is_none_and_the_journal_is_not_read(
    store: CoterieStore, store_url: str, monkeypatch: pytest.MonkeyPatch
):
    def read(*_: object) -> None:
        raise AssertionError("it was read")

    monkeypatch.setattr("prefect_coterie.trace_artifact.timeline_of", read)
    flow = plan_to_flow(good, team=TEAM, artifacts=store_url, store=store)

    ended = await run(flow, store_url)

    assert set(await artifacts_of(ended.flow_run_id)) == {"led-there-result"}


@pytest.mark.usefixtures("informed")
async def test_a_template_that_is_none_is_told_in_the_log_and_changes_nothing(
    store: CoterieStore, store_url: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("COTERIE_TRACE_URL", "http://env.example/{run}")
    flow = plan_to_flow(good, team=TEAM, artifacts=store_url, store=store)

    ended = await run(flow, store_url)

    assert ended.state.is_completed()
    (line,) = await logged(ended.flow_run_id, "there is no link to the trace")
    assert "COTERIE_TRACE_URL has a field 'run'" in line
    assert set(await artifacts_of(ended.flow_run_id)) == {"led-there-result"}


@pytest.mark.usefixtures("informed")
async def test_a_link_that_cannot_be_made_changes_nothing(
    store: CoterieStore, store_url: str, monkeypatch: pytest.MonkeyPatch
):
    async def fails(**_: object) -> None:
        raise RuntimeError("no room")

    monkeypatch.setattr("prefect_coterie.trace_artifact.acreate_link_artifact", fails)
    flow = plan_to_flow(good, team=TEAM, artifacts=store_url, store=with_template(store, "http://t.example/{run_id}"))

    ended = await run(flow, store_url)

    assert ended.state.is_completed()
    assert await logged(ended.flow_run_id, "could not be made")


@pytest.mark.parametrize(
    ("template", "made"), [("http://t.example/{trace_id}", False), ("http://t.example/{run_id}", True)]
)
async def test_where_only_the_journal_knows_the_trace_and_is_away_there_is_no_link_to_another(
    store: CoterieStore, store_url: str, monkeypatch: pytest.MonkeyPatch, template: str, made: bool
):
    async def away(*_: object, **__: object) -> None:
        raise Unavailable("the store is away")

    monkeypatch.setattr("prefect_coterie.trace_artifact.timeline_of", away)
    flow = plan_to_flow(good, team=TEAM, artifacts=store_url, store=with_template(store, template))

    ended = await run(flow, store_url)

    assert ended.state.is_completed()
    assert ("led-there-trace" in await artifacts_of(ended.flow_run_id)) is made


def test_a_block_with_a_template_that_is_none_is_refused_and_shows_no_password():
    with pytest.raises(PolicyError, match="has a field 'trace'; there are"):
        CoterieStore(url="sqlite://", trace_url="http://h/{trace}")
    with pytest.raises(PolicyError) as caught:
        CoterieStore(url="sqlite://", trace_url="http://me:hunter2@h/{trace_id}")

    assert "hunter2" not in str(caught.value)


def opened(link: str) -> str:
    with urllib.request.urlopen(link, timeout=60) as answer:
        return str(answer.read().decode())


@pytest.fixture
def pages(store: CoterieStore) -> Iterator[str]:
    """Where `coterie trace serve` shows the store's runs."""
    command = [str(Path(sys.executable).parent / "coterie"), "trace", "serve", "--port", "0", "--store", store.url]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ}) as process:
        assert process.stderr is not None
        line = process.stderr.readline()
        found = re.search(r"http://\S+/", line)
        assert found, line
        yield found[0]
        process.send_signal(signal.SIGTERM)


async def test_behind_the_link_lies_the_run_on_coterie_s_own_pages(store: CoterieStore, store_url: str, pages: str):
    flow = plan_to_flow(good, team=TEAM, artifacts=store_url, store=with_template(store, f"{pages}runs/{{run_id}}"))

    ended = await run(flow, store_url)

    link = target((await artifacts_of(ended.flow_run_id))["led-there-trace"])
    page = await asyncio.to_thread(opened, link)
    assert f"<title>Timeline of {ended.data['workflow_id']}</title>" in page
