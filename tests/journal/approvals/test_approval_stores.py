"""The same on each store that a journal may lie in: what is asked and answered is seen by whoever opens it next."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from coterie import Approval, Approvals, Field
from coterie.errors import AlreadyDecided, NotAsked
from coterie.journal import Journal
from coterie.journal.tending import forget_run
from coterie.ports import JournalStore
from coterie.stores.journal_memory import MemoryJournalStore
from coterie.stores.opening import open_journal_store
from tests.journal.approvals.conftest import RUN, Desk, plan_of
from tests.support.redis_servers import SYNCED, redis62, valkey, valkey_cluster

APPROVAL = Approval("Publish?", fields={"why": Field("string", title="ä”")}, assignees=("ann", "bob"))
PEOPLE = 20


@pytest.fixture(scope="module", params=["memory", "sqlite", "valkey", "redis 6.2", "cluster"])
def url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str | None]:
    with ExitStack() as stack:
        if request.param == "memory":
            yield None
        elif request.param == "sqlite":
            yield f"sqlite://{tmp_path_factory.mktemp('journal') / 'state.db'}"
        elif request.param == "cluster":
            yield stack.enter_context(valkey_cluster(arguments=SYNCED)).url
        else:
            start = valkey if request.param == "valkey" else redis62
            yield stack.enter_context(start(arguments=SYNCED)).url


@pytest.fixture
async def stores(url: str | None) -> AsyncIterator[Callable[[], JournalStore]]:
    """Opens the journal, each time by a connection of its own where there are any."""
    made: list[JournalStore] = []
    memory, namespace = MemoryJournalStore(), uuid.uuid4().hex

    def another() -> JournalStore:
        made.append(memory if url is None else open_journal_store(url, namespace))
        return made[-1]

    yield another
    for store in made:
        await store.aclose()


@pytest.fixture
async def here(stores: Callable[[], JournalStore]) -> AsyncIterator[Desk]:
    desk = Desk(stores())
    yield desk
    for task in desk.running:
        task.cancel()
    await asyncio.gather(*desk.running, return_exceptions=True)


async def test_what_is_asked_by_one_is_answered_by_another_and_replayed_by_a_third(
    here: Desk, stores: Callable[[], JournalStore]
):
    running = here.start(plan_of(APPROVAL))
    asked = await here.asked()

    decision = await Approvals(Journal(stores())).answer(
        RUN, "sign-off", "approve", by="ann", note="ä\n'\"", values={"why": "\u2728"}
    )

    assert asked.approval == APPROVAL
    assert (await here.ended(running))["sign-off"].output == decision.to_dict()
    third = Desk(stores())
    again = await third.ended(third.start(plan_of(APPROVAL)))
    assert again["sign-off"].replayed
    assert again["sign-off"].output == decision.to_dict()
    assert third.told("approval.asked") == []


async def test_of_many_answers_at_once_exactly_one_stands(here: Desk, stores: Callable[[], JournalStore]):
    running = here.start(plan_of())
    await here.asked()
    people = [Approvals(Journal(stores())) for _ in range(2)]

    found = await asyncio.gather(
        *(people[n % 2].answer(RUN, "sign-off", "approve", by=f"p{n}") for n in range(PEOPLE)), return_exceptions=True
    )

    (decision,) = [one for one in found if not isinstance(one, BaseException)]
    refused = [one for one in found if isinstance(one, AlreadyDecided)]
    assert len(refused) == PEOPLE - 1
    assert {str(one.decision["by"]) for one in refused} == {decision.by}
    output: Any = (await here.ended(running))["sign-off"].output
    assert output["by"] == decision.by


@pytest.mark.parametrize("choice", ["approve", None])
async def test_its_time_is_over_by_the_store_s_clock(here: Desk, choice: str | None):
    result = await here.ended(here.start(plan_of(Approval("Publish?", timeout_s=0.05, on_timeout=choice))))

    assert result["sign-off"].state == ("succeeded" if choice else "failed")
    (asked,) = await here.people.of_run(RUN)
    assert (asked.expired, asked.is_open) == (choice is None, False)
    assert asked.until is not None
    assert asked.until == pytest.approx(asked.asked_at + 0.05)


async def test_what_is_forgotten_is_asked_anew_and_its_old_answer_is_gone(here: Desk):
    running = here.start(plan_of())
    await here.asked()
    await here.people.answer(RUN, "sign-off", "approve", by="ann")
    await here.ended(running)

    await forget_run(here.journal, RUN, "sign-off")

    assert await here.people.of_run(RUN) == []
    with pytest.raises(NotAsked):
        await here.people.answer(RUN, "sign-off", "approve", by="bob")
    running = here.start(plan_of())
    await here.asked()
    await here.people.answer(RUN, "sign-off", "reject", by="bob")
    assert (await here.ended(running))["sign-off"].state == "failed"
