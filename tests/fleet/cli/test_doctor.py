"""`coterie doctor`: each fault that is planted is found, with what to do about it; nothing is changed."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from coterie._rules.breaker import force
from coterie._rules.breaker_policy import BreakerPolicy
from coterie._rules.log import Message, Retention, Terms
from coterie.cli.doctor import examining
from coterie.remote.registry import Registration
from coterie.stores.opening import open_log_store
from tests.fleet.cli.commands import fails
from tests.fleet.cli.deployment import only
from tests.fleet.cli.places import PASSWORD, lived
from tests.support.redis_servers import SYNCED, valkey

DYING = """
import os
import signal
from coterie import Plan, Task, Team

team = Team("dying")

@team.agent("dies")
def dies(task_input):
    os.kill(os.getpid(), signal.SIGKILL)

plan = Plan("dying", [Task("t", "dies")])
"""


def test_a_healthy_deployment_has_nothing_wrong(at, examined):
    found = examined(code=0)

    assert set(found) <= {"variables"}


def test_it_changes_nothing(at, examined, synced, folder):
    def everything() -> set:
        with synced.client() as client:
            keys = set(client.scan_iter(f"*{at.namespace}*"))
        return keys | {str(path) for path in folder.rglob("*") if "__pycache__" not in path.parts}

    before = everything()
    examined()

    assert everything() == before


def test_nor_does_it_make_the_files_of_a_machine_that_has_none(folder, monkeypatch, examined):
    monkeypatch.delenv("COTERIE_STORE", raising=False)

    examined(code=0)

    assert not (folder / "home").exists()


# Ten faults, and more.


def test_a_store_that_is_not_there(at, examined, monkeypatch):
    monkeypatch.setenv("COTERIE_STORE", f"redis://fleet:{PASSWORD}@127.0.0.1:1/0")

    finding = only(examined(code=1), "state store", "fault")

    assert "redis://127.0.0.1:1/0" in finding["found"]
    assert "is the server up and reachable?" in finding["remedy"]


def test_a_wrong_password(at, examined, monkeypatch):
    monkeypatch.setenv("COTERIE_STORE", at.url.replace(PASSWORD, f"{PASSWORD}-not"))

    finding = only(examined(code=1), "state store", "fault")

    assert "WRONGPASS" in finding["found"]
    assert finding["remedy"] == "give the right user and password in the store's URL"


def test_a_server_that_keeps_no_append_only_file(at, examined, server, monkeypatch):
    monkeypatch.setenv("COTERIE_STORE", server.url)

    finding = only(examined(code=1), "durability", "fault")

    assert "it keeps no append-only file" in finding["found"]
    assert "appendonly yes" in finding["remedy"]


def test_and_where_that_is_wanted_it_is_a_warning(at, examined, server, monkeypatch):
    monkeypatch.setenv("COTERIE_STORE", server.url)
    monkeypatch.setenv("COTERIE_JOURNAL", "relaxed")

    finding = only(examined(code=0), "durability", "warning")

    assert finding["remedy"] == "set 'appendonly yes' there"


def test_and_one_that_hides_whether_it_syncs(at, examined, synced, monkeypatch):
    with synced.client() as client:
        client.execute_command("ACL", "SETUSER", "blind", "on", ">sees-nothing", "~*", "&*", "+@all", "-@admin")
    monkeypatch.setenv("COTERIE_STORE", at.url.replace(f"fleet:{PASSWORD}", "blind:sees-nothing"))

    finding = only(examined(code=1), "durability", "fault")

    assert "it hides its 'appendfsync'" in finding["found"]
    assert "let the user do CONFIG GET" in finding["found"] + finding["remedy"]


def test_a_server_that_drops_what_it_holds(at, examined, monkeypatch):
    with valkey(arguments=(*SYNCED, "--maxmemory-policy", "allkeys-lru")) as evicting:
        monkeypatch.setenv("COTERIE_STORE", evicting.url)

        finding = only(examined(code=1), "durability", "fault")

    assert "it drops runs without a word" in finding["found"]
    assert "maxmemory-policy noeviction" in finding["found"] + finding["remedy"]


def test_a_user_who_may_not_write(at, examined, synced, monkeypatch):
    with synced.client() as client:
        client.execute_command(
            "ACL", "SETUSER", "reader", "on", ">reads-only", "~*", "&*", "+@all", "-@write", "-@admin"
        )
    monkeypatch.setenv("COTERIE_STORE", at.url.replace(f"fleet:{PASSWORD}", "reader:reads-only"))

    finding = examined(code=1)["rights"][0]

    assert "no permissions to run the 'set' command" in finding["found"]
    assert "+set +del" in finding["remedy"]


def test_and_one_who_may_not_listen(at, examined, synced, monkeypatch):
    with synced.client() as client:
        client.execute_command(
            "ACL", "SETUSER", "deaf", "on", ">hears-nothing", "~*", "resetchannels", "+@all", "-@admin"
        )
    monkeypatch.setenv("COTERIE_STORE", at.url.replace(f"fleet:{PASSWORD}", "deaf:hears-nothing"))

    finding = examined(code=1)["rights"][0]

    assert "NOPERM" in finding["found"]
    assert "+subscribe" in finding["remedy"]


def test_a_file_where_the_folder_should_be(at, examined, folder, monkeypatch):
    (folder / "home").write_text("")

    finding = only(examined(code=1), "home folder", "fault")

    assert "not a folder" in finding["found"]
    assert "COTERIE_HOME" in finding["remedy"]


def test_a_folder_that_others_may_change(at, examined, folder):
    (folder / "home").mkdir()
    (folder / "home").chmod(0o777)

    finding = only(examined(code=1), "home folder", "fault")

    assert "0777" in finding["found"]
    assert finding["remedy"] == f"chmod -R go-w {folder}/home"


@pytest.mark.parametrize(
    ("path", "said", "remedy"),
    [
        ("nowhere:team", "No module named 'nowhere'", "install it"),
        ("remoteteam:absent", "no 'absent'", "remoteteam"),
        ("remoteteam:broken", "'nobody'", "broken"),
        ("absent.yaml", "absent.yaml", "path"),
    ],
)
def test_a_team_that_is_missing_or_unsound(at, examined, path, said, remedy):
    finding = only(examined("--team", path, code=1), "team", "fault")

    assert said in finding["found"]
    assert finding["remedy"]


def test_nobody_performs_what_is_left_to_workers(at, examined):
    finding = only(examined("--team", "remoteteam:team", code=0), "workers", "warning")

    assert "no worker is alive for 'faraway'" in finding["found"]
    assert finding["remedy"] == "start one: coterie worker --team remoteteam:team --types faraway"


def test_nobody_performs_what_a_plan_leaves_to_workers(at, examined, folder):
    plan = folder / "plan.yaml"
    plan.write_text("name: p\ntasks:\n  - {id: t, agent_type: summariser, placement: remote}\n", "utf-8")

    finding = only(examined("--plan", str(plan), code=0), "workers", "warning")

    assert "no worker is alive for 'summariser'" in finding["found"]


def test_a_plan_that_is_not_there_is_a_fault(at, examined):
    finding = only(examined("--plan", "nowhere.yaml", code=1), "workers", "fault")

    assert "nowhere.yaml" in finding["found"]


def test_one_who_does_is_enough(at, examined):
    at.with_store(lambda store: Registration(store, "w1", "elsewhere", ["faraway"], lease_s=600).enlist(1))

    assert set(examined("--team", "remoteteam:team", code=0)) <= {"variables"}


def test_dead_letters_wait(at, examined):
    async def given_up() -> None:
        log = open_log_store(at.url, at.namespace)
        try:
            await log.append("orders", [Message("x", "a", "{}")], retention=Retention())
            (taken,) = (await log.take("orders", "billing", "me", terms=Terms(), limit=1)).deliveries
            await log.give_back("orders", "billing", "me", taken.logged.position, reason="bad", max_deliveries=0)
        finally:
            await log.aclose()

    asyncio.run(given_up())
    finding = only(examined(code=0), "dead letters", "warning")

    assert finding["found"] == "1 wait: 1 of orders (billing)"
    assert "coterie dlq list --all-topics" in finding["remedy"]


def test_a_run_whose_process_was_killed(at, examined, folder):
    (folder / "dying.py").write_text(DYING)
    command = ["run", "dying:plan", "--team", "dying:team", "--run-id", "night", "--artifacts", f"{folder}/shared"]
    done = subprocess.run([sys.executable, "-m", "coterie", *command], cwd=folder, capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr

    finding = only(examined(code=0), "interrupted runs", "warning")

    assert finding["found"] == "nobody is at 'night': begun, and not ended"
    assert "coterie runs resume RUN" in finding["remedy"]


def test_breakers_that_are_open_or_forced(at, examined):
    at.put(
        breaker__bad=lived((at.now, fails("bad", 3))),
        breaker__hand=lived((at.now, force("hand", BreakerPolicy(), to="forced_open", chance=0))),
    )

    found = examined(code=0)["breakers"]

    assert [each["found"] for each in found] == ["forced_open: 'hand'", "open: 'bad'"]
    assert "coterie breakers auto" in found[0]["remedy"]


def test_a_state_that_cannot_be_read(at, examined):
    at.put(breaker__odd={"v": 1, "t0": 0, "x": 1})

    finding = only(examined(code=1), "breakers", "fault")

    assert "breaker/odd" in finding["found"]


def test_workers_of_other_versions(at, examined, monkeypatch):
    monkeypatch.setattr("coterie.remote.registry.release_here", lambda: "0.0.9/3.13")
    at.with_store(lambda store: Registration(store, "old", "elsewhere", ["x"], lease_s=600).enlist(1))

    found = examined(code=0)["versions"]

    assert ["old (0.0.9)" in each["found"] for each in found] == [True, False]
    assert f"Python {sys.version_info.major}.{sys.version_info.minor} here" in found[1]["found"]
    assert "restart the workers" in found[0]["remedy"]


def test_a_fleet_that_writes_a_newer_format(at, examined):
    at.put(fleet__format={"v": 1, "t0": at.now // 1_000_000, "format": 99, "by": "9.9"})

    finding = only(examined(code=1), "state store", "fault")

    assert finding["remedy"] == "update coterie here to 9.9 or newer"


def test_a_place_for_artifacts_that_is_none(at, invoke, folder):
    (folder / "full").write_text("")
    done = invoke("doctor", "--artifacts", f"{folder}/full", "--json")

    (finding,) = [each for each in json.loads(done.stdout)["checks"] if each["check"] == "artifacts"]
    assert finding["state"] == "fault"
    assert finding["remedy"]


def test_a_server_that_does_not_answer_is_left_after_a_while(at, examined, monkeypatch):
    with valkey() as silent:
        monkeypatch.setenv("COTERIE_STORE", silent.url)
        monkeypatch.setattr(examining, "BOUND_S", 0.5)
        monkeypatch.setattr(examining.examine, "__kwdefaults__", {"bound_s": 0.5})
        silent.pause()
        try:
            found = examined(code=1)
        finally:
            silent.resume()

    assert found["state store"][0]["found"] == "no answer within 0.5 s"


def test_what_people_see_names_the_remedy_below_the_finding(at, invoke, folder):
    done = invoke("doctor", "--artifacts", f"{folder}/shared", "--team", "nowhere:team")

    lines = done.stdout.splitlines()
    place = next(n for n, line in enumerate(lines) if line.startswith("fault"))
    assert "No module named 'nowhere'" in lines[place]
    assert lines[place + 1].strip().startswith("-> install it")
    assert lines[-1].startswith("1 at fault")
    assert done.exit_code == 1


def test_the_path_of_a_home_is_shown(at, invoke, folder):
    assert str(Path(folder) / "home") in invoke("doctor").stdout
