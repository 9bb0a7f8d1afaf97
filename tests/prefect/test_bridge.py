"""The bridge between a bus and a real Prefect server: nothing is lost, nothing comes twice, nothing goes in circles."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from deploy.demo.prefect_server import PrefectServer
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.events import emit_event
from prefect.events.schemas.events import Event
from prefect.settings import PREFECT_API_URL, PREFECT_SERVER_EVENTS_MAXIMUM_SIZE_BYTES, temporary_settings

from coterie.bus import CloudEvent, EventBus
from prefect_coterie import CoterieEventBridge, CoterieStore, serve_bridge
from prefect_coterie.bridge import EventBridge
from tests.prefect.bridging import ORDERED, arrived, in_prefect, on_bus
from tests.prefect.runs import eventually

pytestmark = pytest.mark.prefect

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def namespace() -> str:
    """Of the test's own, so that its events are known on the server that all tests share."""
    return f"n{uuid4().hex[:12]}"


@pytest.fixture
async def bus(tmp_path: Path, namespace: str) -> AsyncIterator[EventBus]:
    async with EventBus.open(f"sqlite://{tmp_path}/state.db", namespace=namespace) as bus:
        yield bus


def store_of(bus: EventBus, tmp_path: Path) -> CoterieStore:
    return CoterieStore(url=f"sqlite://{tmp_path}/state.db", namespace=bus.log.namespace)


async def test_an_event_of_the_bus_becomes_one_of_prefect(bus: EventBus, namespace: str):
    run = uuid4()
    async with EventBridge(bus, to_prefect=["task.failed", "com.example.*"]).running():
        failed = (
            await bus.publish(
                "task.failed",
                {"task_id": "lint", "error": "it broke", "login": {"api_key": "sk-hush", "tokens": 7}},
                subject="run-1/lint",
                correlation_id=f"prefect.{run}",
                causation_id="what-came-before",
            )
        ).event
        await bus.publish("task.completed", {}, subject="another")

        (event,) = await arrived(1, resource=f"coterie.task.{namespace}.")

    assert event.event == "coterie.task.failed"
    assert event.resource.id == f"coterie.task.{namespace}.run-1/lint"
    assert event.resource["coterie.event-id"] == failed.id
    assert event.resource["coterie.correlation-id"] == f"prefect.{run}"
    assert [one.id for one in event.related] == [
        f"coterie.workflow.{namespace}.prefect.{run}",
        f"prefect.flow-run.{run}",
    ]
    assert event.payload["correlation_id"] == f"prefect.{run}"
    assert event.payload["causation_id"] == "what-came-before"
    assert event.payload["data"] == {
        "task_id": "lint",
        "error": "it broke",
        "login": {"api_key": "***", "tokens": 7},
    }


async def test_what_was_published_while_no_bridge_ran_is_forwarded_by_the_next(bus: EventBus, namespace: str):
    async with EventBridge(bus, to_prefect=[ORDERED]).running():
        await bus.publish(ORDERED, 1, subject="1")
        await arrived(1, resource=f"coterie.event.{namespace}.")
    await bus.publish(ORDERED, 2, subject="2")

    async with EventBridge(bus, to_prefect=[ORDERED]).running():
        found = await arrived(2, resource=f"coterie.event.{namespace}.")

    assert [event.payload["data"] for event in found] == [1, 2]


async def test_an_event_that_is_delivered_again_is_the_same_in_prefect(bus: EventBus, namespace: str):
    """Two bridges that know nothing of each other send each event twice."""
    first = EventBridge(bus, to_prefect=["com.*"], name="first", confirm="stored")
    second = EventBridge(bus, to_prefect=["com.*"], name="second", confirm="stored")

    async with first.running(), second.running():
        for number in range(3):
            await bus.publish(ORDERED, number, subject=str(number))

        async def held() -> list[int]:
            groups = await bus.log.groups(bus.topic)
            return [group.held + group.unread for group in groups]

        await eventually(held, lambda left: left == [0, 0])

    found = await in_prefect(resource=f"coterie.event.{namespace}.")
    assert [event.payload["data"] for event in found] == [0, 1, 2]


async def test_an_event_that_prefect_never_takes_is_a_dead_letter(bus: EventBus, namespace: str):
    with temporary_settings({PREFECT_SERVER_EVENTS_MAXIMUM_SIZE_BYTES: 3000}):
        async with EventBridge(bus, to_prefect=["com.*"], name="mine").running():
            await bus.publish(ORDERED, "x" * 3000, subject="large")
            await bus.publish(ORDERED, "fine", subject="fine")
            (event,) = await arrived(1, resource=f"coterie.event.{namespace}.")

    (letter,) = await bus.dead_letters("bridge-mine")
    assert event.payload["data"] == "fine"
    assert letter.event is not None
    assert letter.event.subject == "large"
    assert "3000" in letter.reason


async def test_an_event_of_prefect_comes_to_the_bus_with_the_workflow_id_of_its_run(bus: EventBus):
    @flow
    async def noted() -> None:
        emit_event("example.noted", {"prefect.resource.id": "example.7"}, payload={"password": "hush", "n": 7})

    async with EventBridge(bus, from_prefect=["example.*"]).running():
        state = await noted(return_state=True)
        (event,) = await eventually(lambda: on_bus(bus, "example.*"), bool)

    assert event.type == "example.noted"
    assert event.source == "prefect"
    assert event.subject == event.key == "example.7"
    assert event.correlation_id == f"prefect.{state.state_details.flow_run_id}"
    assert event.data["payload"] == {"password": "***", "n": 7}


async def test_an_event_of_a_clock_that_is_fast_hides_none_that_is_to_come(bus: EventBus):
    name, now = f"example.{uuid4().hex}", datetime.now(UTC)

    async with EventBridge(bus, from_prefect=[name], name=name.replace(".", "-")).running():
        emit_event(name, {"prefect.resource.id": "example.1"}, occurred=now + timedelta(hours=1))
        await eventually(lambda: on_bus(bus, name), bool)

    async with get_client() as client:
        kept = await client.read_variable_by_name(f"coterie_bridge_{name.replace('.', '_')}")
    # The next one begins there.
    assert kept is not None
    assert datetime.fromisoformat(kept.value["reached"]) <= datetime.now(UTC)


async def test_what_happened_in_prefect_while_no_bridge_ran_comes_later_and_once(bus: EventBus):
    name = f"example.{uuid4().hex}"

    async def told(count: int) -> list[CloudEvent]:
        return await eventually(lambda: on_bus(bus, name), lambda found: len(found) >= count)

    async with EventBridge(bus, from_prefect=[name], name="resumed").running():
        emit_event(name, {"prefect.resource.id": "example.1"})
        await told(1)
    emit_event(name, {"prefect.resource.id": "example.2"})
    await arrived(2, name=name)
    async with EventBridge(bus, from_prefect=[name], name="resumed").running():
        emit_event(name, {"prefect.resource.id": "example.3"})
        await told(3)

    assert [event.subject for event in await on_bus(bus, name)] == ["example.1", "example.2", "example.3"]


async def test_what_happened_in_prefect_before_the_first_bridge_began_stays_there(bus: EventBus):
    name = f"example.{uuid4().hex}"

    async def told(number: int) -> None:
        assert emit_event(name, {"prefect.resource.id": str(number)}) is not None
        await arrived(number, name=name)

    await told(1)
    async with EventBridge(bus, from_prefect=[name]).running():
        await told(2)
        await eventually(lambda: on_bus(bus, name), bool)
    # It reads again what is a little older than what has come, which the first one was not told of either.
    async with EventBridge(bus, from_prefect=[name]).running():
        await told(3)
        found = await eventually(lambda: on_bus(bus, name), lambda found: len(found) >= 2)

    assert [event.subject for event in found] == ["2", "3"]


async def test_bridges_that_nobody_named_leave_each_other_alone(bus: EventBus, namespace: str):
    first = EventBridge(bus, to_prefect=["task.failed"], from_prefect=[f"example.{namespace}"])
    second = EventBridge(bus, to_prefect=[ORDERED, "breaker.*"])

    async with first.running(), second.running():
        for number in range(3):
            for type_ in (ORDERED, "task.failed", "breaker.opened"):
                await bus.publish(type_, number, subject=f"{type_}-{number}")
        found = [
            *await arrived(3, resource=f"coterie.event.{namespace}."),
            *await arrived(3, resource=f"coterie.task.{namespace}."),
            *await arrived(3, resource=f"coterie.breaker.{namespace}."),
        ]

    assert len({event.id for event in found}) == 9
    assert len({*first.names, *second.names}) == 3


async def test_nothing_goes_in_circles(bus: EventBus, namespace: str):
    """Both sides ask for everything that the other has."""
    mark = uuid4().hex
    async with EventBridge(bus, to_prefect=["*"], from_prefect=["*"]).running():
        await bus.publish(ORDERED, mark, subject="there")
        emit_event("example.circle", {"prefect.resource.id": f"example.{mark}"})
        await arrived(1, resource=f"coterie.event.{namespace}.")
        await eventually(lambda: on_bus(bus, "example.circle"), bool)
        # What goes round would do so after these, which go the same ways.
        await bus.publish(ORDERED, "last", subject="last")
        await arrived(2, resource=f"coterie.event.{namespace}.")
        emit_event("example.circle", {"prefect.resource.id": f"example.{mark}.last"})
        await eventually(lambda: on_bus(bus, "example.circle"), lambda found: len(found) == 2)
        there = await arrived(2, resource=f"example.{mark}")

    assert len(there) == 2
    assert len(await on_bus(bus, ORDERED)) == 2
    assert len(await in_prefect(resource=f"coterie.event.{namespace}.")) == 2


async def test_a_block_is_a_bridge_for_as_long_as_a_flow_wants_it(bus: EventBus, namespace: str, tmp_path: Path):
    block = CoterieEventBridge(to_prefect=[ORDERED], store=store_of(bus, tmp_path))
    await block.asave(f"bridge-{namespace}", overwrite=True)

    @flow
    async def bridged() -> None:
        loaded = await CoterieEventBridge.aload(f"bridge-{namespace}")
        async with loaded.running():
            await bus.publish(ORDERED, subject="1")
            await arrived(1, resource=f"coterie.event.{namespace}.")

    await bridged()


async def test_a_flow_run_is_a_bridge_until_it_is_cancelled(bus: EventBus, namespace: str, tmp_path: Path):
    block = CoterieEventBridge(to_prefect=[ORDERED], store=store_of(bus, tmp_path), begin="begin")
    await block.asave(f"flow-{namespace}", overwrite=True)
    await bus.publish(ORDERED, subject="1")

    running = asyncio.create_task(serve_bridge(f"flow-{namespace}"))
    await arrived(1, resource=f"coterie.event.{namespace}.")
    running.cancel()

    await asyncio.wait([running])
    assert running.cancelled()


@asynccontextmanager
async def program(*arguments: str, **variables: str) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", *arguments, cwd=REPOSITORY, env={**os.environ, **variables},
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def said(process: asyncio.subprocess.Process, words: bytes) -> None:
    assert process.stderr is not None
    async with asyncio.timeout(120):
        while words not in (line := await process.stderr.readline()):
            assert line, "it ended before"


async def test_an_automation_starts_a_flow_run_with_what_the_event_brought(
    bus: EventBus, namespace: str, tmp_path: Path
):
    block = CoterieEventBridge(to_prefect=[ORDERED], store=store_of(bus, tmp_path))
    await block.asave(f"served-{namespace}", overwrite=True)
    async with (
        program("tests.prefect.bridging", str(tmp_path), PREFECT_RUNNER_POLL_FREQUENCY="1"),
        program("prefect_coterie.bridge", f"served-{namespace}") as bridge,
    ):
        await said(bridge, b"bridge.ready")

        async def automations() -> list[str]:
            async with get_client() as client:
                return [one.name for one in await client.read_automations()]

        await eventually(automations, lambda names: any(name.startswith("on-order") for name in names))

        async def written() -> str:
            path = tmp_path / "order-7.json"
            return path.read_text() if path.exists() else ""

        # The server shows an automation a little before it reacts to events by it.
        found, wanted = "", {"order": 7, "note": 'say "hello"'}
        for number in range(5):
            await bus.publish(ORDERED, wanted, correlation_id="order-7", id=f"order-7-{number}")
            with suppress(AssertionError):
                found = await eventually(written, bool)
                break
        assert json.loads(found) == wanted
        bridge.terminate()
        assert await bridge.wait() == 0


@pytest.mark.full
async def test_a_server_that_is_away_is_waited_for_and_nothing_is_lost(bus: EventBus, namespace: str, tmp_path: Path):
    """It is away when the bridge begins, and twice more; once the bridge is killed meanwhile."""
    store = f"sqlite://{tmp_path}/state.db"
    arguments = ["--to-prefect", ORDERED, "--from-prefect", "example.*", "--store", store, "--confirm", "stored"]
    other = PrefectServer(tmp_path / "prefect")
    variables = {**other.settings, "COTERIE_NAMESPACE": namespace, "PREFECT_CLIENT_MAX_RETRIES": "0"}

    def there(count: int) -> Awaitable[list[int]]:
        async def ask() -> list[int]:
            with temporary_settings({PREFECT_API_URL: other.api_url}):
                found = await in_prefect(resource=f"coterie.event.{namespace}.")
            return sorted(event.payload["data"] for event in found)

        return eventually(ask, lambda found: len(found) >= count)

    async def tell(number: int) -> None:
        event = Event(event="example.told", resource={"prefect.resource.id": f"example.{number}"})
        with temporary_settings({PREFECT_API_URL: other.api_url}):
            async with get_client() as client:
                await client.request("POST", "/events", json=[event.model_dump(mode="json")])

    async def here(count: int) -> list[str]:
        found = await eventually(lambda: on_bus(bus, "example.*"), lambda found: len(found) >= count)
        return sorted(event.key for event in found)

    async with program("prefect_coterie.bridge", *arguments, **variables) as bridge:
        await bus.publish(ORDERED, 0)
        await said(bridge, b"bridge.waits")
        await asyncio.to_thread(other.start)
        try:
            await said(bridge, b"bridge.ready")
            await bus.publish(ORDERED, 1)
            await tell(1)
            assert (await there(1))[-1:] == [1]
            await here(1)
            await asyncio.to_thread(other.stop)
            await bus.publish(ORDERED, 2)
            await said(bridge, b"bridge.waits")
            bridge.kill()
            await bridge.wait()
            await bus.publish(ORDERED, 3)
            await asyncio.to_thread(other.start)
            await tell(2)
            async with program("prefect_coterie.bridge", *arguments, **variables) as second:
                await said(second, b"bridge.ready")
                assert (await there(3))[-3:] == [1, 2, 3]
                await here(2)
                await asyncio.to_thread(other.stop)
                await said(second, b"bridge.prefect_away")
                await asyncio.to_thread(other.start)
                await tell(3)
                assert await here(3) == ["example.1", "example.2", "example.3"]
        finally:
            await asyncio.to_thread(other.stop)
