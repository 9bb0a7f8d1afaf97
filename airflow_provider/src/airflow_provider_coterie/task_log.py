"""What a task's log in Airflow shows of the work behind a line: run, task, item, attempt and agent.

Lines of Python's own loggers reach the task's log by themselves, coterie's from INFO on. Airflow formats them without
what they carry, so it is put behind the message.
"""

from __future__ import annotations

import logging

from coterie.telemetry.log_lines import ShowFields

__all__ = ["show_fields"]


def show_fields() -> None:
    """Have the handlers of this process show it; once, however often it is called."""
    for handler in logging.getLogger().handlers:
        if not any(isinstance(each, ShowFields) for each in handler.filters):
            handler.addFilter(ShowFields())
