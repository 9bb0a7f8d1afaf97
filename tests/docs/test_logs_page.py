"""The page on logs names every logger that there is, and every field of a line."""

from __future__ import annotations

import json
import logging
import re

from coterie.telemetry.log_lines import JsonFormatter
from tests.docs.markdown import REPOSITORY, pages

PAGE = next(page for page in pages() if page.name == "docs/reference/logs.md")
SOURCES = ["core/src", "airflow_provider/src", "prefect_blocks/src"]


def first_column(title: str) -> set[str]:
    (table,) = [table for table in PAGE.tables() if table[0][0] == title]
    return {name for row in table[1:] for name in re.findall(r"`([^`]+)`", row[0])}


def test_every_logger_is_named():
    made = {
        name
        for folder in SOURCES
        for path in (REPOSITORY / folder).rglob("*.py")
        for name in re.findall(r"(?:getLogger|guarded|LogRecord)\(\s*\"(coterie\.[a-z_]+)\"", path.read_text("utf-8"))
    }

    assert first_column("logger") == made


def test_every_field_of_a_line_is_named():
    record = logging.makeLogRecord({"name": "coterie.task", "msg": "task.x y", "levelno": 30, "levelname": "WARNING"})
    record.exc_info = (ValueError, ValueError("x"), None)
    record.note = "x"
    given = {"run", "task", "item", "attempt", "agent", "correlation_id", "trace_id", "span_id"}

    assert first_column("field") == set(json.loads(JsonFormatter().format(record))) | given
