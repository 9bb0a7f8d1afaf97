"""What is logged does no harm: neither to who logs it, nor to who reads it, nor to the programs that do."""

from __future__ import annotations

import io
import json
import logging
from contextlib import contextmanager

import pytest

from coterie import ForEach, Plan, Retry, Runtime, Task, Team
from coterie.telemetry import logs
from coterie.telemetry.log_lines import ConsoleFormatter, JsonFormatter, ShowFields, suffix

KEY = "sk-live-0123456789abcdef"
FORGED = "a\n12:00:00.000 ERROR coterie.run: run.failed \x1b[2J\x1b]0;owned\x07\r\x85\u2028b"


class Lazy(Exception):
    """As an SDK's error, whose `repr` asks for an answer that never came."""

    def __repr__(self) -> str:
        return f"Lazy({self.response.status})"


class Odd:
    def __str__(self) -> str:
        raise ValueError("no")

    __repr__ = __str__


@pytest.fixture
def team(monkeypatch) -> Team:
    # A handler of pytest's would raise what handlers tell of.
    monkeypatch.setattr(logging, "raiseExceptions", False)
    team = Team("odd")

    @team.agent("fails", retry=Retry(max_attempts=2, base_s=0.0))
    async def fails(task_input):
        raise Lazy("the connection broke")

    @team.agent("works")
    async def works(task_input):
        return 1

    return team


@contextmanager
def heard(formatter: logging.Formatter | None = None, *filters: logging.Filter):
    """What the root logger's handler writes, from INFO on."""
    written, root = io.StringIO(), logging.getLogger()
    handler = logging.StreamHandler(written)
    handler.setFormatter(formatter or JsonFormatter())
    for each in filters:
        handler.addFilter(each)
    root.addHandler(handler)
    try:
        yield written
    finally:
        root.removeHandler(handler)


async def run(team: Team, *tasks: Task):
    async with Runtime(team) as runtime:
        return await runtime.orchestrator.execute_workflow(Plan("p", list(tasks)), workflow_id="r1")


def strictly(text: str):
    """Read as JSON, and nothing that only Python takes for it."""

    def refuse(constant: str):
        raise ValueError(f"{constant} is no JSON")

    return json.loads(text, parse_constant=refuse)


def record(created: float = 0.0, **more) -> logging.LogRecord:
    made = logging.makeLogRecord({"name": "library", "levelname": "INFO", "msg": "x", **more})
    made.created, made.msecs = created, created % 1 * 1000
    return made


SLIPS = {
    "too few": ("%s of %s", "one"),
    "too many": ("one", "two"),
    "no number": ("%d items", "many"),
    "cannot say what it is": ("%s", Odd()),
    "a message that cannot say what it is": (Odd(),),
}
FORMATTERS = [JsonFormatter(), ConsoleFormatter(), logging.Formatter("%(message)s")]


@pytest.mark.parametrize("formatter", FORMATTERS)
@pytest.mark.parametrize("slip", SLIPS)
async def test_a_log_call_of_an_agent_that_does_not_fit_ends_nothing(team, formatter, slip):
    @team.agent("slips")
    async def slips(task_input, ctx):
        ctx.logger.warning(*SLIPS[slip])
        return "done"

    with heard(formatter):
        result = await run(team, Task("t", "slips"), Task("u", "works"))

    assert (result.status, result["t"].output) == ("succeeded", "done")


class Careless(logging.Handler):
    """Catches nothing, as many a handler of users'."""

    def emit(self, record: logging.LogRecord) -> None:
        record.getMessage()


@pytest.mark.parametrize("slip", SLIPS)
async def test_nor_does_it_where_the_handler_catches_nothing(team, slip):
    @team.agent("slips")
    async def slips(task_input, ctx):
        ctx.logger.warning(*SLIPS[slip])

    careless = Careless()
    logging.getLogger().addHandler(careless)
    try:
        result = await run(team, Task("t", "slips"), Task("u", "fails"))
    finally:
        logging.getLogger().removeHandler(careless)

    assert result["t"].state == "succeeded"
    assert str(result["u"].error) == "Lazy: the connection broke"


async def test_a_message_that_does_not_fit_is_a_line_all_the_same_that_says_where_it_comes_from(team):
    @team.agent("slips")
    async def slips(task_input, ctx):
        ctx.logger.warning("%d items", "many")

    with heard() as written:
        await run(team, Task("t", "slips"))

    (line,) = [strictly(each) for each in written.getvalue().splitlines()]
    assert line["message"].startswith("%d items (logged at test_harmless_lines.py:")
    assert line["message"].endswith("with values that could not be told: TypeError)")
    assert (line["run"], line["task"]) == ("r1", "t")


@pytest.mark.parametrize("formatter", FORMATTERS)
async def test_what_did_not_fit_is_not_printed_with_the_secrets_in_it(team, monkeypatch, capsys, formatter):
    monkeypatch.setattr(logging, "raiseExceptions", True)

    @team.agent("slips")
    async def slips(task_input, ctx):
        ctx.logger.warning("%d keys", KEY)
        return 1

    with heard(formatter, ShowFields()) as written:
        result = await run(team, Task("t", "slips"))

    assert result.status == "succeeded"
    assert "%d keys" in written.getvalue()
    assert KEY not in written.getvalue() + "".join(capsys.readouterr())


@pytest.mark.parametrize("formatter", FORMATTERS)
async def test_an_error_whose_repr_raises_is_the_tasks_failure_and_no_more(team, formatter):
    with heard(formatter):
        result = await run(team, Task("t", "fails"), Task("u", "works"))

    assert result.status == "partial"
    assert str(result["t"].error) == "Lazy: the connection broke"
    assert result["t"].attempts == 2
    assert result["u"].state == "succeeded"


async def test_of_an_item_too(team):
    with heard():
        result = await run(team, Task("t", "fails", foreach=ForEach(items=["x", "y"], tolerate_failures=2)))

    assert result["t"].state == "succeeded"
    assert result["t"].items.failed == 2


async def test_such_a_failure_is_told_as_any_other(team):
    with heard() as written:
        await run(team, Task("t", "fails"))

    lines = [strictly(each) for each in written.getvalue().splitlines()]
    failed = next(each for each in lines if each.get("event") == "task.failed")
    assert (failed["run"], failed["task"]) == ("r1", "t")
    assert (failed["error"]["type"], failed["error"]["message"]) == ("Lazy", "the connection broke")


def long_chain() -> RuntimeError:
    error = RuntimeError("the last")
    for _ in range(3_000):
        error, before = RuntimeError("one more"), error
        error.__cause__ = before
    return error


def oddly_noted() -> RuntimeError:
    error = RuntimeError("noted")
    error.__notes__ = [Odd()]
    return error


@pytest.mark.parametrize("made", [long_chain, oddly_noted])
async def test_an_error_that_cannot_be_looked_through_is_the_tasks_failure_too(team, made):
    @team.agent("raises")
    async def raises(task_input):
        raise made()

    with heard(logging.Formatter("%(message)s")) as written:
        result = await run(team, Task("t", "raises"), Task("u", "works"))

    assert result["t"].error.type == "RuntimeError"
    assert result["u"].state == "succeeded"
    assert "task.failed t of r1" in written.getvalue()


@pytest.mark.parametrize(
    ("formatter", "filters"), [(ConsoleFormatter(), []), (logging.Formatter("%(message)s"), [ShowFields()])]
)
async def test_an_items_key_cannot_forge_a_line_nor_steer_a_terminal(team, formatter, filters):
    @team.agent("reads")
    async def reads(task_input, ctx):
        logging.getLogger("mine").warning("reading")
        raise RuntimeError("no")

    with heard(formatter, *filters) as written:
        await run(team, Task("t", "reads", foreach=ForEach(items=[{"name": FORGED}], key="/name")))

    said = written.getvalue()
    assert not {"\x1b", "\x07", "\r", "\x85", "\u2028"} & set(said)
    assert not [line for line in said.split("\n") if line.startswith("12:00:00.000")]
    (line,) = [line for line in said.split("\n") if "reading" in line]
    assert "item=a 12:00:00.000 ERROR coterie.run: run.failed" in line
    assert line.endswith("]")


def test_ordinary_fields_are_shown_as_they_are():
    assert suffix({"run": "r1", "item": "naïve/ключ 1", "attempt": 2}) == " [run=r1 item=naïve/ключ 1 attempt=2]"


@pytest.mark.parametrize(("value", "told"), [("nan", "nan"), ("inf", "inf"), ("-inf", "-inf"), ("0.5", 0.5)])
def test_a_line_is_json_for_every_reader_whatever_numbers_are_extra(value, told):
    line = JsonFormatter().format(record(loss=float(value), best=3, done=True))

    assert strictly(line)["extra"] == {"loss": told, "best": 3, "done": True}


def test_within_a_second_the_time_of_a_record_never_goes_back():
    second = 1_700_000_000
    formatter = JsonFormatter()
    parts = [*range(0, 10_000_000, 99_991), *range(9_999_900, 9_999_999)]
    created = sorted(second + part / 1e7 for part in parts)

    told = [strictly(formatter.format(record(each)))["time"] for each in created]

    assert told == sorted(told)
    assert {each[:19] for each in told} == {"2023-11-14T22:13:20"}


def test_for_people_neither():
    told = [ConsoleFormatter().format(record(1_700_000_000 + part))[:12] for part in (0.9989, 0.9999, 0.9999998)]

    assert told == ["22:13:20.998", "22:13:20.999", "22:13:20.999"]


def test_what_the_guard_cleans_is_told_by_handlers_that_come_later_too():
    logger, first, second = logs.guarded("coterie.harmless"), io.StringIO(), io.StringIO()
    handlers, arguments = [logging.StreamHandler(first), logging.StreamHandler(second)], ("%s and %s", f"token={KEY}")
    for handler in handlers:
        logger.addHandler(handler)
    try:
        logger.warning(*arguments)
    finally:
        for handler in handlers:
            logger.removeHandler(handler)

    assert first.getvalue() == second.getvalue()
    assert first.getvalue().startswith("%s and %s (logged at")
