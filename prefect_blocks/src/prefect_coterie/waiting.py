"""Say in a task run's log that it waits, for whom and how long, or that it did nothing: nothing else shows why."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeAlias

from prefect.exceptions import MissingContextError
from prefect.logging import get_logger, get_run_logger

from coterie.journal.sparing import replay_line, resume_line
from coterie.saga.telling import undo_line

if TYPE_CHECKING:
    from coterie.errors import Refused
    from coterie.events import Event

__all__ = ["said_while_waiting", "tell_waiting", "wait_for"]

_Logger: TypeAlias = "logging.Logger | logging.LoggerAdapter[logging.Logger]"

# Shorter waits are not worth a line.
_NOTICE_S = 1.0
# Waits are lengthened by chance, so that those who were refused together do not return together.
_SPREAD = 0.1


def tell_waiting(event: Event) -> None:
    """Log what keeps a task from its agent, once a wait, and what needed no agent; a listener for `Runtime`."""
    fields = event.fields
    if event.name == "task.refused":
        _logger().info("%s waits %.1f s: %s", event.task_id, fields["wait_s"], fields["error"])
    elif event.name == "task.waiting":
        _logger().info("%s waits for its turn, at most %.0f s more", event.task_id, fields["wait_s"])
    elif event.name == "task.fell_back":
        _logger().warning("%s falls back on %s: %s", event.task_id, fields["fallback"], fields["error"])
    elif event.name == "task.replayed":
        _logger().info("%s", replay_line(event.workflow_id, [event]))
    elif event.name == "task.resumed":
        _logger().info("%s", resume_line(event))
    elif event.name == "approval.asked":
        _logger().info("%s asks a person: %s", event.task_id, fields["question"])
    elif event.name == "approval.decided" and fields["choice"] is not None:
        _logger().info("%s is decided: %r chose %r", event.task_id, fields["by"], fields["choice"])
    else:
        line = undo_line(event)
        if line is not None:
            _logger().info("%s", line)


@contextmanager
def said_while_waiting(what: str) -> Iterator[None]:
    """Log `what` once if the body takes a second or more."""
    notice = asyncio.get_running_loop().call_later(_NOTICE_S, lambda: _logger().info(what))
    try:
        yield
    finally:
        notice.cancel()


async def wait_for(refusal: Refused, left_s: float) -> None:
    """Wait as long as `refusal` asks for, and say so.

    Raises:
        Refused: the same, at once, if that is longer than `left_s`.
    """
    if refusal.retry_after_s > left_s:
        raise refusal
    wait_s = refusal.retry_after_s * (1.0 + random.random() * _SPREAD)  # noqa: S311  # spreads load, no secret
    _logger().info("waits %.1f s: %s", wait_s, refusal)
    await asyncio.sleep(wait_s)


def _logger() -> _Logger:
    """The run's own, so that the line is on its page; outside of runs, Prefect's."""
    try:
        return get_run_logger()
    except MissingContextError:
        return get_logger("coterie")
