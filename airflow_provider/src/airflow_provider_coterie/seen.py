"""A listener in the task's process: tells the journal which successes Airflow took.

Airflow calls it after the API server was told of the success, also where that refused to hear of it.
"""

from __future__ import annotations

import logging
import sys
from typing import Any

from airflow.listeners import hookimpl

__all__ = ["on_task_instance_success"]

_log = logging.getLogger(__name__)

_OPERATORS = "airflow_provider_coterie.operators.journalled"


@hookimpl
def on_task_instance_success(previous_state: Any, task_instance: Any) -> None:  # noqa: ARG001  # Airflow's signature
    """Let one of coterie's operators know."""
    # Where none was ever loaded, such as in the API server when a person marks a task, none has ended.
    module = sys.modules.get(_OPERATORS)
    task = getattr(task_instance, "task", None)
    if module is None or not isinstance(task, module.JournalledOperator):
        return
    # The task is over: nothing that goes wrong here may change that.
    try:
        task.accepted(task_instance)
    except Exception:  # noqa: BLE001
        _log.warning("coterie.seen_failed", exc_info=True)
