"""What a bridge decides by itself: what is a secret, what is waited for, what an event is called on the other side."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from prefect.exceptions import PrefectHTTPStatusError

from coterie.bus import CloudEvent, EventBus
from coterie.errors import Misuse, Unavailable
from prefect_coterie.bridge import EventBridge, outbound, patience, prefect_name, to_bus, to_prefect
from prefect_coterie.bridge.masking import masked
from prefect_coterie.bridge.naming import consumer_of, default_name, digest_of, forwards_otherwise
from prefect_coterie.bridge.patience import NoAccess, brief, patiently

pytestmark = pytest.mark.prefect


def answered(code: int) -> PrefectHTTPStatusError:
    request = httpx.Request("POST", "http://127.0.0.1/api/events")
    response = httpx.Response(code, request=request, json={"request_body": [{"payload": "hush-hush"}]})
    return PrefectHTTPStatusError.from_httpx_error(
        httpx.HTTPStatusError(f"the answer was {code}", request=request, response=response)
    )


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "wait_s_after", lambda _: 0.0)


@pytest.mark.parametrize(
    "name", ["password", "db_password", "api_key", "apiKey", "accessToken", "token", "Authorization", "client-secret"]
)
def test_what_is_called_a_secret_is_hidden(name: str):
    assert masked({"deep": [{name: "hush"}]}) == {"deep": [{name: "***"}]}


@pytest.mark.parametrize("name", ["tokens", "total_tokens", "key", "tokenizer", "secretary", "cache_key_id"])
def test_what_is_called_otherwise_is_not(name: str):
    assert masked({name: "shown"}) == {name: "shown"}


def test_what_is_no_object_stays_as_it_is():
    assert [masked(value) for value in (None, 1, "token", ["password"])] == [None, 1, "token", ["password"]]


@pytest.mark.parametrize("error", [answered(503), answered(429), httpx.ConnectError("away"), Unavailable("a store")])
async def test_what_is_away_is_asked_again(hasty: None, error: Exception):
    left: list[Any] = [error, error]

    async def ask() -> str:
        if left:
            raise left.pop()
        return "here"

    assert await patiently(ask) == "here"


@pytest.mark.parametrize(("code", "kind"), [(401, NoAccess), (403, NoAccess), (422, PrefectHTTPStatusError)])
async def test_what_is_refused_is_not_asked_again(hasty: None, code: int, kind: type[Exception]):
    async def ask() -> None:
        raise answered(code)

    with pytest.raises(kind):
        await patiently(ask)


def test_what_was_sent_is_in_no_message():
    assert "hush" in str(answered(403))
    assert "hush" not in f"{brief(answered(503))} {NoAccess(brief(answered(403)))}"


def test_an_event_is_called_in_prefect_as_on_the_bus():
    assert prefect_name("task.failed") == "coterie.task.failed"
    assert prefect_name("dev.coterie.task.failed.v1") == "coterie.task.failed"
    assert prefect_name("task.failed.v2") == "coterie.task.failed.v2"
    assert prefect_name("com.example.order.placed") == "com.example.order.placed"


def test_a_prefect_event_never_passes_for_one_of_coterie():
    event = to_prefect(CloudEvent("com.example.order.placed", subject="1"), namespace="default", topic="events")
    forged = event.model_copy(update={"event": "task.failed"})

    assert to_bus(forged).type == "prefect.task.failed"


def test_the_id_is_that_of_the_place():
    event = CloudEvent("com.example.order.placed", subject="1")

    def id_in(namespace: str, topic: str) -> str:
        return str(to_prefect(event, namespace=namespace, topic=topic).id)

    assert id_in("default", "events") == id_in("default", "events")
    assert len({id_in("default", "events"), id_in("blue", "events"), id_in("default", "orders")}) == 3


@pytest.mark.parametrize("sides", [{}, {"to_prefect": "task.*"}])
def test_a_bridge_over_which_nothing_passes_is_refused(sides: dict[str, Any]):
    bus: Any = None
    with pytest.raises(Misuse, match="patterns"):
        EventBridge(bus, **sides)


def test_a_name_that_nobody_gave_is_that_of_what_is_forwarded():
    names = {
        default_name("to", "events", ["task.failed", "com.*"]),
        default_name("to", "events", ["com.*", "task.failed", "com.*"]),
        default_name("to", "events", ["com.*"]),
        default_name("to", "orders", ["com.*"]),
        default_name("from", "events", ["com.*"]),
    }

    assert len(names) == 4
    assert all(name.startswith(("to-com-", "from-com-")) and len(name) < 70 for name in names)
    assert default_name("from", "events", ["*"]) == f"from-{digest_of('from', 'events', ['*'])}"


def test_a_consumer_tells_what_it_forwards():
    mine, other = digest_of("to", "events", ["com.*"]), digest_of("to", "events", ["task.*"])

    assert not forwards_otherwise(consumer_of(mine), mine)
    assert forwards_otherwise(consumer_of(other), mine)
    assert forwards_otherwise(f"{consumer_of(other)}~2", mine)
    assert not forwards_otherwise("somebody:else", mine)


async def test_a_bridge_of_the_name_of_another_that_forwards_other_events_is_refused(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setattr(outbound, "_LEASE_S", 1.0)
    monkeypatch.setattr(outbound, "_LOOK_EVERY_S", 0.1)
    async with EventBus.open("memory://") as bus:
        async with EventBridge(bus, to_prefect=["task.failed"], name="prod").running():
            async with EventBridge(bus, to_prefect=["task.failed"], name="prod").running():
                pass
            with pytest.raises(Misuse, match=r"'prod' .* forwards other events .* give each a name of its own"):
                async with EventBridge(bus, to_prefect=["com.*"], name="prod").running():
                    pass
        # The other one has ended.
        async with EventBridge(bus, to_prefect=["com.*"], name="prod").running():
            pass

    assert "bridge.waits: the bridge 'prod'" in caplog.text


def test_an_event_that_belongs_to_nothing_begins_something_of_its_own():
    alone, belongs = CloudEvent("com.example.a"), CloudEvent("com.example.a", correlation_id="order-7")

    payloads = [to_prefect(event, namespace="default", topic="events").payload for event in (alone, belongs)]

    assert [payload["correlation_id"] for payload in payloads] == [alone.id, "order-7"]
