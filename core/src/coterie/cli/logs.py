"""Log records of agents among the progress: one line each, never a traceback (but see `--debug`); or all of them as
JSON.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any

from coterie.events import Event
from coterie.telemetry.logs import cleaned, message_of

__all__ = ["LoggedProgress", "json_logs", "logs_told", "others_told"]

_ROOT = "coterie"
_log = logging.getLogger("coterie.progress")
# Of an event's fields, those that hold no words of a plan, an agent or a person.
_FIELDS = ("state", "status", "duration_s", "attempt", "replayed", "wait_s", "agent_type", "agent_id", "key", "index")


@contextmanager
def logs_told(say: Callable[[str], None]) -> Iterator[None]:
    """Within, warnings that agents log become lines for `say`; what events tell anyway is left out."""
    handler = _Lines(say)
    logger = logging.getLogger(_ROOT)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


@contextmanager
def others_told() -> Iterator[None]:
    """Within, warnings of other loggers look as Python shows them where nobody set logging up; without credentials."""
    root = logging.getLogger()
    if root.handlers:
        yield
        return
    handler = _Stderr(logging.WARNING)
    handler.setFormatter(_Plain())
    handler.addFilter(_is_foreign)
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)


@contextmanager
def json_logs(*, quiet: bool) -> Iterator[None]:
    """Within, all log records of this process go to standard error as JSON, one object a line.

    Of coterie's own the ordinary course too, unless `quiet`; of others what they have a level for, else warnings.
    """
    from coterie.telemetry.log_lines import JsonFormatter

    root, own = logging.getLogger(), logging.getLogger(_ROOT)
    handler, before = _Stderr(), own.level
    handler.setFormatter(JsonFormatter())
    root.addHandler(handler)
    logging.captureWarnings(True)  # noqa: FBT003  # the library's signature
    own.setLevel(logging.WARNING if quiet else logging.INFO)
    try:
        yield
    finally:
        own.setLevel(before)
        logging.captureWarnings(False)  # noqa: FBT003  # the library's signature
        root.removeHandler(handler)


class LoggedProgress:
    """A `Progress` that logs what happens; what failed, and whom it asks, as warnings."""

    def on_event(self, event: Event) -> None:
        """One record; the numbers and states of the event are its `extra`."""
        fields = event.fields
        bad = fields.get("state", fields.get("status")) == "failed" or event.name == "approval.asked"
        level = logging.WARNING if bad else logging.INFO
        if not _log.isEnabledFor(level):
            return
        extra = {name: fields[name] for name in _FIELDS if name in fields and name != "attempt"}
        given: dict[str, Any] = {"workflow_id": event.workflow_id, "task_id": event.task_id, **extra}
        if "attempt" in fields:
            given["attempt"] = fields["attempt"]
        said = [str(fields[name]) for name in ("state", "status", "error") if fields.get(name) is not None]
        what = event.task_id or event.workflow_id or ""
        _log.log(level, f"{event.name} %s%s", what, f": {', '.join(said)}" if said else "", extra=given)

    @asynccontextmanager
    async def showing(self) -> AsyncIterator[None]:
        """Nothing but the records."""
        yield

    def say(self, line: str) -> None:
        """One record, also for who wants no progress."""
        _log.warning("%s", line)

    def abandon(self) -> None:
        """Nothing to do."""


class _Lines(logging.Handler):
    def __init__(self, say: Callable[[str], None]) -> None:
        super().__init__(logging.WARNING)
        self._say = say

    def emit(self, record: logging.LogRecord) -> None:
        """Say it, unless it is an event of the engine's own."""
        message = message_of(record)
        if not message.startswith("task."):
            task_id = getattr(record, "task_id", None)
            self._say(f"{task_id}: {message}" if task_id else message)


def _is_foreign(record: logging.LogRecord) -> bool:
    return record.name.partition(".")[0] != _ROOT


class _Plain(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        """The message, and the traceback."""
        return cleaned(super().format(record))


class _Stderr(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        """Write it. Whoever read the lines may be gone: that ends no work."""
        try:
            line = self.format(record)
        # As the library's own handlers do: a record that cannot be formatted is told of, and no more.
        except Exception:  # noqa: BLE001
            self.handleError(record)
            return
        with suppress(OSError):
            sys.stderr.write(line + "\n")
            sys.stderr.flush()
