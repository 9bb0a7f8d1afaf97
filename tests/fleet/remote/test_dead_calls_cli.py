"""`coterie dlq` and `events topics` about tasks: whose they are, what waits, and what must not be done twice."""

from __future__ import annotations

import asyncio
import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from coterie import Task
from coterie._rules import call as rule
from coterie.cli.app import run
from coterie.remote import RemoteCalls
from coterie.remote.queue import GROUP, KEEP_S, QUEUE, call_key, queue_terms, topic_of
from coterie.stores.opening import open_log_store, open_state_store
from tests.fleet.remote.fleet import call_of

TOPIC = topic_of("adder")


class Desk:
    """The command line on one store, and tasks that come to nothing there."""

    def __init__(self, url: str, capsys: pytest.CaptureFixture[str]) -> None:
        self.url = url
        self._capsys = capsys

    def __call__(self, *words: str, code: int = 0) -> str:
        assert run([*words, "--store", self.url]) == code
        told = self._capsys.readouterr()
        return told.err if code else told.out

    def json(self, *words: str) -> Any:
        return json.loads(self(*words, "--json"))

    def asked(self, *names: str, owner: str = "") -> None:
        asyncio.run(self._asked(names, owner, is_given_up=False))

    def given_up(self, *names: str, owner: str = "") -> list[str]:
        """Where their letters lie."""
        asyncio.run(self._asked(names, owner, is_given_up=True))
        return [letter["position"] for letter in self.json("dlq", "list", "--topic", TOPIC)["dead_letters"]]

    async def _asked(self, names: tuple[str, ...], owner: str, *, is_given_up: bool) -> None:
        state, log = open_state_store(self.url, "default"), open_log_store(self.url, "default")
        for name in names:
            call = call_of(Task(name, "adder", input={"a": 1}))
            await RemoteCalls(state, log).submit(call, owner=owner)
            if is_given_up:
                (found,) = (await log.take(TOPIC, GROUP, "c", terms=queue_terms(15.0), limit=1)).deliveries
                at, reason = found.logged.position, "the worker died"
                await log.give_back(TOPIC, GROUP, "c", at, delay_s=0.0, reason=reason, max_deliveries=0)
                given_up = partial(rule.abandon, call_id=call.id, round_=1, position=at, reason=reason)
                await state.update(call_key(call.id), given_up, keep_s=KEEP_S)
        await log.aclose()
        await state.aclose()


@pytest.fixture
def desk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Desk:
    return Desk(f"sqlite://{tmp_path}/state.db", capsys)


def test_a_dead_task_is_shown_by_its_run_and_name_and_is_not_to_be_delivered_again(desk: Desk):
    (position,) = desk.given_up("front", owner="run w1")

    shown = desk("dlq", "show", GROUP, position, "--topic", TOPIC)

    (letter,) = desk.json("dlq", "list", "--all-topics")["dead_letters"]
    assert (letter["call"]["task"], letter["call"]["agent_type"], letter["call"]["phase"]) == ("front", "adder", "done")
    assert desk.json("dlq", "show", GROUP, position, "--topic", TOPIC) == letter
    run_id = letter["call"]["run"]
    assert f"task front of {run_id} at {position}" in shown
    assert "the worker died" in shown
    assert f"coterie runs resume {run_id}" in shown
    assert f"coterie dlq drop {GROUP} {position} --topic {TOPIC}" in shown
    assert "requeue" not in shown
    assert '"call"' not in shown
    assert f"task front of {run_id}" in desk("dlq", "list", "--all-topics")


def test_a_task_of_a_run_is_delivered_again_only_if_that_is_said(desk: Desk):
    positions = desk.given_up("front", "sports", owner="run w1")

    for which in (positions[:1], ["--all"]):
        told = desk("dlq", "requeue", GROUP, *which, "--topic", TOPIC, code=2)
        assert "task front of" in told
        assert "--anyway" in told

    assert len(desk.json("dlq", "list", "--topic", TOPIC)["dead_letters"]) == 2
    desk("dlq", "requeue", GROUP, positions[0], "--topic", TOPIC, "--anyway")
    assert len(desk.json("dlq", "list", "--topic", TOPIC)["dead_letters"]) == 1


def test_a_call_by_hand_is_delivered_again_as_it_is_told(desk: Desk):
    (position,) = desk.given_up("front")

    assert f"coterie dlq requeue {GROUP} {position} --topic {TOPIC}" in desk(
        "dlq", "show", GROUP, position, "--topic", TOPIC
    )
    assert desk("dlq", "requeue", GROUP, "--all", "--topic", TOPIC) == "1 dead letter of workers delivered again\n"


def test_a_letter_whose_task_was_asked_for_anew_is_to_be_removed(desk: Desk):
    (position,) = desk.given_up("front", owner="run w1")
    desk.asked("front", owner="run w1")

    shown = desk("dlq", "show", GROUP, position, "--topic", TOPIC)

    assert "asked for anew" in shown
    assert f"coterie dlq drop {GROUP} {position}" in shown
    assert desk("dlq", "requeue", GROUP, position, "--topic", TOPIC).startswith("1 dead letter")


def test_what_waits_for_the_first_worker_is_told_as_what_waits_for_any(desk: Desk):
    desk.asked("front", "sports")

    (queue,) = [each for each in desk.json("events", "topics")["topics"] if each["name"] == TOPIC]

    (group,) = queue["groups"]
    assert (group["name"], group["unread"], group["waiting"], group["consumers"]) == (GROUP, 2, 0, [])
    row = next(line.split() for line in desk("events", "topics").splitlines() if GROUP in line)
    assert row == [GROUP, "2", "0", "0", "0", "0"]


def test_a_message_that_asks_for_no_task_is_shown_as_it_was_found(desk: Desk):
    async def spoil() -> None:
        from coterie._rules.log import Message

        log = open_log_store(desk.url, "default")
        await log.append(TOPIC, [Message("m", "call", "{x")], retention=QUEUE)
        (found,) = (await log.take(TOPIC, GROUP, "c", terms=queue_terms(15.0), limit=1)).deliveries
        at = found.logged.position
        await log.give_back(TOPIC, GROUP, "c", at, delay_s=0.0, reason="no call", max_deliveries=0)
        await log.aclose()

    asyncio.run(spoil())

    (letter,) = desk.json("dlq", "list", "--topic", TOPIC)["dead_letters"]
    assert letter["call"] is None
    assert "{x" in desk("dlq", "show", GROUP, letter["position"], "--topic", TOPIC)
