"""Signals reach every listener of the machine, or the listener knows that something was lost."""

from __future__ import annotations

import random
import select
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from coterie._rules.decided import Signal
from coterie.errors import Unavailable
from coterie.stores.wakeups import Told, Wakeups

Make = Callable[..., Wakeups]
LOSS: Told = (None, None)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "state.db.wake"


@pytest.fixture
def make(folder: Path) -> Iterator[Make]:
    made: list[Wakeups] = []

    def make(namespace: str = "default", *, below: Path = folder, fd_links: bool | None = None) -> Wakeups:
        made.append(Wakeups(below, namespace, fd_links=fd_links))
        return made[-1]

    yield make
    for one in made:
        one.close()


def heard(wakeups: Wakeups) -> list[Told]:
    """All that an event loop would hear: it asks for as long as there is something to read."""
    every: list[Told] = []
    while wakeups._receiver and select.select([wakeups._receiver], [], [], 0)[0]:
        every += wakeups.receive()
    return every


def send(wakeups: Wakeups, *messages: str, channel: str = "pool/x") -> None:
    wakeups.send([Signal(channel, message) for message in messages])


def test_signals_come_in_order_to_all_who_listen_on_their_channel(make: Make):
    first, second, sender = make(), make(), make()
    first.listen("pool/x")
    second.listen("pool/x")
    second.listen("pool/y")

    sender.send([Signal("pool/x", "1"), Signal("pool/y", "2"), Signal("pool/z", "3"), Signal("pool/x", "4")])

    assert heard(first) == [("pool/x", "1"), ("pool/x", "4")]
    assert heard(second) == [("pool/x", "1"), ("pool/y", "2"), ("pool/x", "4")]


def test_a_sender_does_not_send_to_itself(make: Make):
    both = make()
    both.listen("pool/x")

    send(both, "mine")

    assert heard(both) == []


def test_other_namespaces_are_not_told(make: Make):
    ours, theirs = make("ours"), make("theirs")
    ours.listen("pool/x")
    theirs.listen("pool/x")

    send(make("ours"), "ours")

    assert heard(ours) == [("pool/x", "ours")]
    assert heard(theirs) == []


def test_who_ignores_a_channel_is_not_told(make: Make):
    listener = make()
    listener.listen("pool/x")
    listener.listen("pool/y")

    listener.ignore("pool/x")
    send(make(), "no", channel="pool/x")
    send(make(), "yes", channel="pool/y")

    assert heard(listener) == [("pool/y", "yes")]


@pytest.mark.parametrize("fd_links", [True, False])
@pytest.mark.parametrize("depth", [1, 4, 12])
def test_a_deep_folder_is_no_obstacle(tmp_path: Path, make: Make, depth: int, fd_links: bool):
    below = tmp_path.joinpath(*["folder-with-a-long-name-grün"] * depth)
    below.mkdir(parents=True)
    listener, sender = make(below=below / "wake", fd_links=fd_links), make(below=below / "wake", fd_links=fd_links)
    listener.listen("pool/x")

    send(sender, "deep")

    assert heard(listener) == [("pool/x", "deep")]
    listener.close()
    assert list((below / "wake").iterdir()) == []


def test_a_full_queue_makes_its_owner_look_again(make: Make):
    slow, quick, sender = make(), make(), make()
    slow.listen("pool/x")
    quick.listen("pool/x")
    got: list[Told] = []

    for number in range(2000):
        send(sender, f"{number}")
        got += heard(quick)

    # A slow one is no harm to others.
    assert got == [("pool/x", f"{number}") for number in range(2000)]
    late = heard(slow)
    assert late[-1] == LOSS
    assert late[:-1] == [("pool/x", f"{number}") for number in range(len(late) - 1)]
    # Once is enough, and what comes afterwards is heard.
    send(sender, "after")
    assert heard(slow) == [("pool/x", "after")]


def test_a_queue_that_is_emptied_just_before_the_mark_is_made_hides_no_loss(make: Make, folder: Path):
    listener = make()
    listener.listen("pool/x")
    meanwhile: list[Told] = []

    class Sender(Wakeups):
        def _lost(self, name: str) -> Path:
            # The queue was full; now its owner empties it, and finds no mark yet.
            meanwhile.extend(heard(listener))
            return super()._lost(name)

    sender = Sender(folder, "default")
    while not meanwhile:
        send(sender, "x")
    sender.close()

    assert LOSS not in meanwhile
    assert heard(listener) == [LOSS]


def test_who_hangs_with_much_unread_harms_nobody_else(make: Make):
    hanging, sender = [make() for _ in range(30)], make()
    for one in hanging:
        one.listen("pool/large")
    for _ in range(40):
        send(sender, "x" * 50_000, channel="pool/large")
    listener = make()
    listener.listen("pool/x")

    send(sender, "here")

    # All of the sender's memory is taken by what others do not read: told, or told of a loss.
    assert heard(listener) in ([("pool/x", "here")], [LOSS])


@pytest.mark.parametrize("seed", range(4))
def test_no_message_is_missed_without_a_word(make: Make, seed: int):
    chance, count = random.Random(seed), 3000
    listener = make()
    listener.listen("pool/x")
    sent = threading.Event()

    def send_all() -> None:
        sender = make()
        for number in range(count):
            send(sender, f"{number}")
        sent.set()

    thread = threading.Thread(target=send_all)
    thread.start()
    every: list[Told] = []
    while not sent.is_set():
        if chance.random() < 0.3 and select.select([listener._receiver], [], [], 0)[0]:
            every += listener.receive()
        else:
            sent.wait(chance.random() * 0.001)
    thread.join()
    every += heard(listener)

    numbers = [int(message) for channel, message in every if message is not None]
    assert numbers == sorted(set(numbers)), f"seed {seed}"
    # Whatever is missing, a loss is told after all that came before it.
    last_loss = max((place for place, told in enumerate(every) if told == LOSS), default=-1)
    missing = sorted(set(range(count)) - set(numbers))
    if missing:
        before = [place for place, (_, message) in enumerate(every) if message and int(message) < missing[-1]]
        assert last_loss > max(before, default=-1), f"seed {seed}"


def test_a_message_that_is_too_long_makes_its_channel_look_again(make: Make):
    listener, sender = make(), make()
    listener.listen("pool/x")

    send(sender, "x" * 1_000_000)
    send(sender, "short")

    assert heard(listener) == [("pool/x", None), ("pool/x", "short")]


@pytest.mark.parametrize("datagram", [b"\xff\xfe", b"[]", b'["default"]', b'["default", [1]]', b'["default", 3]', b"{"])
def test_what_is_not_ours_makes_all_look_again(make: Make, folder: Path, datagram: bytes):
    listener = make()
    address = listener.listen("pool/x").getsockname()

    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as stranger:
        stranger.sendto(datagram, address)

    assert heard(listener) == [LOSS]


def test_who_died_is_forgotten_when_it_is_signalled_to(make: Make, folder: Path):
    dead, alive = make(), make()
    dead.listen("pool/x")
    dead.listen("pool/y")
    alive.listen("pool/x")
    # As a kill does it: what is open is closed, the files stay.
    dead.abandon()

    send(make(), "1")

    assert len([path for path in folder.iterdir() if path.is_socket()]) == 1
    assert heard(alive) == [("pool/x", "1")]
    send(make(), "2", channel="pool/y")
    alive.close()
    assert list(folder.iterdir()) == []


def test_who_died_is_forgotten_when_another_comes(make: Make, folder: Path):
    dead, alive = make(), make()
    dead.listen("pool/x")
    alive.listen("pool/z")
    dead.abandon()

    make().listen("pool/y")

    assert len([path for path in folder.iterdir() if path.is_socket()]) == 2
    assert len(list(folder.glob("on-*"))) == 2


def test_a_folder_that_cannot_be_made_is_named(make: Make, tmp_path: Path):
    (tmp_path / "file").touch()

    with pytest.raises(Unavailable, match=r"cannot be woken.*put the database on a local disk"):
        make(below=tmp_path / "file" / "wake").listen("pool/x")


def test_closing_leaves_nothing_and_may_be_repeated(make: Make, folder: Path):
    one = make()
    one.listen("pool/x")

    one.close()
    one.close()

    assert list(folder.iterdir()) == []
