"""A log record as one line: JSON for programs, or text for people. For any handler, of whatever logger."""

from __future__ import annotations

import json
import logging
import math
import re
import time
from typing import Any

from coterie._rules.redaction import STRUCK, is_secret_name, redacted
from coterie.markdown import harmless
from coterie.telemetry import logs
from coterie.telemetry.logs import bound_fields

__all__ = ["ConsoleFormatter", "JsonFormatter", "ShowFields", "bound_fields", "suffix"]

MESSAGE_CHARS, STACK_CHARS, VALUE_CHARS = 8_000, 16_000, 500

# What our own loggers say first: a name that stays, such as `breaker.opened`.
_EVENT = re.compile(r"([a-z]+(?:[._][a-z]+)*\.[a-z_]+)(?=[\s:]|\Z)")
# Says lines for people, which may begin with anything; its events are named in the format.
_SPOKEN = "coterie.progress"
_OWN = set(vars(logging.makeLogRecord({}))) | {"message", "asctime", "coterie", "taskName"}
_GIVEN = {"workflow_id", "task_id", "item_key", "attempt"}
# Said by the place where people read the lines, or of no use to them.
_UNSHOWN = {"correlation_id", "span_id"}


class JsonFormatter(logging.Formatter):
    """One JSON object a line: `time`, `level`, `logger`, `event`, `message`, the bound fields, `error`, `extra`.

    No line breaks, and ASCII alone. Texts are cut, credentials struck out, and of `extra` only plain values kept.
    """

    def __init__(self) -> None:
        super().__init__()
        logs.read()

    def format(self, record: logging.LogRecord) -> str:
        """The record's line."""
        secrets = logs.known()
        document: dict[str, Any] = {
            "time": f"{_clock(record, '%Y-%m-%dT%H:%M:%S')}.{int(record.created % 1 * 1e6):06d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
        }
        if (event := _event(record)) is not None:
            document["event"] = event
        document["message"] = _cut(redacted(logs.message_of(record), secrets), MESSAGE_CHARS)
        document |= logs.fields_of(record)
        if (error := self._error(record, secrets)) is not None:
            document["error"] = error
        if (extra := _extra(record, secrets)) != {}:
            document["extra"] = extra
        return json.dumps(document)

    def _error(self, record: logging.LogRecord, secrets: frozenset[str]) -> dict[str, str] | None:
        if not record.exc_info or record.exc_info[1] is None:
            return None
        error = record.exc_info[1]
        stack = redacted(self.formatException(record.exc_info), secrets)
        # The end tells more than the beginning.
        stack = stack if len(stack) <= STACK_CHARS else f"…{stack[1 - STACK_CHARS :]}"
        return {
            "type": type(error).__name__,
            "message": _cut(redacted(logs.told(error), secrets), MESSAGE_CHARS),
            "stack": stack,
        }


class ConsoleFormatter(logging.Formatter):
    """`12:00:00.123 WARNING coterie.task: task.failed … [run=… task=…]`; a traceback follows, where there is one."""

    def __init__(self) -> None:
        super().__init__()
        logs.read()

    def format(self, record: logging.LogRecord) -> str:
        """The record's line, or lines."""
        clock = f"{_clock(record, '%H:%M:%S')}.{int(record.msecs):03d}"
        message = harmless(_cut(logs.cleaned(logs.message_of(record)), MESSAGE_CHARS))
        line = f"{clock} {record.levelname} {record.name}: {message}{suffix(logs.fields_of(record))}"
        if record.exc_info and record.exc_info[1] is not None:
            line += "\n" + harmless(logs.cleaned(self.formatException(record.exc_info)))
        return line


class ShowFields(logging.Filter):
    """Puts the bound fields behind the message, for handlers whose own formatter shows nothing but that.

    Of records that belong to a run, whoever logged them, credentials are struck out.
    """

    def __init__(self) -> None:
        super().__init__()
        logs.read()

    def filter(self, record: logging.LogRecord) -> bool:
        """Let every record pass; one that several handlers have is changed once."""
        fields = logs.fields_of(record)
        if "run" in fields and not hasattr(record, "coterie"):
            record.coterie = fields
            logs.clean(record)
            record.msg, record.args = f"{logs.message_of(record)}{suffix(fields)}", ()
        return True


def suffix(fields: logs.Fields) -> str:
    """The fields as people read them: ` [run=… task=… attempt=2]`; empty where there are none."""
    shown = [f"{name}={_plain(value)}" for name, value in fields.items() if name not in _UNSHOWN]
    return f" [{' '.join(shown)}]" if shown else ""


def _plain(value: str | int) -> str:
    """In one line, and harmless: the keys of items are anybody's texts."""
    return harmless(" ".join(str(value).splitlines()))


def _event(record: logging.LogRecord) -> str | None:
    if record.name.partition(".")[0] not in ("coterie", "airflow_provider_coterie", "prefect_coterie"):
        return None
    found = _EVENT.match(record.msg) if isinstance(record.msg, str) else None
    if found is None and record.name != _SPOKEN:
        # One place logs several events: the name is among the values.
        found = _EVENT.match(logs.message_of(record))
    return found[1] if found else None


def _extra(record: logging.LogRecord, secrets: frozenset[str]) -> dict[str, str | int | float | bool | None]:
    found: dict[str, str | int | float | bool | None] = {}
    for name, value in vars(record).items():
        if name in _OWN or name in _GIVEN or name.startswith("_"):
            continue
        if is_secret_name(name):
            found[name] = STRUCK
        elif isinstance(value, str):
            found[name] = _cut(redacted(value, secrets), VALUE_CHARS)
        elif isinstance(value, float) and not math.isfinite(value):
            # JSON has no such number.
            found[name] = str(value)
        elif value is None or isinstance(value, (int, float)):
            found[name] = value
    return found


def _clock(record: logging.LogRecord, form: str) -> str:
    return time.strftime(form, time.gmtime(record.created))


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
