"""Producers and consumers under fire: nothing is lost, each key is in order, duplicates are those that must be."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.bus_soak import Storm, soak
from tests.support.bus_soak_audit import DeadRow, Found, Handled, Incident, Noted, Records, audit
from tests.support.bus_soak_member import Load
from tests.support.redis_servers import SYNCED, valkey

# Killed, such a server may have lost what it answered a moment ago: it puts off writing while it syncs.
EVERY_SECOND = ("--appendonly", "yes", "--appendfsync", "everysec")
# There is little room, so that what is done while they publish is done while others handle.
SMALL = Load(events=3_000, producers=3, consumers=3, keys=60, poison=6, room=500, pause_s=0.2, busy_s=0.004)
LARGE = Load(events=100_000, producers=8, consumers=8, room=5_000)


@pytest.fixture
def seed() -> int:
    seed = random.randrange(2**32)
    print(f"seed {seed}")  # noqa: T201 - for whoever has to do it again
    return seed


def test_consumers_killed_on_sqlite_lose_nothing_and_keep_each_key_in_order(tmp_path: Path, seed: int) -> None:
    records = soak(
        f"sqlite://{tmp_path}/state.db", _folder(tmp_path), SMALL, Storm(kills=5, stops=1, producer_kills=1), seed=seed
    )

    found = _audited(records)

    assert (found.events, found.poison, found.befell["killed"]) == (SMALL.events, SMALL.poison, 5)


def test_consumers_and_their_server_killed_lose_nothing_and_keep_each_key_in_order(tmp_path: Path, seed: int) -> None:
    storm = Storm(kills=4, stops=1, producer_kills=1, server_kills=2, server_stops=1)
    with valkey(arguments=SYNCED) as server:
        records = soak(server.url, _folder(tmp_path), SMALL, storm, seed=seed, server=server)

    found = _audited(records)

    assert (found.events, found.poison, found.befell["outage"]) == (SMALL.events, SMALL.poison, 3)


@pytest.mark.full
def test_a_hundred_thousand_events_survive_sixty_kills_and_a_dozen_restarts(tmp_path: Path, seed: int) -> None:
    storm = Storm(kills=60, stops=5, producer_kills=10, server_kills=8, server_stops=4, within_s=900.0)
    with valkey(arguments=SYNCED) as server:
        records = soak(server.url, _folder(tmp_path), LARGE, storm, seed=seed, server=server)

    found = _audited(records)

    assert (found.events, found.poison) == (LARGE.events, LARGE.poison)
    assert (found.befell["killed"], found.befell["outage"]) == (60, 12)


@pytest.mark.full
def test_a_server_that_syncs_each_second_loses_nothing_where_it_is_stopped(tmp_path: Path, seed: int) -> None:
    load, storm = replace(LARGE, events=20_000, poison=20), Storm(kills=12, producer_kills=2, server_stops=6)
    with valkey(arguments=EVERY_SECOND) as server:
        folder = _folder(tmp_path)
        records = soak(server.url, folder, load, storm, seed=seed, server=server, durability="relaxed")

    found = _audited(records)

    assert (found.events, found.poison, found.befell["outage"]) == (load.events, load.poison, 6)


def _audited(records: Records) -> Found:
    found = audit(records)
    print(found)  # noqa: T201 - what was there to see
    return found


def _folder(path: Path) -> Path:
    folder = path / "soak"
    folder.mkdir()
    return folder


# A record of four events and one that is poison, with one kill, as it may be; and each way in which it may not.
KILLED, REQUEUED, LATER = 300, 1_000, 2_000
DONE = [
    Handled("a0", "a", 0, 1, 100, True),
    Handled("a1", "a", 1, 1, 200, True),
]
AGAIN = [
    Handled("a1", "a", 1, 2, 400, True),
    Handled("a2", "a", 2, 1, 500, True),
    Handled("b0", "b", 0, 1, 510, True),
    Handled("x", "b", 1, 1, 520, False),
    Handled("x", "b", 1, 2, 530, False),
    Handled("x", "b", 1, 1, LATER, True),
]
GOOD = Records(
    published=[
        *(Noted(f"a{number}", "a", number, False) for number in range(3)),
        Noted("b0", "b", 0, False),
        Noted("x", "b", 1, True),
    ],
    lives={"one": DONE, "two": AGAIN},
    appended=5,
    prefetch=2,
    concurrency=1,
    dead=[DeadRow("x", 2, ("ValueError: x is poison", "ValueError: x is poison"))],
    requeued_ns=REQUEUED,
    incidents=[Incident("killed", "one", KILLED)],
)


def _two(*rows: Handled) -> Records:
    return replace(GOOD, lives={"one": DONE, "two": rows})


DOCTORED: Sequence[tuple[str, Records, str]] = [
    ("an event is missing", _two(AGAIN[0], *AGAIN[2:]), "lost: \\['a2'\\]"),
    ("an event only failed", _two(*AGAIN[:2], AGAIN[2]._replace(ok=False), *AGAIN[3:]), "lost: \\['b0'\\]"),
    ("an event is from nowhere", _two(*AGAIN, AGAIN[1]._replace(id="z")), "nobody published"),
    ("an event lies there twice", replace(GOOD, appended=6), "6 messages for 5 events"),
    ("an event overtook", _two(AGAIN[0], AGAIN[1]._replace(at_ns=150), *AGAIN[2:]), "'a' out of order"),
    ("poison was overtaken", _two(*AGAIN[:2], AGAIN[2]._replace(at_ns=525), *AGAIN[3:]), "'b' out of order"),
    ("nobody was killed", replace(GOOD, incidents=[]), "for no reason"),
    ("another was killed", replace(GOOD, incidents=[Incident("killed", "two", KILLED)]), "for no reason"),
    ("it was long acknowledged", replace(_two(AGAIN[0], *AGAIN[1:]), prefetch=0), "for no reason"),
    ("one delivery, twice", _two(AGAIN[0]._replace(number=1), *AGAIN[1:]), "handled twice"),
    ("poison is no dead letter", replace(GOOD, dead=[]), "x is 0 dead letters"),
    ("a failure is not told", replace(GOOD, dead=[DeadRow("x", 2, ("x is poison",))]), "does not tell"),
    ("its reason is another", replace(GOOD, dead=[DeadRow("x", 2, ("it died", "it died"))]), "tells of 0 failures"),
    ("poison was not handled in the end", _two(*AGAIN[:-1]), "lost: \\['x'\\]"),
    ("poison was never sick", _two(*AGAIN[:-1], AGAIN[-1]._replace(at_ns=900)), "never sick"),
]


def test_the_audit_passes_what_may_be_and_counts_it() -> None:
    found = audit(GOOD)

    assert (found.events, found.duplicates, found.poison, found.lives) == (5, 1, 1, 2)


@pytest.mark.parametrize(("records", "said"), [case[1:] for case in DOCTORED], ids=[case[0] for case in DOCTORED])
def test_the_audit_refuses_a_doctored_record(records: Records, said: str) -> None:
    with pytest.raises(AssertionError, match=said):
        audit(records)


def test_a_lease_that_ended_explains_what_comes_again_after_an_outage_alone() -> None:
    unheard = _two(AGAIN[0]._replace(before="the consumer was not heard of for 10 s"), *AGAIN[1:])
    outage = Incident("outage", "", KILLED)

    assert audit(replace(unheard, incidents=[outage])).duplicates == 1
    for incident in (outage._replace(at_ns=450), Incident("killed", "two", KILLED)):
        with pytest.raises(AssertionError, match="for no reason"):
            audit(replace(unheard, incidents=[incident]))


def test_an_expelled_consumer_explains_what_it_handled_late_and_what_it_had_in_hand() -> None:
    late = replace(_two(*AGAIN), incidents=[Incident("expelled", "one", KILLED)])
    in_hand = replace(late, lives={"one": DONE, "two": [AGAIN[0]._replace(number=1), *AGAIN[1:]]})

    assert audit(late).duplicates == audit(in_hand).duplicates == 1
    with pytest.raises(AssertionError, match="handled twice"):
        audit(replace(in_hand, concurrency=0))
