"""Each check of `coterie doctor` by itself: what it makes of facts that no server of these tests has."""

from __future__ import annotations

import asyncio
import os
import re
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace

import pytest

from coterie.cli.doctor.artifacts import probe
from coterie.cli.doctor.examining import Check, examine
from coterie.cli.doctor.finding import ok
from coterie.cli.doctor.journal import durability_of
from coterie.cli.doctor.place import Place as Looked
from coterie.cli.doctor.settings import home_of, variables_of
from coterie.cli.doctor.state import clock_of, clocks_of_workers, rights_of
from coterie.errors import Unavailable
from coterie.remote.registry import Registration
from coterie.stores.memory import MemoryStateStore
from coterie.stores.redis.standing import Facts
from coterie.testing import ManualClock

REPOSITORY = Path(__file__).resolve().parents[3]
NOBODY = 65534


def test_a_server_that_drops_what_it_holds():
    facts = Facts(
        run_id="x", version=(7, 2), is_primary=True, appends=True, eviction="allkeys-lru", fsync="always", pauses=False,
        threads=1, waits=True,
    )  # fmt: skip

    for wanted in ("strict", "relaxed"):
        finding = durability_of(facts, "redis://host", wanted)

        assert finding.state == "fault"
        assert "it drops runs" in finding.found
        assert "maxmemory-policy noeviction" in finding.found + finding.remedy


@pytest.mark.parametrize(
    ("ahead_s", "state", "said"),
    [(0.0, "ok", "differ by 0 ms"), (5.0, "warning", "5 s ahead"), (-90.0, "fault", "90 s behind")],
)
async def test_a_clock_that_is_off(ahead_s, state, said):
    store = MemoryStateStore(clock=ManualClock(1_700_000_000.0 + ahead_s))

    finding = await clock_of(store, lambda: 1_700_000_000.0)

    assert finding.state == state
    assert said in finding.found
    assert state == "ok" or "NTP" in finding.remedy


async def test_clocks_of_workers_that_are_off():
    now_s = 1_700_000_000.0
    clock = ManualClock(now_s)
    store = MemoryStateStore(clock=clock)
    offs = {"right": 0.2, "gone": 5.0, "near": 5.0, "far": -600.0}
    for name, off_s in offs.items():
        lease_s = 1.0 if name == "gone" else 1000.0
        registration = Registration(store, name, name, ["t"], lease_s=lease_s, now=lambda off_s=off_s: now_s + off_s)
        await registration.enlist(1)
    clock.advance(2.0)

    fault, warning = await clocks_of_workers(store)

    assert (fault.state, warning.state) == ("fault", "warning")
    assert "off: far is 10 min behind the store's: " in fault.found
    assert "off: near is 5 s ahead of the store's: " in warning.found
    assert "NTP" in fault.remedy
    assert "NTP" in warning.remedy


async def test_of_many_clocks_that_are_off_the_first_are_named():
    store = MemoryStateStore(clock=ManualClock(1_700_000_000.0))
    assert await clocks_of_workers(store) == []
    for number in range(7):
        await Registration(store, f"w{number}", f"s{number}", ["t"], lease_s=1000, now=lambda: 1_700_000_009.0).enlist(
            1
        )

    (finding,) = await clocks_of_workers(store)

    assert "w4 is 9 s ahead of the store's, and 2 more: " in finding.found
    assert "w5" not in finding.found


def test_a_folder_that_cannot_be_written(tmp_path):
    folder = tmp_path / "home"
    folder.mkdir()
    folder.chmod(0o500)
    with ExitStack() as stack:
        if os.geteuid() == 0:
            for above in (tmp_path, *tmp_path.parents):
                if above.stat().st_mode & 0o011 != 0o011:
                    stack.callback(above.chmod, above.stat().st_mode)
                    above.chmod(above.stat().st_mode | 0o011)
            os.seteuid(NOBODY)
            stack.callback(os.seteuid, 0)
        finding = home_of(folder)

    assert finding.state == "fault"
    assert f"may not write {folder}" in finding.found
    assert "COTERIE_HOME" in finding.remedy


def test_artifacts_that_come_back_changed_are_found(tmp_path):
    class Corrupt(Folderlike):
        def chunks(self, name):
            yield b"something else"

    finding = probe(Corrupt(), "default/probe")

    assert finding.state == "fault"
    assert "other bytes" in finding.found


def test_a_store_that_lets_nobody_delete_is_found(tmp_path):
    class Keeps(Folderlike):
        def delete(self, blobs):
            raise Unavailable("AccessDenied; check its rights")

    finding = probe(Keeps(), "default/probe")

    assert (finding.state, finding.remedy) == ("fault", "check its rights")


class Folderlike:
    """Blobs in a dictionary."""

    root = "there://"

    def __init__(self):
        self.kept: dict[str, bytes] = {}

    def write(self, name, source, *, size_bytes=None):
        self.kept[name] = source.read()

    def chunks(self, name):
        yield self.kept[name]

    def entries(self, folder):
        return [SimpleNamespace(name=name) for name in self.kept]

    def delete(self, blobs):
        return [blob for blob in blobs if self.kept.pop(blob.name)]


@pytest.mark.parametrize(
    ("environment", "state", "said"),
    [
        ({"COTERIE_STORE": ""}, "warning", "COTERIE_STORE is set, but empty"),
        ({"COTERIE_STOER": "x"}, "warning", "COTERIE_STOER is set, which nothing reads"),
        ({"COTERIE_STORE": "memory://"}, "fault", "COTERIE_STORE is in memory"),
        ({"COTERIE_STORE": "redis://h/0"}, "warning", "COTERIE_ARTIFACTS is not set"),
        ({"COTERIE_STORE": "rediss+cluster://h", "COTERIE_ARTIFACTS": "/tmp/x"}, "warning", "names a folder"),
        ({"COTERIE_JOURNAL": "yes"}, "fault", "'yes' is not one of strict, relaxed, off"),
        ({"COTERIE_JOURNAL": "off"}, "warning", "COTERIE_JOURNAL is off"),
        ({"COTERIE_NAMESPACE": "a/b"}, "fault", "'a/b'"),
        ({"COTERIE_GRACEFUL_SHUTDOWN_TIMEOUT_S": "soon"}, "fault", "COTERIE_GRACEFUL_SHUTDOWN_TIMEOUT_S"),
        ({"COTERIE_LOG_FORMAT": "xml"}, "fault", "COTERIE_LOG_FORMAT"),
    ],
)
def test_variables_that_cannot_be_meant(environment, state, said):
    (finding,) = variables_of(environment)

    assert finding.state == state
    assert said in finding.found
    assert finding.remedy


def test_variables_that_fit_together_are_fine():
    (finding,) = variables_of({"COTERIE_STORE": "redis://h/0", "COTERIE_ARTIFACTS": "s3://b/x", "PATH": "/bin"})

    assert finding.state == "ok"


def test_what_our_own_units_and_images_set_is_known():
    files = [path for path in (REPOSITORY / "deploy").rglob("*") if path.is_file() and path.suffix != ".pyc"]
    text = " ".join(path.read_text("utf-8") for path in files)
    names = set(re.findall(r"\bCOTERIE_[A-Z_]+\b", text))

    found = [finding.found for finding in variables_of(dict.fromkeys(names, "x"))]

    assert {"COTERIE_TEAM", "COTERIE_TYPES", "COTERIE_HEALTH", "COTERIE_STORE"} <= names
    assert [told for told in found if "nothing reads" in told] == []


@pytest.mark.parametrize("store", ["redis://127.0.0.1:6379/0", "rediss://localhost", "redis://[::1]/1", "unix:///s"])
def test_a_folder_will_do_where_the_store_is_this_machine_s_own(store):
    (finding,) = variables_of({"COTERIE_STORE": store, "COTERIE_ARTIFACTS": "file:///srv/demo/artifacts"})

    assert finding.state == "ok"


async def test_a_check_that_hangs_ends_and_the_others_go_on():
    async def hangs(place):
        await asyncio.sleep(600)

    async def breaks(place):
        raise RuntimeError("token=abcdefgh")

    async def fine(place):
        return ok("fine")

    checks = (Check("a", hangs), Check("b", breaks), Check("c", fine), Check("d", fine, ("a",)))
    found = await examine(Looked(), checks, bound_s=0.05)

    assert [(name, each.state) for name, each in found] == [
        ("a", "fault"), ("b", "fault"), ("c", "ok"), ("d", "skipped"),
    ]  # fmt: skip
    assert found[1][1].found == "token=***"


async def test_messages_that_are_not_heard_are_found(monkeypatch):
    class Deaf(MemoryStateStore):
        async def publish(self, channel, message):
            return None

    monkeypatch.setattr("coterie.cli.doctor.state._HEARD_S", 0.05)
    store = Deaf()
    finding = await rights_of(store)
    await store.aclose()

    assert finding.state == "fault"
    assert "not heard" in finding.found
