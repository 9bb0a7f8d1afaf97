"""A store that is away is asked again; whatever it says then, it has answered."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from coterie.errors import CoterieError, StaleToken, Unavailable
from coterie.journal.insisting import insisted
from coterie.journal.outage import Alarm, Outage


class Store:
    """Does what it is told, answer by answer."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)

    async def write(self) -> str:
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return str(answer)


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture
def outage(told: list[str]) -> Outage:
    alarm = Alarm("journal", lambda event: told.append(event.name))
    return Outage(logging.getLogger("coterie.journal"), "away", "back", alarm=alarm)


def down() -> Unavailable:
    return Unavailable("the store is away")


async def test_a_store_that_comes_back_is_told_once(outage: Outage, told: list[str]):
    store = Store(down(), down(), "written")

    assert await insisted(store.write, seconds=60, outage=outage, who="r") == "written"

    assert told == ["state.store_failed", "state.store_recovered"]
    assert not outage.is_on


@pytest.mark.parametrize("refusal", [StaleToken("another has it"), CoterieError("no")], ids=["stale", "other"])
async def test_a_refusal_is_an_answer_too(outage: Outage, told: list[str], refusal: CoterieError):
    store = Store(down(), refusal)

    with pytest.raises(type(refusal)):
        await insisted(store.write, seconds=60, outage=outage, who="r")

    assert told == ["state.store_failed", "state.store_recovered"]
    assert not outage.is_on


async def test_whoever_gives_up_leaves_it_away(outage: Outage, told: list[str]):
    store = Store(down(), down())

    with pytest.raises(Unavailable):
        await insisted(store.write, seconds=0.15, outage=outage, who="r")

    assert told == ["state.store_failed"]
    assert outage.is_on


async def test_a_cancellation_is_heard_and_says_nothing_of_the_store():
    away = asyncio.Event()
    outage = Outage(logging.getLogger("coterie.journal"), "away", "back", alarm=Alarm("journal", lambda _: away.set()))
    waiting = asyncio.create_task(insisted(Store(down(), "late").write, seconds=60, outage=outage, who="r"))
    await away.wait()

    waiting.cancel()

    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert outage.is_on
