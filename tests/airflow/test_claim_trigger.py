"""Waiting in the triggerer for work that another process is at."""

from __future__ import annotations

import asyncio

import pytest
from airflow.serialization.serialized_objects import BaseSerialization

from airflow_provider_coterie import outlook, triggers
from airflow_provider_coterie.triggers import CoterieClaimTrigger
from airflow_provider_coterie.waiting import ClaimWait, claim_wait
from coterie._rules.journal import RUN
from coterie.errors import ClaimedElsewhere
from coterie.journal import Intent, Journal
from coterie.journal.place import place_of
from coterie.stores.opening import open_journal_store
from tests.airflow.conftest import connection
from tests.support.redis_servers import free_port

CONN = "coterie_default"
PLACE = place_of("task", "item")


@pytest.fixture
def url(artifacts, tmp_path, monkeypatch):
    """A database of this test's own, named by the default connection."""
    url = f"sqlite://{tmp_path}/state.db"
    monkeypatch.setenv("AIRFLOW_CONN_COTERIE_DEFAULT", connection(artifacts, store=url))
    return url


@pytest.fixture
def quick(monkeypatch):
    """Sleeps that take no time, counted; each lets everybody else go first."""
    slept = []
    sleep = asyncio.sleep

    async def counted(seconds):
        slept.append(seconds)
        await sleep(0)

    monkeypatch.setattr(triggers.asyncio, "sleep", counted)
    return slept


def trigger(place=PLACE, *, retry_after_s=0.0):
    busy = ClaimedElsewhere("it", owner="somebody", retry_after_s=retry_after_s)
    return CoterieClaimTrigger(coterie_conn_id=CONN, wait=claim_wait(busy, "run", place).to_dict())


async def fired(waiting):
    (event,) = [event async for event in waiting.run()]
    return event.payload["woken_by"]


async def with_journal(url, work):
    journal = Journal(open_journal_store(url, "default"))
    try:
        return await work(journal)
    finally:
        await journal.aclose()


def test_it_survives_the_way_through_airflow_s_database():
    path, kwargs = trigger(retry_after_s=20.0).serialize()

    assert path == "airflow_provider_coterie.triggers.CoterieClaimTrigger"
    assert BaseSerialization.deserialize(BaseSerialization.serialize(kwargs)) == kwargs
    assert CoterieClaimTrigger(**kwargs).wait == ClaimWait.from_dict(kwargs["wait"])
    assert CoterieClaimTrigger(**kwargs).wait.place == PLACE


async def test_what_nobody_is_at_is_free(url):
    assert await fired(trigger()) == "claim"


@pytest.mark.parametrize("held", [PLACE, RUN], ids=["the work", "the run around it"])
async def test_it_waits_until_it_is_handed_back(url, quick, held):
    async def work(journal):
        granted = await journal.claim("run", held, journal.asked(Intent()), what="it", patience_s=0.0)
        waiting = asyncio.ensure_future(fired(trigger()))
        while len(quick) < 4:
            await asyncio.wait([waiting], timeout=0.01)
        assert not waiting.done()
        await journal.hand_back("run", held.pulse, granted.guard)
        return await waiting

    assert await with_journal(url, work) == "claim"
    assert min(quick) >= 1.0, "it asks once a second at most"
    assert max(quick) <= triggers.CLAIM_LOOK_S * 1.1


async def test_triggers_of_one_connection_share_a_journal(url, quick):
    async def work(journal):
        granted = await journal.claim("run", PLACE, journal.asked(Intent()), what="it", patience_s=0.0)
        waiting = [asyncio.ensure_future(fired(trigger())) for _ in range(20)]
        while len(quick) < 40:
            await asyncio.wait(waiting, timeout=0.01)
        (shared,) = outlook._open_journals[asyncio.get_running_loop()].values()
        users = shared.users
        await journal.hand_back("run", PLACE.pulse, granted.guard)
        await asyncio.gather(*waiting)
        return users, len(outlook._open_journals[asyncio.get_running_loop()])

    assert await with_journal(url, work) == (20, 0)


async def test_what_cannot_be_looked_at_is_waited_for_by_time(artifacts, monkeypatch, quick):
    nobody = connection(artifacts, store=f"redis://127.0.0.1:{free_port()}")
    monkeypatch.setenv("AIRFLOW_CONN_COTERIE_DEFAULT", nobody)

    assert await fired(trigger(retry_after_s=20.0)) == "time"
    assert quick[-1] > 15.0


async def test_a_journal_that_was_switched_off_is_not_waited_for(artifacts, monkeypatch):
    monkeypatch.setenv("AIRFLOW_CONN_COTERIE_DEFAULT", connection(artifacts, journal="off"))

    assert await fired(trigger()) == "claim"
