"""Log records carry the work that they come from, in any thread, and no secrets, whoever handles them."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from contextlib import contextmanager

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

from coterie import ForEach, Plan, Retry, Runtime, Task, Team
from coterie.breaker import BreakerPolicy, CircuitBreaker
from coterie.cli.logs import LoggedProgress
from coterie.errors import Unavailable
from coterie.journal.outage import Outage
from coterie.shared_state import warn
from coterie.telemetry import logs
from coterie.telemetry.log_lines import ConsoleFormatter, JsonFormatter, ShowFields

KEY = "sk-live-0123456789abcdef"


@pytest.fixture
def team() -> Team:
    team = Team("tellers")

    @team.agent("says")
    async def says(task_input, ctx):
        logging.getLogger("mine").warning("said %s", ctx.attempt)
        return 1

    @team.agent("threads")
    def threads(task_input):
        logging.getLogger("mine").warning("from a thread")

    @team.agent("own")
    async def own(task_input, ctx):
        ctx.logger.warning("by ctx.logger")

    @team.agent("second", retry=Retry(max_attempts=2, base_s=0.0))
    async def second(task_input, ctx):
        logging.getLogger("mine").warning("try")
        if ctx.attempt == 1:
            raise RuntimeError("once")

    @team.agent("leaks")
    async def leaks(task_input):
        try:
            raise ValueError(f"https://api.example/?token={task_input['api_key']}")
        except ValueError as error:
            raise RuntimeError(f"401 for {task_input['api_key']}") from error

    return team


@contextmanager
def heard(formatter: logging.Formatter | None = None, *filters: logging.Filter):
    """What the root logger's handler writes."""
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(formatter or JsonFormatter())
    for each in filters:
        handler.addFilter(each)
    logging.getLogger().addHandler(handler)
    try:
        yield written
    finally:
        logging.getLogger().removeHandler(handler)


async def run(team: Team, *tasks: Task):
    async with Runtime(team) as runtime:
        return await runtime.orchestrator.execute_workflow(Plan("p", list(tasks)), workflow_id="r1")


def documents(written: io.StringIO) -> list[dict]:
    return [json.loads(line) for line in written.getvalue().splitlines()]


def bound(document: dict) -> dict:
    return {name: document[name] for name in ("run", "task", "item", "attempt", "agent") if name in document}


@pytest.mark.parametrize("agent_type", ["says", "threads", "own"])
async def test_what_an_agent_logs_carries_its_task(team, agent_type):
    with heard() as written:
        await run(team, Task("t", agent_type))

    (document,) = documents(written)
    assert bound(document) == {"run": "r1", "task": "t", "attempt": 1, "agent": agent_type}
    assert document["correlation_id"] == "r1"
    assert document["level"] == "warning"


async def test_each_of_many_tasks_at_once_carries_its_own(team):
    with heard() as written:
        await run(team, *(Task(f"t{n}", "says") for n in range(50)))

    assert sorted(each["task"] for each in documents(written)) == sorted(f"t{n}" for n in range(50))


async def test_an_item_is_named_and_an_attempt_counted(team):
    with heard() as written:
        await run(team, Task("t", "second", foreach=ForEach(items=["x"])))

    tries = [each for each in documents(written) if each["logger"] == "mine"]
    assert [each["attempt"] for each in tries] == [1, 2]
    assert {each["item"] for each in tries} == {tries[0]["item"]}


async def test_nothing_stays_bound_after_a_run(team):
    with heard() as written:
        await run(team, Task("t", "says"))
        logging.getLogger("mine").warning("later")

    assert "run" not in documents(written)[-1]
    assert logs.bound_fields() == {}


async def test_where_nobody_reads_nothing_is_bound(team, monkeypatch):
    monkeypatch.setattr(logs, "readers", 0)
    seen = []

    @team.agent("looks")
    async def looks(task_input):
        seen.append(logs.bound_fields())

    await run(team, Task("t", "looks"))

    # The run is bound once; tasks only for readers.
    assert "task" not in seen[0]


def current_span():
    """As a scheduler hands it on, recorded or not."""
    return trace.use_span(NonRecordingSpan(SpanContext(0xABC, 0xDEF, is_remote=False, trace_flags=TraceFlags(1))))


def test_the_current_span_is_told(monkeypatch):
    monkeypatch.setattr(trace, "get_tracer_provider", TracerProvider)
    with heard() as written, current_span():
        logging.getLogger("mine").warning("x")

    (document,) = documents(written)
    assert (document["trace_id"], document["span_id"]) == (f"{0xABC:032x}", f"{0xDEF:016x}")


def test_where_nobody_records_spans_no_trace_is_told_that_nobody_will_find():
    with heard() as written, current_span():
        logging.getLogger("mine").warning("x")

    (document,) = documents(written)
    assert not {"trace_id", "span_id"} & set(document)


async def test_our_own_records_name_their_event_and_their_error(team):
    with heard() as written:
        await run(team, Task("t", "leaks", input={"api_key": KEY}))

    (document,) = documents(written)
    assert document["event"] == "task.failed"
    assert document["error"]["type"] == "RuntimeError"
    assert "Traceback" in document["error"]["stack"]


@pytest.mark.parametrize("formatter", [JsonFormatter(), ConsoleFormatter(), logging.Formatter("%(message)s")])
async def test_a_key_in_an_agents_error_reaches_no_handler(team, formatter):
    with heard(formatter) as written:
        result = await run(team, Task("t", "leaks", input={"api_key": KEY}))

    assert "401 for ***" in written.getvalue()
    assert "Traceback" in written.getvalue() or "error" in written.getvalue()
    assert KEY not in written.getvalue()
    assert KEY not in str(result.to_dict())
    assert str(result["t"].error) == "RuntimeError: 401 for ***"


async def test_an_error_without_a_secret_reaches_handlers_as_it_is(team, caplog):
    await run(team, Task("t", "second", retry=Retry(max_attempts=1)))

    (record,) = [record for record in caplog.records if record.name == "coterie.task"]
    assert type(record.exc_info[1]) is RuntimeError


async def test_a_secret_of_the_environment_is_struck_out_whatever_it_looks_like(team, monkeypatch):
    monkeypatch.setenv("PROVIDER_PASSWORD", "correct horse")
    monkeypatch.setenv("COTERIE_STORE", "redis://fleet:battery%20staple@h/0")

    with heard() as written:
        logging.getLogger("mine").warning("correct horse, battery%20staple, battery staple")

    assert documents(written)[0]["message"].count("***") == 3


def test_of_extra_only_plain_values_are_kept_and_no_secrets():
    with heard() as written:
        extra = {"count": 3, "api_key": "x", "payload": {"a": 1}, "note": "token=abc"}
        logging.getLogger("mine").warning("x", extra=extra)

    assert documents(written)[0]["extra"] == {"count": 3, "api_key": "***", "note": "token=***"}


def test_a_record_is_one_line_whatever_it_says():
    with heard() as written:
        logging.getLogger("mine").warning("a\nb\x1b[2J\u2028%s", "x" * 100_000)

    (line,) = written.getvalue().splitlines()
    assert line.isascii()
    assert len(line) < 10_000


def test_for_people_control_characters_are_harmless():
    with heard(ConsoleFormatter()) as written:
        logging.getLogger("mine").warning("a\x1b[2Jb")

    assert "\x1b" not in written.getvalue()


async def test_a_filter_shows_the_fields_behind_any_message(team):
    with heard(logging.Formatter("%(message)s"), ShowFields()) as written:
        await run(team, Task("t", "says"))
        logging.getLogger("mine").warning("%d%% later", 5)

    assert written.getvalue().splitlines() == ["said 1 [run=r1 task=t attempt=1 agent=says]", "5% later"]


async def test_the_filter_strikes_credentials_out_of_what_libraries_say_of_a_run(team):
    @team.agent("asks")
    async def asks(task_input):
        try:
            raise ValueError(f"GET https://api.example/?token={KEY}")
        except ValueError:
            logging.getLogger("mine").warning("key %s", KEY, exc_info=True)

    with heard(logging.Formatter("%(message)s"), ShowFields()) as written:
        await run(team, Task("t", "asks"))

    said = written.getvalue()
    assert said.startswith("key *** [run=r1 task=t attempt=1 agent=asks]\n")
    assert "ValueError: GET https://api.example/?token=***" in said
    assert KEY not in said


async def test_a_record_whose_arguments_do_not_fit_is_no_trouble_to_who_logged_it(team, monkeypatch):
    monkeypatch.setattr(logging, "raiseExceptions", False)

    @team.agent("slips")
    async def slips(task_input):
        numbers = (1,)
        logging.getLogger("mine").warning("%d and %d", *numbers)
        return 1

    with heard(logging.Formatter("%(message)s"), ShowFields()):
        result = await run(team, Task("t", "slips"))

    assert result.status == "succeeded"


async def test_an_error_that_cannot_be_told_is_told_all_the_same(team):
    class Mute(Exception):
        def __str__(self):
            raise TypeError("no")

    @team.agent("mute")
    async def mute(task_input):
        raise Mute

    with heard() as written:
        result = await run(team, Task("t", "mute"))

    assert result.status == "failed"
    assert documents(written)[0]["error"]["type"] == "Mute"


async def test_what_is_cancelled_leaves_nothing_bound(team):
    @team.agent("hangs")
    async def hangs(task_input):
        await asyncio.sleep(60)

    with heard():
        work = asyncio.create_task(run(team, Task("t", "hangs")))
        await asyncio.sleep(0.05)
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work

    assert logs.bound_fields() == {}


async def test_what_a_breaker_does_is_an_event_and_a_warning_so_that_quiet_logs_have_it_too():
    breaker = CircuitBreaker("paid", BreakerPolicy(failure_threshold=1))
    with heard() as written:
        logging.getLogger("coterie.breaker").setLevel(logging.WARNING)
        try:
            await breaker.force_open()
            await breaker.reset()
            with pytest.raises(ConnectionError):
                await breaker.call(_fails)
        finally:
            logging.getLogger("coterie.breaker").setLevel(logging.NOTSET)

    told = [(each["level"], each["event"], each["message"]) for each in documents(written)]
    assert [each[:2] for each in told] == [
        ("warning", "breaker.forced"),
        ("warning", "breaker.closed"),
        ("warning", "breaker.opened"),
    ]
    assert "calls are refused for" in told[-1][2]


async def _fails() -> None:
    raise ConnectionError("down")


def test_an_outage_is_an_event_when_it_begins_and_when_it_is_over():
    outage = Outage(logging.getLogger("coterie.remote"), "worker.store_away", "worker.store_back")
    with heard() as written:
        outage.failed("w1", Unavailable("down"))
        outage.answered()

    assert [each["event"] for each in documents(written)] == ["worker.store_away", "worker.store_back"]


def test_what_all_share_is_an_event_where_it_no_longer_holds():
    with heard() as written:
        warn(logging.getLogger("coterie.breaker"), "breaker.store_failed paid: down")

    assert documents(written)[0]["event"] == "breaker.store_failed"


def test_a_line_for_people_is_no_event_whatever_it_begins_with():
    with heard() as written:
        LoggedProgress().say("plan.yaml: cannot be read")

    assert "event" not in documents(written)[0]
