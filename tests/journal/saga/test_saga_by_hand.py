"""What a saga left is settled by people, with the journal alone, and whoever goes on with the run knows."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence

import pytest

from coterie._rules.journal_text import FORMAT, dumped
from coterie._rules.saga_text import hand_path
from coterie.errors import CompensationFailed, Misuse, NoDeadLetter, UnknownRun
from coterie.journal import Intent, Journal
from coterie.journal.tending import forget_run, prune_runs
from coterie.journal.view import list_runs, view_run
from coterie.saga import Leftovers, leftovers, settle
from coterie.stores.journal_memory import MemoryJournalStore
from coterie.stores.opening import open_journal_store
from tests.journal.saga.cloud import Cloud, plan_of, step, until

CHAIN = plan_of(step("net"), step("vm", "net"), step("app", "vm"))
AGAIN = Intent(goes_on=True)


@pytest.fixture
def journal() -> Journal:
    return Journal(MemoryJournalStore())


async def left(journal: Journal, *fails: str) -> Cloud:
    """A run that failed, and of which compensations failed as often as they may."""
    cloud = Cloud(fails=Counter({"+app": 1, **dict.fromkeys(fails, 3)}))
    await cloud.run(CHAIN, journal)
    return cloud


async def test_the_journal_is_enough_to_settle_what_is_left_and_nobody_undoes_it_any_more(journal: Journal):
    cloud = await left(journal, "-net", "-vm")

    done = await settle(journal, "run", "vm", by="ann", note="in the console\nof the provider")
    found = await leftovers(journal, "run")
    result = await cloud.run(CHAIN, journal, intent=AGAIN)

    assert ([letter.task_id for letter in found.letters], found.by_hand) == (["net"], (done,))
    assert (done.task_id, done.by, done.note) == ("vm", "ann", "in the console\nof the provider")
    assert abs(done.at - (await journal.store.get("run", ()))[1] / 1e6) < 60
    assert (result.outcome, cloud.undone().count("-vm"), cloud.undone().count("-net")) == ("compensated", 3, 4)
    assert (await leftovers(journal, "run")).letters == ()


async def test_what_is_said_twice_is_kept_once(journal: Journal):
    await left(journal, "-vm")

    first = await settle(journal, "run", "vm", by="ann", note="gone")

    assert await settle(journal, "run", "vm", by="ann", note="gone") == first


async def test_who_comes_second_is_told_who_came_first_and_what_is_open(journal: Journal):
    await left(journal, "-net", "-vm")
    await settle(journal, "run", "vm", by="ann")
    before = await journal.store.read("run")

    with pytest.raises(
        NoDeadLetter, match=r"about 'vm', as 'ann' has settled it; open are: 'net'; look with 'cot"
    ) as no:
        await settle(journal, "run", "vm", by="bob")

    assert (no.value.task_id, no.value.left, no.value.by) == ("vm", ("net",), "ann")
    assert await journal.store.read("run") == before


@pytest.mark.parametrize("task_id", ["app", "nobody", "undo-vm"])
async def test_a_task_without_a_letter_cannot_be_settled(journal: Journal, task_id: str):
    await left(journal, "-vm")
    before = await journal.store.read("run")

    with pytest.raises(NoDeadLetter, match=f"the run 'run' has no dead letter about '{task_id}'; open are: 'vm'"):
        await settle(journal, "run", task_id, by="ann")

    assert await journal.store.read("run") == before


async def test_of_a_run_that_left_nothing_or_is_not_known_nothing_can_be_settled(journal: Journal):
    await left(journal)

    with pytest.raises(NoDeadLetter, match="none is open"):
        await settle(journal, "run", "vm", by="ann")
    with pytest.raises(UnknownRun):
        await settle(journal, "another", "vm", by="ann")
    with pytest.raises(UnknownRun):
        await leftovers(journal, "another")
    assert await journal.store.read("another") == {}


@pytest.mark.parametrize(
    "said", [{"by": "x" * 201}, {"by": "a\nb"}, {"note": "x" * 2001}, {"note": "\x1b[2J"}, {"note": "\ud800"}]
)
async def test_a_word_that_cannot_be_shown_is_refused(journal: Journal, said: dict[str, str]):
    await left(journal, "-vm")

    with pytest.raises(Misuse):
        await settle(journal, "run", "vm", **said)

    assert len((await leftovers(journal, "run")).letters) == 1


async def test_what_is_settled_while_the_run_is_undone_again_is_left_to_nobody(journal: Journal):
    cloud = await left(journal, "-vm", "-net")
    cloud.fails = Counter({"-vm": 3, "-net": 3})
    cloud.gates["-vm"] = asyncio.Event()
    running = asyncio.create_task(cloud.run(CHAIN, journal, intent=AGAIN))
    await until(lambda: cloud.undone().count("-vm") == 4)

    await settle(journal, "run", "vm", by="ann")
    cloud.gates["-vm"].set()
    await running

    assert [letter.task_id for letter in (await leftovers(journal, "run")).letters] == ["net"]
    assert await marked(journal) == 1


async def test_a_run_that_begins_anew_has_nothing_left_and_nothing_settled(journal: Journal):
    cloud = await left(journal, "-vm")
    await settle(journal, "run", "vm", by="ann")
    await cloud.run(CHAIN, journal, intent=AGAIN)

    anew = await cloud.run(CHAIN, journal, intent=AGAIN)

    assert (anew.status, cloud.log.count("+vm")) == ("succeeded", 2)
    assert await leftovers(journal, "run") == Leftovers()
    assert (await view_run(journal, "run")).saga is None


async def test_a_run_that_is_forgotten_has_nothing_left(journal: Journal):
    await left(journal, "-vm")
    await forget_run(journal, "run")

    assert await leftovers(journal, "run") == Leftovers()
    assert await marked(journal) == 0


async def test_what_was_settled_without_a_name_is_still_read(journal: Journal):
    await left(journal, "-vm")
    await journal.store.write("run", {hand_path("vm"): dumped({"v": FORMAT, "note": "gone", "at": 12.5})})

    (one,) = (await leftovers(journal, "run")).by_hand

    assert (one.task_id, one.by, one.at, one.note) == ("vm", "", 12.5, "gone")


class Watched(MemoryJournalStore):
    """Knows how often a whole shelf was read."""

    shelves = 0
    paths = 0

    async def read(self, run: str, shelf: str = "") -> dict[str, str]:
        self.shelves += 1
        return await super().read(run, shelf)

    async def get(self, run: str, paths: Sequence[str]) -> tuple[dict[str, str], int]:
        self.paths = max(self.paths, len(paths))
        return await super().get(run, paths)


async def marked(journal: Journal) -> int | None:
    """How many open letters a list of runs shows for the run."""
    (view,), _ = await list_runs(journal, limit=5)
    return 0 if view.saga is None else view.saga.left


async def test_a_list_counts_the_letters_of_a_run_without_reading_its_shelf():
    store = Watched()
    journal = Journal(store)
    await left(journal, "-net", "-vm")
    store.shelves = store.paths = 0

    before = await marked(journal)
    assert (before, store.shelves, store.paths) == (2, 0, 5)
    await settle(journal, "run", "vm", by="ann")
    assert (await marked(journal), store.shelves) == (1, 0)
    await settle(journal, "run", "net", by="ann")
    assert (await marked(journal), store.shelves) == (0, 0)


async def test_the_error_about_what_stands_names_what_to_type_where_the_journal_outlives_the_process(tmp_path):
    url = f"sqlite://{tmp_path}/state.db"
    kept, fleeting = Journal(open_journal_store(url, "default")), Journal(MemoryJournalStore())

    told = []
    for journal in (kept, fleeting, None):
        result = await Cloud(fails=Counter({"+app": 1, "-vm": 3})).run(CHAIN, journal)
        with pytest.raises(ExceptionGroup) as raised:
            result.raise_for_status()
        (error,) = (one for one in raised.value.exceptions if isinstance(one, CompensationFailed))
        told.append(str(error).rpartition("; ")[2])
    await kept.aclose()

    assert told[0] == (
        "have the run go on with 'coterie runs resume run', or undo it by hand and say so with "
        "'coterie runs settle run vm'"
    )
    assert told[1:] == ["undo it by hand, as no journal has it for later"] * 2


async def test_a_run_with_open_letters_is_not_pruned():
    journal = Journal(MemoryJournalStore())
    await left(journal, "-net")

    before = await prune_runs(journal, older_than_s=0)
    await settle(journal, "run", "net", by="ann")
    after = await prune_runs(journal, older_than_s=0)

    assert (before, after) == ([], ["run"])
