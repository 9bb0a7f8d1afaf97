"""A run of two hundred tasks is killed at any of its writes, and at any instant, and goes on in a new process.

It ends as one that nobody disturbed; what was recorded before a kill is never paid for again, and a service that knows
keys has one effect for each unit of work. The kills are real: SIGKILL for the whole group of processes, and for the
server that the journal lies on.
"""

from __future__ import annotations

import os
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

import pytest

from tests.journal.crash.billing import Billing, billing
from tests.journal.crash.killer import Point
from tests.journal.crash.nursery import Nursery
from tests.journal.crash.points import Course, Crashes, Judged, every_point, table
from tests.journal.crash.subject import VICTIM, Coterie
from tests.support.redis_servers import SYNCED, Server, valkey

# Of the local engine, which has the whole run; and of workers that claim each task, with three writes for each.
WHOLE, CLAIMED = 200, 60
# How long a sample goes on to take another point; it takes a few whatever the time.
SAMPLE_S, AT_LEAST = 12.0, 4

Step = tuple[str, Callable[[], Course]]


@pytest.fixture(scope="module")
def bills() -> Iterator[Billing]:
    with billing() as service:
        yield service


@pytest.fixture
def nursery(tmp_path: Path) -> Iterator[Nursery]:
    with Nursery(VICTIM, tmp_path / "errors.txt") as started:
        yield started


@pytest.fixture
def server() -> Iterator[Server]:
    with valkey(arguments=SYNCED) as running:
        yield running


@pytest.fixture
def seed() -> int:
    """COTERIE_CRASH_SEED repeats a run's choices (not the machine's timing)."""
    seed = int(os.environ.get("COTERIE_CRASH_SEED") or random.randrange(10**6))
    told(f"COTERIE_CRASH_SEED={seed}")
    return seed


@pytest.fixture
def in_a_file(tmp_path: Path, nursery: Nursery, bills: Billing) -> Callable[..., Crashes]:
    def crashes(size: int, engine: str) -> Crashes:
        journal = f"sqlite://{tmp_path}/state.db"
        return Crashes(Coterie(journal, tmp_path, size=size, engine=engine), nursery, bills, tmp_path)

    return crashes


@pytest.fixture
def on_a_server(tmp_path: Path, nursery: Nursery, bills: Billing, server: Server) -> Callable[..., Crashes]:
    def crashes(size: int, engine: str) -> Crashes:
        subject = Coterie(server.url, tmp_path, size=size, engine=engine, revive=server.revive)
        return Crashes(subject, nursery, bills, tmp_path)

    return crashes


def told(what: str) -> None:
    # Seen with -s, and with a failure.
    sys.stdout.write(f"\n{what}\n")


def at_points(crashes: Crashes, points: Iterable[Point]) -> Iterator[Step]:
    for point in points:
        yield f"at its {point.what} writes", partial(crashes.at, [point], f"{point}")


def at_server(crashes: Crashes, points: Iterable[Point], server: Server) -> Iterator[Step]:
    def killed(point: Point) -> Course:
        # Another process each time.
        return crashes.at([point._replace(victim=server.pid)], f"server-{point}")

    for point in points:
        yield "the server, at journal writes", partial(killed, point)


def at_instants(crashes: Crashes, runs: int, chance: random.Random) -> Iterator[Step]:
    for number in range(runs):
        kills = chance.choice([1, 1, 2, 3])
        yield "at any instant", partial(crashes.at_random, kills, chance, f"instant-{number}")


def check(crashes: Crashes, steps: Sequence[Step], *, within_s: float | None = None) -> None:
    """Take the steps, all of them or as many as there is time for, print what came of them, and judge."""
    judged: dict[str, Judged] = {}
    deadline = time.monotonic() + (within_s or 0.0)
    for taken, (what, step) in enumerate(steps):
        if within_s is not None and taken >= AT_LEAST and time.monotonic() > deadline:
            break
        course = step()
        judged.setdefault(what, Judged(what)).add(course, crashes.expected)
        assert not course.again, f"{course.name}: recorded, and paid for again: {sorted(course.again)}"
        assert not course.too_often, f"{course.name}: {course.kills} kills do not explain {sorted(course.too_often)}"
        assert not course.effects, f"{course.name}: two effects: {sorted(course.effects)}"
        assert course.ended == crashes.expected, f"{course.name}: another end"
    told(table(judged.values()))
    assert sum(one.kills for one in judged.values()) > 0


def sample(crashes: Crashes, steps: Iterable[Step], seed: int) -> None:
    chance = random.Random(seed)
    chosen = [*chance.sample([*steps], 30), *at_instants(crashes, 10, chance)]
    chance.shuffle(chosen)
    check(crashes, chosen, within_s=SAMPLE_S)


# A sample


def test_a_sample_of_kills_of_the_local_engine_with_its_journal_in_a_file(in_a_file, seed: int):
    crashes = in_a_file(WHOLE, "whole")

    sample(crashes, at_points(crashes, every_point(crashes.counts)), seed)


def test_a_sample_of_kills_of_the_local_engine_with_its_journal_on_a_server(on_a_server, server: Server, seed: int):
    crashes = on_a_server(WHOLE, "whole")
    points = [*every_point(crashes.counts, what=["journal"])]

    sample(crashes, [*at_points(crashes, points), *at_server(crashes, points, server)], seed)


def test_a_sample_of_kills_of_workers_that_claim_each_task(in_a_file, seed: int):
    crashes = in_a_file(CLAIMED, "workers")

    sample(crashes, at_points(crashes, every_point(crashes.counts)), seed)


def test_a_process_that_stood_still_while_another_took_over_records_nothing_and_ends(
    on_a_server, tmp_path: Path, seed: int
):
    # Not in a file: one that stands still in the midst of a write there holds up all others.
    crashes = on_a_server(WHOLE, "whole")
    chance = random.Random(seed)

    with Nursery(VICTIM, tmp_path / "others.txt") as other:
        course, said = crashes.stopped(chance.randrange(10, 150), other, "stopped")

    assert course.ended == crashes.expected
    assert said is not None
    assert "StaleToken" in said["error"], said
    # What it was at is paid for by both: once in effect, for a service that knows keys.
    assert not course.effects
    assert max(Counter(bill.unit for bill in course.bills).values()) <= 2


# All of it


@pytest.mark.full
@pytest.mark.parametrize("what", ["journal", "artifact"])
@pytest.mark.parametrize("place", ["in_a_file", "on_a_server"])
def test_every_kill_of_the_local_engine_around_a_write(request: pytest.FixtureRequest, place: str, what):
    crashes = request.getfixturevalue(place)(WHOLE, "whole")

    check(crashes, [*at_points(crashes, every_point(crashes.counts, what=[what]))])


@pytest.mark.full
@pytest.mark.parametrize("place", ["in_a_file", "on_a_server"])
def test_every_kill_of_workers_around_a_write(request: pytest.FixtureRequest, place: str):
    crashes = request.getfixturevalue(place)(CLAIMED, "workers")

    check(crashes, [*at_points(crashes, every_point(crashes.counts, what=["journal"]))])


@pytest.mark.full
@pytest.mark.parametrize("engine", ["whole", "workers"])
@pytest.mark.parametrize("place", ["in_a_file", "on_a_server"])
def test_kills_around_what_is_paid_for_and_at_a_hundred_instants(
    request: pytest.FixtureRequest, place: str, engine: str, seed: int
):
    crashes = request.getfixturevalue(place)(WHOLE if engine == "whole" else CLAIMED, engine)
    chance = random.Random(seed)
    paid = chance.sample([*every_point(crashes.counts, what=["bill"])], 50)

    check(crashes, [*at_points(crashes, paid), *at_instants(crashes, 100, chance)])


@pytest.mark.full
@pytest.mark.parametrize("engine", ["whole", "workers"])
def test_every_kill_of_the_server_around_a_write(on_a_server, server: Server, engine: str):
    crashes = on_a_server(WHOLE if engine == "whole" else 20, engine)

    check(crashes, [*at_server(crashes, every_point(crashes.counts, what=["journal"]), server)])


# The judge


@pytest.mark.parametrize(("engine", "fault"), [("forgetful", "again"), ("keyless", "effects")])
def test_an_engine_that_forgets_or_changes_its_keys_is_found_out(in_a_file, engine: str, fault: str):
    crashes = in_a_file(40, engine)

    course = crashes.at([Point("bill", 30, "after")], "wrong")

    assert course.kills == 1
    assert getattr(course, fault)
