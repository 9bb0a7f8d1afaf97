"""Events that start DAGs: acknowledged once Airflow has stored them, delivered again until then."""

from __future__ import annotations

import asyncio
import os
from contextlib import asynccontextmanager
from types import SimpleNamespace

import pytest
from airflow.providers.common.messaging.triggers.msg_queue import MessageQueueTrigger
from airflow.serialization.encoders import encode_trigger
from airflow.serialization.serialized_objects import BaseSerialization
from airflow.triggers.shared_stream import SharedStreamManager

from airflow_provider_coterie.events import producer
from airflow_provider_coterie.events import trigger as trigger_module
from airflow_provider_coterie.events.trigger import CoterieEventTrigger
from coterie._rules.log import Message, Retention
from coterie.bus import EventBus
from coterie.errors import MalformedEvent, Misuse, PolicyError
from tests.airflow.conftest import connection
from tests.airflow.working import until

ORDERS = "com.example.order.*"


def refuse_small(event):
    """For `apply_function`: what is small cannot be used, what is odd is not wanted."""
    if event["data"]["total"] < 10:
        raise MalformedEvent("too small to be an order")
    return None if event["data"]["total"] % 2 else {"total": event["data"]["total"]}


@pytest.fixture
async def bus(artifacts, tmp_path, monkeypatch):
    """The bus of the default connection."""
    url = f"sqlite://{tmp_path}/state.db"
    monkeypatch.setenv("AIRFLOW_CONN_COTERIE_DEFAULT", connection(artifacts, store=url))
    async with EventBus.open(url) as opened:
        yield opened


class Watching:
    """What the triggerer does for a trigger: subscribes it, queues what it fires, and confirms what was stored."""

    def __init__(self, manager, number, trigger):
        self.fired = []
        self._manager = manager
        self._key = trigger.shared_stream_key()
        self._number = number
        self._stream = trigger.filter_shared_stream(
            manager.subscribe(trigger_id=number, trigger=trigger, key=self._key)
        )
        self._task = asyncio.create_task(self._run())

    async def _run(self):
        async for event in self._stream:
            self.fired.append((event.payload, self._manager.bind_pending_event(trigger_id=self._number, key=self._key)))

    @property
    def totals(self):
        return [payload["data"]["total"] for payload, _ in self.fired]

    def store(self):
        self._manager.confirm_persisted([seq for _, seq in self.fired])

    async def end(self):
        self._task.cancel()
        await asyncio.wait({self._task})
        await self._manager.unsubscribe(self._number, self._key)


@asynccontextmanager
async def watched(*triggers):
    manager = SharedStreamManager()
    watching = [Watching(manager, number, trigger) for number, trigger in enumerate(triggers, 1)]
    try:
        yield watching if len(watching) > 1 else watching[0]
    finally:
        await manager.stop_all()
        for each in watching:
            await each.end()


async def groups(bus):
    return await bus.log.groups(bus.topic)


async def held(bus):
    return sum(group.held + group.waiting + group.unread for group in await groups(bus))


async def begun(bus, count=1):
    async def is_there():
        return len(await groups(bus)) >= count

    await until(is_there)


async def test_an_event_is_acknowledged_once_airflow_has_stored_it(bus):
    async with watched(CoterieEventTrigger(types=[ORDERS])) as watching:
        await begun(bus)
        await bus.publish("com.example.order.placed", {"total": 12})
        await until(lambda: watching.fired)
        assert (await groups(bus))[0].held == 1

        watching.store()

        async def is_done():
            return await held(bus) == 0

        await until(is_done)
    payload = watching.fired[0][0]
    assert payload["type"] == "com.example.order.placed"
    assert payload["data"] == {"total": 12}


async def test_what_airflow_had_not_stored_comes_again_in_the_next_triggerer(bus):
    trigger = CoterieEventTrigger(types=[ORDERS])
    async with watched(trigger) as first:
        await begun(bus)
        for total in (1, 2, 3):
            await bus.publish("com.example.order.placed", {"total": total})
        await until(lambda: len(first.fired) == 3)

    await bus.publish("com.example.order.placed", {"total": 4})
    async with watched(trigger) as second:
        await until(lambda: len(second.fired) == 4)

    assert first.totals == [1, 2, 3]
    assert second.totals == [1, 2, 3, 4]


async def test_what_is_no_event_is_a_dead_letter_and_the_stream_goes_on(bus):
    async with watched(CoterieEventTrigger()) as watching:
        await begun(bus)
        await bus.log.append(bus.topic, [Message("poison", "com.example.odd", "{half of")], retention=Retention())
        await bus.publish("com.example.order.placed", {"total": 5})
        await until(lambda: watching.totals == [5])

        group = (await groups(bus))[0].name
        (letter,) = await bus.dead_letters(group)

    assert letter.message.id == "poison"
    assert letter.reason.startswith("MalformedEvent: ")


async def test_what_a_user_s_function_refuses_is_a_dead_letter_with_its_reason(bus):
    apply = f"{__name__}:refuse_small"
    async with watched(CoterieEventTrigger(types=ORDERS, apply_function=apply)) as watching:
        await begun(bus)
        for total in (3, 12, 13, 14):
            await bus.publish("com.example.order.placed", {"total": total})
        await until(lambda: len(watching.fired) == 2)
        watching.store()

        async def is_done():
            return await held(bus) == 0

        await until(is_done)
        group = (await groups(bus))[0].name
        (letter,) = await bus.dead_letters(group)

    assert [payload for payload, _ in watching.fired] == [{"total": 12}, {"total": 14}]
    assert letter.event.data == {"total": 3}
    assert "refuse_small: MalformedEvent: too small to be an order" in letter.reason


async def test_triggers_of_the_same_types_choose_by_what_lies_in_the_events(bus):
    small = CoterieEventTrigger(types=ORDERS, where={"total": 1})
    large = CoterieEventTrigger(types=ORDERS, where={"/data/total": 100, "/type": "com.example.order.placed"})
    other = CoterieEventTrigger(types="com.example.*")
    async with watched(small, large, other) as (first, second, third):
        await begun(bus, 3)
        for total in (1, 100, 7):
            await bus.publish("com.example.order.placed", {"total": total})
        await until(lambda: len(third.fired) == 3)
        await until(lambda: first.fired and second.fired)

    assert [first.totals, second.totals, third.totals] == [[1], [100], [1, 100, 7]]


@pytest.mark.parametrize(
    "other", [{"max_deliveries": 3}, {"begin": "begin"}, {"where": {"/type": "com.example.order.placed"}}]
)
async def test_triggers_that_differ_in_anything_get_every_event_each(bus, other):
    async with watched(CoterieEventTrigger(types=ORDERS), CoterieEventTrigger(types=ORDERS, **other)) as (
        first,
        second,
    ):
        await begun(bus, 2)
        for total in range(4):
            await bus.publish("com.example.order.placed", {"total": total})
        await until(lambda: len(first.fired) + len(second.fired) == 8)

    assert first.totals == second.totals == [0, 1, 2, 3]


async def test_a_trigger_in_another_triggerer_takes_no_event_away(bus):
    small, large = (CoterieEventTrigger(types=ORDERS, where={"total": total}) for total in (1, 100))
    async with watched(small) as first, watched(large) as second:
        await begun(bus, 2)
        for total in (100, 1, 100, 1):
            await bus.publish("com.example.order.placed", {"total": total})
        await until(lambda: len(first.fired) + len(second.fired) == 4)

    assert (first.totals, second.totals) == ([1, 1], [100, 100])


async def test_triggers_that_differ_in_nothing_share_one_consumer(bus):
    async with watched(CoterieEventTrigger(types=ORDERS), CoterieEventTrigger(types=ORDERS)) as (first, second):
        await begun(bus)
        await bus.publish("com.example.order.placed", {"total": 1})
        await until(lambda: first.fired and second.fired)

        assert [len(group.consumers) for group in await groups(bus)] == [1]


async def test_events_that_one_trigger_has_no_use_for_do_not_wait_for_another_s_storing(bus):
    async with watched(CoterieEventTrigger(types=ORDERS, where={"total": 1})) as watching:
        await begun(bus)
        await bus.publish("com.example.order.placed", {"total": 1}, key="a")
        await bus.publish("com.example.order.placed", {"total": 2}, key="b")
        await until(lambda: watching.fired)

        async def one_is_left():
            return await held(bus) == 1

        await until(one_is_left)


async def test_a_trigger_of_a_task_that_waits_fires_once(bus):
    trigger = CoterieEventTrigger(types=ORDERS)
    trigger.task_instance = SimpleNamespace(task_id="waits")
    async with watched(trigger) as watching:
        await begun(bus)
        await bus.publish("com.example.order.placed", {"total": 1})
        await bus.publish("com.example.order.placed", {"total": 2})
        await until(lambda: watching.fired)
        await asyncio.wait({watching._task})

    assert watching.totals == [1]


async def test_a_trigger_of_a_task_that_waits_fires_no_sooner_than_airflow_has_heard_that_it_does(bus, monkeypatch):
    held_back = asyncio.Event()

    async def settled(begun_at):
        await held_back.wait()

    monkeypatch.setattr(trigger_module, "settled", settled)
    trigger = CoterieEventTrigger(types=ORDERS, begin="begin")
    trigger.task_instance = SimpleNamespace(task_id="waits")
    await bus.publish("com.example.order.placed", {"total": 1})
    async with watched(trigger) as watching:

        async def is_delivered():
            found = await groups(bus)
            return bool(found) and found[0].held == 1

        await until(is_delivered)
        await asyncio.sleep(0)
        assert not watching.fired

        held_back.set()
        await until(lambda: watching.fired)


async def test_where_streams_are_not_shared_an_event_is_acknowledged_when_it_was_fired(bus):
    trigger = CoterieEventTrigger(types=ORDERS, begin="begin")
    for total in (1, 2):
        await bus.publish("com.example.order.placed", {"total": total})

    totals, stream = [], trigger.run()
    async for event in stream:
        totals.append(event.payload["data"]["total"])
        if len(totals) == 2:
            break
    await stream.aclose()

    assert totals == [1, 2]
    assert await held(bus) == 1, "the second was not gone on from"


def test_it_survives_the_way_through_airflow_s_database_and_is_known_by_what_it_was_given():
    trigger = CoterieEventTrigger(types=["b.c", "a.b"], where={"x": 1}, coterie_conn_id="other", group="second")
    path, kwargs = trigger.serialize()

    assert path == "airflow_provider_coterie.events.trigger.CoterieEventTrigger"
    assert BaseSerialization.deserialize(BaseSerialization.serialize(kwargs)) == kwargs
    again = CoterieEventTrigger(**kwargs)
    assert again.serialize() == trigger.serialize()
    assert again.shared_stream_key() == trigger.shared_stream_key()
    assert CoterieEventTrigger(types=["a.b", "b.c"]).shared_stream_key() != trigger.shared_stream_key()


def test_the_scheme_coterie_of_airflow_s_message_queues_is_this_trigger():
    given = MessageQueueTrigger(scheme="coterie", coterie_conn_id="other", types=[ORDERS], topic="orders")
    own = CoterieEventTrigger(coterie_conn_id="other", types=[ORDERS], topic="orders")

    assert given.serialize() == own.serialize()
    assert encode_trigger(given) == encode_trigger(own)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"apply_function": "tests.airflow.refuse"}, Misuse),
        ({"topic": ""}, Misuse),
        ({"group": "not a name"}, Misuse),
        ({"where": {"": 1}}, PolicyError),
    ],
)
def test_what_cannot_work_is_refused_when_the_dag_file_is_read(arguments, error):
    with pytest.raises(error):
        CoterieEventTrigger(types=ORDERS, **arguments)


async def test_a_connection_that_is_missing_is_asked_for_until_it_is_there(bus, monkeypatch):
    told = []
    monkeypatch.setattr(producer, "_log", SimpleNamespace(warning=lambda *said: told.append(said)))
    there = os.environ["AIRFLOW_CONN_COTERIE_DEFAULT"]
    monkeypatch.delenv("AIRFLOW_CONN_COTERIE_DEFAULT")
    monkeypatch.delenv("COTERIE_ARTIFACTS", raising=False)
    await bus.publish("com.example.order.placed", {"total": 12})

    async with watched(CoterieEventTrigger(types=[ORDERS], begin="begin")) as watching:
        await until(lambda: told)
        monkeypatch.setenv("AIRFLOW_CONN_COTERIE_DEFAULT", there)
        await until(lambda: watching.fired)

    assert "there is no connection 'coterie_default'" in str(told[0][2])
    assert watching.totals == [12]
