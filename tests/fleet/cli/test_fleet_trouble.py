"""Stores and states that are not as they should be: one line, an exit code, no traceback and no password."""

from __future__ import annotations

import json

import pytest

from coterie._rules.timeline import FORMAT
from tests.fleet.cli.commands import EVERY, LOOKS, a_fleet
from tests.fleet.cli.places import PASSWORD, Place
from tests.support.redis_servers import free_port

NEWER = {"v": FORMAT + 1, "t0": 1, "at": 1}


@pytest.mark.parametrize("command", EVERY, ids=" ".join)
def test_a_fleet_of_a_newer_format_is_left_alone(place: Place, invoke, command):
    written = {"v": 1, "t0": 1, "at": 1, "format": FORMAT + 1, "by": "9.9.9"}
    place.put(fleet__format=written, **a_fleet(place.now))

    done = invoke(*command)

    assert done.exit_code == 1
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert f"the fleet writes states of format {FORMAT + 1}" in done.stderr
    assert "update coterie here to 9.9.9" in done.stderr
    assert place.get("fleet/format") == written


@pytest.mark.parametrize("damage", [NEWER, {"v": 1, "t0": 1, "at": 1, "agents": 5}, {}])
@pytest.mark.parametrize("kind", ["breaker", "pool", "limit", "retry", "budget"])
def test_one_state_that_cannot_be_read_hides_no_other(place: Place, invoke, kind, damage):
    place.put(**a_fleet(place.now), **{f"{kind}__odd": damage})

    done = invoke("status", "--json")

    document = json.loads(done.stdout)
    assert done.exit_code == 1
    assert [problem["key"] for problem in document["problems"]] == [f"{kind}/odd"]
    assert sum(len(document[each]) for each in ("breakers", "pools", "limits", "retries", "budgets")) == 6
    assert done.stderr.startswith(f"error: {kind}/odd: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("command", "key"),
    [
        (["breakers", "open", "gate"], "breaker/gate"),
        (["breakers", "reset", "gate"], "breaker/gate"),
        (["pool", "drain", "linter-1"], "pool/linter"),
        (["budgets", "settle", "day", "hold", "1"], "budget/day"),
    ],
)
@pytest.mark.parametrize("damage", [NEWER, {"v": 1, "t0": 1, "at": 1, "agents": 5}])
def test_a_state_that_cannot_be_read_is_not_changed(place: Place, invoke, command, key, damage):
    place.put(**{key.replace("/", "__"): damage})

    done = invoke(*command)

    assert done.exit_code == 1
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert place.get(key) == damage


@pytest.mark.parametrize("command", EVERY, ids=" ".join)
def test_a_store_that_cannot_be_reached_is_one_line_without_the_password(invoke, command):
    port = free_port()

    done = invoke(*command, "--store", f"redis://fleet:{PASSWORD}@127.0.0.1:{port}/0")

    assert done.exit_code == 1
    assert done.stdout == ""
    assert done.stderr.startswith(f"error: redis://127.0.0.1:{port}/0 (named by --store) failed to ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("command", [["status"], ["runs", "list"], ["run", "work:good", "-t", "work:team"]])
def test_a_store_that_cannot_be_reached_is_told_with_the_variable_that_names_it(invoke, command, monkeypatch):
    port = free_port()
    monkeypatch.setenv("COTERIE_STORE", f"redis://fleet:{PASSWORD}@127.0.0.1:{port}/0")

    done = invoke(*command)

    assert done.exit_code == 1
    assert f"error: redis://127.0.0.1:{port}/0 (named by COTERIE_STORE) failed to " in done.stderr
    assert PASSWORD not in done.output


def test_a_wrong_password_is_misuse_and_is_not_shown(invoke, server):
    done = invoke("status", "--store", f"redis://fleet:wr0ng-{PASSWORD}@127.0.0.1:{server.port}/0")

    assert done.exit_code == 2
    assert "give the right user and password" in done.stderr
    assert "wr0ng" not in done.output


def test_the_password_of_a_store_is_never_shown(invoke, server, monkeypatch):
    monkeypatch.setenv("COTERIE_STORE", server.url)

    for command in [*LOOKS, ["breakers", "open", "gate", "--new"], ["migrate"]]:
        for more in ([], ["--json"], ["--help"]):
            done = invoke(*command, *more)

            assert done.exit_code == 0
            assert "fleet:" not in done.output


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--store", "memory://"], "state in memory is seen by its own process alone"),
        (["--store", PASSWORD], "does not begin with 'scheme://'"),
        (["--store", f"ftp://{PASSWORD}@host"], "no state store has URLs with the scheme 'ftp'"),
        (["--store", "sqlite://relative"], "the absolute path of a file"),
        (["--namespace", "a/b"], "'a/b'"),
        (["--team", "ghost:team"], "cannot import 'ghost' for the team 'ghost:team'"),
        (["--watch", "0"], "--watch"),
        (["--watch", "soon"], "soon"),
    ],
)
@pytest.mark.parametrize("command", LOOKS, ids=" ".join)
def test_misuse_names_the_culprit(invoke, folder, command, argv, said):
    done = invoke(*command, *argv)

    assert done.exit_code == 2
    assert said in done.stderr
    assert done.stdout == ""


def test_a_database_that_is_none_is_told(invoke, folder):
    (folder / "state.db").write_text("hello " * 1000)

    done = invoke("status", "--store", f"sqlite://{folder}/state.db")

    assert done.exit_code == 1
    assert "is damaged, or no database" in done.stderr
