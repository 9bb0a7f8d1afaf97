"""A URL, or the environment, names a journal store; nothing is shown of it but its scheme."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from coterie._rules.decided import Decided
from coterie.errors import Misuse
from coterie.ports import Durability
from coterie.stores.journal_memory import MemoryJournalStore
from coterie.stores.journal_sqlite import SqliteJournalStore
from coterie.stores.opening import open_journal_store, open_state_store


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("COTERIE_STORE", "COTERIE_HOME", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


@pytest.mark.parametrize("durability", [None, "none"])
def test_memory(durability: Durability | None):
    store = open_journal_store("memory://", "mine", durability=durability)

    assert isinstance(store, MemoryJournalStore)
    assert (store.url, store.scope, store.namespace, store.durability) == ("memory://", "process", "mine", "none")


@pytest.mark.parametrize(
    ("state", "journal"),
    [
        ("/var/lib/x/state.db", "/var/lib/x/state.journal.db"),
        ("/var/lib/x/state", "/var/lib/x/state.journal"),
        ("/var/lib/x/a.b.sqlite3", "/var/lib/x/a.b.journal.sqlite3"),
        ("/var/lib/x.y/.hidden", "/var/lib/x.y/.hidden.journal"),
        ("/a b/ü?.db", "/a b/ü?.journal.db"),
    ],
)
def test_the_journal_lies_beside_the_state(state: str, journal: str):
    store = open_journal_store(f"sqlite://{state}", "mine")

    assert isinstance(store, SqliteJournalStore)
    assert (store.url, store.scope, store.namespace) == (f"sqlite://{journal}", "machine", "mine")
    assert store.url != open_state_store(f"sqlite://{state}", "mine").url


@pytest.mark.parametrize(("durability", "meant"), [(None, "strict"), ("strict", "strict"), ("relaxed", "relaxed")])
def test_it_is_strict_unless_somebody_says_otherwise(durability: Durability | None, meant: str):
    assert open_journal_store("sqlite:///a/b.db", "mine", durability=durability).durability == meant


@pytest.mark.parametrize(
    ("url", "durability"),
    [
        ("memory://", "strict"),
        ("memory://", "relaxed"),
        ("sqlite:///a/b", "none"),
        ("redis://user:s3cret@host", "none"),
        ("sqlite:///a/b", "FULL"),
    ],
)
def test_a_store_that_cannot_be_so_durable_is_refused(url: str, durability: Durability):
    with pytest.raises(Misuse, match=f"cannot be '{durability}'") as caught:
        open_journal_store(url, "mine", durability=durability)

    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("url", [None, "", "sqlite://"])
def test_without_a_path_it_lies_where_the_user_keeps_state(url: str | None, tmp_path: Path):
    expected = f"sqlite://{tmp_path}/home/.local/state/coterie/state.journal.db"

    assert open_journal_store(url, "mine").url == expected


def test_the_environment_names_the_store(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COTERIE_STORE", "memory://")

    assert open_journal_store(None, "mine").url == "memory://"
    assert open_journal_store("sqlite:///a/b", "mine").url == "sqlite:///a/b.journal"


async def test_state_and_journal_of_one_url_work_side_by_side(tmp_path: Path):
    url = f"sqlite://{tmp_path}/x/state.db"
    states, journal = open_state_store(url, "mine"), open_journal_store(url, "mine")

    await states.update("limit/x", lambda old, now: Decided({"n": 1}, None))
    await journal.write("one", {"a": "1"})
    await states.aclose()
    await journal.aclose()

    assert sorted(path.name for path in (tmp_path / "x").iterdir()) == ["state.db", "state.journal.db"]


@pytest.mark.parametrize(
    "url",
    [
        "postgres://user:s3cret@host/db",
        "s3cret",
        "/s3cret/state.db",
        "sqlite://user:s3cret@host/state.db",
        "sqlite:///s3cret/",
        "memory://s3cret",
    ],
)
def test_a_url_that_no_store_has_is_refused_without_showing_it(url: str):
    with pytest.raises(Misuse) as caught:
        open_journal_store(url, "mine")

    assert "s3cret" not in str(caught.value)
    assert "://" in str(caught.value)


@pytest.mark.parametrize("namespace", ["", "a/b", "a b", "*", "{x}"])
@pytest.mark.parametrize("url", ["memory://", "sqlite:///a/b", "redis://localhost"])
def test_a_namespace_that_is_no_name_is_refused(url: str, namespace: str):
    with pytest.raises(Misuse, match="namespace"):
        open_journal_store(url, namespace)


def test_redis_is_opened_by_its_own_door():
    store = open_journal_store("redis://user:s3cret@host:6379/0", "mine", durability="relaxed")

    assert (store.scope, store.namespace, store.durability) == ("fleet", "mine", "relaxed")
    assert "s3cret" not in store.url


def test_redis_without_its_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    found = importlib.util.find_spec
    monkeypatch.setattr("coterie.stores.opening.find_spec", lambda name: None if name == "hiredis" else found(name))

    with pytest.raises(Misuse, match=r"a journal in Redis.*pip install 'coterie\[redis\]'"):
        open_journal_store("redis://host", "mine")


def test_opening_loads_no_driver():
    code = (
        "import sys; from coterie.stores.opening import open_journal_store; "
        "open_journal_store('memory://', 'x'); "
        "print([name for name in ('sqlite3', 'redis') if name in sys.modules])"
    )

    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"
