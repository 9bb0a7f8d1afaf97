"""What people are told of a run that is undone: errors with their letters, lines for a log, one for its end."""

from __future__ import annotations

import io
import json
from collections import Counter

import pytest
from rich.console import Console

from coterie.cli.summary import print_run
from coterie.errors import CompensationFailed, StepFailed
from coterie.journal import Journal
from coterie.saga import DeadLetter, SagaResult
from coterie.saga.telling import undo_line, undo_summary, what_next
from coterie.stores.opening import open_journal_store
from tests.journal.saga.cloud import Cloud, plan_of, step

CHAIN = plan_of(step("net"), step("vm", "net"), step("app", "vm"))


async def test_what_could_not_be_undone_is_raised_with_its_letter():
    cloud = Cloud(fails=Counter({"+vm": 1, "-net": 3}))

    result = await cloud.run(plan_of(step("net"), step("vm", "net")))

    with pytest.raises(ExceptionGroup) as raised:
        result.raise_for_status()
    failed, left = raised.value.exceptions
    assert isinstance(failed, StepFailed)
    assert isinstance(left, CompensationFailed)
    assert left.task_id == "net"
    assert DeadLetter.from_dict(left.letter) == result.dead_letters[0]
    assert "'net' was not undone: RuntimeError: -net does not want to" in str(left)


async def test_what_is_undone_is_said_in_lines_for_a_log():
    cloud = Cloud(fails=Counter({"+app": 1, "-net": 3}))

    await cloud.run(CHAIN)

    lines = [line for event in cloud.events if (line := undo_line(event)) is not None]
    assert lines == [
        "undoing run, as it failed: 'vm', 'net'",
        "undo-vm succeeded",
        "undo-net failed: RuntimeError: -net does not want to",
        "'net' stands (failed): RuntimeError: -net does not want to",
        "not all is undone; 1 left for a person",
    ]


async def test_how_it_ended_is_said_in_a_line():
    undone = await Cloud(fails=Counter({"+app": 1})).run(CHAIN)
    left = await Cloud(fails=Counter({"+app": 1, "-net": 3})).run(CHAIN)
    nothing = await Cloud(fails=Counter({"+net": 1})).run(CHAIN)

    assert undo_summary(undone) == "undone: vm, net"
    assert undo_summary(left) == "not undone: net (failed): RuntimeError: -net does not want to"
    assert undo_summary(nothing) == "undone: nothing, as nothing was made"


async def test_what_stands_is_said_with_what_to_type_where_a_journal_has_it(tmp_path):
    journal = Journal(open_journal_store(f"sqlite://{tmp_path}/state.db", "default"))

    left = await Cloud(fails=Counter({"+app": 1, "-net": 3})).run(CHAIN, journal)
    fleeting = await Cloud(fails=Counter({"+app": 1, "-net": 3})).run(CHAIN)
    undone = await Cloud(fails=Counter({"+app": 1})).run(CHAIN)
    await journal.aclose()

    assert undo_summary(left).endswith("-net does not want to; what to do: coterie runs show run")
    assert SagaResult.from_dict(left.to_dict()).on_record
    assert what_next(left, again="clear this task") == (
        "clear this task to have it tried again, or undo it by hand and say so: coterie runs settle run net"
    )
    assert what_next(fleeting, again="clear this task").endswith("or undo it by hand")
    assert "coterie" not in undo_summary(undone) + undo_summary(fleeting)


async def test_a_stored_result_tells_of_what_was_undone_in_the_order_of_the_plan():
    result = await Cloud(fails=Counter({"+a": 1})).run(plan_of(step("z"), step("m", "z"), step("a", "m")))

    # As artifacts and journals are written.
    stored = json.dumps(result.to_dict(), sort_keys=True)
    read = SagaResult.from_dict(json.loads(stored))

    assert undo_summary(read) == undo_summary(result) == "undone: m, z"
    assert read.status_document() == result.status_document()


async def test_of_many_steps_that_stand_the_first_are_named():
    names = [f"t{number:02}" for number in range(12)]
    fails = Counter({"+last": 1, **{f"-{name}": 3 for name in names}})

    left = await Cloud(fails=fails).run(plan_of(*(step(name) for name in names), step("last", *names)))

    told = undo_summary(left)
    assert told.startswith("not undone: t00 (failed): RuntimeError: -t00 does not want to; t01")
    assert told.endswith("; and 2 more")


async def test_the_command_line_says_what_was_undone():
    result = await Cloud(fails=Counter({"+app": 1})).run(CHAIN)
    shown = io.StringIO()

    print_run(Console(file=shown, width=120), CHAIN, result)

    assert "2 of 3 tasks succeeded" in shown.getvalue()
    assert shown.getvalue().endswith("\nundone: vm, net\n")
