"""Publish events, and wait for them, under `dag.test()`; and which events are meant."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
from airflow.providers.common.messaging.triggers.msg_queue import MessageQueueTrigger
from airflow.sdk import Asset, AssetWatcher
from airflow.sdk.definitions.asset import AssetUniqueKey
from airflow.sdk.execution_time.context import TriggeringAssetEventsAccessor

from airflow_provider_coterie import CoterieEventSensor, CoteriePublishEventOperator, received_events
from airflow_provider_coterie.events import sensor
from airflow_provider_coterie.events.correlation import causation_of, correlation_of
from airflow_provider_coterie.events.match import Matching
from airflow_provider_coterie.events.waiting import awaited
from coterie import Ref
from coterie.bus import EventBus
from coterie.errors import Misuse, PolicyError
from tests.airflow.conftest import connection

TELLS = """
    from airflow.sdk import DAG
    from airflow_provider_coterie import CoteriePublishEventOperator

    with DAG("tells", schedule=None) as dag:
        CoteriePublishEventOperator(task_id="told", event_type="com.example.{{{{ dag_run.run_type.value }}}}"{more})
"""
WAITS = """
    from airflow.sdk import DAG
    from airflow_provider_coterie import CoterieEventSensor, CoteriePublishEventOperator

    with DAG("waits", schedule=None) as dag:
        data = {{"n": 1, "text": {text!r}}}
        told = CoteriePublishEventOperator(task_id="told", event_type="com.example.told", data=data)
        heard = CoterieEventSensor(task_id="heard", types="com.example.*", poke_interval=0.1{more})
        told >> heard
"""


@pytest.fixture
def url(artifacts, tmp_path, monkeypatch):
    """A database of this test's own, named by the default connection."""
    url = f"sqlite://{tmp_path}/state.db"
    monkeypatch.setenv("AIRFLOW_CONN_COTERIE_DEFAULT", connection(artifacts, store=url))
    return url


def published(url, topic="events"):
    async def look():
        async with EventBus.open(url, topic=topic) as bus:
            return [recorded.event async for recorded in bus.replay()]

    return asyncio.run(look())


def test_an_event_of_a_task_belongs_to_its_run(in_airflow, url):
    run = in_airflow.test(TELLS.format(more=', data={"n": 1}, key="k", subject="s", topic="mine"'))

    (event,) = published(url, "mine")
    assert run.states() == {("told", -1): "success"}
    assert run.xcom("told") == {"id": event.id, "position": "1", "duplicate": False}
    assert (event.type, event.data, event.key, event.subject) == ("com.example.manual", {"n": 1}, "k", "s")
    assert (event.correlation_id, event.source) == (f"airflow.tells.{run.run_id}", "airflow/tells/told")


def test_a_retry_publishes_the_same_event_once(in_airflow, url, monkeypatch):
    failed = []
    source = CoteriePublishEventOperator.execute

    def lost(self, context):
        found = source(self, context)
        if not failed:
            failed.append(found)
            raise ConnectionError("the worker is lost after it has published")
        return found

    monkeypatch.setattr(CoteriePublishEventOperator, "execute", lost)
    more = ", retries=1, retry_delay=__import__('datetime').timedelta(0)"

    run = in_airflow.test(TELLS.format(more=more))

    assert run.tries() == {"told": 2}
    assert run.xcom("told") == {**failed[0], "duplicate": True}
    assert len(published(url)) == 1


def test_what_may_not_be_sent_fails_without_a_retry(in_airflow, url):
    run = in_airflow.test(TELLS.format(more=', data={"text": "x" * 300_000}, retries=3'))

    assert run.states() == {("told", -1): "failed"}
    assert run.tries() == {"told": 1}
    assert published(url) == []


@pytest.mark.parametrize("more", ["", ", deferrable=True"], ids=["poking", "deferrable"])
def test_a_sensor_sees_what_was_published_since_the_run_began(in_airflow, url, more):
    run = in_airflow.test(WAITS.format(text="short", more=more))

    assert run.states() == {("told", -1): "success", ("heard", -1): "success"}
    heard = run.xcom("heard")
    assert heard["id"] == run.xcom("told")["id"]
    assert heard["data"] == {"n": 1, "text": "short"}


@pytest.mark.parametrize("mode", ["", ", deferrable=True"], ids=["poking", "deferrable"])
def test_a_sensor_waits_for_what_is_as_wanted_and_comes_behind_a_position(in_airflow, url, mode, monkeypatch):
    more = ", where={'n': 2}, since=\"{{ ti.xcom_pull('told')['position'] }}\"" + mode
    loop_work = _later(url, {"n": 1}, {"n": 2, "text": "y" * 2000})

    run = in_airflow.test(WAITS.format(text="first", more=more))
    loop_work.join()

    heard = run.xcom("heard")
    assert heard["type"] == "com.example.later"
    ref = Ref.deserialize(heard["data"]["__data__"])
    assert ref.size_bytes > 1024, "what is large lies in the artifact store"


@pytest.mark.parametrize("mode", ["", ", deferrable=True"], ids=["poking", "deferrable"])
def test_a_sensor_says_what_it_waits_for(in_airflow, url, mode, monkeypatch):
    said = []
    monkeypatch.setattr(sensor, "awaited", lambda *of, **more: said.append(awaited(*of, **more)))

    in_airflow.test(WAITS.format(text="short", more=", where={'n': 1}, timeout=3600" + mode))

    assert said[0].startswith(f"waits for com.example.* on the topic 'events' of {url[: -len('.db')]}")
    assert """where {"n": 1}, since 20""" in said[0]
    assert ", until 20" in said[0]
    assert said[0].endswith("'coterie events tail --topic events' shows what comes")


def _later(url, *contents):
    """Publish from another thread, once something is there."""
    import threading

    async def work():
        async with EventBus.open(url) as bus:
            await bus.wait_for("com.example.told", since="")
            for data in contents:
                await bus.publish("com.example.later", data)

    thread = threading.Thread(target=asyncio.run, args=(work(),))
    thread.start()
    return thread


EVENT = {
    "type": "a.b",
    "subject": "s/1",
    "data": {"status": "ready", "n": 1, "flag": True, "a/b": 0, "list": [{"x": "y"}]},
}


@pytest.mark.parametrize(
    ("where", "holds"),
    [
        ({}, True),
        ({"status": "ready"}, True),
        ({"status": "ready", "n": 2}, False),
        ({"n": 1.0}, True),
        ({"n": True}, False),
        ({"flag": 1}, False),
        ({"missing": None}, False),
        ({"a/b": 0}, True),
        ({"/data/a~1b": 0}, True),
        ({"/subject": "s/1", "/type": "a.b"}, True),
        ({"/data/list/0/x": "y"}, True),
        ({"/data/list/1/x": "y"}, False),
        ({"/data/list/-1/x": "y"}, False),
        ({"/data/status/0": "r"}, False),
    ],
)
def test_an_event_is_meant_if_every_place_holds_its_value(where, holds):
    assert Matching(where)(EVENT) is holds


def triggered_by(*payloads):
    events = [SimpleNamespace(extra={"from_trigger": True, "payload": payload}) for payload in payloads]
    return {"triggering_asset_events": {"asset": events}}


@pytest.mark.parametrize(
    ("context", "correlation", "causation"),
    [
        ({}, "run", None),
        (triggered_by({"specversion": "1.0", "id": "1", "correlationid": "c"}), "c", "1"),
        (
            triggered_by(
                {"specversion": "1.0", "id": "1", "correlationid": "c"},
                {"specversion": "1.0", "id": "2", "correlationid": "c"},
            ),
            "c",
            None,
        ),
        (
            triggered_by(
                {"specversion": "1.0", "id": "1", "correlationid": "c"},
                {"specversion": "1.0", "id": "2", "correlationid": "d"},
            ),
            "run",
            None,
        ),
        (triggered_by({"specversion": "1.0", "id": "1"}), "run", "1"),
        (triggered_by("of another trigger", {"id": "x"}, None), "run", None),
    ],
)
def test_a_run_that_events_began_is_correlated_as_they_are_where_they_agree(context, correlation, causation):
    assert correlation_of(context, "run") == correlation
    assert causation_of(context) == causation


def test_what_cannot_work_is_refused_when_the_dag_file_is_read():
    with pytest.raises(Misuse, match="topic"):
        CoteriePublishEventOperator(task_id="told", event_type="a.b", topic="")
    with pytest.raises(Misuse, match="topic"):
        CoterieEventSensor(task_id="heard", types="a.b", topic="")
    with pytest.raises(PolicyError, match="JSON pointer"):
        Matching({1: 2})


class Stored(list):
    """What Airflow has stored of an asset's events."""

    def after(self, instant):
        return Stored(event for event in self if event.timestamp.isoformat() >= instant)


def stored(second, payload, **more):
    extra = {"from_trigger": True, "payload": payload, **more}
    return SimpleNamespace(timestamp=datetime(2026, 1, 1, 0, 0, second, tzinfo=UTC), extra=extra)


@pytest.fixture
def receiving(monkeypatch):
    """The events that a task of a run gets: which have started it, and which are stored by then."""
    from airflow import sdk

    watcher = AssetWatcher(name="orders", trigger=MessageQueueTrigger(scheme="coterie", types=["com.example.*"]))
    asset, task = Asset("orders", watchers=[watcher]), SimpleNamespace(task_id="events")
    key = AssetUniqueKey.from_asset(asset)

    def receive(started, by_then, *, inlet=True):
        triggering = TriggeringAssetEventsAccessor({key: started} if started else {})
        context = {"ti": task, "triggering_asset_events": triggering}
        context["inlet_events"] = {asset: Stored(by_then)} if inlet else {}
        monkeypatch.setattr(sdk, "get_current_context", lambda: context)
        return received_events(asset)

    return receive


def test_a_run_gets_all_that_is_stored_since_its_first_event_each_once(receiving):
    event = {n: {"specversion": "1.0", "id": str(n), "source": "s", "data": n} for n in range(5)}
    earlier, first, second, again, last = (
        stored(0, event[0]),
        stored(1, event[1]),
        stored(2, event[2]),
        stored(3, event[1]),
        stored(4, event[3]),
    )

    found = receiving([first], [earlier, first, second, again, last])

    assert [each["data"] for each in found] == [1, 2, 3]


def test_payloads_that_are_no_events_are_told_apart_by_when_they_were_stored(receiving):
    first, second = stored(1, {"total": 1}), stored(2, {"total": 1})

    assert receiving([first], [first, second, stored(3, None, from_trigger=False)]) == [{"total": 1}, {"total": 1}]


def test_a_run_that_nothing_started_gets_nothing(receiving):
    assert receiving([], [stored(1, {})]) == []


def test_a_task_without_the_asset_among_its_inlets_is_told_so(receiving):
    with pytest.raises(Misuse, match=r"'events' asks for the events of 'orders'; give it inlets"):
        receiving([stored(1, {})], [], inlet=False)
