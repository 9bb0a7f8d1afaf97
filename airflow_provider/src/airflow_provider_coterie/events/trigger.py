"""Events of the bus as triggers of DAGs: each is acknowledged once Airflow has stored it, and redelivered until then.

Watchers that differ in anything are groups of consumers of their own: in one group each event has one taker, and
Airflow may run them in two triggerers.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Hashable, Mapping, Sequence
from importlib import import_module
from typing import Any, Literal

from airflow.triggers.base import BaseEventTrigger, TriggerEvent
from airflow.triggers.shared_stream import (
    AdvanceItem,
    AdvanceOutcome,
    SharedStreamProducer,
    reject_shared_stream_event,
)

from airflow_provider_coterie.events.buses import TOPIC, checked_topic
from airflow_provider_coterie.events.match import Matching
from airflow_provider_coterie.hook import DEFAULT_CONN_ID
from airflow_provider_coterie.resuming import settled
from coterie.errors import Misuse
from coterie.ids import check_name, content_hash

__all__ = ["CoterieEventTrigger"]

_ARGUMENTS = ("coterie_conn_id", "topic", "types", "group", "begin", "max_deliveries", "where", "apply_function")
# What does not show in a group's name unless it is otherwise.
_USUAL: Mapping[str, Any] = {"where": {}, "apply_function": None, "begin": "end", "max_deliveries": 5}


class CoterieEventTrigger(BaseEventTrigger):
    """Fire for each event of some types, for an `AssetWatcher`; usually by `MessageQueueTrigger(scheme="coterie", …)`.

    types: short types of coterie's own events, others' in full, or patterns with `*`; none: all.
    topic: of the bus. where: what must lie in the event's data, as of `CoterieEventSensor`.
    apply_function: `package.module:function`, called in the triggerer with each event that matches, a CloudEvent as a
    dict; what it returns is what the DAG gets instead, and None means that it gets nothing. What it raises sends the
    event to the dead letters. It must not block.
    group: sets this Airflow apart from others that use the same namespace. Each combination of all these arguments is
    one group of consumers, which goes on where it was after any pause.
    begin: where a group begins that is new: "end", with what is published from then on; or "begin".
    max_deliveries: after so many without success an event goes to the dead letters.

    The event's payload is the CloudEvent as a dict. It is acknowledged once Airflow has stored it; a triggerer that
    dies before gets it again: what a DAG does about an event should depend on the event's id.

    Raises:
        Misuse: a group, a function, or conditions that cannot be.
    """

    def __init__(
        self,
        *,
        coterie_conn_id: str = DEFAULT_CONN_ID,
        types: Sequence[str] | str = (),
        topic: str = TOPIC,
        where: Mapping[str, Any] | None = None,
        apply_function: str | None = None,
        group: str = "airflow",
        begin: Literal["begin", "end"] = "end",
        max_deliveries: int = 5,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Airflow's
        self.coterie_conn_id = coterie_conn_id
        self.types = [types] if isinstance(types, str) else sorted(set(types))
        self.topic = checked_topic(topic)
        self.where = dict(where or {})
        self.apply_function = apply_function
        self.group = check_name(group, "the group of an event trigger")
        self.begin = begin
        self.max_deliveries = max_deliveries
        self._matches = Matching(self.where)
        self._function: Callable[[dict[str, Any]], Any] | None = None
        if apply_function is not None and ":" not in apply_function:
            raise Misuse(f"apply_function is {apply_function!r}; give 'package.module:function'")

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """What the trigger is made of again, in whatever triggerer."""
        return f"{__name__}.{type(self).__name__}", {name: getattr(self, name) for name in _ARGUMENTS}

    def shared_stream_key(self) -> Hashable:
        """One consumer for all that differ in nothing."""
        return ("coterie-events", content_hash(self.serialize()[1]))

    @classmethod
    def create_shared_stream_producer(cls, kwargs: dict[str, Any]) -> SharedStreamProducer:
        """See `EventProducer`."""
        from airflow_provider_coterie.events.producer import EventProducer

        return EventProducer(
            coterie_conn_id=kwargs["coterie_conn_id"],
            topic=kwargs["topic"],
            types=kwargs["types"],
            group=_group_of(kwargs),
            begin=kwargs["begin"],
            max_deliveries=kwargs["max_deliveries"],
        )

    async def filter_shared_stream(self, shared_stream: AsyncIterator[Any]) -> AsyncIterator[TriggerEvent]:
        """Fire for what matches; refuse what nothing can be made of."""
        begun_at = asyncio.get_running_loop().time()
        async for arrived in shared_stream:
            try:
                payload = self._made_of(arrived.event)
            # Whatever the user's function raises: the stream goes on with the next event.
            except Exception as error:  # noqa: BLE001
                said = f"{self.apply_function}: {type(error).__name__}: {error}"
                self.log.warning("event.refused %s %s by %s", arrived.event["type"], arrived.event["id"], said)
                arrived.refused.append(said[:500])
                reject_shared_stream_event()
                continue
            if payload is None:
                continue
            if self.task_instance is not None:
                await settled(begun_at)
            yield TriggerEvent(payload)  # type: ignore[no-untyped-call]  # Airflow's
            if self.task_instance is not None:
                # A task that waits is resumed by one; the others are for whoever comes next.
                return

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """The same where streams are not shared, as under `dag.test()`: an event is acknowledged once it was fired."""
        producer = type(self).create_shared_stream_producer(self.serialize()[1])

        async def arriving() -> AsyncIterator[Any]:
            async for arrived, held in producer.open_stream():
                yield arrived
                await producer.advance([AdvanceItem(held, AdvanceOutcome(acked=1, failed=0))])

        try:
            async for event in self.filter_shared_stream(arriving()):
                yield event
        finally:
            await producer.aclose()

    def _made_of(self, event: dict[str, Any]) -> Any:
        """What the DAG gets; None: nothing."""
        if not self._matches(event):
            return None
        if self.apply_function is None:
            return event
        if self._function is None:
            module, _, name = self.apply_function.partition(":")
            self._function = getattr(import_module(module), name)
        return self._function(event)


def _group_of(kwargs: Mapping[str, Any]) -> str:
    """The group's name on the bus: no two triggers that make different things of an event may have the same."""
    own = {name: kwargs[name] for name, usual in _USUAL.items() if kwargs[name] != usual}
    what = [kwargs["coterie_conn_id"], kwargs["types"], *([own] if own else [])]
    return f"{kwargs['group']}-{content_hash(what)[:12]}"
