"""DAGs that events start, that wait for events, and that publish some."""

from __future__ import annotations

from datetime import timedelta

from airflow.providers.common.messaging.triggers.msg_queue import MessageQueueTrigger
from airflow.sdk import DAG, Asset, AssetWatcher, Param, get_current_context, task

from airflow_provider_coterie import (
    CoterieAgentOperator,
    CoterieEventSensor,
    CoteriePublishEventOperator,
    received_events,
)
from tests.airflow.remote_agents import TEAM_PATH

CONN = {"coterie_conn_id": "coterie_workers"}


def on_event(conn_id):
    """One that the events of a connection's log start."""
    trigger = MessageQueueTrigger(scheme="coterie", coterie_conn_id=conn_id, types=["com.example.order.*"])
    orders = Asset(f"orders_of_{conn_id}", watchers=[AssetWatcher(name="orders", trigger=trigger)])

    with DAG(f"on_event_{conn_id}", schedule=[orders], max_active_runs=4, catchup=False) as dag:

        @task(inlets=[orders])
        def events():
            """All of them: Airflow may have put several into one run, and some more are stored by now."""
            return received_events(orders)

        @task(map_index_template="{{ event_id }}")
        def handle(event):
            get_current_context()["event_id"] = event["id"]
            return {"id": event["id"], "total": event["data"]["total"]}

        handle.expand(event=events())
        CoterieAgentOperator(
            task_id="far",
            agent_type="far",
            team_path=TEAM_PATH,
            input={"notes": "{{ (triggering_asset_events.values() | first)[0].extra['payload']['data']['notes'] }}"},
            **CONN,
        )
    return dag


for name in ("coterie_workers", "coterie_default"):
    globals()[f"on_event_{name}"] = on_event(name)

with DAG(
    "tells_and_waits",
    schedule=None,
    params={"name": Param("", type="string")},
    default_args={"retries": 1, "retry_delay": timedelta(seconds=1), **CONN},
):
    types, where = "com.example.report.*", {"name": "{{ params.name }}"}
    told = CoteriePublishEventOperator(
        task_id="told", event_type="com.example.report.ready", data={"name": "{{ params.name }}", "size": 3}
    )
    poked = CoterieEventSensor(task_id="poked", types=types, where=where, deferrable=False)
    behind = CoterieEventSensor(
        task_id="behind",
        types=types,
        where=where,
        since="{{ ti.xcom_pull('told')['position'] }}",
        deferrable=True,
        timeout=600,
    )
    told >> [poked, behind]
