"""What calls of the SQLite log cost, in steps of SQLite: the same each time, however long the topic."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from coterie._rules.log import Message, Retention, Terms
from coterie.stores.log_sqlite import SqliteLogStore
from coterie.testing.log_handles import TOPIC, append, message, positions, take

ALL = Retention(max_messages=None)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteLogStore]:
    store = SqliteLogStore(tmp_path / "state.events.db", durability="relaxed")
    yield store
    await store.aclose()


async def filled(store: SqliteLogStore, count: int, made: Callable[[int], Message], retention: Retention = ALL) -> None:
    for first in range(0, count, 1000):
        await append(store, *(made(number) for number in range(first, min(count, first + 1000))), retention=retention)


async def steps_of(store: SqliteLogStore, call: Callable[[], Awaitable[None]]) -> int:
    """How many steps, about, SQLite makes for a call."""
    steps = 0

    def count() -> None:
        nonlocal steps
        steps += 1

    await store._file.done(lambda transaction: transaction.connection.set_progress_handler(count, 10))
    await call()
    await store._file.done(lambda transaction: transaction.connection.set_progress_handler(None, 10))
    assert steps
    return 10 * steps


KINDS: dict[str, tuple[Callable[[int], Message], Terms]] = {
    "plain": (lambda number: message(f"{number}"), Terms()),
    "keyed": (lambda number: message(f"{number}", key=f"{number % 500}"), Terms()),
    "one key": (lambda number: message(f"{number}", key="hot" if number else ""), Terms()),
    "by priority": (lambda number: message(f"{number}", priority=number % 7), Terms(by_priority=True)),
}


@pytest.mark.parametrize("kind", KINDS)
async def test_a_take_costs_the_same_however_long_the_topic_and_what_waits(store: SqliteLogStore, kind: str):
    made, terms = KINDS[kind]
    costs = []
    for count in (2000, 12_000):
        await filled(store, count, made)
        # What lies there is looked at once.
        done = positions(await take(store, terms=terms, limit=1))
        for _ in range(3):
            done = positions(await take(store, terms=terms, limit=20, done=done))

        async def again(done: list[str] = done) -> None:
            await take(store, terms=terms, limit=20, done=done)

        costs.append(await steps_of(store, again))
        await store.drop_topic(TOPIC)

    assert costs[1] < 2 * costs[0], costs


async def test_a_take_costs_the_same_however_much_was_done_before(store: SqliteLogStore):
    await filled(store, 10_000, KINDS["plain"][0])
    costs = []
    for rounds in (2, 60):
        done: list[str] = []
        for _ in range(rounds):
            done = positions(await take(store, limit=100, done=done))

        async def again(done: list[str] = done) -> None:
            await store.acknowledge(TOPIC, "group", "one", done)
            await take(store, limit=100)

        costs.append(await steps_of(store, again))

    assert costs[1] < 2 * costs[0], costs


async def test_an_append_costs_the_same_however_long_the_topic(store: SqliteLogStore):
    costs = []
    for count in (2000, 12_000):
        keep = Retention(max_messages=count)
        # Twice, so that as much is dropped as is added.
        await filled(store, 2 * count, KINDS["plain"][0], keep)
        new = [f"new {number}" for number in range(100)]

        async def again(new: list[str] = new, keep: Retention = keep) -> None:
            await append(store, *new, retention=keep)

        costs.append(await steps_of(store, again))
        await store.drop_topic(TOPIC)

    assert costs[1] < 2 * costs[0], costs
