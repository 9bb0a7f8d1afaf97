"""Wait for an event of coterie's bus."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import BaseSensorOperator, Context, PokeReturnValue

from airflow_provider_coterie.events.buses import TOPIC, bus_on, checked_topic
from airflow_provider_coterie.events.match import Matching
from airflow_provider_coterie.events.waiting import awaited
from airflow_provider_coterie.hook import DEFAULT_CONN_ID, CoterieHook
from airflow_provider_coterie.sensors import default_deferrable
from airflow_provider_coterie.wire import MAX_RECORD_BYTES
from airflow_provider_coterie.work import Work

__all__ = ["CoterieEventSensor"]


class CoterieEventSensor(BaseSensorOperator):
    """Wait for the first event of some types that is as wanted; returns it, a CloudEvent as a dict.

    types: short types of coterie's own events (`task.completed`), others' in full, or patterns with `*` (templated).
    where: values by place, all of which must be there (templated): a field of the event's data, or a JSON pointer into
    the whole event: `{"status": "ready", "/subject": "orders/7"}`.
    since: "run": events count from the start of the DAG run on, by the store's clock, also those published before the
    sensor began; or a position, such as `CoteriePublishEventOperator` returns: what lies behind it (templated).
    topic: of the bus. deferrable: by default Airflow's `[operators] default_deferrable`.

    Of an event over about 900 bytes the `data` are a `Ref`: `.load()` gives them. Any number of sensors may wait for
    the same event; nothing is acknowledged, nor lost.
    """

    ui_color = "#e8f0e4"
    template_fields: Sequence[str] = ("types", "where", "since")

    def __init__(
        self,
        *,
        types: Sequence[str] | str,
        where: Mapping[str, Any] | None = None,
        since: str = "run",
        topic: str = TOPIC,
        coterie_conn_id: str = DEFAULT_CONN_ID,
        deferrable: bool | None = None,
        poke_interval: timedelta | float = 15.0,
        **kwargs: Any,  # Airflow's own arguments, checked by it
    ) -> None:
        super().__init__(poke_interval=poke_interval, **kwargs)
        self.types = types
        self.where = where
        self.since = since
        self.topic = checked_topic(topic)
        self.coterie_conn_id = coterie_conn_id
        self.deferrable = default_deferrable() if deferrable is None else deferrable
        self._work = Work()
        self._behind: str | None = None

    def on_kill(self) -> None:
        """Stop looking."""
        self._work.stop()

    def execute(self, context: Context) -> Any:
        """Wait in this worker, or deferred if there is none yet.

        Raises:
            TaskDeferred: it waits outside of any worker, at most `timeout` seconds.
        """
        self._say_awaited(context)
        if not self.deferrable:
            return super().execute(context)
        found = self._look(context)
        if found is None:
            from airflow_provider_coterie.events.wait_trigger import CoterieEventWaitTrigger

            trigger = CoterieEventWaitTrigger(
                coterie_conn_id=self.coterie_conn_id,
                executor=self.executor,
                topic=self.topic,
                types=self._types(),
                where=dict(self.where or {}),
                since=self._behind or self._since(context),
            )
            self.defer(trigger=trigger, method_name="resume", timeout=timedelta(seconds=self.timeout))
        return found

    def resume(self, context: Context, event: Mapping[str, Any]) -> dict[str, Any]:  # noqa: ARG002  # Airflow's signature
        """It has come."""
        return self._returned(event["event"])

    def poke(self, context: Context) -> PokeReturnValue:
        """Look once, at what has come since the last time.

        Raises:
            Unavailable: the store did not answer.
        """
        found = self._look(context)
        return PokeReturnValue(found is not None, found)

    def _look(self, context: Context) -> dict[str, Any] | None:
        log = CoterieHook(self.coterie_conn_id, executor=self.executor).get_log_store()
        matches, since = Matching(self.where or {}), self._behind or self._since(context)

        async def looking() -> dict[str, Any] | None:
            try:
                async for recorded in bus_on(log, self.topic).replay(*self._types(), since=since):
                    event = recorded.event.to_dict()
                    if matches(event):
                        return event
                    self._behind = recorded.position
                return None
            finally:
                await log.aclose()

        found = self._work.run(looking())
        return None if found is None else self._returned(found)

    def _say_awaited(self, context: Context) -> None:
        log = CoterieHook(self.coterie_conn_id, executor=self.executor).get_log_store()
        until = datetime.now(UTC) + timedelta(seconds=self.timeout)
        where, since = self.where or {}, self._since(context)
        try:
            self.log.info("%s", awaited(log, self.topic, self._types(), where, since=since, until=until))
        finally:
            self._work.run(log.aclose())

    def _returned(self, event: Mapping[str, Any]) -> dict[str, Any]:
        self.log.info("an event has come: %s %s", event["type"], event["id"])
        if len(json.dumps(event)) <= MAX_RECORD_BYTES:
            return dict(event)
        artifacts = CoterieHook(self.coterie_conn_id, executor=self.executor).get_conn()
        return {**event, "data": self._work.run(artifacts.put(event.get("data")))}

    def _types(self) -> list[str]:
        return [self.types] if isinstance(self.types, str) else list(self.types)

    def _since(self, context: Context) -> str | float:
        """A position; or seconds since the epoch."""
        if self.since != "run":
            return str(self.since)
        run = context["dag_run"]
        return float((run.start_date or run.run_after).timestamp())
