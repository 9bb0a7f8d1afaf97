"""What coterie and its agents log, in the run log of the Prefect run that they work for.

Prefect sends there what its own run loggers are told, and loggers that `PREFECT_LOGGING_EXTRA_LOGGERS` names: but of
these no more than the root logger lets through, which is warnings.
"""

from __future__ import annotations

import copy
import logging

from prefect.context import FlowRunContext, TaskRunContext
from prefect.logging.handlers import APILogHandler

from coterie.telemetry.log_lines import ShowFields

__all__ = ["tell_run_log"]

_ROOT = "coterie"


def tell_run_log() -> None:
    """From now on, records of coterie's loggers from INFO on go there, each once, however often it is called.

    Where the user has set a level, it stays. Prefect's own handler, which is there where the user has named these
    loggers to Prefect, is replaced: it would send each record a second time, and without its fields.
    """
    logger = logging.getLogger(_ROOT)
    level = min(_replaced(), default=logging.INFO)
    if not any(isinstance(handler, APILogHandler) for handler in logger.handlers):
        logger.addHandler(_RunLog(level))
    if logger.level == logging.NOTSET and not logger.isEnabledFor(logging.INFO):
        logger.setLevel(logging.INFO)


def _replaced() -> list[int]:
    """The levels of the handlers that were taken away."""
    levels = []
    for logger in _ours():
        for handler in [one for one in logger.handlers if type(one) is APILogHandler]:
            logger.removeHandler(handler)
            levels.append(handler.level)
    return levels


def _ours() -> list[logging.Logger]:
    """Coterie's loggers, as far as their records reach the first of them."""
    known = logging.Logger.manager.loggerDict
    below = [found for name, found in list(known.items()) if name.startswith(f"{_ROOT}.")]
    return [logging.getLogger(_ROOT), *(one for one in below if isinstance(one, logging.Logger) and one.propagate)]


class _RunLog(APILogHandler):
    """Outside of any run there is no log to send to."""

    def __init__(self, level: int) -> None:
        super().__init__(level)
        self._shown = ShowFields()

    def emit(self, record: logging.LogRecord) -> None:
        """Send it, with the fields that it carries behind its message."""
        if FlowRunContext.get() is None and TaskRunContext.get() is None:
            return
        # Other handlers show the fields in their own way.
        mine = copy.copy(record)
        self._shown.filter(mine)
        super().emit(mine)
