"""What log records carry: the work that is being done, bound by a context variable; and what they never carry.

Bound is the work itself, and read when a record is formatted: nothing is copied before. Where no reader was ever made
(`readers`), nothing is bound either.

Of our own loggers those that quote what others say (`guarded`) strike credentials out before any handler sees them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine, Mapping
from contextvars import ContextVar
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from coterie._rules.redaction import redacted
from coterie._secrets import known
from coterie.telemetry.recording import is_recording

if TYPE_CHECKING:
    from coterie.context import TaskContext
    from coterie.run import Run

__all__ = [
    "Fields",
    "bound",
    "bound_fields",
    "bound_to",
    "clean",
    "cleaned",
    "fields_of",
    "guarded",
    "known",
    "message_of",
    "read",
    "readers",
    "told",
]

T = TypeVar("T")

# `run`, `task`, `item`, `attempt`, `agent`, `correlation_id`, `trace_id`, `span_id`, as far as there are any.
Fields: TypeAlias = dict[str, str | int]

# How many readers of what is bound were made in this process: formatters, filters, handlers. Never fewer again.
readers = 0

_work: ContextVar[TaskContext | Run | Fields | None] = ContextVar("coterie_work", default=None)

# What `ctx.logger` gives its records, also where no context reaches, and what we call it.
_GIVEN = {"workflow_id": "run", "task_id": "task", "item_key": "item", "attempt": "attempt"}


def read() -> None:
    """Say that what is bound will be read from now on; made by every reader of `bound_fields`."""
    global readers  # noqa: PLW0603  # of the process, as loggers are
    readers += 1


async def bound_to(work: TaskContext | Run | Fields, doing: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Do it; records made meanwhile, in its threads too, carry the work's fields; or those given, if they are known."""
    token = _work.set(work)
    try:
        return await doing()
    finally:
        _work.reset(token)


def bound() -> TaskContext | Run | Fields | None:
    """The work that is bound here and now."""
    return _work.get()


def bound_fields() -> Fields:
    """What is bound here and now."""
    work = _work.get()
    found = {} if work is None else _of_work(work)
    found.update(_of_span())
    return found


def fields_of(record: logging.LogRecord) -> Fields:
    """What a record carries: what `ctx.logger` gave it, else what is bound where it is formatted."""
    stamped = getattr(record, "coterie", None)
    found: Fields = dict(stamped) if isinstance(stamped, Mapping) else bound_fields()
    for given, name in _GIVEN.items():
        value = getattr(record, given, None)
        if isinstance(value, (str, int)):
            found[name] = value
    return found


def cleaned(text: str) -> str:
    """A text without credentials: those that look like some, and those that this process's environment holds."""
    return redacted(text, known())


def guarded(name: str) -> logging.Logger:
    """A logger of ours that quotes what others say: its records, and their errors, come to handlers without secrets."""
    logger = logging.getLogger(name)
    logger.addFilter(_GUARD)
    return logger


class _Guard(logging.Filter):
    """Cleans records on their way; those that nobody hears are left alone."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let every record pass."""
        if _is_heard(logging.getLogger(record.name)):
            clean(record)
        return True


def clean(record: logging.LogRecord) -> None:
    """Strike credentials out of a record's message, and out of its error. It raises nothing, whatever they are."""
    secrets = known()
    message, fits = _message(record)
    struck = redacted(message, secrets)
    if struck != message or not fits:
        record.msg, record.args = struck, ()
    if record.exc_info and record.exc_info[1] is not None:
        record.exc_info = _clean_error(record.exc_info[1], secrets)
    if record.exc_text:
        # As a handler before this one has kept it for the others.
        record.exc_text = redacted(record.exc_text, secrets)


def message_of(record: logging.LogRecord) -> str:
    """Its message. Of one whose arguments do not fit, or cannot say what they are: that, and where it was logged."""
    return _message(record)[0]


def _message(record: logging.LogRecord) -> tuple[str, bool]:
    """The message, and whether its arguments are in it; those that do not fit, handlers print with all they hold."""
    try:
        return record.getMessage(), True
    # Their own code is run, which may raise anything. Nobody handles it further: the message names it, and whoever has
    # logged it is not bothered.
    except Exception as failure:  # noqa: BLE001
        text = record.msg if isinstance(record.msg, str) else type(record.msg).__name__
        where = f"{record.filename}:{record.lineno}"
        return f"{text} (logged at {where} with values that could not be told: {type(failure).__name__})", False


_GUARD = _Guard()


def _is_heard(logger: logging.Logger | None) -> bool:
    while logger is not None:
        if any(not isinstance(handler, logging.NullHandler) for handler in logger.handlers):
            return True
        logger = logger.parent if logger.propagate else None
    # Warnings that nobody handles go to standard error, unless there is a handler that drops them.
    return False


_ExcInfo: TypeAlias = tuple[type[BaseException], BaseException, TracebackType | None]


def _clean_error(error: BaseException, secrets: frozenset[str]) -> _ExcInfo:
    """The error as it is where it, and what caused it, say nothing secret; else one that stands for it."""
    try:
        if all(redacted(text, secrets) == text for text in _texts(error, set())):
            return type(error), error, error.__traceback__
        likeness = _likeness(error, secrets, set())
    # Notes that cannot be told, or a chain of causes too long to follow: handlers get what stands for the error.
    except Exception as failure:  # noqa: BLE001
        likeness = _named_as(error, f"it could not be told: {type(failure).__name__}")
    return type(likeness), likeness, likeness.__traceback__


def _texts(error: BaseException | None, seen: set[int]) -> list[str]:
    if error is None or id(error) in seen:
        return []
    seen.add(id(error))
    inner = [error.__cause__, error.__context__, *(error.exceptions if isinstance(error, BaseExceptionGroup) else ())]
    own = [told(error), *map(str, getattr(error, "__notes__", ()))]
    return own + [text for each in inner for text in _texts(each, seen)]


def _likeness(error: BaseException, secrets: frozenset[str], seen: set[int]) -> BaseException:
    """Of the same name and traceback, with a clean message; its causes too. Of a group, its members are left out."""
    seen.add(id(error))
    made = _named_as(error, redacted(told(error), secrets))
    for note in getattr(error, "__notes__", ()):
        made.add_note(redacted(str(note), secrets))
    for name in ("__cause__", "__context__"):
        inner = getattr(error, name)
        if inner is not None and id(inner) not in seen:
            setattr(made, name, _likeness(inner, secrets, seen))
    made.__suppress_context__ = error.__suppress_context__
    return made


def _named_as(error: BaseException, message: str) -> BaseException:
    kind = type(type(error).__name__, (Exception,), {"__module__": type(error).__module__})
    made: BaseException = kind(message).with_traceback(error.__traceback__)
    return made


def told(error: BaseException) -> str:
    """What an error says of itself."""
    try:
        return str(error)
    # Its own code is run, which may raise anything.
    except Exception as failure:  # noqa: BLE001
        return f"it could not be told: {type(failure).__name__}"


def _of_work(work: TaskContext | Run | Fields) -> Fields:
    if isinstance(work, dict):
        return dict(work)
    run: Run | None = getattr(work, "run", None)
    if run is None:
        # The run itself.
        return {"run": work.workflow_id, "correlation_id": work.correlation_id}  # type: ignore[union-attr]
    found: Fields = {"run": run.workflow_id, "task": work.task.id}  # type: ignore[union-attr]
    item, agent = getattr(work, "item_key", None), getattr(work, "agent", None)
    if item is not None:
        found["item"] = item
    found["attempt"] = work.attempt  # type: ignore[union-attr]
    if agent is not None:
        found["agent"] = agent.id
    found["correlation_id"] = run.correlation_id
    return found


def _of_span() -> Fields:
    # A context that nobody records, such as a scheduler hands on in any case, names a trace that is nowhere.
    if not is_recording():
        return {}
    from opentelemetry.trace import get_current_span

    span = get_current_span().get_span_context()
    return {"trace_id": f"{span.trace_id:032x}", "span_id": f"{span.span_id:016x}"} if span.is_valid else {}
