"""Tell the fleet of something: publish an event on coterie's bus."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from airflow.sdk import BaseOperator, Context
from airflow.sdk.exceptions import AirflowFailException

from airflow_provider_coterie.events.buses import TOPIC, bus_on, checked_topic, traceparent_here
from airflow_provider_coterie.events.correlation import causation_of, correlation_of
from airflow_provider_coterie.hook import DEFAULT_CONN_ID, CoterieHook
from airflow_provider_coterie.identity import identity_of
from airflow_provider_coterie.operators.agent import loaded, unlazy
from airflow_provider_coterie.work import Work
from coterie.errors import Misuse
from coterie.ids import content_hash

if TYPE_CHECKING:
    from coterie.bus import Published

__all__ = ["CoteriePublishEventOperator"]


class CoteriePublishEventOperator(BaseOperator):
    """Publish one event; returns its `id`, its `position` in the topic, and whether it was a `duplicate`.

    event_type: a name of your own, with your domain's reversed in front: `com.example.order.placed` (templated).
    data: any JSON (templated); a `Ref` in it, such as an agent's output, is replaced by its value.
    key: events of one key reach each group of consumers in their order. subject: what it is about (both templated).
    correlation_id: of all that belongs together (templated); by default that of the events that began the DAG run,
    where they agree, else the run's workflow id. topic: of the bus. priority: for those who receive by priority.
    wait_s: how long a topic without room, or a store that does not answer, is waited for.

    The event's id is the same in every try, so that a retry publishes it once, as long as the topic remembers ids (ten
    minutes unless its retention says otherwise); a clear publishes another.
    """

    ui_color = "#e8f0e4"
    template_fields: Sequence[str] = ("event_type", "data", "key", "subject", "correlation_id")
    template_fields_renderers = {"data": "json"}  # noqa: RUF012  # Airflow's own form

    def __init__(
        self,
        *,
        event_type: str,
        data: Any = None,
        key: str = "",
        subject: str | None = None,
        correlation_id: str | None = None,
        topic: str = TOPIC,
        priority: int = 0,
        wait_s: float = 30.0,
        coterie_conn_id: str = DEFAULT_CONN_ID,
        **kwargs: Any,  # Airflow's own arguments, checked by it
    ) -> None:
        super().__init__(**kwargs)
        self.event_type = event_type
        self.data = data
        self.key = key
        self.subject = subject
        self.correlation_id = correlation_id
        self.topic = checked_topic(topic)
        self.priority = priority
        self.wait_s = wait_s
        self.coterie_conn_id = coterie_conn_id
        self._work = Work()

    def on_kill(self) -> None:
        """Stop waiting."""
        self._work.stop()

    def execute(self, context: Context) -> dict[str, Any]:
        """Publish it.

        Raises:
            AirflowFailException: it may not be sent: it is no event, or too large.
            TopicFull, Unavailable: there was no room in time, or no answer; a later try may succeed.
        """
        hook = CoterieHook(self.coterie_conn_id, executor=self.executor)
        artifacts, log = hook.get_conn(), hook.get_log_store()
        data, attributes = unlazy(self.data), self._attributes(context)

        async def publishing() -> Published:
            try:
                bus = bus_on(log, self.topic, source=_source(self))
                return await bus.publish(
                    self.event_type, await loaded(artifacts, data), wait_s=self.wait_s, **attributes
                )
            finally:
                await log.aclose()

        try:
            event, position, is_duplicate = self._work.run(publishing())
        except Misuse as error:
            raise AirflowFailException(f"{type(error).__name__}: {error}") from error
        self.log.info("published %s %s at %s%s", event.type, event.id, position, ", again" if is_duplicate else "")
        return {"id": event.id, "position": position, "duplicate": is_duplicate}

    def _attributes(self, context: Context) -> Mapping[str, Any]:
        ti = context["ti"]
        identity = identity_of(context)
        return {
            "id": content_hash([ti.dag_id, ti.run_id, ti.task_id, ti.map_index, identity.epoch])[:40],
            "key": self.key,
            "subject": self.subject,
            "priority": self.priority,
            "correlation_id": self.correlation_id or correlation_of(context, identity.workflow_id),
            "causation_id": causation_of(context),
            "traceparent": traceparent_here(),
        }


def _source(operator: BaseOperator) -> str:
    return f"airflow/{quote(operator.dag_id, safe='')}/{quote(operator.task_id, safe='')}"
