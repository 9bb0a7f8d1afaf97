"""The same within a program: results, errors however they travel, events, dead letters, spans and log records."""

from __future__ import annotations

import asyncio
import json
import logging
import pickle
import sys
import traceback

import pytest

from coterie import CloudEvent, Command, Runtime, Task, Team
from coterie.context import Run, TaskContext
from coterie.errors import CommandFailed, CoterieError, PolicyError
from coterie.telemetry.log_lines import ConsoleFormatter, JsonFormatter
from tests.fleet.planted import loose
from tests.fleet.planted.conftest import Work
from tests.fleet.planted.secrets import BEARER, COMMANDS, KEY, PASSWORD, STORE, leaks
from tests.support.spans import Spans


@pytest.fixture
def team(work: Work, monkeypatch: pytest.MonkeyPatch) -> Team:
    """The agents, in this process."""
    for name in ("COTERIE_STORE", "PROVIDER_PASSWORD", "NO_PROXY"):
        monkeypatch.setenv(name, work.environment[name])
    return loose.team_at(work.provider.url)


class Kept(logging.Handler):
    """What was logged, as both formatters write it."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []
        self._formatters = JsonFormatter(), ConsoleFormatter()

    def emit(self, record: logging.LogRecord) -> None:
        self.lines += [formatter.format(record) for formatter in self._formatters]


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch):
    handler, root = Kept(), logging.getLogger()
    before = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield handler
    root.removeHandler(handler)
    root.setLevel(before)


async def test_the_result_events_spans_and_logs_of_a_run_have_none(team: Team, spans: Spans, heard: Kept):
    events: list[str] = []

    async with Runtime(team, store="memory://", on_event=lambda event: events.append(repr(event))) as runtime:
        result = await runtime.orchestrator.execute_workflow(loose.plan, params={"api_key": KEY})

    assert result.tasks["leak"].error is not None
    places = {
        "the result": repr(result) + json.dumps(result.to_dict()),
        "the result, pickled": pickle.dumps(result).decode("latin-1"),
        "its events": "".join(events),
        "its logs": "\n".join(heard.lines),
        "its spans": "".join(span.to_json() for span in spans.all),
    }
    assert [place for place, text in places.items() if "RuntimeError" not in text and "401" not in text] == []
    assert leaks(places) == []


@pytest.mark.parametrize("agent_type", ["refused", "fetches"])
async def test_errors_of_our_agents_have_none_however_they_travel(team: Team, agent_type: str):
    handler, context = team.agents[agent_type].handler, TaskContext(Run("r"), Task("t", agent_type), {})

    with pytest.raises(CoterieError) as caught:
        await (handler({}) if isinstance(handler, Command) else handler({}, context))

    error, pickled = caught.value, pickle.dumps(caught.value)
    assert "***" in str(pickle.loads(pickled))
    places = {
        "printed": "".join(traceback.format_exception(error)),
        "pickled": pickled.decode("latin-1"),
        "shown": repr(error) + repr(vars(error)) + repr(handler),
    }
    assert leaks(places) == []


async def test_a_handler_that_fails_with_some_leaves_dead_letters_without(team: Team, work: Work, heard: Kept):
    async def handle(event: CloudEvent) -> None:
        raise RuntimeError(f"redis://fleet:{STORE}@cellar, {PASSWORD!r} and Bearer {BEARER} are wrong")

    stop, ready = asyncio.Event(), asyncio.Event()
    async with asyncio.timeout(60), Runtime(team) as runtime, asyncio.TaskGroup() as beside:
        serving = runtime.bus.serve(handle, "bill.*", group="till", max_deliveries=1, stop=stop, ready=ready)
        beside.create_task(serving)
        await ready.wait()
        await runtime.bus.publish("bill.made", {"amount": 3})
        dead = await dead_letters(work)
        stop.set()

    assert "RuntimeError" in dead
    assert "RuntimeError" in "\n".join(heard.lines)
    assert leaks({"dead letters": dead, "logs": "\n".join(heard.lines)}) == []


async def dead_letters(work: Work) -> str:
    """What the command line shows of them, once there is one."""
    said = '"dead_letters": []'
    while '"dead_letters": []' in said:
        # A process each time, which takes its time.
        said = (await asyncio.to_thread(work.command, "dlq", "list", "--all-topics", "--json")).stdout
    return said


async def test_a_secret_is_struck_out_before_the_words_of_a_command_are_cut_off():
    says = "import os, sys; sys.exit(os.environ['FETCH_TOKEN'] + '.' * 190)"
    command = Command([sys.executable, "-c", says], env={"FETCH_TOKEN": COMMANDS})

    with pytest.raises(CommandFailed) as caught:
        await command({})

    assert str(caught.value).endswith(f"it said: {'***' + '.' * 190!r}")


def test_a_command_that_is_misconfigured_is_refused_without_its_environment():
    with pytest.raises(PolicyError) as caught:
        Command(["true"], env={"FETCH_TOKEN": COMMANDS}, kill_grace_s=-1)

    assert leaks({"the refusal": str(caught.value)}) == []
