"""`coterie status` and `coterie migrate`; and what no command makes or changes by looking."""

from __future__ import annotations

import pytest
import typer.main

from coterie._rules.timeline import FORMAT
from coterie.cli.app import app
from coterie.stores.format import check_format
from tests.docs.markdown import REPOSITORY
from tests.fleet.cli.commands import ACTS, EVERY, LOOKS, a_fleet
from tests.fleet.cli.places import SECOND, Place


def test_the_status_is_all_lists_together(place: Place, seen):
    place.put(**a_fleet(place.now))
    place.with_store(check_format)

    status = seen("status")

    assert list(status) == ["store", "breakers", "pools", "limits", "retries", "budgets", "problems"]
    assert status["store"].keys() == {"url", "scope", "namespace", "format", "clock"}
    assert status["store"]["namespace"] == place.namespace
    assert status["store"]["scope"] == ("machine" if place.url.startswith("sqlite") else "fleet")
    assert status["store"]["format"] == FORMAT
    assert [row["name"] for row in status["breakers"]] == ["bad", "good"]
    assert [row["agent_type"] for row in status["pools"]] == ["linter"]
    assert [row["name"] for row in status["limits"]] == ["linter"]
    assert [row["name"] for row in status["retries"]] == ["linter"]
    assert [row["name"] for row in status["budgets"]] == ["day"]


def test_people_see_at_a_glance_what_is_out_of_the_ordinary(place: Place, shown):
    place.put(**a_fleet(place.now))

    lines = shown("status", "--team", "fleetteam:team").splitlines()

    assert lines[0].startswith(f"store {'sqlite' if place.url.startswith('sqlite') else 'redis'}://")
    assert f"namespace {place.namespace}, no format recorded yet)" in lines[0]
    assert lines[1].startswith("clock 20")
    assert lines[1].endswith(" UTC")
    # The two that are stored, and the team's three.
    assert lines[2] == "breakers 5, 1 not closed"
    assert lines[3].startswith("bad open for ")
    assert lines[4:6] == ["pools 1", "linter 1 agent, 1 slot in use, 1 free"]
    assert lines[6:8] == ["limits 1, 0 near the end", "retries 1, 0 used up"]
    assert lines[8:10] == ["budgets 1", "day ? of ? left, 0 spent, 40 held"]


def test_what_is_not_known_without_the_team_is_counted(place: Place, shown):
    place.put(**a_fleet(place.now))

    assert "limits 1, 0 near the end, 1 not known" in shown("status")


def test_nothing_is_shown_as_nothing(place: Place, seen, shown):
    assert [seen("status")[kind] for kind in ("breakers", "pools", "limits", "retries", "budgets")] == [[]] * 5
    assert shown("status").splitlines()[2:] == ["breakers 0", "pools 0", "limits 0", "retries 0", "budgets 0"]
    assert shown("breakers").startswith("no breaker is stored yet in ")
    assert "from its first failure on" in shown("breakers")
    assert shown("limits").startswith("there are no limits or retries yet in ")


def test_the_store_and_namespace_of_the_command_line_go_before_the_environment(place: Place, seen, monkeypatch):
    place.put(**a_fleet(place.now))
    monkeypatch.setenv("COTERIE_STORE", "sqlite:///nowhere/state.db")
    monkeypatch.setenv("COTERIE_NAMESPACE", "another")

    status = seen("status", "--store", place.url, "--namespace", place.namespace)

    assert [row["name"] for row in status["breakers"]] == ["bad", "good"]
    assert seen("status", "--store", place.url)["breakers"] == []


@pytest.mark.parametrize("command", LOOKS, ids=" ".join)
def test_looking_makes_no_file(invoke, folder, command, monkeypatch):
    monkeypatch.delenv("COTERIE_STORE", raising=False)

    done = invoke(*command)

    assert done.exit_code == 0
    assert str(folder / "home" / "state.db") in done.stdout
    assert not (folder / "home").exists()


@pytest.mark.parametrize("command", [act for act in ACTS if act != ["migrate"]], ids=" ".join)
def test_a_change_of_what_is_nowhere_is_refused_and_makes_no_file(invoke, folder, command):
    done = invoke(*command, "--store", f"sqlite://{folder}/none/state.db")

    assert done.exit_code == 2
    assert "nothing is stored at " in done.stderr
    assert not (folder / "none").exists()


def test_migrating_says_what_was_there_and_may_be_repeated(place: Place, seen, invoke):
    first, second = seen("migrate"), seen("migrate")
    told = invoke("migrate").stdout

    assert first.keys() == {"store", "before", "format", "changed"}
    assert (first["before"], first["format"], first["changed"]) == (None, FORMAT, True)
    assert (second["before"], second["format"], second["changed"]) == (FORMAT, FORMAT, False)
    assert told.endswith(f"(namespace {place.namespace}): the fleet writes format {FORMAT}; as before\n")


def test_migrating_raises_what_the_fleet_wrote_before(place: Place, seen, monkeypatch):
    place.with_store(check_format)
    monkeypatch.setattr("coterie.stores.format.FORMAT", FORMAT + 1)

    document = seen("migrate")

    assert (document["before"], document["format"], document["changed"]) == (FORMAT, FORMAT + 1, True)
    assert document["store"]["format"] == FORMAT + 1


def test_an_old_store_reads_as_it_is_now(place: Place, seen):
    year = 365 * 86_400 * SECOND
    place.put(**a_fleet(place.now - 2 * year))

    status = seen("status")

    assert {row["name"]: row["state"] for row in status["breakers"]} == {"bad": "open", "good": "closed"}
    assert status["pools"][0]["agents"][0]["condition"] == "lost"
    assert status["limits"][0]["dimensions"][0]["refilled"] is None
    assert (status["budgets"][0]["spent"], status["budgets"][0]["dead_holds"]) == (40, [])


def test_every_command_about_a_fleet_is_tried_and_described():
    page = (REPOSITORY / "docs/reference/command-line.md").read_text("utf-8")
    found, options = set(), set()
    for name in ("breakers", "pool", "limits", "budgets"):
        command = typer.main.get_command(app).commands[name]
        assert "Without a command: `list`." in command.help
        for inner_name, inner in getattr(command, "commands", {}).items():
            found.add((name, inner_name))
            options |= {option for one in inner.params for option in one.opts if option.startswith("-")}

    assert found == {tuple(argv[:2]) for argv in EVERY if len(argv) > 1}
    assert [pair for pair in found if f"`coterie {' '.join(pair)}" not in page.replace("[list]", "list")] == []
    assert [option for option in options if f"`{option}`" not in page] == []
