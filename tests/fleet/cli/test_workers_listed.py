"""`coterie workers` and `coterie doctor` name workers whose clocks are off, from any machine."""

from __future__ import annotations

import asyncio
import time

from coterie.remote.registry import Registration
from coterie.stores.opening import open_state_store
from tests.fleet.cli.deployment import only
from tests.fleet.cli.places import Place


def registered(place: Place, **offs: float) -> None:
    """Workers whose clocks are off by so many seconds."""

    async def register() -> None:
        store = open_state_store(place.url, place.namespace)
        for name, off_s in offs.items():
            now = lambda off_s=off_s: time.time() + off_s  # noqa: E731  # one each
            await Registration(store, name, f"of {name}", ["t"], lease_s=1000, now=now).enlist(1)
        await store.aclose()

    asyncio.run(register())


def test_clocks_that_are_off_are_listed(place, shown, seen):
    registered(place, late=-600, well=0.1)

    head, late, well = shown("workers").splitlines()
    listed = {each["id"]: each["clock_off_s"] for each in seen("workers")["workers"]}

    assert head.endswith(" HEARD OF CLOCK")
    assert late.endswith(" ago 10 min behind the store's")
    assert well.endswith(" ago")
    assert -601 < listed["late"] < -599
    assert -0.9 < listed["well"] < 0.9


def test_where_all_are_right_nothing_is_said_of_clocks(place, shown, seen):
    registered(place, well=0.1)

    assert "CLOCK" not in shown("workers")
    assert abs(seen("workers")["workers"][0]["clock_off_s"]) < 1


def test_doctor_names_them_on_a_machine_whose_own_clock_is_right(at, examined):
    registered(at, late=-600)

    finding = only(examined(code=1), "clock", "fault")

    assert "late is 10 min behind the store's" in finding["found"]
    assert "NTP" in finding["remedy"]


def test_a_few_seconds_are_a_warning(at, examined):
    registered(at, early=5)

    assert "early is 5 s ahead of the store's" in only(examined(code=0), "clock", "warning")["found"]
