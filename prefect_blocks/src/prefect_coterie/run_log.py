"""What coterie and its agents log, in the run log of the Prefect run that they work for.

Prefect sends there what its own run loggers are told, and loggers that `PREFECT_LOGGING_EXTRA_LOGGERS` names.
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
    """From now on, records of coterie's loggers from INFO on go there; once, however often it is called.

    Where the user has set that up, or a level, it stays as it is.
    """
    logger = logging.getLogger(_ROOT)
    if any(isinstance(handler, APILogHandler) for handler in logger.handlers):
        return
    logger.addHandler(_RunLog())
    if logger.level == logging.NOTSET and not logger.isEnabledFor(logging.INFO):
        logger.setLevel(logging.INFO)


class _RunLog(APILogHandler):
    """Outside of any run there is no log to send to."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self._shown = ShowFields()

    def emit(self, record: logging.LogRecord) -> None:
        """Send it, with the fields that it carries behind its message."""
        if FlowRunContext.get() is None and TaskRunContext.get() is None:
            return
        # Other handlers show the fields in their own way.
        mine = copy.copy(record)
        self._shown.filter(mine)
        super().emit(mine)
