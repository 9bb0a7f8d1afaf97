"""Pack what was ordered: each order that is placed on the bus begins a run, which says so there."""

from __future__ import annotations

from typing import Any

from airflow.providers.common.messaging.triggers.msg_queue import MessageQueueTrigger
from airflow.sdk import DAG, Asset, AssetWatcher, task

from airflow_provider_coterie import CoteriePublishEventOperator

placed = Asset(
    "orders",
    watchers=[
        AssetWatcher(
            name="placed",
            trigger=MessageQueueTrigger(scheme="coterie", types=["com.example.order.placed"], begin="begin"),
        )
    ],
)

with DAG("event_hop", schedule=[placed]):

    @task
    def orders(*, triggering_asset_events: Any = None) -> list[dict[str, Any]]:
        """Every order, should several have begun one run."""
        return [event.extra["payload"]["data"] for event in triggering_asset_events[placed]]

    CoteriePublishEventOperator.partial(task_id="pack", event_type="com.example.order.packed").expand(data=orders())
