"""Log records of agents among the progress: one line each, never a traceback (but see `--debug`)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["logs_told"]

_ROOT = "coterie"


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


class _Lines(logging.Handler):
    def __init__(self, say: Callable[[str], None]) -> None:
        super().__init__(logging.WARNING)
        self._say = say

    def emit(self, record: logging.LogRecord) -> None:
        """Say it, unless it is an event of the engine's own."""
        message = record.getMessage()
        if not message.startswith("task."):
            task_id = getattr(record, "task_id", None)
            self._say(f"{task_id}: {message}" if task_id else message)
