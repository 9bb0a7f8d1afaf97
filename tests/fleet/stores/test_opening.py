"""A URL, or the environment, names a state store, or a log store; nothing is shown of it but its scheme."""

# Files of tests are small and near.
# ruff: noqa: ASYNC240

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from coterie._rules.decided import Decided
from coterie.errors import Misuse
from coterie.ports import Durability
from coterie.stores.log_memory import MemoryLogStore
from coterie.stores.log_sqlite import SqliteLogStore
from coterie.stores.memory import MemoryStateStore
from coterie.stores.opening import default_path, open_log_store, open_state_store
from coterie.stores.sqlite import SqliteStateStore

REDIS = ["redis", "rediss", "unix", "redis+sentinel", "rediss+sentinel", "redis+cluster", "rediss+cluster"]


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("COTERIE_STORE", "COTERIE_HOME", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


def test_memory():
    store = open_state_store("memory://", "mine")

    assert isinstance(store, MemoryStateStore)
    assert (store.url, store.scope, store.namespace) == ("memory://", "process", "mine")


def test_a_path():
    store = open_state_store("sqlite:///var/lib/x/state.db", "mine")

    assert isinstance(store, SqliteStateStore)
    assert (store.url, store.scope, store.namespace) == ("sqlite:///var/lib/x/state.db", "machine", "mine")


@pytest.mark.parametrize("url", [None, "", "sqlite://"])
def test_without_a_path_it_lies_where_the_user_keeps_state(url: str | None, tmp_path: Path):
    assert open_state_store(url, "mine").url == f"sqlite://{tmp_path}/home/.local/state/coterie/state.db"


def test_the_environment_names_the_store(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COTERIE_STORE", "memory://")

    assert open_state_store(None, "mine").url == "memory://"
    assert open_state_store("sqlite:///a/b", "mine").url == "sqlite:///a/b"


def test_the_environment_names_the_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "xdg"))
    assert default_path() == tmp_path / "xdg" / "coterie" / "state.db"

    monkeypatch.setenv("COTERIE_HOME", "~/mine")
    assert default_path() == tmp_path / "home" / "mine" / "state.db"

    monkeypatch.setenv("COTERIE_HOME", "relative")
    assert default_path() == Path.cwd() / "relative" / "state.db"


def test_a_relative_folder_for_state_is_ignored(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("XDG_STATE_HOME", "relative")

    assert default_path() == tmp_path / "home" / ".local" / "state" / "coterie" / "state.db"


async def test_the_default_place_is_made_when_it_is_needed(tmp_path: Path):
    store = open_state_store(None, "mine")
    assert list(tmp_path.iterdir()) == []

    await store.update("limit/x", lambda old, now: Decided({"n": 1}, None))
    await store.aclose()

    assert (tmp_path / "home/.local/state/coterie/state.db").is_file()


@pytest.mark.parametrize(
    "url",
    [
        "postgres://user:s3cret@host/db",
        "s3cret",
        "user:s3cret@host",
        "/s3cret/state.db",
        "sqlite://user:s3cret@host/state.db",
        "sqlite://s3cret.db",
        "sqlite:///s3cret/",
        "memory://s3cret",
        "s3cret:a@host/x",
    ],
)
def test_a_url_that_no_store_has_is_refused_without_showing_it(url: str):
    with pytest.raises(Misuse) as caught:
        open_state_store(url, "mine")

    assert "s3cret" not in str(caught.value)
    assert "://" in str(caught.value)


@pytest.mark.parametrize("namespace", ["", "a/b", "a b", "*", "{x}"])
@pytest.mark.parametrize("url", ["memory://", "sqlite:///a/b", "redis://localhost"])
def test_a_namespace_that_is_no_name_is_refused(url: str, namespace: str):
    with pytest.raises(Misuse, match="namespace"):
        open_state_store(url, namespace)


@pytest.mark.parametrize("scheme", REDIS)
def test_redis_without_its_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch, scheme: str):
    found = importlib.util.find_spec
    monkeypatch.setattr("coterie.stores.opening.find_spec", lambda name: None if name == "hiredis" else found(name))

    with pytest.raises(Misuse, match=r"pip install 'coterie\[redis\]'") as caught:
        open_state_store(f"{scheme}://user:s3cret@host", "mine")

    assert "s3cret" not in str(caught.value)


def test_opening_loads_no_driver():
    code = (
        "import sys; from coterie.stores.opening import open_state_store; "
        "open_state_store('memory://', 'x'); "
        "print([name for name in ('sqlite3', 'redis') if name in sys.modules])"
    )

    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


# The log store


@pytest.mark.parametrize("durability", [None, "none"])
def test_a_log_in_memory(durability: Durability | None):
    store = open_log_store("memory://", "mine", durability=durability)

    assert isinstance(store, MemoryLogStore)
    assert (store.url, store.scope, store.namespace, store.durability) == ("memory://", "process", "mine", "none")


@pytest.mark.parametrize(
    ("state", "log"),
    [
        ("/var/lib/x/state.db", "/var/lib/x/state.events.db"),
        ("/var/lib/x/state", "/var/lib/x/state.events"),
        ("/var/lib/x/a.b.sqlite3", "/var/lib/x/a.b.events.sqlite3"),
    ],
)
def test_the_log_lies_beside_the_state(state: str, log: str):
    store = open_log_store(f"sqlite://{state}", "mine")

    assert isinstance(store, SqliteLogStore)
    assert (store.url, store.scope, store.namespace) == (f"sqlite://{log}", "machine", "mine")


@pytest.mark.parametrize("url", [None, "", "sqlite://"])
def test_without_a_path_the_log_lies_where_the_user_keeps_state(url: str | None, tmp_path: Path):
    assert open_log_store(url, "mine").url == f"sqlite://{tmp_path}/home/.local/state/coterie/state.events.db"


@pytest.mark.parametrize(("durability", "meant"), [(None, "strict"), ("strict", "strict"), ("relaxed", "relaxed")])
def test_a_log_in_a_file_is_strict_unless_somebody_says_otherwise(durability: Durability | None, meant: str):
    assert open_log_store("sqlite:///a/b.db", "mine", durability=durability).durability == meant


@pytest.mark.parametrize(("durability", "meant"), [(None, "relaxed"), ("strict", "strict"), ("relaxed", "relaxed")])
async def test_a_log_in_redis_is_as_its_server_keeps_it_unless_somebody_says_otherwise(
    durability: Durability | None, meant: str
):
    store = open_log_store("redis://user:s3cret@localhost", "mine", durability=durability)

    assert store.durability == meant
    assert "s3cret" not in store.url
    await store.aclose()


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
def test_a_log_that_cannot_be_so_durable_is_refused(url: str, durability: Durability):
    with pytest.raises(Misuse, match=f"a log .*cannot be '{durability}'") as caught:
        open_log_store(url, "mine", durability=durability)

    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("url", ["postgres://user:s3cret@host/db", "s3cret", "sqlite://s3cret.db", "memory://s3cret"])
def test_a_url_that_no_log_store_has_is_refused_without_showing_it(url: str):
    with pytest.raises(Misuse) as caught:
        open_log_store(url, "mine")

    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("url", ["memory://", "sqlite:///a/b", "redis://localhost"])
def test_a_namespace_of_a_log_is_a_name(url: str):
    with pytest.raises(Misuse, match="namespace"):
        open_log_store(url, "a/b")


def test_a_log_in_redis_without_its_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("coterie.stores.opening.find_spec", lambda name: None)

    with pytest.raises(Misuse, match=r"pip install 'coterie\[redis\]'"):
        open_log_store("redis://user:s3cret@host", "mine")
