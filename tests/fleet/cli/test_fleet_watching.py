"""`--watch`: shows what another process changes, says nothing when nothing did, and ends when it is asked to."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
from collections.abc import Callable
from dataclasses import replace
from threading import Timer

import pytest

from coterie._rules.breaker import record
from coterie._rules.breaker_policy import BreakerPolicy
from coterie._rules.pool import turn
from coterie._rules.pool_policy import PoolPolicy
from coterie.cli.fleet.snapshot import Head, Snapshot
from coterie.cli.fleet.watching import Documents
from tests.fleet.cli.places import Place, lived
from tests.support.redis_servers import valkey

WAIT_S = 60
# So long that whatever is shown in time was told by the store.
NEVER = "10000"
# What does not depend on the store is tried with one of them.
ON_SQLITE = pytest.mark.parametrize("place", ["sqlite"], indirect=True)


def a_breaker(now: int):
    policy = BreakerPolicy()
    return lived((now, record("gate", policy, generation=0, runs=[("f", 1)], chance=0)))


def a_pool(now: int):
    terms = PoolPolicy(heartbeat_s=1000, lease_s=4000).terms("linter")
    return lived((now, turn(terms, "owner", chance=0, agents=[["linter-1", 1, 1]])))


@pytest.fixture
def watching(start):
    """Start a watching command; what is left of it is ended."""
    begun: list[subprocess.Popen[str]] = []

    def started(*argv: str, **options: object) -> subprocess.Popen[str]:
        begun.append(start(*argv, **options))
        return begun[-1]

    yield started
    for process in begun:
        process.kill()
        process.communicate()


def next_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    limit = Timer(WAIT_S, process.kill)
    limit.start()
    try:
        line = process.stdout.readline()
    finally:
        limit.cancel()
    assert line, "nothing was shown in time"
    return line


def next_document(process: subprocess.Popen[str]) -> dict:
    return json.loads(next_line(process))


def next_that(process: subprocess.Popen[str], holds: Callable[[dict], bool]) -> dict:
    while True:
        document = next_document(process)
        if holds(document):
            return document


def end(process: subprocess.Popen[str], number: int = signal.SIGINT) -> tuple[int, str, str]:
    process.send_signal(number)
    stdout, stderr = process.communicate(timeout=WAIT_S)
    return process.returncode, stdout, stderr


def test_a_change_of_another_process_is_shown_as_soon_as_the_store_tells_of_it(place: Place, watching, coterie):
    place.put(breaker__gate=a_breaker(place.now))
    process = watching("breakers", "--watch", NEVER, "--json")

    before = next_document(process)
    acted = coterie("breakers", "open", "gate")
    after = next_that(process, lambda document: document["breakers"][0]["state"] != "closed")
    code, rest, stderr = end(process)

    assert acted.stdout == "gate: forced_open (was closed)\n"
    assert before.keys() == after.keys() == {"store", "breakers", "problems", "failure"}
    assert before["breakers"][0]["state"] == "closed"
    assert after["breakers"][0]["state"] == "forced_open"
    assert (code, rest, stderr) == (0, "", "")


@ON_SQLITE
def test_what_no_signal_tells_of_is_found_by_looking_again(place: Place, watching, invoke):
    place.put(pool__linter=a_pool(place.now))
    process = watching("pool", "list", "--watch", "0.2", "--json")

    before = next_document(process)
    invoke("pool", "drain", "linter-1")
    next_that(process, lambda document: document["pools"][0]["agents"][0]["condition"] == "draining")
    code, _, stderr = end(process)

    assert before["pools"][0]["agents"][0]["condition"] == "ready"
    assert (code, stderr) == (0, "")


@ON_SQLITE
def test_a_breaker_that_comes_while_one_watches_is_shown_and_listened_to(place: Place, watching, invoke):
    place.put(breaker__gate=a_breaker(place.now))
    process = watching("status", "-w", "0.2", "--json")

    next_document(process)
    invoke("breakers", "disable", "fresh", "--new")
    next_that(process, lambda document: [row["state"] for row in document["breakers"]] == ["disabled", "closed"])
    invoke("breakers", "auto", "fresh")
    next_that(process, lambda document: [row["state"] for row in document["breakers"]] == ["closed", "closed"])

    assert end(process)[0] == 0


@ON_SQLITE
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_watch_may_stand_without_its_seconds_and_ends_by_either_signal(place: Place, watching, number):
    place.put(breaker__gate=a_breaker(place.now))
    process = watching("breakers", "--watch", "--json")

    next_document(process)

    assert end(process, number) == (0, "", "")


@ON_SQLITE
def test_without_a_terminal_each_change_is_shown_below_the_last(place: Place, watching, invoke):
    place.put(breaker__gate=a_breaker(place.now))
    process = watching("breakers", "--watch", NEVER)
    lines = [next_line(process) for _ in range(2)]

    invoke("breakers", "open", "gate")
    lines += [next_line(process) for _ in range(3)]
    code, rest, _ = end(process)

    assert ["closed" in lines[1], lines[2], "forced_open" in lines[4]] == [True, "\n", True]
    assert (code, rest) == (0, "")


@ON_SQLITE
def test_on_a_terminal_it_is_drawn_in_place_and_the_cursor_given_back(place: Place, watching, invoke):
    place.put(breaker__gate=a_breaker(place.now))
    reader, writer = pty.openpty()
    process = watching("breakers", "--watch", NEVER, stdout=writer)
    os.close(writer)
    shown = read_until(reader, b"closed")

    invoke("breakers", "open", "gate")
    shown += read_until(reader, b"forced_open")
    process.send_signal(signal.SIGINT)
    shown += read_until(reader, b"\x1b[?25h")
    _, stderr = process.communicate(timeout=WAIT_S)
    os.close(reader)

    assert (process.returncode, stderr) == (0, "")
    assert re.search(rb"\x1b\[\d*A", shown), "the cursor goes up to where it began"


def read_until(descriptor: int, what: bytes) -> bytes:
    shown = b""
    while what not in shown:
        ready, _, _ = select.select([descriptor], [], [], WAIT_S)
        assert ready, f"{what!r} was not shown in time, but {shown!r}"
        shown += os.read(descriptor, 10_000)
    return shown


def test_a_store_that_fails_meanwhile_is_told_of_and_asked_again(watching, folder):
    with valkey() as server:
        process = watching("breakers", "--watch", "0.2", "--json", "--store", server.url)
        before = next_document(process)
        server.kill()
        lost = next_that(process, lambda document: document["failure"] is not None)
        server.start()
        next_that(process, lambda document: document["failure"] is None)
        code, _, stderr = end(process)

    assert before["failure"] is None
    assert f"redis://127.0.0.1:{server.port}/0" in lost["failure"]
    assert lost["breakers"] == before["breakers"]
    assert (code, stderr) == (0, "")


def test_a_store_that_fails_at_the_first_look_ends_it(coterie, server, monkeypatch):
    monkeypatch.setenv("COTERIE_STORE", server.url.replace(str(server.port), "1"))

    done = coterie("status", "--watch", "--json")

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1


@ON_SQLITE
def test_a_reader_who_has_enough_ends_it_without_a_word(place: Place, watching, invoke):
    place.put(breaker__gate=a_breaker(place.now))
    process = watching("breakers", "--watch", NEVER, "--json")
    next_document(process)
    process.stdout.close()

    invoke("breakers", "open", "gate")

    assert process.wait(timeout=WAIT_S) == 1
    assert process.stderr.read() == ""


def test_a_file_that_is_not_there_yet_is_watched_until_it_is(folder, watching, invoke):
    url = f"sqlite://{folder}/later/state.db"
    process = watching("breakers", "--watch", "0.2", "--json", "--store", url)
    assert next_document(process)["breakers"] == []
    assert not (folder / "later").exists()

    invoke("breakers", "open", "gate", "--new", "--store", url)

    next_that(process, lambda document: [row["state"] for row in document["breakers"]] == ["forced_open"])
    assert end(process)[0] == 0


def test_what_moves_with_time_alone_makes_no_document(capsys):
    head = Head("sqlite:///state.db", "machine", "default", 1, 0)
    snapshot = Snapshot(head=head, kinds=("breakers",))
    screen = Documents()

    screen.show(snapshot, None)
    screen.show(replace(snapshot, head=replace(head, clock_us=5)), None)
    screen.show(replace(snapshot, head=replace(head, format=2)), None)
    screen.show(replace(snapshot, head=replace(head, format=2)), "it does not answer")

    shown = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(document["store"]["format"], document["failure"]) for document in shown] == [
        (1, None),
        (2, None),
        (2, "it does not answer"),
    ]
